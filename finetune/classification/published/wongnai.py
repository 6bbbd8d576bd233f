"""wongnai_reviews: restaurant reviews with one to five stars, in semicolon CSV without a header, and no validation set.

https://github.com/wongnai/wongnai-corpus. A copy with commas and DOS line ends goes round too, cut off in the middle of
its last review; that review is dropped and said.
"""

from __future__ import annotations

import re
from pathlib import Path

from datasets import Dataset

from finetune.data.corpus import select_rows
from finetune.data.files import capped, decode_utf8, read_bytes
from finetune.data.row_files import RowTable, read_row_file
from finetune.data.separated_rows import read_separated_rows
from finetune.data.splits import split_rows
from finetune.errors import DataError, Problem

STARS = ("1", "2", "3", "4", "5")
VALIDATION_SHARE = 0.1
RATING = re.compile(r'"([;,])[1-5]\r?\n')
LONGEST_CHARACTER = 4  # bytes of UTF-8


def read_wongnai(path: Path, _split: str) -> RowTable:
    """The reviews of one file, with the columns of the hub's copy: review_body and star_rating.

    Raises:
        DataError: the file is not UTF-8 (but for a character cut off at its end), or rows are no review.
    """
    if path.suffix == ".parquet":
        return read_row_file(path)
    text, notes = _decode(read_bytes(path), path)
    separator = match.group(1) if (match := RATING.search(text)) else ";"
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    rows = list(read_separated_rows(lines, separator, path, strict=False))
    if rows and len(rows[-1][1]) == 1:
        notes.append(f"{path}: the file ends in the middle of a review, in line {rows.pop()[0]:,}; it was dropped.")
    problems = [_no_review(path, line, cells) for line, cells in rows if len(cells) < 2 or cells[1] not in STARS]
    if problems or not rows:
        raise DataError(*(capped(problems, path) or [Problem("the file holds no review", path=path)]))
    columns = {"review_body": [cells[0] for _, cells in rows], "star_rating": [cells[1] for _, cells in rows]}
    return RowTable(columns, [line for line, _ in rows], path, are_texts=True, notes=notes)


def _decode(data: bytes, path: Path) -> tuple[str, list[str]]:
    """The text of a file; a character that is cut off at its very end is left out and noted."""
    try:
        return data.decode("utf-8-sig"), []
    except UnicodeDecodeError as error:
        cut = len(data) - error.start
        if cut >= LONGEST_CHARACTER or error.reason != "unexpected end of data":
            return decode_utf8(data, path), []  # raises, with every place
    note = f"{path}: the file ends in the middle of a character; its last {cut} bytes were dropped."
    return data[:-cut].decode("utf-8-sig"), [note]


def _no_review(path: Path, line: int, cells: list[str]) -> Problem:
    found = f"the row has {len(cells)} columns" if len(cells) != 2 else f"the rating is {cells[1]!r}"
    return Problem(found, 'a review in quotes and its stars are expected: "...";4', "", path, line)


def split_wongnai(splits: dict[str, Dataset], seed: int) -> tuple[dict[str, Dataset], list[str]]:
    """A tenth of train as validation, the rows that `train_test_split(test_size=0.1, seed=seed)` draws."""
    rows = splits.get("train")
    if rows is None or "validation" in splits:
        return splits, []
    train, validation = split_rows(len(rows), VALIDATION_SHARE, seed)
    parts = {"train": select_rows(rows, train), "validation": select_rows(rows, validation)}
    note = f"wongnai_reviews has no validation set: {len(validation):,} of {len(rows):,} reviews of train serve as one."
    return {**parts, **{name: part for name, part in splits.items() if name == "test"}}, [note]
