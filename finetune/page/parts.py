"""What a page is made of: sections of sentences, tables, figures and examples. All text in them is data, never markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Cell = str | int | float | None


@dataclass(frozen=True)
class Sentences:
    """Sentences as a list; `kind` says how they are meant."""

    items: Sequence[str]
    kind: Literal["plain", "verdict", "warning"] = "plain"
    title: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under headings; `left_out` says how many more there are. `folded` tables open on request."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    folded: bool = False
    left_out: int = 0
    shares: bool = False  # numbers between 0 and 1 get a bar behind them


@dataclass(frozen=True)
class Figure:
    """A plot: `svg` is markup of ours, made from escaped text; `png` the same as a file."""

    name: str
    caption: str
    svg: str
    png: bytes = b""


@dataclass(frozen=True)
class Segment:
    """A stretch of text; `label` is what is said of it, `right` whether the other side says the same."""

    text: str
    label: str = ""
    right: bool = True


@dataclass(frozen=True)
class Example:
    """A text with what was expected and what was predicted of it, each as a line of segments."""

    heading: str
    lines: Sequence[tuple[str, Sequence[Segment]]]


@dataclass(frozen=True)
class Examples:
    items: Sequence[Example]


@dataclass(frozen=True)
class Code:
    """Text to be copied."""

    text: str
    caption: str = ""


Block = Sentences | Table | Figure | Examples | Code


@dataclass(frozen=True)
class Section:
    """A heading with what stands under it; one without blocks is left out."""

    name: str
    title: str
    blocks: list[Block] = field(default_factory=list)

    @property
    def figures(self) -> list[Figure]:
        return [block for block in self.blocks if isinstance(block, Figure)]
