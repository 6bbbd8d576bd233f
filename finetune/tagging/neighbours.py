"""A stream of texts to tag -> the same texts, each with its neighbours of the same document, as far as context reaches."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from finetune.data.prediction_input import InputText
from finetune.tagging.formats.sentences import DOCUMENT_MARKS

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextInDocument(InputText):
    """A text between those of its document that are read with it, in their order."""

    before: tuple[InputText, ...] = ()
    after: tuple[InputText, ...] = ()


def give_neighbours(texts: Iterable[InputText], context: int) -> Iterator[TextInDocument]:
    """Every text with as many neighbours of its document on each side as `context` subwords can lie in.

    Few are held at a time, whatever the length of the stream. A file in which nothing marks documents is told of once.
    """
    told: set[object] = set()
    document = _Document(context)
    for text in texts:
        if text.document is None and text.path not in told:
            told.add(text.path)
            found = "nothing here marks documents, so texts are read without their neighbours, unlike in training"
            logger.warning("%s: %s; %s.", text.path, found, DOCUMENT_MARKS)
        if not document.holds(text):
            yield from document.finish()
            document = _Document(context)
        yield from document.add(text)
    yield from document.finish()


@dataclass
class _Document:
    """What is held of one document: texts before the next one to give, and those from it on, with their words, counted.

    A word has a subword at least, so `context` words are enough.
    """

    context: int
    before: deque[tuple[InputText, int]] = field(default_factory=deque)
    waiting: deque[tuple[InputText, int]] = field(default_factory=deque)

    def holds(self, text: InputText) -> bool:
        """Whether a text goes on with the document."""
        if not self.waiting:
            return False
        last = self.waiting[-1][0]
        return text.document is not None and (last.path, last.document) == (text.path, text.document)

    def add(self, text: InputText) -> Iterator[TextInDocument]:
        """The texts behind which enough is known now."""
        self.waiting.append((text, count_words(text)))
        while len(self.waiting) > 1 and _words_behind_first(self.waiting) >= self.context:
            yield self._give()

    def finish(self) -> Iterator[TextInDocument]:
        while self.waiting:
            yield self._give()

    def _give(self) -> TextInDocument:
        text, count = self.waiting.popleft()
        before, after = (tuple(item for item, _ in side) for side in (self.before, self.waiting))
        self.before.append((text, count))
        while _words_behind_first(self.before) >= self.context:
            self.before.popleft()
        return TextInDocument(**vars(text), before=before, after=after)


def _words_behind_first(texts: deque[tuple[InputText, int]]) -> int:
    return sum(count for _, count in texts) - texts[0][1]


def count_words(text: InputText) -> int:
    """A number of words that a text has at least, told without cutting it: only white space is never a word."""
    return len(text.text.split()) if text.words is None else len(text.words)


def outer_neighbours(texts: Sequence[InputText]) -> tuple[list[InputText], list[InputText]]:
    """What is to be read before the first and behind the last of some texts of a stream."""
    first, last = texts[0], texts[-1]
    before = first.before if isinstance(first, TextInDocument) else ()
    after = last.after if isinstance(last, TextInDocument) else ()
    return list(before), list(after)
