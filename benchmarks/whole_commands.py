"""Whole commands of this project as a user starts them: what one costs, and what its steps alone cost."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from measure import DATA, GIGA, Ratio

TIMES = ("seconds", "cpu_seconds")


def read_wnut17_sentences() -> list[str]:
    """WNUT17's training sentences, each as its lines."""
    with gzip.open(DATA / "wnut17" / "wnut17train.conll.gz", "rt", encoding="utf-8") as file:
        return [block for block in re.split(r"\n\s*\n", file.read()) if block.strip()]


def run_command(command: Sequence[str], environment: Mapping[str, str]) -> tuple[dict[str, float], str]:
    """Seconds by the clock and by the processor, peak memory of one process in GB; and its log. A failure ends the program.

    The processor's are those of the processes, too, that the command has started and waited for.
    """
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    log = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        sys.exit(f"{' '.join(command)} failed:\n{log[-3000:]}")
    costs = {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime}
    return {**costs, "gigabytes": usage.ru_maxrss * 1024 / GIGA}, log


def cost_of_a_step(short: Mapping[str, Any], long: Mapping[str, Any], steps: tuple[int, int]) -> dict[str, float]:
    """`seconds_a_step` and `cpu_seconds_a_step`, by two commands of so many steps: the start is in both."""
    few, many = steps
    return {f"{key}_a_step": (long[key] - short[key]) / (many - few) for key in TIMES}


def ratio_of(above: Sequence[Mapping[str, float]], below: Sequence[Mapping[str, float]], key: str) -> Ratio:
    """Of one number of each round."""
    return Ratio.of([run[key] for run in above], [run[key] for run in below])


def of_load(kept: Mapping[str, Any]) -> str:
    return f"load average {kept['load'][0]:.1f} to {kept['load'][1]:.1f}"
