"""Text -> word-level vocabulary: words of a segmenter, counted by several processes, the frequent ones kept.

Text is cut exactly as the tokenizer will cut it: at spaces, newlines and special tokens, and the stretches between by
the segmenter, each distinct stretch of a chunk once.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from finetune.errors import DataError, Problem
from finetune.tokenization.segmentation import CUTS, MARK
from finetune.tokenization.training_text import LineRules, PickedChunk, TrainingText, take_lines
from finetune.tokenization.vocabulary import WORD_LEVEL_TOKENS, write_vocabulary

logger = logging.getLogger(__name__)

BORDERS = re.compile("(?:" + "|".join(map(re.escape, (" ", *WORD_LEVEL_TOKENS))) + ")")


@dataclass(frozen=True)
class WordCounter:
    """The work of one process: chunk -> how often each word occurs in it."""

    kind: str
    rules: LineRules

    def __call__(self, picked: PickedChunk) -> Counter[str]:
        stretches = Counter(stretch for line in take_lines(picked, self.rules) for stretch in BORDERS.split(line))
        cut = CUTS[self.kind]
        words: Counter[str] = Counter()
        for stretch, times in stretches.items():
            for word in cut(stretch):
                words[word] += times
        return words


@dataclass(frozen=True)
class WordVocabulary:
    """Words with their ids, and what the corpus says of them. `coverage`: share of running words that are in it."""

    words: dict[str, int]
    distinct: int
    running: int
    coverage: float


def train_word_vocabulary(
    text: TrainingText, kind: str, *, min_frequency: int = 1, size: int | None = None
) -> WordVocabulary:
    """Count words and number them: special tokens first, then the most frequent; equal counts in character order.

    Args:
        text: the corpus.
        kind: "newmm", "syllable" or "fake_sefr_cut".
        min_frequency: rarer words are left out.
        size: at most this many entries, special tokens included.

    Raises:
        DataError: nothing to count, `fake_sefr_cut` text without a single mark, or no word as frequent as asked.
    """
    counts = count_words(text, kind)
    if kind == "fake_sefr_cut":
        _require_marks(text)
    return choose_words(counts, min_frequency=min_frequency, size=size)


def count_words(text: TrainingText, kind: str) -> Counter[str]:
    """How often each word occurs in the corpus.

    Raises:
        DataError: a file cannot be read, or holds no text.
    """
    if text.sample is not None:
        text.survey()
    counts: Counter[str] = Counter()
    for words in text.map_picked(WordCounter(kind, text.rules), f"Counting words by {kind}"):
        counts.update(words)
    if not counts:
        raise text.nothing_left()
    return counts


def choose_words(counts: Counter[str], *, min_frequency: int = 1, size: int | None = None) -> WordVocabulary:
    """The vocabulary of a count.

    Raises:
        DataError: no word is left.
    """
    frequent = [(word, count) for word, count in counts.items() if count >= min_frequency]
    frequent.sort(key=lambda item: (-item[1], item[0]))
    kept = frequent if size is None else frequent[: max(size - len(WORD_LEVEL_TOKENS), 0)]
    if not kept:
        most = max(counts.values())
        found = f"no word is left of {len(counts):,}: the most frequent occurs {most:,} times"
        raise DataError(Problem(found, remedy="lower --vocab_min_freq or raise --vocab_size"))
    words = {word: index for index, word in enumerate([*WORD_LEVEL_TOKENS, *(word for word, _ in kept)])}
    running = counts.total()
    return WordVocabulary(words, len(counts), running, sum(count for _, count in kept) / running)


def _require_marks(text: TrainingText) -> None:
    """Text that was never segmented would make every line a word, so it is refused."""
    if not any(MARK in line for line in text.lines()):
        found = f"no line holds the mark {MARK} between its words"
        remedy = "segment the text first: docs/tokenizers.md gives the format"
        raise DataError(Problem(found, remedy=remedy, path=text.paths[0].parent))


def write_word_vocabulary(vocabulary: WordVocabulary, path: Path) -> None:
    """Write the words and log what they cover."""
    write_vocabulary(path, vocabulary.words)
    logger.info(
        "%s of %s distinct words kept; with the special tokens the vocabulary has %s entries. They are %.1f %% of the "
        "%s running words; the others become <unk>.",
        f"{len(vocabulary.words) - len(WORD_LEVEL_TOKENS):,}",
        f"{vocabulary.distinct:,}",
        f"{len(vocabulary.words):,}",
        100 * vocabulary.coverage,
        f"{vocabulary.running:,}",
    )
