"""The classification corpora that have a name here: where their files are, which columns count, what they declare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from datasets import Dataset

from finetune.classification.column_choice import ColumnChoice
from finetune.classification.glue.tasks import GLUE_ON_HUB, is_glue_task
from finetune.classification.published import goemotions, semeval, wongnai
from finetune.classification.published.semeval import AspectKind, aspect_rows, describe_offsets, read_semeval
from finetune.data.archives import open_archive
from finetune.data.files import decode_utf8, listed
from finetune.data.row_files import RowTable, parse_json_rows, read_row_file
from finetune.data.sources import Official, Patterns, Wanted
from finetune.errors import DataError, Problem

GITHUB = "https://raw.githubusercontent.com"
GOEMOTIONS = f"{GITHUB}/monologg/GoEmotions-pytorch/b75f9d3a8b76bc1060687925b04ca98a1b8ea66b/data/original"
MAMS = f"{GITHUB}/siat-nlp/MAMS-for-ABSA/cddcdb0f423b3fdb2c76b70744737abed3a00d17/data/MAMS-ATSA/raw"
WISESIGHT = f"{GITHUB}/PyThaiNLP/wisesight-sentiment/c1d063649abc3a6870b5fd1aae26cd1c64bdde7b/huggingface"

PRACHATHAI_LABELS = (
    *("politics", "human_rights", "quality_of_life", "international", "social", "environment", "economics", "culture"),
    *("labor", "national_security", "ict", "education"),
)
# The published archives hold data/train.jsonl, data/valid.jsonl and data/test.jsonl.
JSON_PARTS: Patterns = {
    split: (f"{part}.jsonl", f"data/{part}.jsonl", f"{part}.*.jsonl", "data.zip")
    for split, part in (("train", "train"), ("validation", "valid"), ("test", "test"))
}
ARCHIVE_MEMBERS = {"train": "train.jsonl", "validation": "valid.jsonl", "test": "test.jsonl"}

Reader = Callable[[Path, str], RowTable]
Splitter = Callable[[dict[str, Dataset], int], tuple[dict[str, Dataset], list[str]]]


def read_archive(path: Path, split: str) -> RowTable:
    """The rows of a split, in its own file or as a member of the published zip archive.

    Raises:
        DataError: as `read_row_file`, or the archive is damaged or lacks the member.
    """
    if path.suffix != ".zip":
        return read_row_file(path)
    name = ARCHIVE_MEMBERS[split]
    with open_archive(path, path) as archive:
        member = next((item for item in archive.members if Path(item).name == name), None)
        if member is None:
            raise DataError(Problem(f"the archive has no {name}", f"it holds {listed(archive.members)}", path=path))
        lines = decode_utf8(archive.read(member), path / member).split("\n")
    return parse_json_rows(lines, path / member)


def read_aspects(path: Path, split: str, kind: AspectKind = AspectKind.TERM) -> RowTable:
    """Sentence-aspect pairs of a SemEval-2014 file, in the columns text, text_pair and label."""
    sentences = read_semeval(path, kind)
    table = aspect_rows(sentences, path, split)
    table.notes += describe_offsets(sentences, path)
    return table


@dataclass(frozen=True)
class NamedClassification:
    """A classification corpus with a name.

    `columns` are alternatives: those of its own files first, then those of the hub's copy. `labels` is the declared
    order. `read` opens one file of a split; `split` makes a validation set where none is published. `metrics` are those
    of `finetune.classification.glue.metrics`, where a corpus has its own.
    """

    files: Patterns
    columns: tuple[ColumnChoice, ...]
    labels: tuple[str, ...]
    folders: Sequence[str]
    hub: str = ""
    hub_config: str = ""
    official: Mapping[str, Official] = field(default_factory=dict)
    read: Reader = read_archive
    split: Splitter | None = None
    metrics: tuple[str, ...] = ()


def _reviews_enth(label: str, labels: tuple[str, ...]) -> NamedClassification:
    return NamedClassification(
        files=JSON_PARTS,
        columns=tuple(ColumnChoice(text=(text,), label=(label,)) for text in ("th_segment", "translation.th")),
        labels=labels,
        folders=("generated_reviews_enth",),
        hub="airesearch/generated_reviews_enth",
    )


ASPECTS = ColumnChoice(text=("text",), text_pair="text_pair", label=("label",))
SEMEVAL = NamedClassification(
    # train_split.xml is train.xml without dev.xml: see prepare_semeval_datasets.py. Validation is never test.xml.
    files={"train": ("train_split.xml", "train.xml"), "validation": ("dev.xml", "val.xml"), "test": ("test.xml",)},
    columns=(ASPECTS,),
    labels=semeval.LABELS,
    folders=("semeval2014", "semeval2014-atsc"),
    read=read_aspects,
    metrics=("accuracy", "f1_macro"),
)

NAMED: dict[str, NamedClassification] = {
    "wisesight_sentiment": NamedClassification(
        files=JSON_PARTS,
        columns=(ColumnChoice(text=("texts",), label=("category",)),),
        labels=("pos", "neu", "neg", "q"),
        folders=("wisesight_sentiment",),
        hub="pythainlp/wisesight_sentiment",
        official={
            "data.zip": Official(
                f"{WISESIGHT}/data.zip", "d310a74b2360c61cec815ac918bfece0b6f0182e0144c4d7f7379c9b02feb6b0"
            )
        },
    ),
    "wongnai_reviews": NamedClassification(
        files={
            "train": ("w_review_train.csv", "w_review_train.*.csv"),
            "test": ("w_review_test.csv", "w_review_test.*.csv"),
        },
        columns=(ColumnChoice(text=("review_body",), label=("star_rating",)),),
        labels=wongnai.STARS,
        folders=("wongnai_reviews",),
        hub="Wongnai/wongnai_reviews",
        read=wongnai.read_wongnai,
        split=wongnai.split_wongnai,
    ),
    "generated_reviews_enth-review_star": _reviews_enth("review_star", wongnai.STARS),
    "generated_reviews_enth-correct_translation": _reviews_enth("correct", ("0", "1")),
    "prachathai67k": NamedClassification(
        files=JSON_PARTS,
        columns=(ColumnChoice(text=("title",), label=PRACHATHAI_LABELS),),
        labels=PRACHATHAI_LABELS,
        folders=("prachathai67k",),
        hub="PyThaiNLP/prachathai67k",
    ),
    "goemotions": NamedClassification(
        files={"train": ("train.tsv",), "validation": ("dev.tsv",), "test": ("test.tsv",)},
        columns=(ColumnChoice(text=("text",), label=("labels",)),),
        labels=goemotions.LABELS,
        folders=("goemotions", "go_emotions"),
        hub="google-research-datasets/go_emotions",
        hub_config="simplified",
        official={
            "train.tsv": Official(
                f"{GOEMOTIONS}/train.tsv", "1c254a142be5c00e80d819b9ae1bbd36d94b2eeb8f4b1271846508d57e57d9c5"
            ),
            "dev.tsv": Official(
                f"{GOEMOTIONS}/dev.tsv", "575489c079c9de1097062a01738f998590d6b7ead66dd1c9fd1d2ba01fd8bc62"
            ),
            "test.tsv": Official(
                f"{GOEMOTIONS}/test.tsv", "0587b2dd8b27b97352adbfc3fb083d46005c8946657fdc2b1ca8b1cc7f1f8be4"
            ),
        },
        read=goemotions.read_goemotions,
    ),
    "semeval2014-atsc": SEMEVAL,
    "semeval2014-acsc": NamedClassification(
        files=SEMEVAL.files,
        columns=(ASPECTS,),
        labels=semeval.LABELS,
        folders=("semeval2014", "semeval2014-acsc"),
        read=partial(read_aspects, kind=AspectKind.CATEGORY),
        metrics=SEMEVAL.metrics,
    ),
    "mams": NamedClassification(
        files={"train": ("train.xml",), "validation": ("val.xml", "dev.xml"), "test": ("test.xml",)},
        columns=(ASPECTS,),
        labels=semeval.LABELS,
        folders=("mams", "mams_atsa", "MAMS-ATSA", "MAMS-ATSA/raw"),
        official={
            "train.xml": Official(
                f"{MAMS}/train.xml", "26ba39142b28169ebc80408294f4e27493bd1e127c6aa2e85ab4bc750bf8017a"
            ),
            "val.xml": Official(f"{MAMS}/val.xml", "5b7d225e2f9482a3814f15aed04ff8323105171a47d22d9899d871c4e0ba86ca"),
            "test.xml": Official(
                f"{MAMS}/test.xml", "f1a5f53b785335e9c57a1f82b1415026f821040b9e9662a2e467d47a54f20aa9"
            ),
        },
        read=read_aspects,
        metrics=SEMEVAL.metrics,
    ),
}
OTHER_NAMES = {
    "generated_reviews_enth": "generated_reviews_enth-review_star",
    "go_emotions": "goemotions",
    "mams-atsa": "mams",
    "mams_atsa": "mams",
    "wisesight": "wisesight_sentiment",
}


def find_named(name: str) -> str | None:
    """The name in the table that `name` stands for, in any case; None where it is no named corpus."""
    folded = name.lower()
    return folded if folded in NAMED else OTHER_NAMES.get(folded)


def wanted_files(name: str) -> Wanted:
    """What to look for to have a named corpus."""
    corpus = NAMED[name]
    return Wanted(name, corpus.folders, corpus.files, corpus.hub, corpus.hub_config, corpus.official)


def find_hub_name(corpus: str, *, typed: str = "") -> str:
    """What the hub calls a corpus; `typed`, as the user has it, where this project has no name of its own for it."""
    if is_glue_task(corpus):
        return GLUE_ON_HUB
    return NAMED[corpus].hub if corpus in NAMED else typed
