"""What a launcher (torchrun, accelerate) tells a process of the others."""

from __future__ import annotations

import os

from finetune.errors import Problem

NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
OF_ACCELERATE = "ACCELERATE_MIXED_PRECISION"  # `accelerate launch` sets it for a single process, too


def check_launcher() -> list[Problem]:
    """Variables of a launcher that hold no numbers."""
    given = {name: os.environ.get(name, "") for name in NAMES}
    wrong = {name: value for name, value in given.items() if value.strip() and not _is_number(value)}
    remedy = "unset it, or start with torchrun, which sets it"
    return [
        Problem(f"the variable {name} is {value!r}", "it must be a whole number", remedy)
        for name, value in wrong.items()
    ]


def _is_number(text: str) -> bool:
    return text.strip().removeprefix("-").isdecimal()


def is_main_process() -> bool:
    """Whether this is rank 0 of a launch on several processes, or the only process."""
    return find_rank() == 0


def find_rank() -> int:
    """The number of this process among those of a launch; 0 without a launcher."""
    rank = os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")).strip()
    return max(int(rank), 0) if rank and _is_number(rank) else 0


def find_local_rank() -> int:
    """The number of this process among those of its machine."""
    rank = os.environ.get("LOCAL_RANK", "0").strip()
    return max(int(rank), 0) if _is_number(rank) else 0


def count_local_processes() -> int:
    """How many of them were started on this machine; 1 without a launcher."""
    count = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(int(count), 1) if count.isdecimal() else 1


def is_launched() -> bool:
    """Whether a launcher has started this process, alone or with others: it starts none itself then."""
    given = (os.environ.get(name, "").strip() for name in NAMES)
    return any(value not in ("", "-1") for value in given) or OF_ACCELERATE in os.environ


def count_processes() -> int:
    """How many processes were started for one training; 1 without a launcher."""
    count = os.environ.get("WORLD_SIZE", "")
    return max(int(count), 1) if count.isdecimal() else 1
