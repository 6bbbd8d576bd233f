"""Arguments of the commands that train language models: which model, which text, which objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from finetune.arguments.fast_path import FastPathArguments
from finetune.arguments.fields import argument
from finetune.arguments.legacy import OldFlag, gone
from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import Arguments
from finetune.errors import Problem

SHORTEST = 3  # one subword between two special tokens
DATASETS_TYPES = (
    "MemmapLineByLineTextDataset",
    "MemmapConcatFullSentenceTextDataset",
    "MemmapConcatTextDataset",
)


@dataclass
class LanguageModelArguments(ModelArguments):
    """Model and tokenizer."""

    model_name_or_path: str | None = argument(  # type: ignore[assignment]
        None, metavar="NAME_OR_FOLDER", help="the model to go on with: a folder or a hub name; none: train from scratch"
    )
    model_dir: str | None = argument(
        None, metavar="FOLDER", help="folder of weights to start from, under --architecture or --config_name"
    )
    model_type: str | None = argument(
        None, metavar="TYPE", help="from scratch without --config_name: the family, such as roberta, bert or gpt2"
    )
    architecture: str | None = argument(
        None,
        metavar="NAME",
        help="from scratch: a configuration of configs/, such as roberta-base (Thai: th-roberta-base)",
    )

    @property
    def from_scratch(self) -> bool:
        return self.model_name_or_path is None and self.model_dir is None

    def problems(self) -> list[Problem]:
        problems = super().problems()
        sources = [name for name in ("config_name", "architecture", "model_type") if getattr(self, name)]
        if self.model_name_or_path is None and not sources:
            found = "it is not said what to train"
            remedy = "give --model_name_or_path to go on with a model, or --config_name, --architecture or --model_type"
            problems.append(Problem(found, remedy=remedy + " to start from scratch"))
        if self.model_name_or_path is None and not self.tokenizer_name_or_path:
            problems.append(
                Problem("--tokenizer_name_or_path is missing", "a model from scratch has no tokenizer of its own")
            )
        if self.model_name_or_path is not None and self.model_dir is not None:
            problems.append(
                Problem("--model_name_or_path and --model_dir both name weights", remedy="give one of them")
            )
        return problems


@dataclass
class TextArguments:
    """Text."""

    LOGGED_AS: ClassVar[str] = "Data parameters"
    OLD_FLAGS: ClassVar[dict[str, OldFlag]] = {
        "tokenize_chunksize": gone("text is tokenized in chunks of a fixed size"),
    }

    train_file: list[str] | None = argument(
        None,
        metavar="PATH",
        aliases=("train_dir", "train_data_file", "train_data_files"),
        help="text to train on: files (.txt, .gz, .jsonl, .csv, .parquet), folders or patterns in quotes",
    )
    validation_file: list[str] | None = argument(
        None, metavar="PATH", aliases=("eval_dir", "eval_data_file", "eval_data_files"), help="text to validate on"
    )
    ext: str = argument("txt", help="ending of the files to take from folders, with or without its dot")
    dataset_name: str | None = argument(
        None, metavar="NAME_OR_FOLDER", help="instead of files: a data set of the hub, or a folder saved by `datasets`"
    )
    dataset_config_name: str | None = argument(None, metavar="NAME", help="its configuration")
    text_column_name: str = argument("text", metavar="NAME", help="column of the text in files of rows and data sets")
    validation_split_percentage: int = argument(
        5, minimum=0, maximum=99, help="without text to validate on: this share of the training examples"
    )
    lowercase: bool = argument(False, help="lower-case the text")
    add_space_token: bool = argument(
        False, help="write spaces as the token <_>, as the Thai models of thai2transformers do"
    )
    max_train_samples: int | None = argument(None, minimum=1, help="train on the first N examples")
    max_eval_samples: int | None = argument(None, minimum=1, help="validate on the first N examples")
    datasets_cache_dir: str | None = argument(
        None,
        metavar="FOLDER",
        help="where tokenized text is kept and found again, ~/.cache/finetune unless given",
    )
    overwrite_cache: bool = argument(False, help="tokenize again what is found there")
    preprocessing_num_workers: int | None = argument(
        None, minimum=1, metavar="N", help="processes that tokenize; all cores unless given"
    )
    build_dataset_only: bool = argument(False, help="tokenize, and stop")
    streaming: bool = argument(False, help="tokenize while training, in the order of the text; needs --max_steps")

    def problems(self) -> list[Problem]:
        problems = []
        if self.streaming and self.build_dataset_only:
            problems.append(Problem("--streaming and --build_dataset_only contradict each other"))
        if self.dataset_name and (self.train_file or self.validation_file):
            problems.append(Problem("--dataset_name and files are both given", remedy="give one of them"))
        return problems


@dataclass
class MaskingArguments:
    """Masked language modelling."""

    OLD_FLAGS: ClassVar[dict[str, OldFlag]] = {
        "mlm": gone("this command always trains a masked language model; run_clm.py trains a causal one", "bool"),
    }

    max_seq_length: int | None = argument(
        None,
        minimum=-1,
        aliases=("block_size",),
        help="ids of an example at most, special tokens included; -1 or nothing: as many as the model takes",
    )
    line_by_line: bool = argument(False, help="each line is an example of its own")
    datasets_type: str | None = argument(
        None,
        choices=DATASETS_TYPES,
        help="how lines become examples: each its own; whole lines, as many as fit; or one stream cut into subwords "
        "(the default)",
    )
    within_documents: bool = argument(False, help="with whole lines: no example spans two documents")
    mlm_probability: float = argument(0.15, minimum=0.001, maximum=1, help="share of the subwords that are predicted")
    whole_word_mask: bool = argument(False, help="predict all subwords of a word or none")
    train_ref_file: str | None = argument(
        None, metavar="FILE", help="Chinese words for --whole_word_mask: one JSON list of subword positions a line"
    )
    validation_ref_file: str | None = argument(
        None, metavar="FILE", aliases=("eval_ref_file",), help="the same for the text to validate on"
    )
    pad_to_max_length: bool = argument(False, help="pad every batch to --max_seq_length")

    def problems(self) -> list[Problem]:
        problems = []
        if self.line_by_line and self.datasets_type not in (None, "MemmapLineByLineTextDataset"):
            problems.append(Problem(f"--line_by_line and --datasets_type {self.datasets_type} contradict each other"))
        if self.length is not None and self.length < SHORTEST:
            problems.append(Problem(f"--max_seq_length is {self.length}", f"it must be {SHORTEST} or more, or -1"))
        references = self.train_ref_file or self.validation_ref_file
        if references and not (self.lines_are_examples and self.whole_word_mask):
            problems.append(Problem("a reference file is for --line_by_line with --whole_word_mask"))
        return problems

    @property
    def length(self) -> int | None:
        """The typed length; None for the model's own."""
        return None if self.max_seq_length == -1 else self.max_seq_length

    @property
    def lines_are_examples(self) -> bool:
        return self.line_by_line or self.datasets_type == "MemmapLineByLineTextDataset"

    @property
    def lines_are_kept_whole(self) -> bool:
        return self.datasets_type == "MemmapConcatFullSentenceTextDataset"


