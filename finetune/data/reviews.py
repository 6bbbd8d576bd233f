"""Reviews in JSON lines (Amazon, Yelp) -> sentences, streaming: a file of any size takes the memory of one review.

Sentences are found by sentencex (Wikimedia; rules for some 300 languages, in Rust): the spaCy model of the published
scripts has to be downloaded apart, and sentencex cuts like it at hundreds of times its speed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.data.files import MAX_LISTED, iterate_lines, listed
from finetune.data.json_values import parse_json, parse_python
from finetune.errors import DataError, Problem, UsageError
from finetune.run.atomic_files import AtomicFile

WHITE_SPACE = re.compile(r"\s+")
LINE_END = re.compile(r"[\r\n\x0b\x0c\x85\u2028\u2029]+")
LEAST_SENTENCES = 2  # BERT's next-sentence task needs two


@dataclass
class ReviewCounts:
    """What became of the reviews."""

    read: int = 0
    written: int = 0
    sentences: int = 0
    other_products: int = 0
    without_text: int = 0
    too_short: int = 0

    def __str__(self) -> str:
        left_out = [
            f"{self.other_products:,} of other products",
            f"{self.without_text:,} without text",
            f"{self.too_short:,} with fewer than {LEAST_SENTENCES} sentences",
        ]
        return (
            f"{self.read:,} reviews read, {self.written:,} written with {self.sentences:,} sentences; left out: "
            + ", ".join(left_out)
        )


def split_sentences(text: str, language: str = "en") -> list[str]:
    """The sentences of a text, white space inside each reduced to one space; a line end ends a sentence.

    >>> split_sentences("It cost $4.50, e.g. less than Dr. Smith's! Really?\\nGreat")
    ["It cost $4.50, e.g. less than Dr. Smith's!", 'Really?', 'Great']
    """
    import sentencex

    subwords = (subword for line in LINE_END.split(text) for subword in sentencex.segment(language, line))
    sentences = (WHITE_SPACE.sub(" ", subword).strip() for subword in subwords)
    return [sentence for sentence in sentences if sentence]


def find_products(path: Path, category: str, key: str) -> set[str]:
    """The `key` (asin, business_id) of everything in a category, from Amazon's metadata or Yelp's businesses.

    Raises:
        DataError: lines that are no objects; nothing of the category.
    """
    found: set[str] = set()
    categories: set[str] = set()
    for record in iterate_records(path):
        names = list(_category_names(record.get("categories") or record.get("category") or []))
        categories.update(names if len(categories) < 1000 else ())
        if category in names and isinstance(record.get(key), str):
            found.add(record[key])
    if not found:
        there = f"there are {listed(sorted(categories), limit=12)}"
        raise DataError(Problem(f"nothing is of the category {category!r}", there, "choose with --category", path))
    return found


def _category_names(value: object) -> Iterator[str]:
    """Names out of lists of lists (Amazon), lists, or one text with commas (Yelp)."""
    if isinstance(value, str):
        yield from (name.strip() for name in value.split(","))
    elif isinstance(value, list):
        for item in value:
            yield from [item] if isinstance(item, str) else _category_names(item)


def iterate_records(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file, one a line: JSON, or the Python literals of Amazon's older files (never evaluated).

    Raises:
        DataError: lines that are neither, the first 20 of them.
    """
    problems: list[Problem] = []
    for number, line in enumerate(iterate_lines(path), start=1):
        if not line.strip():
            continue
        record = _read_record(line)
        if record is not None:
            yield record
            continue
        problems.append(Problem("the line is no JSON object", "", "", path, number))
        if len(problems) >= MAX_LISTED:
            break
    if problems:
        raise DataError(*problems)


def _read_record(line: str) -> dict[str, Any] | None:
    for read in (parse_json, parse_python):
        try:
            record = read(line)
        except ValueError:
            continue
        return record if isinstance(record, dict) else None
    return None


def select_texts(
    records: Iterable[dict[str, Any]],
    field_name: str,
    counts: ReviewCounts,
    products: set[str] | None = None,
    key: str = "",
) -> Iterator[str]:
    """The texts of reviews, counted; only of those whose `key` is among `products`, where these are given."""
    for record in records:
        counts.read += 1
        text = record.get(field_name)
        if products is not None and record.get(key) not in products:
            counts.other_products += 1
        elif not isinstance(text, str) or not text.strip():
            counts.without_text += 1
        else:
            yield text


def iterate_documents(
    texts: Iterable[str], counts: ReviewCounts, *, max_reviews: int | None = None, max_sentences: int | None = None
) -> Iterator[list[str]]:
    """The sentences of each review that has at least two, until there are enough."""
    for text in texts:
        sentences = split_sentences(text)
        if len(sentences) < LEAST_SENTENCES:
            counts.too_short += 1
            continue
        counts.written += 1
        counts.sentences += len(sentences)
        yield sentences
        if counts.written == max_reviews or (max_sentences and counts.sentences >= max_sentences):
            return


def refuse_existing(path: Path, *, overwrite: bool) -> Path:
    """The path to write, unless something is there: of a name with `{sentences}`, any number counts.

    Raises:
        UsageError: the file is there already.
    """
    there = sorted(path.parent.glob(path.name.replace("{sentences}", "[0-9]*"))) if path.parent.is_dir() else []
    if there and not overwrite:
        remedy = "choose another --output_file, or add --overwrite"
        raise UsageError(Problem("the file is there already", remedy=remedy, path=there[0]))
    return path


def write_documents(path: Path, documents: Iterable[list[str]], counts: ReviewCounts) -> Path:
    """Write one sentence a line and an empty line between documents; `{sentences}` in the name becomes their number.

    The file appears under its name once it is whole.

    Raises:
        DataError: there was no document to write.
    """
    with AtomicFile(path) as file:
        for number, sentences in enumerate(documents):
            file.stream.write((("\n" if number else "") + "\n".join(sentences) + "\n").encode())
        if not counts.written:
            raise DataError(Problem(f"no review is left to write: {counts}", path=path))
        file.path = path.with_name(path.name.format(sentences=counts.sentences))
    return file.path
