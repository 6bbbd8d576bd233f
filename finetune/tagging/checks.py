"""Checks of tags across the splits of a corpus."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from datasets import Dataset

from finetune.data.corpus import Corpus
from finetune.data.files import capped, listed, read_lines
from finetune.encoding.tag_column import TagColumn
from finetune.encoding.unknown_labels import unknown_label
from finetune.errors import DataError, Problem

# Several annotators' tags in one field, as in the raw files of WNUT17: `B-creative-work,B-person`.
SEVERAL_TAGS = re.compile(r"(?:O|[BIESLU][-_][^,;|]+)(?:[,;|](?:O|[BIESLU][-_][^,;|]+))+")

TRAINING = "training"  # has the tags that its examples have


def check_tags(corpus: Corpus) -> list[Problem]:
    """What is wrong with the tags of a corpus, and, as notes, what cannot be learnt from it.

    A tag in train that a label list lacks and a tag in validation that neither train nor the list has are problems. A
    tag that only test has is noted: it counts in the scores and cannot be predicted.
    """
    problems = [problem for split in corpus.splits for problem in _several_tags(corpus, split)]
    train = corpus.splits.get("train")
    if problems or train is None:
        return problems
    trained = _tags_of(corpus, "train")
    if corpus.labels is not None:
        problems += _unknown(corpus, "train", trained, set(corpus.labels), "the list of labels")
    allowed = trained | set(corpus.labels or ())
    problems += _unknown(corpus, "validation", _tags_of(corpus, "validation"), allowed, TRAINING)
    corpus.notes += _unlearnable(corpus, allowed)
    return problems


def declare_labels(corpus: Corpus) -> None:
    """Fix the labels of a corpus that declares none: those of its training set, sorted."""
    train = corpus.splits.get("train")
    if corpus.labels is None and train is not None:
        corpus.labels = sorted(_tags_of(corpus, "train"))


def require_label_list(labels: Sequence[str], path: Path) -> None:
    """Nothing, unless the list names a label twice.

    Raises:
        DataError: it does.
    """
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise DataError(Problem(f"the list names {listed(twice)} more than once", path=path))


def _tags_of(corpus: Corpus, split: str) -> set[str]:
    rows = corpus.splits.get(split)
    return set() if rows is None else set(TagColumn.of_split(rows).names)


def _several_tags(corpus: Corpus, split: str) -> list[Problem]:
    wrong = {tag for tag in _tags_of(corpus, split) if SEVERAL_TAGS.fullmatch(tag)}
    if not wrong:
        return []
    allowed, remedy = "one tag a word is allowed", "choose one of them, or the file with the agreed annotation"
    problems = [
        Problem(f"the tag {tag!r} of the word {word!r} holds several tags", allowed, remedy, path, line)
        for tag, word, path, line in _places(corpus, split, wrong)
    ]
    return capped(problems, Path(problems[0].path or split))


def _unknown(corpus: Corpus, split: str, tags: Iterable[str], allowed: set[str], by: str) -> list[Problem]:
    """One problem for each tag that is not allowed, with its count and the place where it comes first."""
    wrong = set(tags) - allowed
    if not wrong:
        return []
    counts: Counter[str] = Counter()
    first: dict[str, tuple[Path | None, int | None]] = {}
    for tag, _, path, line in _places(corpus, split, wrong):
        counts[tag] += 1
        first.setdefault(tag, (path, line))
    return [_unknown_tag(tag, allowed, split, counts[tag], by, *first[tag]) for tag in sorted(wrong)]


def _unknown_tag(
    tag: str, allowed: set[str], split: str, uses: int, by: str, path: Path | None, line: int | None
) -> Problem:
    remedy = "correct it, or add " + ("examples of it to train" if by == TRAINING else "it to the list")
    return unknown_label(tag, allowed, noun="tag", place=split, uses=uses, by=by, remedy=remedy, path=path, line=line)


def _unlearnable(corpus: Corpus, allowed: set[str]) -> list[str]:
    """Notes about tags that only the test set has."""
    unknown = _tags_of(corpus, "test") - allowed
    if not unknown:
        return []
    counts = TagColumn.of_split(corpus.splits["test"]).counts()
    count = sum(counts[tag] for tag in unknown)
    names = listed(sorted(unknown), limit=12)
    return [
        f"{count:,} words of test have tags that training lacks ({names}): they are scored, and cannot be predicted."
    ]


def _places(corpus: Corpus, split: str, tags: set[str]) -> Iterator[tuple[str, str, Path | None, int | None]]:
    """Tag, word, file and line of every occurrence of some tags."""
    rows: Dataset = corpus.splits[split]
    paths = corpus.files.get(split, [])
    file_indices = rows["file"][:] if "file" in rows.column_names else [0] * len(rows)
    words, lines = rows.with_format("arrow")[:]["words"], rows["line"][:]
    for tag, row, index in TagColumn.of_split(rows).places(tags):
        path = paths[file_indices[row]] if file_indices[row] < len(paths) else None
        word = words[row][index].as_py()
        yield tag, word, path, _line_of(path, lines[row], index, word)


def _line_of(path: Path | None, line: int, index: int, word: str) -> int | None:
    """The line of a word: `index` lines on, where the file has one word a line, else where its sentence begins."""
    if path is None or not line:
        return None
    lines = _lines(path)
    at = line - 1 + index
    return at + 1 if at < len(lines) and word in lines[at] else line


@lru_cache(maxsize=4)
def _lines(path: Path) -> list[str]:
    try:
        return read_lines(path).lines
    except DataError:  # a binary file: its rows have no lines
        return []
