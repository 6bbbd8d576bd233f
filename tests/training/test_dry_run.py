from __future__ import annotations

import subprocess
import sys

import pytest

CHILD = "from finetune.training.dry_run import peak_bytes; print(peak_bytes())"
PARENT = f"""
import subprocess, sys
held = bytearray(2**30)
held[::4096] = b"1" * len(held[::4096])
subprocess.run([sys.executable, "-c", {CHILD!r}], check=True)
"""


def peak(code: str) -> int:
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return int(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands the parent's peak on")
def test_the_memory_of_what_started_a_run_is_not_counted():
    assert peak(PARENT) < 1.2 * peak(CHILD)
