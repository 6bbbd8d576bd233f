"""Text -> BPE or WordPiece vocabulary, with the trainers of the Rust library made repeatable.

Those trainers break ties by the order in which they first met a symbol, which for symbols with a prefix or a suffix
(`##a`, `a</w>`) is the random order of a hash table: two runs over the same text give different vocabularies. So the
symbols are collected in a first pass and given to the second one sorted. The library's limit on the alphabet has the
same flaw, and is applied here instead.
"""

from __future__ import annotations

import json
import logging
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from finetune.errors import DataError, Problem
from finetune.run.workers import one_tokenizer_thread
from finetune.tokenization.training_text import LineRules, PickedChunk, TrainingText, take_lines

logger = logging.getLogger(__name__)

ROBERTA_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
BERT_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MUCH_STRIPPED = 0.02  # share of characters; European text has less


@dataclass(frozen=True)
class SubwordSettings:
    """What is trained. `algorithm` names a class of the `tokenizers` library.

    `limit_alphabet`: only this many characters, the most frequent, are learnt (byte-level BPE has no such limit).
    `strip_accents` None follows `lowercase`, as BERT does.
    """

    algorithm: str
    vocab_size: int
    min_frequency: int = 2
    special_tokens: tuple[str, ...] = ROBERTA_TOKENS
    limit_alphabet: int = 1000
    lowercase: bool = False
    strip_accents: bool | None = None

    @property
    def unknown(self) -> str:
        return "[UNK]" if "[UNK]" in self.special_tokens else "<unk>"


@dataclass(frozen=True)
class SubwordVocabulary:
    """Tokens with their ids, and the merges of BPE in order (None for WordPiece)."""

    tokens: dict[str, int]
    merges: list[tuple[str, str]] | None


def build_byte_level_bpe(settings: SubwordSettings) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    if settings.lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def build_char_bpe(settings: SubwordSettings) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token=settings.unknown, end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=settings.lowercase, strip_accents=settings.strip_accents
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    return tokenizer


def build_sentencepiece_bpe(settings: SubwordSettings) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token=settings.unknown))
    steps: list[normalizers.Normalizer] = [normalizers.NFKC()]
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Lowercase()] if settings.lowercase else steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    return tokenizer


def build_wordpiece(settings: SubwordSettings) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token=settings.unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=settings.lowercase, strip_accents=settings.strip_accents
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


ALGORITHMS: Mapping[str, Callable[[SubwordSettings], Tokenizer]] = {
    "ByteLevelBPETokenizer": build_byte_level_bpe,
    "BertWordPieceTokenizer": build_wordpiece,
    "CharBPETokenizer": build_char_bpe,
    "SentencePieceBPETokenizer": build_sentencepiece_bpe,
}
AFFIXES = {"BertWordPieceTokenizer": "##", "CharBPETokenizer": "</w>"}


def train_subwords(text: TrainingText, settings: SubwordSettings) -> SubwordVocabulary:
    """Train a vocabulary; the same text and settings give the same one, however many threads there are.

    Raises:
        DataError: nothing to train on, or the alphabet alone is larger than the vocabulary asked for.
    """
    if text.sample is not None:
        text.survey()
    dropped = {} if settings.algorithm == "ByteLevelBPETokenizer" else _find_dropped_characters(text, settings)
    affixed = _collect_affixed(text, settings, dropped) if settings.algorithm in AFFIXES else []
    _require_alphabet(settings, affixed)
    model = _train(text, settings, dropped, [*settings.special_tokens, *affixed], settings.vocab_size)
    tokens: dict[str, int] = model["vocab"]
    _require_size(tokens, settings, text)
    merges = [tuple(merge) for merge in model["merges"]] if "merges" in model else None
    return SubwordVocabulary(tokens, merges)  # type: ignore[arg-type]


@dataclass(frozen=True)
class CharacterCounter:
    """The work of one process: chunk -> how often each character occurs in its normalised text, and in its own."""

    rules: LineRules
    normalizer: Any

    def __call__(self, picked: PickedChunk) -> tuple[Counter[str], int, int]:
        text = "\n".join(take_lines(picked, self.rules))
        marks = sum(count for letter, count in Counter(text).items() if unicodedata.category(letter) == "Mn")
        return Counter(self.normalizer.normalize_str(text)), marks, len(text)


