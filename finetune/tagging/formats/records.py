"""Records (JSON lines, rows of Parquet files and of hub data sets) -> sentences.

A record holds either a list of words with a list of tags (names, or ids with declared names), or raw text with
character spans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from finetune.data.annotation_exports import SKIPPED, UNANNOTATED, find_skip_reason
from finetune.data.files import listed, raise_problems
from finetune.data.tagged_lines import SPAN_TAG
from finetune.data.words import holds_thai, holds_unspaced
from finetune.encoding.document_context import number_documents
from finetune.errors import DataError, Problem
from finetune.tagging.formats.annotations import SPAN_COLUMNS, given_words, read_span
from finetune.tagging.formats.sentences import (
    DOCUMENT_COLUMNS,
    TAG_COLUMNS,
    WORD_COLUMNS,
    Sentences,
    TagColumns,
    check_sentence_weights,
    find_column,
    require_not_empty,
    task_names,
)
from finetune.tagging.formats.spans import Span, find_cut_word, span_complaints, tag_text, trim_span
from finetune.tagging.formats.split_cells import RECORDS_LOOKED_AT, holds_split_words, split_tags

Record = Mapping[str, Any]
FEW_SPANS = 10  # too few to judge how offsets are counted


@dataclass
class RecordReading:
    """What is known while the records of one file are read. `names` are the declared names of tag ids, by column."""

    path: Path
    columns: TagColumns
    names: Mapping[str, list[str]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    spans: int = 0
    document_column: str | None = None
    weight_column: str | None = None
    weights: list[Any] = field(default_factory=list)  # what each sentence weighs, as it stands
    documents: list[str | None] = field(default_factory=list)  # the name of the document of each sentence
    in_words: list[str] = field(default_factory=list)  # of each span that begins or ends inside a word, both

    def complain(self, line: int, found: str, allowed: str = "", remedy: str = "") -> None:
        self.problems.append(Problem(found, allowed, remedy, self.path, line or None))

    def count(self, what: str, number: int = 1) -> None:
        if number:
            self.counts[what] = self.counts.get(what, 0) + number

    def note_record(self, record: Record) -> None:
        """Keep the name of the document, and the weight, of a record that became a sentence."""
        if self.weight_column is not None:
            self.weights.append(record.get(self.weight_column))
        if self.document_column is None:
            return
        value = record.get(self.document_column)
        self.documents.append(None if value is None or not str(value).strip() else str(value).strip())
        if self.documents[-1] is None:
            self.count(f"records have no {self.document_column}; each is a document of its own")

    def judge_spans(self) -> None:
        """Complain where nearly all spans cut words: their offsets are counted otherwise than in characters from 0."""
        if self.columns.segmenter == "characters" or self.spans < FEW_SPANS:
            return
        if len(self.in_words) * 10 < self.spans * 9:
            return
        found = f"{len(self.in_words):,} of {self.spans:,} spans begin or end inside a word, as {self.in_words[0]}"
        allowed = "offsets count characters from 0, and the end is the place behind the last one"
        remedy = "correct them (add 1 to ends that count the last character in); or --word_segmenter characters"
        self.problems.append(Problem(found, allowed, remedy, self.path))

    def notes(self) -> list[str]:
        return [f"{self.path}: {number:,} {what}." for what, number in self.counts.items()]


def read_records(
    records: Sequence[Record],
    lines: Sequence[int],
    path: Path,
    columns: TagColumns,
    names: Mapping[str, list[str]] | None = None,
) -> Sentences:
    """The sentences of records; `lines` are their places in the file, `names` the declared names of tag ids by column.

    Raises:
        DataError: a column that is not there; no label column; every record whose words, tags or spans are wrong; no
            sentence.
    """
    if not records:
        raise DataError(Problem("the file holds no record", path=path))
    reading = RecordReading(path, columns, names or {})
    present = list(dict.fromkeys(name for record in records for name in record))
    word_column = _word_column(records, present, reading)
    require_tagged(records, present, replace(columns, words=word_column), path)
    are_words = _holds_words(records, word_column) or holds_split_words(records, word_column, reading.columns)
    by_lower = {name.strip().lower(): name for name in reversed(present)}
    reading.document_column = next((by_lower[name] for name in DOCUMENT_COLUMNS if name in by_lower), None)
    reading.weight_column = columns.weight if columns.weight in present else None
    kind = _read_word_lists if are_words else _read_texts
    sentences = kind(records, lines, word_column, present, reading)
    reading.judge_spans()
    sentences.weights = None if reading.weight_column is None else reading.weights
    raise_problems([*reading.problems, *check_sentence_weights(sentences, path)], path)
    if reading.document_column is not None:
        sentences.documents = number_documents(reading.documents)
    sentences.notes += reading.notes()
    return require_not_empty(sentences, path)


def _word_column(records: Sequence[Record], present: Sequence[str], reading: RecordReading) -> str:
    if reading.columns.words is not None:
        return present[find_column(present, reading.columns.words, reading.path, "--text_column_name", numbered=True)]
    usable = [name for name in present if _holds_words(records, name) or _holds_text(records, name)]
    by_lower = {name.strip().lower(): name for name in reversed(usable)}
    found = next((by_lower[name] for name in WORD_COLUMNS if name in by_lower), None)
    if found is None:
        there = f"the columns are {', '.join(present)}"
        remedy = "name the one that holds words or text with --text_column_name"
        raise DataError(Problem("no column is called words, tokens or text", there, remedy, reading.path))
    return found


def _holds_words(records: Sequence[Record], name: str) -> bool:
    value = next((record[name] for record in records if record.get(name)), None)
    return isinstance(value, list) and isinstance(value[0], str)


def _holds_text(records: Sequence[Record], name: str) -> bool:
    return isinstance(next((record[name] for record in records if record.get(name)), None), str)


def require_tagged(records: Sequence[Record], present: Sequence[str], columns: TagColumns, path: Path) -> None:
    """Nothing, unless the records are whole texts with one label each.

    Raises:
        DataError: they are; the sentence names the command that learns from them.
    """
    text = columns.words or next((name for name in WORD_COLUMNS if name in present), None)
    wanted = [columns.tags] if columns.tags else [*task_names(columns.task), *TAG_COLUMNS, "category", "class"]
    label = next((name for name in wanted if name != text and name in present), None)
    if text is None or label is None or not columns.required:
        return
    pairs = [(record.get(text), record.get(label)) for record in records[:RECORDS_LOOKED_AT]]
    whole = [(text, label) for text, label in pairs if isinstance(text, str) and isinstance(label, str | int | float)]
    longer = sum(len(text.split()) > 1 and len(str(label).split()) == 1 for text, label in whole)
    are_tags = all(label == "O" or SPAN_TAG.fullmatch(str(label)) for _, label in whole)
    if len(whole) == len(pairs) and longer * 10 > len(pairs) * 8 and not are_tags:
        found = f"each text of the column {text} has one label in the column {label}, and no tags of its words"
        labels = listed(sorted({str(label) for _, label in pairs}), limit=4)
        raise DataError(Problem(found, f"the labels are {labels}", "texts with labels are learnt by run_glue.py", path))


def _tag_column(
    records: Sequence[Record], present: Sequence[str], usual: Sequence[str], word_column: str, reading: RecordReading
) -> str | None:
    """The column that was asked for, else that of the task, else the first list with a usual name; None: unlabelled."""
    columns = reading.columns
    if columns.tags is not None and (columns.required or columns.tags in present):
        return present[find_column(present, columns.tags, reading.path, "--label_column_name", numbered=True)]
    names = [name for name in (*task_names(columns.task), *usual) if name != word_column]
    kinds = (list, str) if holds_split_words(records, word_column, columns) else (list,)
    candidates = [name for name in names if any(isinstance(record.get(name), kinds) for record in records)]
    if candidates and columns.tags is None:
        return candidates[0]
    if not columns.required:
        return None
    there = f"the columns are {', '.join(present)}"
    raise DataError(Problem("there is no label column", there, "name it with --label_column_name", reading.path))


def _read_word_lists(
    records: Sequence[Record], lines: Sequence[int], word_column: str, present: Sequence[str], reading: RecordReading
) -> Sentences:
    tag_column = _tag_column(records, present, TAG_COLUMNS, word_column, reading)
    names = _tag_names(tag_column, reading)
    sentences = Sentences([], None if tag_column is None else [], [], labels=names)
    for record, line in zip(records, lines, strict=True):
        given = record.get(word_column)
        words = _split_words(given, word_column, reading) if isinstance(given, str) else given
        reason = _skip_reason(record, reading) if "answer" in record else ""
        if reason:
            reading.count(SKIPPED[reason])
            continue
        if not _are_words(words, line, word_column, reading) or not isinstance(words, list):
            continue
        if sentences.tags is not None and tag_column is not None:
            own = record.get(tag_column)
            own = split_tags(own, len(words)) if isinstance(given, str) else own
            tags = _named_tags(own, names, line, tag_column, reading)
            if tags is None or not _fits(words, tags, line, word_column, tag_column, reading):
                continue
            sentences.tags.append(tags)
        sentences.words.append(words)
        sentences.lines.append(line)
        reading.note_record(record)
    which = f"words from {word_column}" + (f", tags from {tag_column}" if tag_column else ", no tags")
    sentences.remarks.append(f"{reading.path}: {which}.")
    return sentences


def _split_words(value: object, column: str, reading: RecordReading) -> object:
    """The items of a cell that holds them apart by spaces instead of as a list; anything else as it is."""
    if not isinstance(value, str):
        return value
    reading.count(f"records hold {column} as one text; what its spaces separate is read")
    return value.split()


def _are_words(words: object, line: int, column: str, reading: RecordReading) -> bool:
    if words is None or words == []:
        reading.count("records without words were skipped")
        return False
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        reading.count("words are empty", words.count(""))
        return True
    reading.complain(line, f"{column} is no list of words")
    return False


def _tag_names(tag_column: str | None, reading: RecordReading) -> list[str] | None:
    """What tag ids stand for: what the data declares, else the label file of the user."""
    if tag_column is not None and tag_column in reading.names:
        return reading.names[tag_column]
    return list(reading.columns.labels) if reading.columns.labels else None


def _named_tags(
    tags: object, names: list[str] | None, line: int, column: str, reading: RecordReading
) -> list[str] | None:
    """Tags as names; None, with a complaint, where they are none."""
    if not isinstance(tags, list):
        reading.complain(line, f"{column} is no list of tags")
    elif all(isinstance(tag, str) for tag in tags):
        return tags
    elif not all(type(tag) is int or (type(tag) is float and tag.is_integer()) for tag in tags):  # a bool is an int too
        reading.complain(line, f"{column} holds something that is neither a name nor a number")
    elif any(type(tag) is float for tag in tags):
        reading.count("records have tag ids written as fractions (1.0); they are read as whole numbers")
        return _named_tags([int(tag) for tag in tags], names, line, column, reading)
    elif names is None:
        reading.count("records have tags that are numbers without names; give the names with --labels")
        return [str(tag) for tag in tags]
    elif all(0 <= tag < len(names) for tag in tags):
        return [names[tag] for tag in tags]
    else:
        wrong = next(tag for tag in tags if not 0 <= tag < len(names))
        reading.complain(line, f"tag {wrong} has no name", f"the names are those of 0 to {len(names) - 1}")
    return None


def _fits(
    words: list[str], tags: list[str], line: int, word_column: str, tag_column: str, reading: RecordReading
) -> bool:
    if len(words) != len(tags):
        found = f"{len(words)} {word_column} but {len(tags)} {tag_column}"
        reading.complain(line, found, "every word has one tag")
    return len(words) == len(tags)


def _read_texts(
    records: Sequence[Record], lines: Sequence[int], text_column: str, present: Sequence[str], reading: RecordReading
) -> Sentences:
    span_column = _tag_column(records, present, SPAN_COLUMNS, text_column, reading)
    sentences = Sentences([], None if span_column is None else [], [], texts=[], starts=[], ends=[])
    thai = unspaced = 0
    for record, line in zip(records, lines, strict=True):
        text = record.get(text_column)
        reason = _skip_reason(record, reading)
        if reason or not isinstance(text, str):
            _skip(reason, line, text_column, reading)
            continue
        spans = None if span_column is None else _spans(record, text, line, span_column, reading)
        _add_text(sentences, text, line, spans, record, reading)
        thai += holds_thai(text)
        unspaced += holds_unspaced(text)
    which = f"text from {text_column}" + (f", spans from {span_column}" if span_column else ", no spans")
    cut = f"; {thai:,} texts hold Thai, whose words newmm finds" if thai else ""
    cut += f"; {unspaced:,} texts hold a script without spaces, whose characters are words" if unspaced else ""
    cut = cut if reading.columns.segmenter == "auto" else f"; --word_segmenter is {reading.columns.segmenter}"
    sentences.remarks.append(f"{reading.path}: {which}{cut}.")
    return sentences


def _skip_reason(record: Record, reading: RecordReading) -> str:
    """Why a record is no example; a text that nobody annotated is one to predict where no tags are needed."""
    reason = find_skip_reason(record)
    return "" if reason == UNANNOTATED and not reading.columns.required else reason


def _skip(reason: str, line: int, column: str, reading: RecordReading) -> None:
    if reason:
        reading.count(SKIPPED[reason])
    else:
        reading.complain(line, f"{column} is no text")


def _spans(record: Record, text: str, line: int, column: str, reading: RecordReading) -> list[Span] | None:
    """The good spans of a text, trimmed; None, with every complaint, where any is wrong."""
    items = record.get(column)
    if items is None and not reading.columns.required:
        items = []
        reading.count(f"texts have no {column}; they are taken to hold no entity")
    if not isinstance(items, list):
        reading.complain(line, f"{column} is no list of spans")
        return None
    reading.count("texts have several annotations; the first counts", int(record.get("annotators", 1) > 1))
    for kind in record.get("other_results", ()):
        reading.count(f"results of the type {kind} are no spans of text; they were left out")
    read = [read_span(item, text) for item in items]
    found = [span for span in read if isinstance(span, Span)]
    spans = list(dict.fromkeys(found))
    reading.count("spans are there twice, with the same label; each counts once", len(found) - len(spans))
    complaints = [item for item in read if isinstance(item, str)] + span_complaints(spans, text)
    for complaint in complaints:
        reading.complain(line, complaint)
    if complaints:
        return None
    trimmed = [trim_span(span, text) for span in spans]
    reading.spans += len(trimmed)
    cut = [(span, word) for span in trimmed if (word := find_cut_word(span, text))]
    reading.in_words += [f"{span} ({text[span.start : span.end]!r}) in {word!r}" for span, word in cut]
    reading.count("spans began or ended with white space, which was cut off", _differences(spans, trimmed))
    return trimmed


def _differences(before: Sequence[Span], after: Sequence[Span]) -> int:
    return sum(old != new for old, new in zip(before, after, strict=True))


def _add_text(
    sentences: Sentences, text: str, line: int, spans: list[Span] | None, record: Record, reading: RecordReading
) -> None:
    segmenter = reading.columns.segmenter
    tagged = tag_text(text, spans or [], given_words(record), segmenter=segmenter)
    if sum(tag.startswith("B-") for tag in tagged.tags) != len(spans or []):  # the tool's words leave a span out
        tagged = tag_text(text, spans or [], segmenter=segmenter)
    if not tagged.places:
        reading.count("texts without any word were skipped")
        return
    cut = "words were cut where a span begins or ends inside them, which raw text to predict will not be"
    reading.count(cut, tagged.words_cut)
    reading.note_record(record)
    sentences.words.append([text[start:end] for start, end in tagged.places])
    if sentences.tags is not None:
        sentences.tags.append(tagged.tags)
    sentences.lines.append(line)
    for column, values in ((sentences.starts, 0), (sentences.ends, 1)):
        if column is not None:
            column.append([place[values] for place in tagged.places])
    if sentences.texts is not None:
        sentences.texts.append(text)
