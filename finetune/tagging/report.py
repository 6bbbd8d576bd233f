"""The report of a tagger: text in the form of thai2transformers' scripts, and predictions as CoNLL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from pprint import pformat

import numpy as np
from numpy.typing import NDArray

from finetune.report.calibration import Bin
from finetune.report.files import CALIBRATION, REPORT, write_text
from finetune.report.tables import class_table, confusion_table, count_table
from finetune.run.atomic_files import AtomicFile
from finetune.run.manifest import write_json_atomically
from finetune.tagging.formats.sentences import spell_visibly
from finetune.tagging.metrics import LENIENT, WORDS, TagScores
from finetune.tagging.summary import TaggingSummary

RESULT_NAMES = {"train": "Train", "validation": "Val", "test": "Test"}


def format_result(split: str, summary: TaggingSummary) -> str:
    """What thai2transformers prints for a split: how many sentences, the dict of averages, the table per class."""
    number = summary.main.nb_samples
    name = RESULT_NAMES.get(split, split)
    metrics = pformat(summary.main.as_dict())
    return f"Processed: {number} / {number} [ {name} Result ]\n\n{metrics}\n\n{score_table(summary.main)}"


def format_details(summary: TaggingSummary) -> str:
    """What the first table does not tell: which reading it is, the strict one, errors by kind, confusions."""
    if summary.strict is None or summary.errors is None:
        return (
            f"Scores above: single words (scikit-learn).\n\nConfusions (expected -> predicted):\n{_confusions(summary)}"
        )
    expected = summary.main.micro.support
    return (
        f"Scores above: entities of words, {LENIENT} (seqeval's default reading).\n\n"
        f"Strict (seqeval's mode='strict' on IOB2: an entity needs a well formed begin):\n\n"
        f"{score_table(summary.strict)}\n"
        f"Entities by kind of error (share of the {expected:,} expected ones):\n"
        f"{count_table(summary.errors, expected)}\n"
        f"Type confusions (expected -> predicted, O is no entity):\n{_confusions(summary)}"
    )


def _confusions(summary: TaggingSummary) -> str:
    return confusion_table(summary.confusions)


def write_report(folder: Path, summaries: dict[str, TaggingSummary], *, notes: Sequence[str] = ()) -> Path:
    """Write report.txt: every split's result and details, then notes (sentences with counts)."""
    parts = [f"{format_result(split, summary)}\n{format_details(summary)}" for split, summary in summaries.items()]
    if notes:
        parts.append("Notes:\n" + "".join(f"- {note}\n" for note in notes))
    return write_text(folder / REPORT, "\n".join(parts))


def write_predictions(
    folder: Path,
    split: str,
    words: Iterable[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    expected: Sequence[Sequence[str]] | None,
) -> Path:
    """Write predictions.<split>.conll: word, expected tag, predicted tag, tab-separated; a blank line ends a sentence.

    Without expected tags there are two columns. A tab or line break inside a word is written as its visible sign
    (U+2409, U+240A, U+240D); nothing else is changed, and no line is a comment.
    """
    columns = zip(words, predicted, strict=True) if expected is None else zip(words, expected, predicted, strict=True)
    return write_text(folder / f"predictions.{split}.conll", "".join(map(format_columns, columns)))


def write_probabilities(folder: Path, split: str, labels: Sequence[str], probabilities: NDArray[np.float16]) -> Path:
    """Write predictions.<split>.npz: `labels`, and `probabilities` (words, labels) of all words in their order."""
    path = folder / f"predictions.{split}.npz"
    with AtomicFile(path) as file:
        np.savez_compressed(file.stream, labels=np.array(labels, dtype=np.str_), probabilities=probabilities)
    return path


def write_calibration(folder: Path, splits: Mapping[str, Sequence[Bin]]) -> Path:
    """Write calibration.json: of each split the words by the probability of their tags."""
    write_json_atomically(folder / CALIBRATION, splits)
    return folder / CALIBRATION


def format_columns(columns: Sequence[Sequence[str]]) -> str:
    """One sentence as CoNLL: its words and their tags side by side, one word a line, a blank line behind."""
    words, *tags = columns
    visible = [spell_visibly(word) for word in words]
    return "".join("\t".join(row) + "\n" for row in zip(visible, *tags, strict=True)) + "\n"


def score_table(scores: TagScores, digits: int = 4) -> str:
    """The table of `seqeval.metrics.classification_report`, of scikit-learn's for single words, to the letter."""
    averages = [scores.micro, scores.macro, scores.weighted]
    if scores.mode != WORDS:
        return class_table(scores.classes, averages, digits=digits)
    return class_table(scores.classes, averages[1:], accuracy=scores.accuracy, digits=digits)
