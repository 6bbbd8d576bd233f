"""Two nodes of one training, one of which dies in mid-epoch: the end is the same.

Nodes are two agents of torchrun: in two network namespaces, which see each other through a cable and nothing else, where
this user may make them, otherwise side by side on this machine.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

STEPS = 24
# Without it torch 2.13 writes the address at which all meet for the first round alone: a node that comes later waits in vain
FOR_NEW_NODES = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


@dataclass(frozen=True)
class Host:
    """Where a node runs: words before its command, its address, and what it has to be told to be reached there."""

    address: str
    before: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)

    def start_node(self, meeting: str, repository: Path, words: list[str], log: Path) -> subprocess.Popen:
        """One agent with one process. The first one that is started holds the store at which all meet."""
        launcher = [
            *self.before, sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1",
            "--rdzv_backend", "c10d", "--rdzv_endpoint", meeting, "--rdzv_id", "nodes", "--max_restarts", "5",
            "--local_addr", self.address, *self.flags, "--log_dir", str(log.parent / "torchrun"),
        ]  # fmt: skip
        with log.open("ab") as file:
            return subprocess.Popen(
                [*launcher, str(repository / "scripts" / "run_ner.py"), *words], stdout=file, stderr=file,
                env={**os.environ, "OMP_NUM_THREADS": "1", **FOR_NEW_NODES, **self.variables}, start_new_session=True,
            )  # fmt: skip


def make_namespaces(names: list[str]) -> list[Host]:
    """Two network namespaces joined by a cable. Raises OSError or CalledProcessError where that may not be done."""
    addresses = [f"10.213.{os.getpid() % 250}.{number}" for number in (1, 2)]
    commands = [f"ip netns add {name}" for name in names]
    commands.append("ip link add cable netns {} type veth peer name cable netns {}".format(*names))
    for name, address in zip(names, addresses, strict=True):
        commands += [f"ip -n {name} link set lo up", f"ip -n {name} addr add {address}/24 dev cable"]
        commands.append(f"ip -n {name} link set cable up")
    for command in commands:
        subprocess.run(command.split(), check=True, capture_output=True, timeout=20)
    return [  # torch looks for its own address where the machine's name leads, which no namespace changes
        Host(
            address,
            ("ip", "netns", "exec", name),
            ("--rdzv_conf", f"is_host={is_first}"),
            {"GLOO_SOCKET_IFNAME": "cable"},
        )
        for name, address, is_first in zip(names, addresses, (1, 0), strict=True)
    ]


@pytest.fixture(params=["namespaces", "side_by_side"])
def hosts(request: pytest.FixtureRequest) -> Iterator[list[Host]]:
    names = [f"finetune-{os.getpid()}-{number}" for number in (1, 2)]
    try:
        found = make_namespaces(names)
    except (OSError, subprocess.SubprocessError) as error:
        found = []
        reason = f"no network namespaces: {error}"
    try:
        if request.param == "namespaces":
            if not found:
                pytest.skip(reason)
            yield found
        elif found:
            pytest.skip("network namespaces can be made")
        else:
            yield [Host("localhost")] * 2
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


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
def test_a_node_that_dies_in_mid_epoch_changes_no_weight(hosts, tmp_path, repository, run_two_processes, tiny_bert):
    whole, part, log = tmp_path / "whole", tmp_path / "part", tmp_path / "log"
    undisturbed = run_two_processes("run_ner.py", *make_words(tiny_bert, whole))
    assert undisturbed.code == 0, undisturbed.stderr
    command = f"{hosts[0].address}:{find_free_port()}", repository, make_words(tiny_bert, part), log
    nodes = [hosts[0].start_node(*command)]
    time.sleep(1)  # the first one is the host of the store
    nodes.append(hosts[1].start_node(*command))
    deadline = time.monotonic() + 240
    try:
        while not any(part.glob("checkpoint-*/complete.json")) and time.monotonic() < deadline:
            time.sleep(0.01)
        kill_node(psutil.Process(nodes[1].pid))
        nodes[1].wait()
        nodes.append(hosts[1].start_node(*command))  # the machine is back, or another in its place
        assert [nodes[0].wait(280), nodes[2].wait(280)] == [0, 0], log.read_text()[-6000:]
    finally:
        for node in nodes:
            if node.poll() is None:
                kill_node(psutil.Process(node.pid))
    record = json.loads((part / "run.json").read_text(encoding="utf-8"))
    assert record["status"] == "done" and record["resumed"], "it was interrupted, and went on"
    weights = [(folder / "model.safetensors").read_bytes() for folder in (part, whole)]
    assert weights[0] == weights[1]
