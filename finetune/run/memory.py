"""How much memory a process has held."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak_resident_bytes(process: int | str = "self") -> int:
    """The most memory that was resident since a process began; of another than this one only on Linux.

    Raises:
        OSError, IndexError: the other process has ended.
    """
    status = Path(f"/proc/{process}/status")
    if sys.platform == "linux":  # where `ru_maxrss` would count what the process that started this one held
        return int(status.read_text(encoding="utf-8").partition("VmHWM:")[2].split()[0]) * 1024
    kilo = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilo
