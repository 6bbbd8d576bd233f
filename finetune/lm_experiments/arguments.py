"""Arguments of fine-tuning for surprisals: which model and what of it is trained, which texts, which losses.

For the dotted command line: dictionaries by split (`train`, `validation`, `test`), functions and classes by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from finetune.arguments.fields import argument
from finetune.arguments.legacy import OldFlag, gone
from finetune.arguments.model import ModelArguments
from finetune.arguments.nearest import allowed_values
from finetune.data.files import find_paths
from finetune.errors import Problem, ProblemList
from finetune.lm_experiments.object_names import ObjectKind

SPLITS = ("train", "validation", "test")
LONG_TEXTS = ("truncate", "window")
STRATEGIES = ("once", "per_batch")
TASKS = ("lm", "mlm", "seq2seq")
HOOKS = (
    *("pre_training", "begin_epoch", "pre_train_batch", "pre_train_step", "post_train_step", "post_train_batch"),
    *("pre_validation", "pre_validation_batch", "post_validation_batch", "end_epoch", "post_training"),
    *("pre_test", "pre_test_dataset", "pre_test_batch", "post_test_batch", "post_test_dataset"),
)
OPTIMIZER_NUMBERS = (  # keywords of the optimizers of torch.optim whose defaults are numbers
    *("alpha", "beta2_decay", "d", "dampening", "eps", "history_size", "initial_accumulator_value", "lambd", "lr"),
    *("lr_decay", "max_iter", "momentum", "momentum_decay", "ns_steps", "rho", "t0", "tolerance_change"),
    *("tolerance_grad", "weight_decay"),
)
BASELINE_LOSS = "KLBaselineLoss"
BASELINE_KEYWORDS = (
    *("dataset", "batch_size", "scaleby", "n_examples_per_batch", "model_kwargs", "tokenizer_kwargs"),
    *("size_average", "reduce", "reduction", "split_name", "preprocessing_num_workers", "overwrite_cache"),
    *("max_samples_per_dataset", "max_sample_length", "data_preprocessing_fn", "data_preprocessing_fn_kwargs"),
    *("data_preprocessing_fn_strategy", "return_all", "seed"),
)


def _in(module: str, names: str) -> tuple[str, ...]:
    return tuple(f"{module}.{name}" for name in names.split())


PREPROCESSING = ObjectKind(
    "a preprocessing function",
    names=_in(
        "finetune.lm_experiments.preprocessing",
        "identity remove_non_mask_tokens_from_labels mask_random_tokens mask_random_spans mask_truerandom_spans "
        "expand_with_masks mask_word_tokens mask_words identity_if_decoder_mask_if_encoder",
    ),
)
LOSS = ObjectKind(
    "a loss class", names=_in("finetune.lm_experiments.baseline_losses", f"OutputsDefaultLoss {BASELINE_LOSS}")
)
CALLBACK = ObjectKind(
    "a callback class",
    names=(
        *_in(
            "finetune.lm_experiments.freezing",
            "PartiallyFrozenModelCallback FreezeWordTokensCallback UnfreezeWordTokensCallback",
        ),
        *_in(
            "finetune.lm_experiments.mode_switching",
            "SetEncoderModeCallback SetDecoderModeCallback SwitchEncoderDecoderModesCallback "
            "SwitchEncoderDecoderModesToOppositeOfWhenLastCalledCallback",
        ),
    ),
)
MODIFIER = ObjectKind(
    "a function that changes a model", names=_in("finetune.lm_experiments.modifiers", "add_new_tokens")
)
OPTIMIZER = ObjectKind("an optimizer", ("torch.optim",), base="torch.optim.Optimizer")
REDUCTION = ObjectKind(
    "a function of several losses",
    names=(*_in("torch", "sum mean max min prod median amax amin"), *_in("builtins", "max min sum")),
)
IDENTITY, DEFAULT_LOSS = PREPROCESSING.names[0], LOSS.names[0]


def per_split(value: object, splits: Iterable[str] = SPLITS) -> dict[str, Any]:
    """A value for each split: a dictionary by split has them, anything else is meant for all."""
    if isinstance(value, Mapping) and set(value) & set(SPLITS):
        return {split: value.get(split) for split in splits}
    return dict.fromkeys(splits, value)


def as_list(value: object) -> list[Any]:
    """What was typed as one or more values: the command line makes no list of one."""
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def check_keys(flag: str, value: object, known: Iterable[str]) -> list[Problem]:
    """The keys of a dictionary that are not known, each with the nearest."""
    keys = list(value) if isinstance(value, Mapping) else []
    known = list(known)
    return [Problem(f"--{flag} has no key {key!r}", allowed_values(key, known)) for key in keys if key not in known]


@dataclass
class ExperimentModelArguments(ModelArguments):
    """Model and tokenizer, and what of them is changed."""

    OBJECTS: ClassVar[dict[str, ObjectKind]] = {
        "model_modifier_fns": MODIFIER,
        "model_pre_train_step_callbacks": CALLBACK,
        "model_callbacks.*": CALLBACK,
    }

    model_task: str | None = argument(
        None, choices=TASKS, help="causal, masked or encoder-decoder; without it as config.architectures says"
    )
    source_lang: str | None = argument(
        None, metavar="CODE", help="language of the texts, where the tokenizer has tokens for languages (mBART, NLLB)"
    )
    target_lang: str | None = argument(None, metavar="CODE", help="language of the labels, the same")
    use_gpu: bool | None = argument(
        None, help="whether to use a GPU; without it, one that is visible is used, and said"
    )
    model_kwargs: dict = argument({}, help="keywords for from_pretrained of the model")
    config_kwargs: dict = argument({}, help="fields of the configuration to change")
    tokenizer_kwargs: dict = argument({}, help="keywords for from_pretrained of the tokenizer")
    model_modifier_fns: list[str] = argument([], metavar="NAME", help="functions that change the model before training")
    model_modifier_fn_kwargs: dict = argument({}, help="name of such a function -> its keywords")
    model_pre_train_step_callbacks: list[str] = argument(
        [], metavar="NAME", help="callback classes, called after backward, before each step of the optimizer"
    )
    model_pre_train_step_callbacks_kwargs: dict = argument({}, help="name of such a class -> its keywords")
    model_callbacks: dict = argument({}, help="point of the run (pre_train_step, end_epoch, ...) -> callback classes")
    model_callbacks_kwargs: dict = argument({}, help="the same point -> name of the class -> its keywords")
    allow_import: list[str] = argument(
        [], metavar="MODULE", help="modules whose functions and classes may be named, beside ours"
    )

    def problems(self) -> list[Problem]:
        named = {
            "model_modifier_fn_kwargs": (self.model_modifier_fn_kwargs, self.model_modifier_fns),
            "model_pre_train_step_callbacks_kwargs": (
                self.model_pre_train_step_callbacks_kwargs,
                self.model_pre_train_step_callbacks,
            ),
        }
        problems = super().problems()
        for flag, (value, names) in named.items():
            problems += check_keys(flag, value, [name.rpartition(".")[2] for name in names])
        problems += check_keys("model_callbacks", self.model_callbacks, HOOKS)
        return problems + check_keys("model_callbacks_kwargs", self.model_callbacks_kwargs, self.model_callbacks)


@dataclass
class ExperimentTextArguments:
    """Texts."""

    OBJECTS: ClassVar[dict[str, ObjectKind]] = {
        "data_preprocessing_fn": PREPROCESSING,
        "data_preprocessing_fn.*": PREPROCESSING,
        "data_preprocessing_fn_kwargs.mask_fn": PREPROCESSING,
        "data_preprocessing_fn_kwargs.*.mask_fn": PREPROCESSING,
    }

    OLD_FLAGS: ClassVar[dict[str, OldFlag]] = {
        "overwrite_cache": gone("texts are read anew each time; that takes less time than a cache", "bool"),
        "preprocessing_num_workers": gone("texts are encoded in one go, by all processors"),
        "ignore_pad_for_token_loss": gone("padding never counts", "bool"),
        "ignore_pad_token_for_loss": gone("padding never counts", "bool"),
    }

    train_file: str | None = argument(None, metavar="FILE", help="texts to train on: .txt or .json, .gz too")
    validation_file: str | None = argument(None, metavar="FILE", help="texts to choose the best state by")
    test_file: list[str] | None = argument(None, metavar="FILE", help="texts whose surprisals are written")
    max_length: int = argument(1024, minimum=2, help="ids of a text at most, special tokens included")
    long_text: str = argument(
        "truncate",
        choices=LONG_TEXTS,
        help="longer texts are cut between their special tokens, and counted; or read in overlapping windows, in which "
        "every token is predicted once",
    )
    pad_to_max_length: bool = argument(False, help="pad every batch to --max_length instead of its longest text")
    max_train_samples: int | None = argument(None, minimum=1, help="train on the first N texts")
    max_validation_samples: int | None = argument(None, minimum=1, help="validate on the first N texts")
    max_test_samples: int | None = argument(None, minimum=1, help="test on the first N texts of each file")
    per_device_train_batch_size: int = argument(32, minimum=1, help="texts at once, before they are preprocessed")
    per_device_validation_batch_size: int = argument(
        32, minimum=1, aliases=("per_device_eval_batch_size",), help="the same for validation"
    )
    per_device_test_batch_size: int = argument(32, minimum=1, help="the same for tests")
    data_preprocessing_fn: dict | str = argument(
        dict.fromkeys(SPLITS, IDENTITY), help="split -> what is done to its texts, or one function for all"
    )
    data_preprocessing_fn_strategy: dict | str = argument(
        dict.fromkeys(SPLITS, "once"), help="split -> once, or per_batch: drawn anew for each batch"
    )
    data_preprocessing_fn_kwargs: dict = argument({}, help="split -> keywords of its function, or keywords for all")
    numpy_preprocessing: bool = argument(False, help="functions of your own get numpy arrays instead of torch tensors")

    def problems(self) -> list[Problem]:
        problems = []
        for flag in ("data_preprocessing_fn", "data_preprocessing_fn_strategy"):
            problems += check_keys(flag, getattr(self, flag), SPLITS)
        for strategy in dict.fromkeys(per_split(self.data_preprocessing_fn_strategy).values()):
            if strategy is not None and strategy not in STRATEGIES:
                found = f"--data_preprocessing_fn_strategy is {strategy!r}"
                problems.append(Problem(found, allowed_values(str(strategy), STRATEGIES)))
        if not (self.train_file or self.test_file):
            problems.append(Problem("there are no texts", "give --train_file with --validation_file, or --test_file"))
        if self.train_file and not self.validation_file:
            problems.append(Problem("--train_file needs --validation_file", "the best state is chosen by it"))
        return problems

    def require_files(self) -> None:
        """Nothing, if all texts are there, which is told together and before libraries are loaded.

        Raises:
            DataError: every file that is missing.
        """
        from finetune.surprisal.input import resolve_input_file  # not for --help: it loads pyarrow

        problems = ProblemList()
        asked = {
            "train_file": [self.train_file],
            "validation_file": [self.validation_file],
            "test_file": self.test_file,
        }
        named = [(flag, file) for flag, files in asked.items() for file in files or [] if file]
        there = [path for flag, file in named for path in problems.attempt(find_paths, file, flag=f"--{flag}") or ()]
        for path in there if problems else ():  # what else is wrong is told with it
            problems.attempt(resolve_input_file, path)
        problems.raise_any()


@dataclass
class ExperimentArguments:
    """Training and losses."""

    OBJECTS: ClassVar[dict[str, ObjectKind]] = {
        "train_optimizer": OPTIMIZER,
        "loss_classes": LOSS,
        "loss_classes.*": LOSS,
        "loss_reduction_fns": REDUCTION,
        "loss_reduction_fns.*": REDUCTION,
        f"loss_classes_kwargs.*.{BASELINE_LOSS}.data_preprocessing_fn": PREPROCESSING,
    }

    epochs: int = argument(250, minimum=1, help="times through the texts at most")
    min_epochs: int = argument(0, minimum=0, help="times through the texts at least, whatever --patience says")
    patience: int | None = argument(None, minimum=1, help="epochs without improvement after which training stops")
    delta: float = argument(
        0.0,
        help="what counts as improvement of the validation loss must be above it; negative: a loss may be so much worse",
    )
    seed: int | None = argument(
        None, minimum=0, maximum=2**32 - 1, help="of everything drawn; without it a seed is drawn, and said"
    )
    shuffle: bool = argument(False, help="train on the texts in another order each epoch, not in that of the file")
    gradient_accumulation_steps: int = argument(1, minimum=1, help="batches for each step of the optimizer")
    save_best_model_state_to_disk: bool = argument(
        True, help="a checkpoint each epoch; False keeps the best state in memory: faster, but nothing to go on from"
    )
    bf16: bool = argument(False, help="compute training in bfloat16; surprisals of tests never are")
    train_optimizer: str = argument("torch.optim.AdamW", metavar="NAME", help="optimizer class")
    train_optimizer_kwargs: dict = argument({"lr": 2e-6, "weight_decay": 0}, help="its keywords")
    loss_classes: dict | str = argument(
        {"train": [DEFAULT_LOSS], "validation": [DEFAULT_LOSS]}, help="split -> one or more loss classes"
    )
    loss_reduction_fns: dict | str = argument(
        {"train": "torch.sum", "validation": "torch.sum"}, help="split -> what makes one loss of several"
    )
    loss_classes_kwargs: dict = argument({}, help="split -> name of a loss class -> its keywords")

    def problems(self) -> list[Problem]:
        problems = []
        if self.min_epochs > self.epochs:
            problems.append(Problem(f"--min_epochs is {self.min_epochs}, more than --epochs {self.epochs}"))
        problems += self._check_optimizer_numbers()
        for flag in ("loss_classes", "loss_reduction_fns", "loss_classes_kwargs"):
            problems += check_keys(flag, getattr(self, flag), SPLITS[:2])
        shapes = [problem for split in SPLITS[:2] for problem in self._check_shapes(split)]
        for split in SPLITS[:2] if not shapes else ():
            problems += self._check_losses(split)
        return problems + shapes

    def _check_optimizer_numbers(self) -> list[Problem]:
        """Words where the optimizer takes numbers, such as `2,5e-5`; dotted values are words where they are no numbers."""
        names = OPTIMIZER_NUMBERS if self.train_optimizer.startswith("torch.optim.") else ("lr", "weight_decay")
        given = {name: value for name, value in self.train_optimizer_kwargs.items() if name in names}
        return [
            Problem(f"--train_optimizer_kwargs.{name} {value!r} is no number", "a number is needed, such as 2e-5")
            for name, value in given.items()
            if isinstance(value, str)
        ]

    def _check_shapes(self, split: str) -> list[Problem]:
        """What is no name of a class, or no keywords of one."""
        names, given = as_list(per_split(self.loss_classes)[split]), self.loss_classes_kwargs.get(split, {})
        keywords = list(given.values()) if isinstance(given, Mapping) else [given]
        problems = [
            Problem(f"--loss_classes.{split} holds {name!r:.60}", "names of loss classes are allowed")
            for name in names
            if not isinstance(name, str)
        ]
        wrong = [item for item in keywords if not isinstance(item, Mapping)]
        allowed = "name of a loss class -> its keywords is allowed"
        return problems + [Problem(f"--loss_classes_kwargs.{split} holds {item!r:.60}", allowed) for item in wrong]

    def losses(self, split: str) -> dict[str, dict[str, Any]]:
        """Full name of each loss class of a split -> its keywords."""
        names = as_list(per_split(self.loss_classes)[split])
        given = self.loss_classes_kwargs.get(split, {})
        return {name: dict(given.get(name.rpartition(".")[2], {})) for name in names}

    def _check_losses(self, split: str) -> list[Problem]:
        flag, given = f"loss_classes_kwargs.{split}", self.loss_classes_kwargs.get(split, {})
        names = [name.rpartition(".")[2] for name in self.losses(split)]
        problems = check_keys(flag, given, names)
        problems += check_keys(f"{flag}.{BASELINE_LOSS}", given.get(BASELINE_LOSS), BASELINE_KEYWORDS)
        if BASELINE_LOSS in names and not given.get(BASELINE_LOSS, {}).get("dataset"):
            problems.append(Problem(f"{BASELINE_LOSS} needs --{flag}.{BASELINE_LOSS}.dataset", "one or more files"))
        return problems
