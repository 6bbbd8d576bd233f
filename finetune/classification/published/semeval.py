"""Aspect sentiment: SemEval-2014 Task 4 XML (Pontiki et al. 2014), and MAMS (Jiang et al. 2019), which has no ids.

SemEval-2015 and 2016 (Pontiki et al. 2015) are read as well, whose aspects stand in <Opinions>: the target is the term (NULL
where the text has none), the category is the category.

<sentences><sentence id="1"><text>Good food, slow service.</text>
  <aspectTerms><aspectTerm term="food" polarity="positive" from="5" to="9"/>...</aspectTerms>
  <aspectCategories><aspectCategory category="service" polarity="negative"/>...</aspectCategories>
  <Opinions><Opinion target="food" category="FOOD#QUALITY" polarity="positive" from="5" to="9"/>...</Opinions>
</sentence>...</sentences>
"""

from __future__ import annotations

import xml.parsers.expat
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from finetune.arguments.nearest import nearest
from finetune.data.files import capped, listed, raise_problems, read_bytes
from finetune.data.row_files import RowTable
from finetune.errors import DataError, Problem

POLARITIES = {"positive": "POS", "negative": "NEG", "neutral": "NEU", "conflict": "CONF"}
LABELS = ("POS", "NEG", "NEU")
CONFLICT = "CONF"


class AspectKind(StrEnum):
    """What sentiment is about: a term in the text, or a category that may not be named in it."""

    TERM = "terms"
    CATEGORY = "categories"


ROOTS = ("sentences", "Reviews")  # SemEval-2015 has reviews around its sentences
OPINION, NO_TARGET = "Opinion", "NULL"
OPINION_NAMES = {AspectKind.TERM: "target", AspectKind.CATEGORY: "category"}
OTHER_COMMANDS = {
    AspectKind.TERM: "--dataset_name semeval2014-atsc reads terms (prepare_semeval_datasets.py: --aspects terms)",
    AspectKind.CATEGORY: "--dataset_name semeval2014-acsc reads categories (prepare_semeval_datasets.py: "
    "--aspects categories)",
}
ELEMENTS = {AspectKind.TERM: ("aspectTerm", "term"), AspectKind.CATEGORY: ("aspectCategory", "category")}


@dataclass(frozen=True)
class Aspect:
    """One aspect of a sentence. `label` is None in files to predict; categories have no offsets."""

    name: str
    label: str | None
    start: int | None = None
    end: int | None = None
    line: int = 0


@dataclass
class ReviewSentence:
    """One sentence with its aspects; `line` is where its element begins."""

    text: str
    line: int
    id: str | None = None
    aspects: list[Aspect] = field(default_factory=list)


def read_semeval(path: Path, kind: AspectKind = AspectKind.TERM) -> list[ReviewSentence]:
    """The sentences of a file, those without aspects of this kind included.

    Raises:
        DataError: it is no well-formed XML, has another structure, has no aspect of this kind, or aspects lack a name, a
            polarity or offsets.
    """
    reader = _Reader(path, kind)
    parser = xml.parsers.expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.CharacterDataHandler = reader.characters
    parser.buffer_text = True
    reader.parser = parser
    try:
        parser.Parse(read_bytes(path), True)
    except xml.parsers.expat.ExpatError as error:
        reason = xml.parsers.expat.ErrorString(error.code)
        reader.complain(f"the XML is broken here ({reason})", "", "repair the file", line=error.lineno)
    except (LookupError, ValueError) as error:  # an encoding that Python does not know, or one of several bytes
        reader.complain(f"the XML names an encoding that cannot be read ({error})", "", "save it as UTF-8", line=1)
    if not reader.problems and not reader.sentences:
        reader.complain("the file holds no <sentence>", "", "check that it is SemEval-2014 Task 4 XML", line=None)
    if not reader.problems and not any(sentence.aspects for sentence in reader.sentences):
        reader.complain(*reader.describe_none(), line=None)
    raise_problems(reader.problems, path)
    return reader.sentences


