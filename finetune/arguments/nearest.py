"""The nearest known name to one that was misspelt."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

LISTED_AT_MOST = 12


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name most like `word`, whatever the case; None when nothing is alike."""
    by_folded = {name.casefold(): name for name in known}
    folded = word.casefold()
    begins = [name for name in by_folded if len(folded) >= 3 and name.startswith(folded)]
    found = begins or get_close_matches(folded, by_folded, n=1, cutoff=cutoff) or _holding(folded, by_folded)
    return by_folded[found[0]] if found else None


def _holding(word: str, names: Iterable[str]) -> list[str]:
    """Names that a word is part of, those that end in it first: `batch_size` -> `per_device_train_batch_size`."""
    holding = [name for name in names if len(word) >= 4 and word in name]
    return sorted(holding, key=lambda name: not name.endswith(f"_{word}"))


def allowed_values(word: str, known: Iterable[str]) -> str:
    """The sentence part that names what is allowed: the nearest match first, then the list, if it is short."""
    names = list(known)
    match = nearest(word, names)
    parts = [f"did you mean {match!r}"] if match else []
    if len(names) <= LISTED_AT_MOST or not match:
        parts.append("allowed: " + ", ".join(names))
    return "; ".join(parts)