def _find_dropped_characters(text: TrainingText, settings: SubwordSettings) -> dict[int, None]:
    """The characters beyond `limit_alphabet`, as a table for `str.translate`; equal counts in character order."""
    counter = CharacterCounter(text.rules, ALGORITHMS[settings.algorithm](settings).normalizer)
    counts: Counter[str] = Counter()
    marks = length = 0
    for letters, chunk_marks, chunk_length in text.map_picked(counter, "Counting characters"):
        counts.update(letters)
        marks, length = marks + chunk_marks, length + chunk_length
    if not length:
        raise text.nothing_left()
    _warn_of_stripping(settings, marks / length)
    letters_by_use = sorted((item for item in counts.items() if not item[0].isspace()), key=lambda i: (-i[1], i[0]))
    rare = letters_by_use[settings.limit_alphabet :]
    if rare:
        logger.warning(
            "The %s rarest of %s characters (%s occurrences) are left out of the alphabet; --limit_alphabet sets its "
            "size.",
            f"{len(rare):,}",
            f"{len(letters_by_use):,}",
            f"{sum(count for _, count in rare):,}",
        )
    return {ord(letter): None for letter, _ in rare}


def _warn_of_stripping(settings: SubwordSettings, share: float) -> None:
    strips = settings.lowercase if settings.strip_accents is None else settings.strip_accents
    uses_bert_rules = settings.algorithm in ("BertWordPieceTokenizer", "CharBPETokenizer")
    if uses_bert_rules and strips and share > MUCH_STRIPPED:
        logger.warning(
            "%.0f %% of the characters are combining marks, such as Thai vowels and tones, and are stripped as accents; "
            "--strip_accents False keeps them.",
            100 * share,
        )


def _lines(text: TrainingText, tokenizer: Tokenizer, dropped: dict[int, None]) -> Iterator[str]:
    if not dropped:
        return text.lines()
    normalise = tokenizer.normalizer.normalize_str  # type: ignore[union-attr]
    return (normalise(line).translate(dropped) for line in text.lines())


def _train(
    text: TrainingText, settings: SubwordSettings, dropped: dict[int, None], first: list[str], size: int
) -> dict[str, Any]:
    """One pass of the library's trainer: the model as its JSON."""
    tokenizer = ALGORITHMS[settings.algorithm](settings)
    options: dict[str, Any] = {
        "vocab_size": size,
        "min_frequency": settings.min_frequency,
        "special_tokens": first,
        "show_progress": False,
    }
    if settings.algorithm == "ByteLevelBPETokenizer":
        options["initial_alphabet"] = pre_tokenizers.ByteLevel.alphabet()
    if settings.algorithm == "CharBPETokenizer":
        options["end_of_word_suffix"] = AFFIXES[settings.algorithm]
    is_wordpiece = settings.algorithm == "BertWordPieceTokenizer"
    trainer = trainers.WordPieceTrainer(**options) if is_wordpiece else trainers.BpeTrainer(**options)
    with one_tokenizer_thread() if text.workers == 1 else nullcontext():
        tokenizer.train_from_iterator(_lines(text, tokenizer, dropped), trainer)
    return json.loads(tokenizer.to_str())["model"]


def _collect_affixed(text: TrainingText, settings: SubwordSettings, dropped: dict[int, None]) -> list[str]:
    """The single characters with a prefix or suffix that the text has, sorted: a training pass without any merge."""
    affix = AFFIXES[settings.algorithm]
    model = _train(text, settings, dropped, list(settings.special_tokens), 1)
    return sorted(token for token in model["vocab"] if len(token) > len(affix) and affix in token)


def _require_alphabet(settings: SubwordSettings, affixed: list[str]) -> None:
    needed = len(settings.special_tokens) + len(affixed)
    if needed > settings.vocab_size:
        raise _too_small(settings, needed)


def _require_size(tokens: Mapping[str, int], settings: SubwordSettings, text: TrainingText) -> None:
    if len(tokens) > settings.vocab_size:
        raise _too_small(settings, len(tokens))
    if len(tokens) == len(settings.special_tokens):
        raise text.nothing_left()
    if len(tokens) < settings.vocab_size:
        logger.warning(
            "The text gives only %s of the %s tokens asked for: no further pair of tokens occurs %s times.",
            f"{len(tokens):,}",
            f"{settings.vocab_size:,}",
            f"{settings.min_frequency:,}",
        )


def _too_small(settings: SubwordSettings, needed: int) -> DataError:
    found = f"--vocab_size {settings.vocab_size:,} is too small"
    allowed = f"the characters of the text and the special tokens alone are {needed:,}"
    return DataError(Problem(found, allowed, "raise it, or lower --limit_alphabet"))
