"""What a launcher (torchrun, accelerate) tells a process of the others."""

from __future__ import annotations

import os


def count_processes() -> int:
    """How many processes were started for one training; 1 without a launcher."""
    count = os.environ.get("WORLD_SIZE", "")
    return max(int(count), 1) if count.isdecimal() else 1
