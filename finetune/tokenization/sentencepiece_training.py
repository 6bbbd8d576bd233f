"""Text -> SentencePiece model (unigram or BPE), numbered as the tokenizer class that will read it expects.

The same text and settings give the same model on any machine: the threads are a fixed number, because SentencePiece
adds the expectations of its threads in floating point, and the lines of a sample are drawn here.
"""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sentencepiece

from finetune.errors import DataError, Problem
from finetune.run.folders_aside import temporary_folder
from finetune.tokenization.training_text import LineRules, TrainingText
from finetune.tokenization.vocabulary import SPACE

logger = logging.getLogger(__name__)

THREADS = 8  # part of the recipe: the model depends on it
RESERVED = "\u2585"  # SentencePiece marks unknown stretches with it and drops lines that hold it
LAYOUTS: Mapping[str, Mapping[str, Any]] = {  # what each tokenizer class expects of the first ids
    "ThaiRobertaTokenizer": {"bos_id": 0, "pad_id": 1, "eos_id": 2, "unk_id": 3, "symbols": ("<mask>", SPACE)},
    "CamembertTokenizer": {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1, "symbols": (SPACE,)},
}
TOO_HIGH = re.compile(r"Vocabulary size too high \((\d+)\).*?value <= (\d+)", re.DOTALL)
TOO_LOW = re.compile(r"Vocabulary size is smaller than required_chars\. (\d+) vs (\d+)")


@dataclass(frozen=True)
class PieceSettings:
    """What SentencePiece is asked for; the defaults are the recipe of the Thai models."""

    vocab_size: int = 24_000
    model_type: str = "unigram"
    layout: str = "ThaiRobertaTokenizer"
    character_coverage: float = 0.9998
    max_piece_length: int = 10
    max_sentence_length: int = 10_000
    add_dummy_prefix: bool = False
    byte_fallback: bool = False
    user_symbols: Sequence[str] = field(default_factory=tuple)
    normalization: str = "nmt_nfkc"
    lowercase: bool = False

    @property
    def symbols(self) -> list[str]:
        """User-defined symbols: those of the layout, then further ones."""
        return list(dict.fromkeys([*LAYOUTS[self.layout]["symbols"], *self.user_symbols]))

    @property
    def _folds_case(self) -> bool:
        """SentencePiece's own rules that lower-case too; of `identity` there is no such variant."""
        return self.lowercase and self.normalization != "identity"

    def line_rules(self, *, lowercase: bool = False) -> LineRules:
        """Spaces are the symbol `<_>`, as the tokenizers put it when they encode."""
        return LineRules(lowercase, SPACE, longest=self.max_sentence_length, reserved=RESERVED)

    def trainer_options(self) -> dict[str, Any]:
        """The keywords of `SentencePieceTrainer`."""
        ids = {name: value for name, value in LAYOUTS[self.layout].items() if name != "symbols"}
        return ids | {
            "vocab_size": self.vocab_size,
            "model_type": self.model_type,
            "character_coverage": self.character_coverage,
            "max_sentencepiece_length": self.max_piece_length,
            "max_sentence_length": self.max_sentence_length,
            "add_dummy_prefix": self.add_dummy_prefix,
            "byte_fallback": self.byte_fallback,
            "user_defined_symbols": self.symbols,
            "normalization_rule_name": self.normalization + ("_cf" if self._folds_case else ""),
            "num_threads": THREADS,
            "minloglevel": 2,
        }


def train_pieces(text: TrainingText, settings: PieceSettings) -> bytes:
    """Train a model and return it in SentencePiece's file format.

    Raises:
        DataError: no usable line, or a vocabulary larger (with the largest possible size) or smaller than the text.
    """
    lines = text.survey()
    logger.info(
        "SentencePiece learns %s pieces (%s) from %s lines.",
        f"{settings.vocab_size:,}",
        settings.model_type,
        f"{lines:,}",
    )
    model = io.BytesIO()
    try:
        with _casing_rules(settings) as rules:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=text.lines(), model_writer=model, **settings.trainer_options(), **rules
            )
    except (RuntimeError, OSError) as error:
        raise _explain(error, text, settings) from error
    return model.getvalue()


@contextmanager
def _casing_rules(settings: PieceSettings) -> Iterator[dict[str, Any]]:
    """Where text stays as it is but for its case: a file that says of each letter what it becomes."""
    if not settings.lowercase or settings.normalization != "identity":
        yield {}
        return
    with temporary_folder("finetune-casing-") as folder:
        path = folder / "lowercase.tsv"
        path.write_text("".join(_lowering_rules()), encoding="utf-8")
        yield {"normalization_rule_tsv": str(path)}


def _lowering_rules() -> Iterator[str]:
    for code in range(sys.maxunicode + 1):
        lower = chr(code).lower()
        if lower != chr(code):
            yield f"{code:X}\t{' '.join(f'{ord(letter):X}' for letter in lower)}\n"


def _explain(error: Exception, text: TrainingText, settings: PieceSettings) -> Exception:
    message = str(error)
    lines = f"the {text.lines_taken:,} lines of training text"
    if found := TOO_HIGH.search(message):
        asked, largest = (int(number) for number in found.groups())
        return DataError(
            Problem(
                f"--vocab_size {asked:,} is too large for {lines}",
                f"{largest:,} is the largest possible",
                "lower it or add text",
            )
        )
    if found := TOO_LOW.search(message):
        asked, needed = (int(number) for number in found.groups())
        return DataError(
            Problem(
                f"--vocab_size {asked:,} is too small for {lines}",
                f"their characters and the special tokens alone need {needed:,}",
                "raise it, or lower --character_coverage",
            )
        )
    if isinstance(error, OSError):
        return error
    reason = message.rsplit("] ", maxsplit=1)[-1].strip() or message.strip()
    found_text = f"SentencePiece cannot train {settings.vocab_size:,} pieces on {lines} ({reason})"
    return DataError(Problem(found_text, remedy="lower --vocab_size or add text"))


def describe_pieces(model: bytes) -> str:
    """The `.vocab` file that spm_train writes beside a model: piece, tab, score."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    rows = ((processor.id_to_piece(index), processor.get_score(index)) for index in range(len(processor)))
    return "".join(f"{piece}\t{score:g}\n" for piece, score in rows)
