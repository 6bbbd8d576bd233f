"""Two nodes of one training, as two agents of torchrun on this machine: one dies in mid-epoch, and the end is the same."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

STEPS = 24
# Without it torch 2.13 writes the address at which all meet for the first round alone: a node that comes later waits in vain
FOR_NEW_NODES = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def start_node(repository: Path, port: int, words: list[str], log: Path) -> subprocess.Popen:
    """One agent with one process. The first one that is started holds the store at which all meet."""
    launcher = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1", "--rdzv_backend", "c10d",
        "--rdzv_endpoint", f"localhost:{port}", "--rdzv_id", "nodes", "--max_restarts", "5",
        "--log_dir", str(log.parent / "torchrun"),
    ]  # fmt: skip
    with log.open("ab") as file:
        return subprocess.Popen(
            [*launcher, str(repository / "scripts" / "run_ner.py"), *words],
            stdout=file, stderr=file, env={**os.environ, "OMP_NUM_THREADS": "1", **FOR_NEW_NODES}, start_new_session=True,
        )  # fmt: skip


def make_words(model: Path, output: Path) -> list[str]:
    flags = {
        "model_name_or_path": model, "dataset_name": "sample", "output_dir": output, "max_train_samples": 400,
        "max_steps": STEPS, "save_steps": 2, "logging_steps": 1, "per_device_train_batch_size": 4, "bf16": False,
        "learning_rate": 1e-3,
    }  # fmt: skip
    return ["--do_train", *(str(part) for name, value in flags.items() for part in (f"--{name}", value))]


def kill_node(agent: psutil.Process) -> None:
    """The machine is gone: agent and process at once."""
    for process in [*agent.children(recursive=True), agent]:
        process.kill()


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_a_node_that_dies_in_mid_epoch_changes_no_weight(tmp_path, repository, run_two_processes, tiny_bert):
    whole, part, log = tmp_path / "whole", tmp_path / "part", tmp_path / "log"
    undisturbed = run_two_processes("run_ner.py", *make_words(tiny_bert, whole))
    assert undisturbed.code == 0, undisturbed.stderr
    port, words = find_free_port(), make_words(tiny_bert, part)
    nodes = [start_node(repository, port, words, log)]
    time.sleep(1)  # the first one is the host of the store
    nodes.append(start_node(repository, port, words, log))
    deadline = time.monotonic() + 240
    try:
        while not any(part.glob("checkpoint-*/complete.json")) and time.monotonic() < deadline:
            time.sleep(0.01)
        kill_node(psutil.Process(nodes[1].pid))
        nodes[1].wait()
        nodes.append(start_node(repository, port, words, log))  # the machine is back, or another in its place
        assert [nodes[0].wait(280), nodes[2].wait(280)] == [0, 0], log.read_text()[-6000:]
    finally:
        for node in nodes:
            if node.poll() is None:
                kill_node(psutil.Process(node.pid))
    record = json.loads((part / "run.json").read_text(encoding="utf-8"))
    assert record["status"] == "done" and record["resumed"], "it was interrupted, and went on"
    weights = [(folder / "model.safetensors").read_bytes() for folder in (part, whole)]
    assert weights[0] == weights[1]
