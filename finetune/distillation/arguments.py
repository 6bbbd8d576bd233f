"""Arguments of distillation: student and teacher, losses, masking, and how the run goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from finetune.arguments.fields import argument
from finetune.arguments.legacy import OldFlag, gone, renamed
from finetune.arguments.parser import Arguments
from finetune.arguments.training_table import TrainingValues
from finetune.errors import Problem

TRAINING_DEFAULTS: TrainingValues = {
    "learning_rate": 5e-4,
    "adam_epsilon": 1e-6,
    "adam_beta2": 0.98,
    "max_grad_norm": 5.0,
    "gradient_accumulation_steps": 50,
    "seed": 56,
}
ALPHAS = ("ce", "mlm", "clm", "mse", "cos", "hidden", "relation")
UNCACHED = ("mse", "cos", "hidden", "relation")  # losses that need more of a teacher than its top-k logits
TASKS = ("language_modeling", "token_classification", "sequence_classification")


@dataclass
class DistillationArguments:
    """Student, teacher and text."""

    OLD_FLAGS: ClassVar[dict[str, OldFlag]] = {
        "output_dir": renamed("dump_path"),
        "force": renamed("overwrite_output_dir", "bool"),
        "n_gpu": gone("one process is started for each visible GPU, or as many as --nproc says"),
    }

    task: str = argument(TASKS[0], choices=TASKS, help="what is distilled; each task has flags of its own")
    dump_path: str = argument(metavar="FOLDER", help="where the student and everything about the run goes")
    data_file: str = argument(metavar="FOLDER", help="ids that binarized_data.py wrote")
    student_type: str = argument(help="family of the student: distilbert, roberta, gpt2, bert, electra, ...")
    student_config: str = argument(
        metavar="FILE", help="configuration of the student, such as configs/distilbert-base.json"
    )
    vocab_size: int | None = argument(
        None, minimum=1, help="entries of the student's vocabulary, whatever --student_config says"
    )
    student_pretrained_weights: str | None = argument(
        None, metavar="FILE", help="first weights of the student, as extract_distilbert.py writes them"
    )
    teacher_type: str = argument(help="family of the teacher: bert, roberta, gpt2, electra, ...")
    teacher_name: str = argument(metavar="NAME_OR_FOLDER", help="the teacher, with its tokenizer")
    max_model_input_size: int | None = argument(
        None, minimum=12, help="longest example; longer sequences are split; what both models allow, unless given"
    )
    freeze_pos_embs: bool = argument(False, help="leave the student's position embeddings as they are")
    freeze_token_type_embds: bool = argument(False, help="leave the student's token type embeddings as they are")
    initializer_range: float | None = argument(None, minimum=0, help="of new weights; as the configuration says (0.02)")
    export: str | None = argument(
        None, metavar="FOLDER", help="also write the encoder alone with its tokenizer and a model card, to be handed on"
    )


@dataclass
class DistillationLossArguments:
    """Losses that compare with the teacher, whatever the task; each has a weight, 0 leaves it out."""

    temperature: float = argument(2.0, minimum=0.01, help="softmax temperature of --alpha_ce")
    alpha_ce: float = argument(0.5, minimum=0, help="soft targets: the teacher's distribution at each position")
    alpha_mse: float = argument(0.0, minimum=0, help="squared difference of logits")
    alpha_cos: float = argument(0.0, minimum=0, help="cosine of last hidden states; other widths are projected")
    alpha_hidden: float = argument(0.0, minimum=0, help="hidden states of all layers, projected (TinyBERT)")
    alpha_relation: float = argument(
        0.0, minimum=0, help="relations of queries, keys and values in the last layer (MiniLMv2); any widths and heads"
    )
    relation_heads: int | None = argument(
        None, minimum=1, help="into which those vectors are cut; at most 48 that divide both widths, unless given"
    )
    cache_teacher: int | None = argument(
        None,
        minimum=1,
        metavar="K",
        help="keep the teacher's top K logits at every position on disk and train from those; for --alpha_ce",
    )
    teacher_cache_dir: str | None = argument(
        None, metavar="FOLDER", help="where they are kept and found again by later runs"
    )

    def problems(self) -> list[Problem]:
        used = [f"--alpha_{name}" for name in UNCACHED if getattr(self, f"alpha_{name}")]
        if self.cache_teacher is None:
            idle = Problem("--teacher_cache_dir needs --cache_teacher K")
            return [idle] if self.teacher_cache_dir else []
        if used:
            found = f"--cache_teacher keeps the teacher's top {self.cache_teacher:,} logits, not what {used[0]} needs"
            allowed = "hidden states, relations and whole logits are too large to keep"
            return [Problem(found, allowed, f"drop --cache_teacher, or say {' '.join(f'{flag} 0' for flag in used)}")]
        if not self.alpha_ce:
            return [Problem("--cache_teacher serves --alpha_ce, which is 0", remedy="drop one of them")]
        return []


@dataclass
class LossArguments(DistillationLossArguments):
    """Losses: a weight for each, 0 leaves it out."""

    alpha_mlm: float = argument(0.0, minimum=0, help="masked language modelling; needs --mlm")
    alpha_clm: float = argument(0.5, minimum=0, help="causal language modelling; without --mlm")
    restrict_ce_to_mask: bool = argument(False, help="compare logits at predicted positions only")

    def alphas(self) -> dict[str, float]:
        return {name: getattr(self, f"alpha_{name}") for name in ALPHAS}


@dataclass
class PredictionArguments:
    """Masking."""

    mlm: bool = argument(False, help="the input is masked; without it the models predict each next id")
    mlm_mask_prop: float = argument(0.15, minimum=0.001, maximum=1, help="share of positions that are predicted")
    word_mask: float = argument(0.8, minimum=0, maximum=1, help="share of those that show the mask")
    word_keep: float = argument(0.1, minimum=0, maximum=1, help="share of those that stay")
    word_rand: float = argument(0.1, minimum=0, maximum=1, help="share of those that show a random subword")
    mlm_smoothing: float = argument(
        0.7, minimum=0, help="positions are drawn by max(count, 1) ** -N of what stands there; 0 draws all alike"
    )
    token_counts: str | None = argument(None, metavar="FILE", help="what token_counts.py wrote; needed with --mlm")
    static_masks: bool = argument(
        False,
        help="the same masks in every epoch, as in BERT; one pass of the teacher then serves all of --cache_teacher",
    )

    def problems(self) -> list[Problem]:
        problems = []
        shares = (self.word_mask, self.word_keep, self.word_rand)
        if abs(sum(shares) - 1) > 1e-6:
            found = f"--word_mask, --word_keep and --word_rand are {' + '.join(map(str, shares))} = {sum(shares):g}"
            problems.append(Problem(found, "together they are 1"))
        if self.mlm and not self.token_counts:
            problems.append(Problem("--mlm needs --token_counts", remedy="make them with token_counts.py"))
        return problems


@dataclass
class ScheduleArguments:
    """Training."""

    n_epoch: int = argument(3, minimum=1, help="passes over the data")
    batch_size: int = argument(5, minimum=1, help="examples of a batch on each device; accumulated to a step")
    group_by_size: bool = argument(True, help="put examples of about the same length into a batch; False: at random")
    warmup_prop: float = argument(0.05, minimum=0, maximum=0.999, help="share of the steps in which the rate rises")
    log_interval: int = argument(500, minimum=1, help="steps between two log entries")
    checkpoint_interval: int = argument(4000, minimum=1, help="steps between two checkpoints")

    def training_values(self) -> TrainingValues:
        return {
            "do_train": True,
            "num_train_epochs": float(self.n_epoch),
            "per_device_train_batch_size": self.batch_size,
            "warmup_steps": self.warmup_prop,
            "logging_steps": self.log_interval,
            "save_strategy": "steps",
            "save_steps": self.checkpoint_interval,
        }


def resolve_losses(arguments: Arguments) -> None:
    """The output folder is --dump_path; with --mlm, the causal loss has no weight unless one was typed."""
    arguments.training["output_dir"] = arguments[DistillationArguments].dump_path
    if arguments[PredictionArguments].mlm and "alpha_clm" not in arguments.typed:
        arguments[LossArguments].alpha_clm = 0.0  # its default is for causal models


def check_losses(arguments: Arguments) -> list[Problem]:
    """Some loss has a weight, and none the weight of the other objective."""
    losses, prediction = arguments[LossArguments], arguments[PredictionArguments]
    problems = []
    if prediction.mlm and losses.alpha_clm:
        problems.append(Problem("--mlm and --alpha_clm contradict each other", remedy="say --alpha_clm 0"))
    if not prediction.mlm and losses.alpha_mlm:
        problems.append(Problem("--alpha_mlm needs --mlm"))
    if not any(losses.alphas().values()):
        flags = ", ".join(f"--alpha_{name}" for name in ALPHAS)
        problems.append(Problem("all weights of losses are 0: nothing would be learnt", f"give one of {flags}"))
    return problems
