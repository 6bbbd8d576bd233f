"""A training file cut into folds: each part once as the test of a model that was trained on the others.

The parts keep the format of the file, byte for byte: JSON lines, rows of CSV or TSV with their header, sentences of CoNLL
between empty lines, or lines. Examples that are equal come into the same fold, so that no model is tested on what it learnt;
folds have every label as often as each other.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path

from finetune.data.files import read_lines
from finetune.data.separated_rows import read_separated_rows, sniff_delimiter
from finetune.errors import DataError, Problem
from finetune.page.verdict import list_names
from finetune.repeat.strata import Labels, make_table_reader, read_json_labels, read_tagged_labels, stratify
from finetune.report.files import write_text

logger = logging.getLogger(__name__)

TABLES = (".csv", ".tsv")
JSON_LINES = (".jsonl", ".json", ".ndjson")


@dataclass(frozen=True)
class Fold:
    """Files of one fold, and which examples of the whole file its test file holds, counted from 0."""

    number: int
    train: Path
    test: Path
    tested: list[int]


@dataclass(frozen=True)
class CutFile:
    """A file as its examples (stretches of text), with a header where it has one, and the suffix that tells its format."""

    examples: list[str]
    header: str
    suffix: str
    between: str = ""
    delimiter: str = ""  # of a table

    def labels(self, column: str | None) -> list[Labels]:
        """The labels of each example, in the column of that name; without one, where they usually stand."""
        if self.delimiter:
            read = make_table_reader(self.header, self.delimiter)
        else:
            read = read_json_labels if self.suffix in JSON_LINES else read_tagged_labels
        return [read(example, column) for example in self.examples]


def cut_file(path: Path) -> CutFile:
    """The examples of a file.

    Raises:
        DataError: it cannot be read, or is one whole that cannot be cut.
    """
    source = read_lines(path)
    lines = list(source.lines)
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix in TABLES:
        return _cut_table(lines, suffix, path)
    filled = [line for line in lines if line.strip()]
    if suffix in JSON_LINES:
        if not all(line.lstrip().startswith("{") for line in filled):
            remedy = "write one JSON object on each line"
            raise DataError(Problem("a JSON file of one piece cannot be cut into folds", remedy=remedy, path=path))
        return CutFile([f"{line}\n" for line in filled], "", suffix)
    blocks = [
        "".join(f"{line}\n" for line in rows)
        for is_text, rows in groupby(lines, lambda line: bool(line.strip()))
        if is_text
    ]
    if len(blocks) > 1:
        return CutFile(blocks, "", suffix, between="\n")
    return CutFile([f"{line}\n" for line in filled], "", suffix)


def _cut_table(lines: Sequence[str], suffix: str, path: Path) -> CutFile:
    delimiter = sniff_delimiter(lines)
    starts = [line - 1 for line, _ in read_separated_rows(lines, delimiter, path)]
    pieces = ["\n".join(lines[a:b]).strip("\n") + "\n" for a, b in zip(starts, [*starts[1:], len(lines)], strict=True)]
    return CutFile(pieces[1:], pieces[0] if pieces else "", suffix, delimiter=delimiter)


def find_labels(cut: CutFile, path: Path, number: int, column: str | None) -> list[Labels]:
    """The labels by which folds are stratified; what cannot be is said."""
    labels = cut.labels(column)
    counts = Counter(chain.from_iterable(labels))
    if not counts or 2 * len(counts) > len(labels):  # none, or values of which each occurs once
        logger.warning("%s: no labels are found by which folds could be stratified; they are cut by chance.", path)
        return [frozenset()] * len(labels)
    if rare := sorted(label for label, count in counts.items() if count < number):
        logger.warning("Labels of fewer examples than there are folds are lacking in some: %s.", list_names(rare))
    return labels


def assign_folds(examples: Sequence[str], labels: Sequence[Labels], number: int, seed: int) -> list[int]:
    """The fold of each example; equal ones share it."""
    sizes, of = Counter(examples), dict(zip(examples, labels, strict=True))
    folds = stratify([of[example] for example in sizes], list(sizes.values()), number, seed)
    fold_of = dict(zip(sizes, folds, strict=True))
    return [fold_of[example] for example in examples]


def plan_folds(
    path: Path, folder: Path, number: int, seed: int, *, write: bool, label_column: str | None = None
) -> list[Fold]:
    """The folds of a file in `folder/fold-N/`; files that are there with the same text stay as they are.

    `label_column` is where the labels stand by which folds are stratified; where it is not said, they are looked for.

    Raises:
        DataError: there are fewer distinct examples than folds.
    """
    cut = cut_file(path)
    if len(set(cut.examples)) < number:
        found = f"{len(set(cut.examples))} distinct examples cannot be cut into {number} folds"
        raise DataError(Problem(found, remedy="give a smaller --folds", path=path))
    chosen = assign_folds(cut.examples, find_labels(cut, path, number, label_column), number, seed)
    folds = []
    for place in range(number):
        own = folder / f"fold-{place + 1}"
        tested = [row for row, fold in enumerate(chosen) if fold == place]
        fold = Fold(place + 1, own / f"train{cut.suffix}", own / f"test{cut.suffix}", tested)
        if write:
            _write(fold.train, cut, [row for row, other in enumerate(chosen) if other != place])
            _write(fold.test, cut, tested)
        folds.append(fold)
    return folds


def _write(path: Path, cut: CutFile, rows: Sequence[int]) -> None:
    text = cut.header + cut.between.join(cut.examples[row] for row in rows)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
