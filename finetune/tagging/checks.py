"""Checks of tags across the splits of a corpus."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from datasets import Dataset

from finetune.data.corpus import Corpus
from finetune.data.files import capped, listed, read_lines
from finetune.data.label_spellings import describe_alike, unify_labels
from finetune.encoding.labels import set_tags
from finetune.encoding.tag_column import TagColumn
from finetune.encoding.tags import StrangeTagsError
from finetune.encoding.unknown_labels import unknown_label
from finetune.errors import DataError, Problem

# Several annotators' tags in one field, as in the raw files of WNUT17: `B-creative-work,B-person`.
SEVERAL_TAGS = re.compile(r"(?:O|[BIESLU][-_][^,;|]+)(?:[,;|](?:O|[BIESLU][-_][^,;|]+))+")

TRAINING = "training"  # has the tags that its examples have


def check_tags(corpus: Corpus, *, trains: bool = True) -> list[Problem]:
    """What is wrong with the tags of a corpus, and, as notes, what cannot be learnt from it.

    A tag in train that a label list lacks and a tag in validation that neither train nor the list has are problems. A
    tag that only test has is noted: it counts in the scores and cannot be predicted. Where nothing is trained, a model
    has its labels already, and the tags are judged by those.
    """
    problems = [problem for split in corpus.splits for problem in _several_tags(corpus, split)]
    train = corpus.splits.get("train")
    if problems or train is None or not trains:
        return problems
    trained = _tags_of(corpus, "train")
    if corpus.labels is not None:
        problems += _unknown(corpus, "train", trained, set(corpus.labels), "the list of labels")
    allowed = trained | set(corpus.labels or ())
    problems += _unknown(corpus, "validation", _tags_of(corpus, "validation"), allowed, TRAINING)
    corpus.notes += describe_unlearnable(corpus, allowed, "training")
    return problems


def check_entities(corpus: Corpus) -> list[Problem]:
    """Training data whose words all have one tag teach nothing: a wrong column, or texts that nobody annotated."""
    rows = corpus.splits.get("train")
    names = [] if rows is None else TagColumn.of_split(rows).names
    if len(names) != 1:
        return []
    found = f"every word of train has the tag {names[0]!r}" + ("; no entity is marked" if names[0] == "O" else "")
    remedy = "check --label_column_name and the annotation, or add --allow_no_entities"
    files = corpus.files.get("train", [])
    return [Problem(found, "two tags or more can be learnt", remedy, files[0] if len(files) == 1 else None)]


def normalize_tags(corpus: Corpus, *, wanted: bool) -> list[str]:
    """Tags that look alike: made one in place where that is wanted; either way the sentences say which they are."""
    columns = {split: TagColumn.of_split(rows) for split, rows in corpus.splits.items() if "tags" in rows.column_names}
    counts: Counter[str] = Counter()
    for column in columns.values():
        counts.update(column.counts())
    spellings = unify_labels(counts)
    if wanted and spellings:
        every = {tag: spellings.get(tag, tag) for tag in counts}
        for split, column in columns.items():
            corpus.splits[split] = set_tags(corpus.splits[split], column.respelt(every))
        corpus.labels = corpus.labels and list(dict.fromkeys(every.get(name, name) for name in corpus.labels))
    return describe_alike(counts, unified=wanted, noun="tags")


def place_strange_tags(corpus: Corpus, error: StrangeTagsError) -> DataError:
    """The same problems with the file and line where each tag comes first."""
    first: dict[str, tuple[Path | None, int | None]] = {}
    for split in corpus.splits:
        for tag, _, path, line in _places(corpus, split, set(error.by_tag) & _tags_of(corpus, split)):
            first.setdefault(tag, (path, line))
    placed = []
    for tag, problem in error.by_tag.items():
        path, line = first.get(tag, (None, None))
        header = "; if this line names the columns, leave it out" if line == 1 else ""
        placed.append(replace(problem, path=path, line=line, remedy=problem.remedy + header))
    return DataError(*placed)


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


def describe_unlearnable(corpus: Corpus, allowed: Collection[str], by: str) -> list[str]:
    """Notes about tags that only the test set has, and `by` (training, the model) lacks."""
    unknown = _tags_of(corpus, "test") - set(allowed)
    if not unknown:
        return []
    counts = TagColumn.of_split(corpus.splits["test"]).counts()
    count = sum(counts[tag] for tag in unknown)
    names = listed(sorted(unknown), limit=12)
    return [f"{count:,} words of test have tags that {by} lacks ({names}): they are scored, and cannot be predicted."]


def _places(corpus: Corpus, split: str, tags: set[str]) -> Iterator[tuple[str, str, Path | None, int | None]]:
    """Tag, word, file and line of every occurrence of some tags."""
    rows: Dataset = corpus.splits[split]
    paths = corpus.files.get(split, [])
    file_indices = rows["file"][:] if "file" in rows.column_names else [0] * len(rows)
    words, lines = rows.with_format("arrow")[:]["words"], rows["line"][:]
    for tag, row, index in TagColumn.of_split(rows).places(tags):
        path = paths[file_indices[row]] if file_indices[row] < len(paths) else None
        word = words[row][index].as_py()
        yield tag, word, path, find_line(path, lines[row], index, word)


def find_line(path: Path | None, line: int, index: int, word: str) -> int | None:
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
