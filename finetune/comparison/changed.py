"""Which examples two runs answer differently: what the second mends, what it breaks, what is wrong in another way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finetune.comparison.runs import ComparedRun
from finetune.page.classified import as_set, show_labels, show_texts
from finetune.page.parts import Example
from finetune.page.tagged import Marked, cut, mark
from finetune.tagging.metrics import compare_tags

SHOWN = 20
MENDED, BROKEN, OTHERWISE = "mended", "broken", "wrong in another way"


@dataclass(frozen=True)
class Change:
    """An example whose answer is another one; `gain` is by how many errors the second run is better."""

    number: int
    kind: str
    gain: int


def find_changes(first: ComparedRun, second: ComparedRun) -> list[Change]:
    """All changed examples, those that change most first."""
    errors = [_errors(run) for run in (first, second)]
    changes = []
    for number, (a, b) in enumerate(zip(first.examples, second.examples, strict=True)):
        if _answer(a) != _answer(b):
            gain = errors[0][number] - errors[1][number]
            changes.append(Change(number, MENDED if gain > 0 else BROKEN if gain < 0 else OTHERWISE, gain))
    return sorted(changes, key=lambda change: -abs(change.gain))


def _answer(example: Any) -> Any:
    return example[2] if isinstance(example, tuple) else example["predicted"]


def _sides(run: ComparedRun) -> tuple[Marked, Marked]:
    _, expected, predicted = zip(*run.examples, strict=True)
    return mark(compare_tags(predicted, expected, run.scheme))


def _errors(run: ComparedRun) -> list[int]:
    """Wrong spans of a sentence (missed and invented), wrong labels of a text; of values nothing is right or wrong."""
    if run.kind == "conll":
        sides = _sides(run)
        return [sides[0].wrong(row) + sides[1].wrong(row) for row in range(len(run.examples))]
    if "probabilities" not in run.examples[0]:
        return [0] * len(run.examples)
    return [len(as_set(row["expected"]) ^ as_set(row["predicted"])) for row in run.examples]


def show_changes(first: ComparedRun, second: ComparedRun, changes: Sequence[Change]) -> list[Example]:
    """The first changes of each kind, with both answers."""
    shown = [
        change
        for kind in (MENDED, BROKEN, OTHERWISE)
        for change in [change for change in changes if change.kind == kind][:SHOWN]
    ]
    if first.kind != "conll":
        return [_show_text(first, second, change) for change in shown]
    sides = _sides(first), _sides(second)
    return [_show_sentence(first, second, change, sides) for change in shown]


def _show_sentence(first: ComparedRun, second: ComparedRun, change: Change, sides: Any) -> Example:
    words, row = first.examples[change.number][0], change.number
    lines = [
        ("expected", cut(words, sides[0][0].spans[row], all_right=True)),
        (first.name, cut(words, sides[0][1].spans[row])),
        (second.name, cut(words, sides[1][1].spans[row])),
    ]
    return Example(f"Sentence {row + 1:,}: {change.kind}", lines)


def _show_text(first: ComparedRun, second: ComparedRun, change: Change) -> Example:
    a, b = first.examples[change.number], second.examples[change.number]
    gold = as_set(a["expected"])
    answers = [(run.name, show_labels(row, "predicted", gold)) for run, row in ((first, a), (second, b))]
    lines = [*show_texts(a), ("expected", show_labels(a, "expected", gold)), *answers]
    return Example(f"Row {a.get('row', change.number):,}: {change.kind}", lines)
