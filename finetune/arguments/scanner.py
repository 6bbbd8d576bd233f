"""The words of a command line, cut into flags and the words that follow each.

argparse stops at the first mistake, takes `-1e-5` for a flag and lets a list swallow positional arguments. Here
nothing is checked: `parser.py` does that with the whole line in view, and so reports every mistake at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_FLAG = re.compile(r"--?[A-Za-z_]")
_LOOKS_LIKE_A_NUMBER = re.compile(r"-(inf|nan)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Typed:
    """One flag as it was typed, or one entry of a config file (then with its place).

    `words` are all words up to the next flag; `attached` says that the first came as `--flag=word`. `words` is None
    for an explicit null in a config file.
    """

    flag: str
    words: tuple[str, ...] | None
    attached: bool = False
    path: Path | None = None
    line: int | None = None

    @property
    def name(self) -> str:
        """The flag as a field name: `--max-steps` and `--max_steps` are `max_steps`."""
        return self.flag.lstrip("-").replace("-", "_")


def is_flag(word: str) -> bool:
    """Whether a word starts a flag; negative numbers, a lone dash and `--` do not."""
    return bool(_FLAG.match(word)) and not _LOOKS_LIKE_A_NUMBER.match(word)


def scan(argv: Sequence[str]) -> tuple[list[str], list[Typed]]:
    """The words before the first flag and after a lone `--`, and the flags in their order."""
    words, rest = _split_at_double_dash(list(argv))
    starts = [position for position, word in enumerate(words) if is_flag(word)]
    cuts = [*starts, len(words)]
    return words[: cuts[0]] + rest, [_typed(words[start:end]) for start, end in pairwise(cuts)]


def _split_at_double_dash(words: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in words:
        return words, []
    position = words.index("--")
    # `--space_token --` gives two dashes as a value only when attached with `=`.
    return words[:position], words[position + 1 :]


def _typed(words: list[str]) -> Typed:
    flag, equals, value = words[0].partition("=")
    if equals:
        return Typed(flag, (value, *words[1:]), attached=True)
    return Typed(flag, tuple(words[1:]))
