"""Gradients summed in shared memory, by real processes: gloo's sums, the end of a process, places without such memory."""

from __future__ import annotations

import multiprocessing
import os
import signal

import pytest
import torch
import torch.distributed
from accelerate.utils import DDPCommunicationHookType, DistributedDataParallelKwargs, DistributedType

from finetune.training import shared_gradients
from finetune.training.shared_gradients import PIECE, SharedMemoryGradients, SharedSums, share_gradients, share_sums

SIZES = (1, 2, 5, 1000, PIECE // 4, PIECE // 4 + 3, PIECE + 7)  # in numbers: less than there are processes, and pieces


def draw(rank, size, kind):
    return torch.randn(size, generator=torch.Generator().manual_seed(100 * rank + size % 97)).to(kind)


def run(work, processes, store):
    """Run `work(rank)` in so many processes of one group; what each returned."""
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def begin(rank):
        torch.set_num_threads(1)
        torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=processes)
        try:
            answers.put((rank, work(rank)))
        except RuntimeError as error:
            answers.put((rank, str(error)))
        torch.distributed.destroy_process_group()

    children = [context.Process(target=begin, args=(rank,)) for rank in range(processes)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert not child.is_alive()
    found = {}
    while not answers.empty():
        rank, answer = answers.get()
        found[rank] = answer
    return found


@pytest.mark.parametrize("processes", [2, 3])
def test_means_are_those_of_gloo_and_the_same_bits_everywhere(processes, tmp_path, monkeypatch):
    (tmp_path / "shared").mkdir()
    monkeypatch.setattr(shared_gradients, "SHARED_FOLDER", tmp_path / "shared")

    def work(rank):
        sums, apart, seen = share_sums(), 0.0, []
        assert isinstance(sums, SharedSums)
        for kind in (torch.float32, torch.float64, torch.bfloat16):
            for size in SIZES:
                own = sums.average(draw(rank, size, kind))
                sent = draw(rank, size, torch.float64)
                torch.distributed.all_reduce(sent)
                error = (own.double() - sent / processes).abs().max() / torch.finfo(kind).eps
                apart = max(apart, float(error))
                seen.append(own.double().sum().item())
        return apart, seen

    found = run(work, processes, tmp_path / "store")
    assert len(found) == processes
    assert all(apart < 16 for apart, _ in found.values())  # roundings of numbers up to 5
    assert len({tuple(seen) for _, seen in found.values()}) == 1
    assert not [*(tmp_path / "shared").iterdir()]  # nothing is left behind


def test_the_end_of_a_process_is_an_error_in_the_others_not_a_wait_without_end(tmp_path):
    def work(rank):
        sums = share_sums()
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        sums.average(torch.ones(10))

    assert run(work, 2, tmp_path / "store") == {0: "process 1 of this training has ended"}


@pytest.mark.parametrize("reason", ["there is no such folder", "another processor", "another machine"])
def test_without_such_memory_no_process_uses_it(reason, tmp_path, monkeypatch):
    if reason == "there is no such folder":
        monkeypatch.setattr(shared_gradients, "SHARED_FOLDER", tmp_path / "missing")
    elif reason == "another processor":
        monkeypatch.setattr(shared_gradients.platform, "machine", lambda: "aarch64")

    def work(rank):
        if reason == "another machine" and rank == 1:
            shared_gradients._open = lambda *_: None
        return share_sums()

    found = run(work, 2, tmp_path / "store")
    expected = {
        "there is no such folder": "No such file or directory",
        "another processor": "aarch64",
        "another machine": "do not see the same memory",
    }
    assert len(found) == 2
    assert all(expected[reason] in said for said in found.values())


class Accelerator:
    def __init__(self, kind, handler):
        self.distributed_type, self.ddp_handler = kind, handler


def test_only_processes_on_a_processor_are_given_the_hook_and_settings_are_kept():
    asked = DistributedDataParallelKwargs(find_unused_parameters=True, bucket_cap_mb=7)
    taken = Accelerator(DistributedType.MULTI_CPU, asked)
    share_gradients(taken)
    assert isinstance(taken.ddp_handler, SharedMemoryGradients)
    assert taken.ddp_handler.to_kwargs() == {**asked.to_kwargs(), "gradient_as_bucket_view": True}
    own = DistributedDataParallelKwargs(comm_hook=DDPCommunicationHookType.BF16)
    for kind, handler in (
        (DistributedType.MULTI_GPU, asked),
        (DistributedType.MULTI_CPU, own),
        (DistributedType.NO, None),
    ):
        left = Accelerator(kind, handler)
        share_gradients(left)
        assert left.ddp_handler is handler
