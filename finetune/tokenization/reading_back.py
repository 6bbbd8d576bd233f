"""A trained tokenizer reads its own training text back: how much of it is unknown to it, how much comes back otherwise."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from transformers import PreTrainedTokenizerBase

from finetune.tokenization.segmentation import MARK
from finetune.tokenization.training_text import TrainingText
from finetune.tokenization.vocabulary import SPACE

logger = logging.getLogger(__name__)

BYTES_READ_BACK = 1 << 22  # of more text, lines are taken evenly
LINES_AT_ONCE = 1000
MUCH = 0.01  # a share that is a warning
SHOWN = 8
BY_UNKNOWN, BY_NORMALIZATION, BY_SPACE, BY_OTHER = (
    "by what is unknown", "by normalization", "in white space", "in other ways"
)  # fmt: skip


@dataclass
class ReadBack:
    """What came back of the lines. `spaces_count`: the tokenizer keeps white space, so that it is compared too."""

    tokenizer: PreTrainedTokenizerBase
    lowercase: bool = False
    spaces_count: bool = True
    lines: int = 0
    tokens: int = 0
    unknown: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    letters: Counter[str] = field(default_factory=Counter)  # of lines with something unknown

    def add(self, lines: Sequence[str]) -> None:
        rows = self.tokenizer(list(lines), add_special_tokens=False, verbose=False)["input_ids"]
        for line, ids in zip(lines, rows, strict=True):
            unknown = ids.count(self.tokenizer.unk_token_id)
            self.lines, self.tokens, self.unknown = self.lines + 1, self.tokens + len(ids), self.unknown + unknown
            if unknown:
                self.letters.update(line)
            cause = self._find_change(line, ids, unknown)
            self.causes.update([cause] if cause else [])

    def _find_change(self, line: str, ids: list[int], unknown: int) -> str | None:
        """Why a line does not come back; None where it does."""
        expected = self._comparable(line.lower() if self.lowercase else line)
        found = self._comparable(str(self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)))
        if found == expected:
            return None
        if unknown:
            return BY_UNKNOWN
        if "".join(found.split()) == "".join(expected.split()):
            return BY_SPACE
        normalizer = getattr(getattr(self.tokenizer, "backend_tokenizer", None), "normalizer", None)
        rewritten = self._comparable(normalizer.normalize_str(line)) if normalizer is not None else expected
        return BY_NORMALIZATION if rewritten == found or rewritten != expected else BY_OTHER

    def _comparable(self, text: str) -> str:
        text = text.replace(MARK, "").replace(SPACE, " ").strip()
        return text if self.spaces_count else "".join(text.split())

    @property
    def changed(self) -> int:
        return self.causes.total()

    @property
    def unknown_share(self) -> float:
        return self.unknown / max(self.tokens, 1)

    @property
    def changed_share(self) -> float:
        return self.changed / max(self.lines, 1)

    def facts(self) -> dict[str, Any]:
        return {"unknown_tokens": round(self.unknown_share, 6), "lines_changed": round(self.changed_share, 6)}

    def unknown_letters(self) -> list[str]:
        """The most frequent characters that are unknown, as far as it is characters that are."""
        unknown = self.tokenizer.unk_token_id
        ids = ((letter, self.tokenizer(letter, add_special_tokens=False)["input_ids"]) for letter in self._by_use())
        return list(islice((letter for letter, row in ids if unknown in row), SHOWN))

    def _by_use(self) -> Iterator[str]:
        return (letter for letter, _ in self.letters.most_common() if not letter.isspace())


def read_back(
    tokenizer: PreTrainedTokenizerBase, text: TrainingText, *, lowercase: bool, spaces_count: bool = True
) -> ReadBack:
    """Encode and decode the lines of a training text: all of them, or of much text as many, taken evenly."""
    result = ReadBack(tokenizer, lowercase, spaces_count)
    size = sum(path.stat().st_size for path in text.paths)
    taken = islice(text.lines(), 0, None, 1 + size // BYTES_READ_BACK)
    while lines := list(islice(taken, LINES_AT_ONCE)):
        result.add(lines)
    return result


def tell_read_back(result: ReadBack, remedy: str, normalization: str) -> None:
    """Say both shares; more than one in a hundred is a warning, with its cause."""
    of_unknown = f"{result.unknown:,} of {result.tokens:,} tokens ({result.unknown_share:.2%}) are unknown"
    if result.unknown_share > MUCH:
        letters = result.unknown_letters()
        such = f", with characters such as {' '.join(letters)}" if letters else ""
        logger.warning("Of its training text, %s%s; %s.", of_unknown, such, remedy)
    else:
        logger.info("Of its training text, %s.", of_unknown)
    causes = ", ".join(f"{count:,} {_name(cause, normalization)}" for cause, count in result.causes.most_common())
    log = logger.warning if result.changed_share > MUCH else logger.info
    log(
        "Encoded and decoded, %s of %s lines (%.2f %%) are not what they were%s.",
        f"{result.changed:,}",
        f"{result.lines:,}",
        100 * result.changed_share,
        f": {causes}" if causes else "",
    )


def _name(cause: str, normalization: str) -> str:
    return f"{cause} ({normalization})" if cause == BY_NORMALIZATION and normalization else cause
