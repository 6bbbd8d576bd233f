"""What is said of a label that a list lacks, in every task: where it occurs, how often, and which known one is nearest."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from finetune.arguments.nearest import nearest
from finetune.data.files import listed
from finetune.errors import Problem


def unknown_label(
    label: str,
    known: Collection[str],
    *,
    noun: str,
    place: str,
    uses: int,
    by: str,
    remedy: str = "correct it, or add examples of it to train",
    path: Path | None = None,
    line: int | None = None,
) -> Problem:
    """The problem of a label (`noun`: label or tag) that occurs `uses` times in `place`, while `by` lacks it."""
    times = "once" if uses == 1 else f"{uses:,} times, first here"
    found = f"the {noun} {label!r} occurs in {place} ({times}), but {by} lacks it"
    return Problem(found, describe_known(label, known, noun), remedy, path, line)


def describe_known(label: str, known: Collection[str], noun: str) -> str:
    """The nearest known label, or all of a short list."""
    match = nearest(label, known)
    return f"the nearest known {noun} is {match!r}" if match else f"known are {listed(sorted(known), limit=12)}"
