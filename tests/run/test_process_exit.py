"""How a process ends, alone and among several."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Sums that are still under way when the process ends, of tensors that Python holds: without `leave` Gloo's threads
# abort nearly every run of it.
UNDER_WAY = """
import atexit, os, torch, torch.distributed as dist
from finetune.run.process_exit import leave
torch.set_num_threads(1)
dist.init_process_group("gloo")
atexit.register(os.write, 1, f"said at exit {dist.get_rank()}\\n".encode())
kept = [torch.ones(200_000) for _ in range(300)]
dist.barrier()
for tensor in kept:
    dist.all_reduce(tensor, async_op=True)
leave(0)
"""

LATE = """
import atexit, os, sys
from finetune.run.process_exit import leave


class Late:
    def __del__(self, write=os.write):  # by then the modules are gone
        write(1, b"taken down\\n")


late = Late()
atexit.register(print, "said at exit")
{}
leave(7)
"""
ALONE_IN_A_GROUP = """
import torch.distributed as dist
dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=0, world_size=1)
"""


@pytest.mark.slow
def test_processes_end_with_their_code_while_gloo_lets_go_of_tensors(run_program_twice):
    for _ in range(3):
        assert sorted(run_program_twice(UNDER_WAY).splitlines()) == ["said at exit 0", "said at exit 1"]


@pytest.mark.parametrize(("group", "last"), [("", ["taken down"]), (ALONE_IN_A_GROUP, [])], ids=["alone", "group"])
def test_only_a_process_of_a_group_goes_without_the_last_steps_of_python(group, last, tmp_path):
    words = [sys.executable, "-c", LATE.format(group), str(tmp_path / "store")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 7, done.stderr
    assert done.stdout.splitlines() == ["said at exit", *last]
