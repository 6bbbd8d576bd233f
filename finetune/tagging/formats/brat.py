"""brat's standoff: `doc.ann` with the spans of the text in `doc.txt` beside it (https://brat.nlplab.org/standoff.html).

T1	PER 0 9	Mira Holt
T2	LOC 19 25	Lisbon
R1	lives Arg1:T1 Arg2:T2

Lines `T` are spans; relations, events, attributes and notes are counted. Every line of the text is a sentence.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from finetune.data.files import raise_problems, read_lines, read_text
from finetune.errors import DataError, Problem
from finetune.tagging.formats.records import read_records
from finetune.tagging.formats.sentences import Sentences, TagColumns

SPAN_LINE = re.compile(r"(T[0-9]+)\t(\S+) ([0-9]{1,18}) ([0-9]{1,18}(?:;[0-9]{1,18} [0-9]{1,18})*)(?![0-9])\t?(.*)")
OTHERS = {"R": "relations", "E": "events", "A": "attributes", "M": "attributes", "N": "normalizations"}
OTHERS |= {"#": "notes", "*": "equivalences"}

Spans = list[tuple[int, int, str]]


def text_of(annotations: Path) -> Path:
    """Where the text of a `.ann` file lies."""
    return annotations.with_name(annotations.name.removesuffix(".gz").removesuffix(".ann") + ".txt")


def read_brat(path: Path, columns: TagColumns) -> Sentences:
    """The sentences of the text beside a `.ann` file.

    Raises:
        DataError: no text beside it; every line that is no annotation; spans of several pieces, outside of the text, over
            a line end, crossing each other.
    """
    text_path = text_of(path)
    if not text_path.is_file():
        found = f"this is brat's standoff, and the text that it annotates ({text_path.name}) is not beside it"
        raise DataError(Problem(found, remedy=f"place {text_path.name} into the same folder", path=path))
    source = read_lines(path)
    spans, problems, others = _read_spans(source.lines, path)
    records, lines, outside = _by_line(read_text(text_path).replace("\r\n", "\n"), spans, path)
    raise_problems([*problems, *outside], path)
    sentences = read_records(records, lines, text_path, columns)
    sentences.documents = [0] * len(sentences.words)
    counted = [f"{count:,} {kind}" for kind, count in others.items()]
    notes = [f"{path}: {', '.join(counted)} are no spans of words; they were left out."] if counted else []
    sentences.notes = [*source.notes, *notes, *sentences.notes]
    return sentences


def _read_spans(lines: list[str], path: Path) -> tuple[Spans, list[Problem], Counter[str]]:
    spans: Spans = []
    problems: list[Problem] = []
    others: Counter[str] = Counter()
    for number, line in enumerate(lines, start=1):
        match = SPAN_LINE.fullmatch(line)
        if match and ";" in match[4]:
            found = f"the span {match[1]} ({match[2]}) has several pieces"
            problems.append(Problem(found, "one piece is allowed", "cut it in two", path, number))
        elif match:
            spans.append((int(match[3]), int(match[4]), match[2]))
        elif line[:1] in OTHERS:
            others[OTHERS[line[0]]] += 1
        elif line.strip():
            found, allowed = (
                f"the line {line[:60]!r} is no annotation of brat",
                "one like 'T1<tab>PER 0 9<tab>Ann Lee' is",
            )
            problems.append(Problem(found, allowed, "", path, number))
    return spans, problems, others


def _by_line(text: str, spans: Spans, path: Path) -> tuple[list[dict], list[int], list[Problem]]:
    """A record for each line of the text that is not empty, with its spans, whose offsets count from its start."""
    records, lines, start = [], [], 0
    rest = sorted(spans)
    problems: list[Problem] = []
    for number, line in enumerate(text.split("\n"), start=1):
        end = start + len(line)
        inside = [span for span in rest if start <= span[0] < end + 1]
        rest = [span for span in rest if span not in inside]
        over = [span for span in inside if span[1] > end]
        problems += [
            Problem(f"the span {a}-{b} {name} goes on over the end of line {number} of the text", path=path)
            for a, b, name in over
        ]
        if line.strip():
            own = [[a - start, b - start, name] for a, b, name in inside if b <= end]
            records.append({"text": line, "spans": own})
            lines.append(number)
        start = end + 1
    problems += [Problem(f"the span {a}-{b} {name} lies behind the end of the text", path=path) for a, b, name in rest]
    return records, lines, problems
