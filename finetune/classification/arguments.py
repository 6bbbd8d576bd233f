"""What a user can say about the classification of whole texts: where rows come from, their columns, how they train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from finetune.arguments.fields import argument
from finetune.arguments.parser import Arguments
from finetune.errors import Problem
from finetune.supervised.arguments import STAGES, SupervisedArguments, check_supervised

LONG_TEXTS = ("truncate", "head_tail", "windows")
THRESHOLDS = ("per_label", "per_label_macro", "global", "fixed")
CALIBRATIONS = ("none", "temperature")
LABEL_OPTIONS = {
    "label_smoothing_factor": 0.0,
    "class_weights": None,
    "focal_gamma": 0.0,
    "calibrate": "none",
    "r_drop": 0.0,
}  # when idle


@dataclass
class ClassificationDataArguments:
    """Data: where the texts come from."""

    LOGGED_AS: ClassVar[str] = "Data parameters"

    dataset_name: str | None = argument(
        None, help="a named corpus (wisesight_sentiment, goemotions, ...), or a data set of the hub"
    )
    dataset_config_name: str | None = argument(None, help="the configuration of a data set of the hub")
    data_dir: str | None = argument(None, metavar="FOLDER", help="the folder with the files of a named corpus or task")
    train_file: str | None = argument(None, metavar="FILE", help="training texts: .jsonl, .json, .csv, .tsv, .parquet")
    validation_file: str | None = argument(None, metavar="FILE", help="texts to choose the best checkpoint on")
    test_file: str | None = argument(None, metavar="FILE", help="texts to predict, and to score once if labelled")
    train_split_name: str | None = argument(None, help="the split to train on, where it is not called train")
    validation_split_name: str | None = argument(None, help="the split to validate on")
    test_split_name: str | None = argument(None, help="the split to test on")
    remove_splits: str | None = argument(None, help="splits to leave out, separated by commas")
    max_train_samples: int | None = argument(None, minimum=1, help="use only the first so many rows of train")
    max_eval_samples: int | None = argument(None, minimum=1, help="use only the first so many rows of validation")
    max_predict_samples: int | None = argument(None, minimum=1, help="use only the first so many rows of test")
    shuffle_train_dataset: bool = argument(False, help="shuffle train before --max_train_samples cuts it")
    shuffle_seed: int = argument(42, help="the seed of --shuffle_train_dataset")

    def problems(self) -> list[Problem]:
        files = [name for name in ("train_file", "validation_file", "test_file") if getattr(self, name)]
        if self.dataset_name and files:
            found = f"--dataset_name {self.dataset_name} and --{files[0]} contradict each other"
            return [Problem(found, remedy="give the name of a data set, or files")]
        return []


@dataclass
class ColumnArguments:
    """Columns: what to read from a file or a data set."""

    text_column: str | None = argument(
        None,
        aliases=("text_column_name", "text_column_names"),
        help="the column of the text; several, separated by commas, are joined",
    )
    text_pair_column: str | None = argument(
        None, aliases=("text_pair_column_name",), help="the column of a second text, for pairs"
    )
    text_column_delimiter: str = argument(" ", help="what stands between joined text columns")
    label_column: str | None = argument(
        None,
        aliases=("label_column_name",),
        help="the column of the label: one, a list of them, a number with --do_regression; several columns of 0 and 1, "
        "separated by commas, are a multi-label task",
    )
    label_delimiter: str | None = argument(None, help="what separates several labels in one cell of CSV or TSV")
    do_regression: bool | None = argument(None, help="predict a number (by default: if the labels are fractions)")
    column_names: str | None = argument(
        None, help="the columns of CSV or TSV without a first line of names, separated by commas"
    )
    field: str | None = argument(
        None, metavar="KEY", help="the key that holds the rows, where a JSON file is one object"
    )
    normalize_labels: bool = argument(
        False, help="labels that differ in case, white space or Unicode form only become the one that occurs most"
    )
    csv_delimiter: str | None = argument(None, help="what separates CSV columns (by default: what the first line uses)")
    remove_columns: str | None = argument(None, help="columns to leave out, separated by commas")

    def problems(self) -> list[Problem]:
        if self.do_regression and self.label_column and "," in self.label_column:
            found = "--do_regression predicts one number, but --label_column names several columns"
            return [Problem(found, remedy="name one column")]
        return []


@dataclass
class RowTargetArguments:
    """Training rows: probabilities in the place of labels, which validation and test never have."""

    soft_label_column: str | None = argument(
        None,
        metavar="COLUMN",
        help='the column of probabilities, {"label": p, ...} or a list of them, that a training row is to be given instead '
        "of its label",
    )
    soft_label_order: str | None = argument(
        None,
        metavar="LABELS|FILE",
        help="the labels that the places of such lists stand for: separated by commas, or a file with one a line",
    )

    def problems(self) -> list[Problem]:
        if self.soft_label_order and not self.soft_label_column:
            return [Problem("--soft_label_order needs --soft_label_column", remedy="name the column, or drop it")]
        return []


@dataclass
class ClassificationArguments(SupervisedArguments):
    """Classification of whole texts."""

    max_seq_length: int | None = argument(
        None,
        minimum=3,
        aliases=("max_length", "max_seq_len"),
        help="subwords per text, special tokens included (by default: what the model takes)",
    )
    long_text: str = argument(
        "truncate",
        choices=LONG_TEXTS,
        help="longer texts: keep their head, keep head and tail, or read all in windows whose scores are averaged",
    )
    stride: int = argument(64, minimum=0, help="subwords that neighbouring windows share, with --long_text windows")
    focal_gamma: float = argument(
        0.0, minimum=0.0, help="focus on hard texts: (1 - p)^gamma (Lin et al. 2017); 0 is off"
    )
    thresholds: str = argument(
        "per_label",
        choices=THRESHOLDS,
        help="multi-label thresholds fitted on validation: one each for the best micro or macro F1, one for all, or 0.5",
    )
    calibrate: str = argument(
        "none", choices=CALIBRATIONS, help="fit probabilities on validation (temperature: Guo et al. 2017)"
    )
    metric_name: str | None = argument(None, help="the score of the last line (by default: that of the task)")
    listed_errors: int = argument(20, minimum=0, help="the most confident errors to list in report.txt")
    preprocessing_num_workers: int | None = argument(
        None, minimum=1, help="processes that clean texts (tokenizers use all cores on their own)"
    )
    overwrite_cache: bool = argument(False, help="accepted; encoded rows are never cached")

    def problems(self) -> list[Problem]:
        problems = []
        if self.max_seq_length and self.long_text == "windows" and self.stride >= self.max_seq_length - 2:
            found = f"--stride {self.stride} does not fit windows of --max_seq_length {self.max_seq_length}"
            problems.append(Problem(found, "windows must reach further than the subword they share", "lower --stride"))
        return problems


def split_names(text: str | None) -> tuple[str, ...]:
    """Names separated by commas, as a tuple; empty for None."""
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()


def check_classification(arguments: Arguments) -> list[Problem]:
    """What only shows when the groups are seen together: stages without data, idle options."""
    data = arguments[ClassificationDataArguments]
    files = [split for split in STAGES.values() if getattr(data, f"{split}_file")]
    has_source = bool(data.dataset_name or data.data_dir or arguments.get("task_name"))
    return check_supervised(arguments, files, has_source=has_source)


def check_regression(arguments: Arguments) -> list[Problem]:
    """Options that only labels have, where the data has numbers."""
    typed = {name: arguments.get(name) for name in LABEL_OPTIONS}
    return [
        Problem(f"--{name} {value} is for labels, and the data has numbers", remedy="drop it")
        for name, value in typed.items()
        if value not in (None, LABEL_OPTIONS[name])
    ]