@dataclass
class ObjectiveArguments:
    """Objective."""

    mlm: bool = argument(False, help="masked language modelling; without it, each next token is predicted")
    plm_probability: float | None = argument(None, help="of permutation language modelling, which is not offered")
    max_span_length: int | None = argument(None, help="of permutation language modelling, which is not offered")

    def problems(self) -> list[Problem]:
        if self.plm_probability is None and self.max_span_length is None:
            return []
        found = "permutation language modelling (--plm_probability, --max_span_length; XLNet) is not offered"
        return [Problem(found, "masked (--mlm) and causal language modelling are", "drop those flags")]


@dataclass
class CausalArguments:
    """Causal language modelling."""

    block_size: int | None = argument(
        None, minimum=2, aliases=("max_seq_length",), help="ids of an example; what the model allows, at most 1024"
    )
    keep_linebreaks: bool = argument(True, help="line ends are text")
    text_unit: str | None = argument(
        None,
        choices=("document", "line"),
        help="what is tokenized by itself: documents, as the model will read them, or each line; documents unless line "
        "ends are no text",
    )
    add_bos_token: bool | None = argument(
        None, help="begin each document (or line) with the begin-of-text token; as the tokenizer does unless given"
    )
    add_eos_token: bool | None = argument(
        None,
        help="end each document (or line) with the end-of-text token; as the tokenizer does unless given, and always with "
        "--document_attention",
    )
    document_attention: bool = argument(
        False, help="subwords see only their own document, which ends with the end-of-sequence token"
    )
    document_boundary: str | None = argument(
        None,
        choices=("blank_line", "line", "file"),
        help="what ends a document of raw text; the end of a file always does, and of a row. file unless given, blank_line "
        "with --document_attention",
    )

    def problems(self) -> list[Problem]:
        problems = []
        if self.text_unit == "document" and not self.keep_linebreaks:
            found = "--text_unit document and --keep_linebreaks False contradict each other"
            problems.append(Problem(found, "a document without its line ends is another text", "drop one of them"))
        if self.document_attention and self.add_eos_token is False:
            found = "--document_attention and --add_eos_token False contradict each other"
            problems.append(
                Problem(found, "documents that see only themselves end with that token", "drop one of them")
            )
        return problems