class _Reader:
    """Collects sentences from the events of expat, which knows line numbers."""

    def __init__(self, path: Path, kind: AspectKind) -> None:
        self.path, self.kind, (self.element, self.attribute) = path, kind, ELEMENTS[kind]
        self.seen: Counter[str] = Counter()
        self.sentences: list[ReviewSentence] = []
        self.problems: list[Problem] = []
        self.text: list[str] | None = None
        self.depth = 0
        self.has_text = False
        self.parser: xml.parsers.expat.XMLParserType

    def complain(self, found: str, allowed: str = "", remedy: str = "", *, line: int | None) -> None:
        self.problems.append(Problem(found, allowed, remedy, self.path, line))

    def start(self, name: str, attributes: dict[str, str]) -> None:
        line, self.depth = self.parser.CurrentLineNumber, self.depth + 1
        self.seen[name] += 1
        if self.depth == 1 and name not in ROOTS:
            self.complain(f"the first element is <{name}>", "<sentences> or <Reviews> is expected", line=line)
        if name == "sentence":
            self.has_text = False
            self.sentences.append(ReviewSentence("", line, attributes.get("id")))
        elif name == "text" and self.sentences:
            self.text = []
        elif name == self.element and self.sentences:
            self.add_aspect(attributes, line)
        elif name == OPINION and self.sentences:
            self.add_opinion(attributes, line)

    def add_opinion(self, attributes: dict[str, str], line: int) -> None:
        """An aspect of SemEval-2015: a target that stands in the text, or a category, which a sentence has once a label."""
        attribute = OPINION_NAMES[self.kind]
        if attribute == "target" and attributes.get("target", NO_TARGET) == NO_TARGET:
            return
        renamed = {**attributes, self.attribute: attributes.get(attribute, "")}
        self.add_aspect(renamed, line)

    def describe_none(self) -> tuple[str, str, str]:
        """What the file holds instead of aspects of this kind, and what reads that."""
        other = AspectKind.CATEGORY if self.kind is AspectKind.TERM else AspectKind.TERM
        found = f"the file holds no <{self.element}> and no <{OPINION}> with a {OPINION_NAMES[self.kind]}"
        if self.seen[ELEMENTS[other][0]] or self.seen[OPINION]:
            return f"{found}, but aspect {other}", "", OTHER_COMMANDS[other]
        return found, f"it holds {listed([f'<{name}>' for name in self.seen])}", "check that it is the annotated file"

    def characters(self, data: str) -> None:
        if self.text is not None:
            self.text.append(data)

    def end(self, name: str) -> None:
        self.depth -= 1
        if name == "text" and self.text is not None:
            self.sentences[-1].text, self.text, self.has_text = "".join(self.text), None, True
        elif name == "sentence" and not (self.has_text and self.sentences[-1].text.strip()):
            self.complain("the sentence has no <text>", "every sentence has one", line=self.sentences[-1].line)

    def add_aspect(self, attributes: dict[str, str], line: int) -> None:
        name = attributes.get(self.attribute)
        if not name:
            self.complain(f"an <{self.element}> lacks {self.attribute}=", line=line)
            return
        polarity = attributes.get("polarity")
        if polarity is not None and polarity not in POLARITIES:
            match = nearest(polarity, POLARITIES)
            allowed = f"allowed: {', '.join(POLARITIES)}" + (f", the nearest is {match}" if match else "")
            self.complain(f"the polarity of {name!r} is {polarity!r}", allowed, line=line)
            return
        label = None if polarity is None else POLARITIES[polarity]
        start, end = self.offsets(name, attributes, line) if self.element == "aspectTerm" else (None, None)
        self.sentences[-1].aspects.append(Aspect(name, label, start, end, line))

    def offsets(self, name: str, attributes: dict[str, str], line: int) -> tuple[int | None, int | None]:
        values = [attributes.get("from"), attributes.get("to")]
        if all(value is not None and value.isdecimal() for value in values):
            return int(values[0] or 0), int(values[1] or 0)
        shown = " and ".join(f"{key}={value!r}" for key, value in zip(("from", "to"), values, strict=True))
        allowed = "each aspect term has from= and to=, the characters where it begins and ends"
        self.complain(f"the offsets of {name!r} are {shown}", allowed, line=line)
        return None, None


def aspect_rows(sentences: Iterable[ReviewSentence], path: Path, split: str) -> RowTable:
    """One row per aspect: the sentence, the aspect as the second text, its label.

    Conflicting aspects are left out and counted; a split without any polarity has no label column.
    """
    pairs = [(sentence, aspect) for sentence in sentences for aspect in sentence.aspects]
    kept = [(sentence, aspect) for sentence, aspect in pairs if aspect.label != CONFLICT]
    labelled = [aspect.label is not None for _, aspect in kept]
    if any(labelled) and not all(labelled):
        lines = [aspect.line for _, aspect in kept if aspect.label is None]
        raise DataError(*capped([_no_polarity(path, line) for line in lines], path))
    columns: dict[str, list] = {
        "text": [sentence.text for sentence, _ in kept],
        "text_pair": [aspect.name for _, aspect in kept],
    }
    if any(labelled):
        columns["label"] = [aspect.label for _, aspect in kept]
    table = RowTable(columns, [aspect.line for _, aspect in kept], path)
    if len(kept) < len(pairs):
        table.notes.append(f"{split}: {len(pairs) - len(kept):,} aspects with conflicting sentiment were left out.")
    return table


def _no_polarity(path: Path, line: int) -> Problem:
    return Problem("the aspect has no polarity, though others of the file have one", "", "add it", path, line)


def describe_offsets(sentences: Sequence[ReviewSentence], path: Path) -> list[str]:
    """Sentences that count terms which do not stand at their offsets; the term as written is what counts."""
    terms = [
        (sentence.text, aspect) for sentence in sentences for aspect in sentence.aspects if aspect.start is not None
    ]
    blank = sum(aspect.end == 0 for _, aspect in terms)
    moved = sum(aspect.end != 0 and text[aspect.start : aspect.end] != aspect.name for text, aspect in terms)
    notes = [f"{path}: {blank:,} of {len(terms):,} aspect terms have the offsets 0-0, as older tools wrote them."]
    wrong = [f"{path}: {moved:,} of {len(terms):,} aspect terms do not stand where their offsets say."]
    return (notes if blank else []) + (wrong if moved else [])


def count_labels(sentences: Iterable[ReviewSentence]) -> Counter[str]:
    """How often each label occurs."""
    return Counter(aspect.label for sentence in sentences for aspect in sentence.aspects if aspect.label)
