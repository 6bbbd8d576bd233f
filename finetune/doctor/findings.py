"""What an examination finds: one line per item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One item; `remedy` is what to do where it is not ok. Only `wrong` keeps finetune from working."""

    verdict: Literal["ok", "note", "wrong"]
    item: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        said = "; ".join(part for part in (self.found, self.remedy) if part)
        return f"{self.verdict:<5}  {self.item:<14}  {' '.join(said.split())}"
