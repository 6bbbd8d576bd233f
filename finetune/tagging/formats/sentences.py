"""What every reader of tagged text takes and gives: `TagColumns` in, `Sentences` out; each raises all its problems."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.arguments.nearest import nearest
from finetune.data.files import listed, raise_problems
from finetune.encoding.document_context import number_documents
from finetune.errors import DataError, Problem
from finetune.supervised.row_weights import FLAG as WEIGHT_FLAG
from finetune.supervised.row_weights import WEIGHT, check_weights, describe_weights, read_weight

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

WORD_COLUMNS = ("words", "tokens", "token", "word", "form", "text", "sentence", "content", "document")
DOCUMENT_COLUMNS = ("document_id", "doc_id", "docid", "doc")
TAG_COLUMNS = ("tags", "ner_tags", "ner", "labels", "label", "tag", "pos_tags", "upos", "pos", "chunk_tags")

DOCUMENT_MARKS = (
    "marks are -DOCSTART- lines, # newdoc comments, two empty lines or more between sentences (an empty line where each "
    "line is one), or a column document_id or doc_id"
)

# Characters that would break a line or a column, and the signs that show them in files of one word a line.
VISIBLE = str.maketrans({"\t": "␉", "\n": "␊", "\r": "␍"})


def spell_visibly(word: str, *, spaces: bool = False) -> str:
    """A word that stays on one line and in one column; with `spaces` also where spaces part columns.

    Nothing else is changed. An empty word becomes the sign of nothing, so that its line has all its columns.
    """
    shown = word.translate(VISIBLE) or "␀"
    return shown.replace(" ", "␠") if spaces else shown


@dataclass(frozen=True)
class TagColumns:
    """What a user said about the columns of a file; None: the reader's own default, which it says.

    `words` and `tags` are names, or numbers from 0 (negative ones count from the end). `task` is the kind of tag that
    is wanted (`ner_tags`, `pos_tags`, `chunk_tags`) where a file holds several. `labels` gives the names of tags that
    are numbers in a file. Where `required` is False (a test set), a file without tags is read as unlabelled.
    """

    words: str | None = None
    tags: str | None = None
    task: str | None = None
    delimiter: str | None = None
    labels: tuple[str, ...] | None = None
    required: bool = True
    json_key: str | None = None  # the key that holds the records, where a JSON file is one object
    segmenter: str = "auto"  # how words are found in raw text (`finetune.data.words`)
    documents: bool = False  # whether a file must say where its documents begin
    is_document: bool = False  # whether a file that does not say so is one document
    weight: str | None = None  # the column, or the comment `# NAME = 2`, of what each sentence weighs
    weight_required: bool = True  # False: other files may have it instead


@dataclass
class Sentences:
    """Sentences of one file: words, their tags (None: unlabelled), the 1-based line each begins at (0: unknown).

    Annotated raw text also has `texts`, and `starts` and `ends`: character offsets of the words in it. `labels` is the
    order that the file itself declares. `documents` numbers the document of each sentence (None: the file marks none).
    `weights` is what each weighs in training (None: the file says nothing).
    `notes` are sentences with counts; `remarks` are worth an info line only.
    """

    words: list[list[str]]
    tags: list[list[str]] | None
    lines: list[int]
    texts: list[str] | None = None
    starts: list[list[int]] | None = None
    ends: list[list[int]] | None = None
    labels: list[str] | None = None
    documents: list[int] | None = None
    weights: list[Any] | None = None  # cells as they stand, until `settle_weights` has made them numbers
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def to_dataset(self, files: Sequence[int] | None = None) -> Dataset:
        """The canonical columns. `files` holds for each sentence the index of its file."""
        import pyarrow as pa  # reading needs neither of them
        from datasets import Dataset

        columns: dict[str, pa.Array] = {"words": _list_array(self.words, pa.string())}
        if self.tags is not None:
            columns["tags"] = _list_array(self.tags, pa.string())
        columns["line"] = pa.array(self.lines, pa.int64())
        if files is not None:
            columns["file"] = pa.array(files, pa.int64())
        if self.documents is not None:
            columns["document"] = pa.array(self.documents, pa.int64())
        if self.weights is not None:
            columns[WEIGHT] = pa.array(self.weights, pa.float64())
        if self.texts is not None and self.starts is not None and self.ends is not None:
            columns["text"] = pa.array(self.texts, pa.string())
            columns["starts"] = _list_array(self.starts, pa.int64())
            columns["ends"] = _list_array(self.ends, pa.int64())
        return Dataset(pa.table(columns))


def merge_sentences(parts: Sequence[Sentences], paths: Sequence[Path]) -> tuple[Sentences, list[int]]:
    """The sentences of several files one after another, and for each the index of its file.

    Raises:
        DataError: some files have tags and others have none.
    """
    unlabelled = [path for part, path in zip(parts, paths, strict=True) if part.tags is None]
    if 0 < len(unlabelled) < len(parts):
        raise DataError(Problem(f"this file has no tags, {paths[0].name} and others have", path=unlabelled[0]))
    merged = Sentences(
        words=_joined(part.words for part in parts),
        tags=None if unlabelled else _joined(part.tags or [] for part in parts),
        lines=_joined(part.lines for part in parts),
        texts=_joined_or_none([part.texts for part in parts]),
        starts=_joined_or_none([part.starts for part in parts]),
        ends=_joined_or_none([part.ends for part in parts]),
        documents=_joined_documents(parts),
        weights=_joined_weights(parts),
        labels=next((part.labels for part in parts if part.labels), None),
        notes=_first_few(_joined(part.notes for part in parts)),
        remarks=_first_few(_joined(part.remarks for part in parts), limit=1),
    )
    return merged, [index for index, part in enumerate(parts) for _ in part.words]


def _joined_documents(parts: Sequence[Sentences]) -> list[int] | None:
    """The documents of several files, none of which goes on in the next; None where a file marks none."""
    if any(part.documents is None for part in parts):
        return None
    return number_documents([(place, number) for place, part in enumerate(parts) for number in part.documents or ()])


def _joined_weights(parts: Sequence[Sentences]) -> list[float] | None:
    """The weights of several files; sentences of files without any weigh 1."""
    if all(part.weights is None for part in parts):
        return None
    return _joined(part.weights or [1.0] * len(part.words) for part in parts)


def check_sentence_weights(sentences: Sentences, path: Path) -> list[Problem]:
    """A problem for each sentence whose cell is no weight, at its line."""
    places = [{"path": path, "line": line or None} for line in sentences.lines]
    return [] if sentences.weights is None else check_weights(sentences.weights, places, "sentence")


def settle_weights(sentences: Sentences, columns: TagColumns, path: Path) -> Sentences:
    """The sentences themselves, with numbers for weights.

    Raises:
        DataError: a weight is none, or weights were asked for and nothing in the file says any.
    """
    if columns.weight is None:
        return sentences
    if sentences.weights is None and columns.weight_required:
        found = f"{WEIGHT_FLAG} {columns.weight}: nothing in this file says what a sentence weighs"
        allowed = f"a column of that name, or lines `# {columns.weight} = 2` before sentences of CoNLL files"
        raise DataError(Problem(found, allowed, path=path))
    raise_problems(check_sentence_weights(sentences, path), path)
    if sentences.weights is not None:
        sentences.weights = [read_weight(value) for value in sentences.weights]
        if sentences.weights:
            described = describe_weights(sentences.weights, columns.weight, "sentences")
            sentences.notes.append(described.removeprefix("train: "))
    return sentences


def settle_documents(sentences: Sentences, columns: TagColumns, path: Path) -> Sentences:
    """The sentences themselves, of one document where a file is known to be one.

    Raises:
        DataError: where documents begin must be known, and nothing in the file says so.
    """
    if columns.is_document and sentences.documents is None:
        sentences.documents = [0] * len(sentences.words)
    if columns.documents and sentences.documents is None:
        found = "--document_context needs documents, and nothing in this file marks them"
        remedy = "mark them, or drop --document_context (0 reads none)"
        raise DataError(Problem(found, DOCUMENT_MARKS, remedy, path))
    return sentences


def _first_few(sentences: list[str], limit: int = 5) -> list[str]:
    """A corpus of thousands of files says the same of each."""
    rest = len(sentences) - limit
    return sentences if rest <= 0 else [*sentences[:limit], f"The same goes for {rest:,} more files."]


def find_column(names: Sequence[str], wanted: str, path: Path | None, flag: str, *, numbered: bool = False) -> int:
    """The index of the column called `wanted`, or numbered so (from 0, or from -1 backwards) where `numbered`.

    Raises:
        DataError: there is none; the sentence names those there are and the nearest.
    """
    if wanted in names:
        return names.index(wanted)
    folded = [name.strip().casefold() for name in names]
    if folded.count(wanted.strip().casefold()) == 1:  # capitals and spaces of spreadsheets
        return folded.index(wanted.strip().casefold())
    if numbered and wanted.removeprefix("-").isdigit():
        number = int(wanted)
        if -len(names) <= number < len(names):
            return number % len(names)
        allowed = f"columns 0 to {len(names) - 1} are there"
        raise DataError(Problem(f"there is no column {number}", allowed, f"choose one with {flag}", path))
    match = nearest(wanted, names)
    remedy = f"did you mean {match}? Choose one with {flag}" if match else f"choose one with {flag}"
    raise DataError(
        Problem(f"there is no column {wanted!r}", f"the columns are {listed(names, limit=16)}", remedy, path)
    )


def task_names(task: str | None) -> tuple[str, ...]:
    """The column names that a task goes by: `ner` and `ner_tags` both mean either."""
    if not task:
        return ()
    stem = task.removesuffix("_tags")
    return (task, f"{stem}_tags", stem)


def require_not_empty(sentences: Sentences, path: Path) -> Sentences:
    """The sentences themselves.

    Raises:
        DataError: there are none.
    """
    if not sentences.words:
        raise DataError(Problem("the file holds no sentence", path=path))
    return sentences


def _list_array(rows: Sequence[Sequence[object]], kind: pa.DataType) -> pa.Array:
    """Ragged rows as one Arrow array: built from the flat values, several times faster than by inference."""
    import pyarrow as pa

    offsets = [0]
    for row in rows:
        offsets.append(offsets[-1] + len(row))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(chain.from_iterable(rows), kind))


def _joined(parts: Iterable[list]) -> list:
    return list(chain.from_iterable(parts))


def _joined_or_none(parts: Sequence[list | None]) -> list | None:
    return None if any(part is None for part in parts) else _joined(part or [] for part in parts)
