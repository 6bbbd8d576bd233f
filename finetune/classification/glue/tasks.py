"""The GLUE tasks as a table: where their files lie, what their columns are called, what is scored and submitted.

Names, columns and sizes are those of the benchmark (Wang et al., "GLUE", 2018) in the layout of its download archives;
label names are those that Hugging Face's `glue` data set declares, so that models from its hub agree.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from finetune.arguments.nearest import nearest
from finetune.errors import Problem, UsageError

GLUE_ON_HUB = "nyu-mll/glue"
PLAIN = {"train": ("train",), "validation": ("dev",), "test": ("test",)}


@dataclass(frozen=True)
class GlueTask:
    """One task.

    `values` are the labels as files and submissions spell them, `labels` their names in the same order; both are empty
    for a regression task. `stems` are the file names of each split without `.tsv`. `rows` are the official sizes.
    `headless` are the columns of files that come without a header.
    """

    name: str
    folder: str
    text: str
    text_pair: str | None
    label: str
    values: tuple[str, ...]
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: dict[str, int]
    other_names: tuple[str, ...] = ()
    stems: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(PLAIN))
    headless: tuple[str, ...] = ()
    submission: str = ""
    hub_name: str = ""
    hub_splits: dict[str, str] = field(default_factory=dict)
    drops_broken_rows: bool = False

    @property
    def is_regression(self) -> bool:
        return not self.labels

    @property
    def submission_file(self) -> str:
        return f"{self.submission or self.folder}.tsv"


MNLI_LABELS = ("entailment", "neutral", "contradiction")
YES_NO = ("entailment", "not_entailment")
MNLI_MISMATCHED = {"train": "train", "validation": "validation_mismatched", "test": "test_mismatched"}

TASKS = (
    GlueTask(
        name="cola",
        folder="CoLA",
        text="sentence",
        text_pair=None,
        label="label",
        values=("0", "1"),
        labels=("unacceptable", "acceptable"),
        metrics=("matthews_correlation",),
        rows={"train": 8551, "validation": 1043, "test": 1063},
        headless=("source", "label", "mark", "sentence"),
    ),
    GlueTask(
        name="sst2",
        folder="SST-2",
        text="sentence",
        text_pair=None,
        label="label",
        values=("0", "1"),
        labels=("negative", "positive"),
        metrics=("accuracy",),
        rows={"train": 67349, "validation": 872, "test": 1821},
        other_names=("sst-2", "sst"),
    ),
    GlueTask(
        name="mrpc",
        folder="MRPC",
        text="#1 String",
        text_pair="#2 String",
        label="Quality",
        values=("0", "1"),
        labels=("not_equivalent", "equivalent"),
        metrics=("accuracy", "f1"),
        rows={"train": 3668, "validation": 408, "test": 1725},
    ),
    GlueTask(
        name="stsb",
        folder="STS-B",
        text="sentence1",
        text_pair="sentence2",
        label="score",
        values=(),
        labels=(),
        metrics=("pearson", "spearmanr"),
        rows={"train": 5749, "validation": 1500, "test": 1379},
        other_names=("sts-b", "sts"),
    ),
    GlueTask(
        name="qqp",
        folder="QQP",
        text="question1",
        text_pair="question2",
        label="is_duplicate",
        values=("0", "1"),
        labels=("not_duplicate", "duplicate"),
        metrics=("accuracy", "f1"),
        rows={"train": 363849, "validation": 40430, "test": 390965},
        drops_broken_rows=True,  # a few questions of the official files hold line ends, which cut their rows in two
    ),
    GlueTask(
        name="mnli",
        folder="MNLI",
        text="sentence1",
        text_pair="sentence2",
        label="gold_label",
        values=MNLI_LABELS,
        labels=MNLI_LABELS,
        metrics=("accuracy",),
        rows={"train": 392702, "validation": 9815, "test": 9796},
        other_names=("mnli-m", "mnli_matched"),
        stems={"train": ("train",), "validation": ("dev_matched",), "test": ("test_matched",)},
        submission="MNLI-m",
        hub_splits={"train": "train", "validation": "validation_matched", "test": "test_matched"},
    ),
    GlueTask(
        name="mnli-mm",
        folder="MNLI",
        text="sentence1",
        text_pair="sentence2",
        label="gold_label",
        values=MNLI_LABELS,
        labels=MNLI_LABELS,
        metrics=("accuracy",),
        rows={"train": 392702, "validation": 9832, "test": 9847},
        other_names=("mnli_mismatched",),
        stems={"train": ("train",), "validation": ("dev_mismatched",), "test": ("test_mismatched",)},
        submission="MNLI-mm",
        hub_name="mnli",
        hub_splits=MNLI_MISMATCHED,
    ),
    GlueTask(
        name="qnli",
        folder="QNLI",
        text="question",
        text_pair="sentence",
        label="label",
        values=YES_NO,
        labels=YES_NO,
        metrics=("accuracy",),
        rows={"train": 104743, "validation": 5463, "test": 5463},
    ),
    GlueTask(
        name="rte",
        folder="RTE",
        text="sentence1",
        text_pair="sentence2",
        label="label",
        values=YES_NO,
        labels=YES_NO,
        metrics=("accuracy",),
        rows={"train": 2490, "validation": 277, "test": 3000},
    ),
    GlueTask(
        name="wnli",
        folder="WNLI",
        text="sentence1",
        text_pair="sentence2",
        label="label",
        values=("0", "1"),
        labels=("not_entailment", "entailment"),
        metrics=("accuracy",),
        rows={"train": 635, "validation": 71, "test": 146},
    ),
    GlueTask(
        name="ax",
        folder="AX",
        text="sentence1",
        text_pair="sentence2",
        label="label",
        values=MNLI_LABELS,
        labels=MNLI_LABELS,
        metrics=("matthews_correlation",),
        rows={"test": 1104},
        other_names=("diagnostic", "glue-diagnostic"),
        stems={"test": ("diagnostic", "AX", "test")},
    ),
)


def known_names() -> dict[str, GlueTask]:
    """Every spelling of a task's name, lower case."""
    return {name: task for task in TASKS for name in (task.name, task.folder.lower(), *task.other_names)} | {
        task.name: task for task in TASKS
    }


def is_glue_task(name: str) -> bool:
    return name.lower() in known_names()


def find_task(name: str) -> GlueTask:
    """The task of a new or an old name, in any case.

    Raises:
        UsageError: there is no such task.
    """
    tasks = known_names()
    task = tasks.get(name.lower())
    if task is None:
        match = nearest(name.lower(), tasks)
        near = f"did you mean {match}; " if match else ""
        names = ", ".join(task.name for task in TASKS)
        raise UsageError(Problem(f"there is no GLUE task {name!r}", f"{near}the tasks are {names}"))
    return task


def folder_names(task: GlueTask) -> set[str]:
    """What the folder of a task may be called, lower case (`SST-2`, `sst2`, and MNLI's for its diagnostics)."""
    names = {task.folder.lower(), task.name, *task.other_names}
    return names | {"mnli"} if task.name == "ax" else names
