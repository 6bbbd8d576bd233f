"""Runs that another command of ours starts end with it: SIGTERM reaches them when it is killed (on Linux)."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from finetune.errors import Preempted

VARIABLE = "FINETUNE_STARTED_BY"  # process id of the command that started this one
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


def name_parent() -> dict[str, str]:
    """What a command puts into the environment of a run that is to end with it."""
    return {VARIABLE: str(os.getpid())}


def follow_parent() -> None:
    """Get SIGTERM when the parent dies, where it asked for that; its own children's children do not.

    Raises:
        Preempted: it is dead already.
    """
    parent = os.environ.pop(VARIABLE, "")
    if not parent:
        return
    get_signal_with_parent()
    if parent != str(os.getppid()):
        raise Preempted("the command that started this run has ended; start it again to go on")


def get_signal_with_parent() -> None:
    """SIGTERM comes when the process dies that started this one (Linux; elsewhere nothing does)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)