def resolve_stages(arguments: Arguments) -> None:
    """A command line that names no stage (as those of thai2transformers do not) trains, and validates."""
    if not arguments.typed & {"do_train", "do_eval"}:
        arguments.training["do_train"] = arguments.training["do_eval"] = True


def check_text(arguments: Arguments) -> list[Problem]:
    """Each stage needs its text; streaming needs a number of steps."""
    text, training = arguments[TextArguments], arguments.training
    problems = []
    trains = bool(training.get("do_train"))
    if (trains or text.build_dataset_only) and not (text.train_file or text.dataset_name):
        problems.append(Problem("--do_train needs text", "give it by --train_file (files, folders) or --dataset_name"))
    if not trains and training.get("do_eval") and not (text.validation_file or text.dataset_name):
        problems.append(Problem("--do_eval without training needs text", remedy="give it by --validation_file"))
    if training.get("do_eval") and not (text.validation_file or text.dataset_name or text.validation_split_percentage):
        remedy = "give --validation_file or --validation_split_percentage"
        problems.append(Problem("--do_eval needs text to validate on", remedy=remedy))
    return problems + (check_streaming(arguments) if text.streaming else [])


def check_streaming(arguments: Arguments) -> list[Problem]:
    """What needs the whole text beforehand cannot be had of a stream."""
    text, training, fast_path = arguments[TextArguments], arguments.training, arguments[FastPathArguments]
    problems = []
    if training.get("do_train") and not _is_positive(training.get("max_steps")):
        problems.append(Problem("--streaming needs --max_steps", "the length of a stream is not known beforehand"))
    if training.get("do_eval") and not (text.validation_file or text.dataset_name):
        found = "--streaming with --do_eval needs --validation_file"
        problems.append(Problem(found, "a stream has no part to hold out"))
    whole = {
        "max_train_samples": text.max_train_samples,
        "max_tokens_per_batch": fast_path.max_tokens_per_batch,
        "length_window": fast_path.length_window,
    }
    needing = [name for name, value in whole.items() if value]
    return problems + [Problem(f"--{name} needs the whole text", remedy="drop --streaming") for name in needing]


def _is_positive(value: object) -> bool:
    return isinstance(value, int) and value > 0
