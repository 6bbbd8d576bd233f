"""Who does work that falls into independent parts: this machine, or a cluster of Ray."""

from __future__ import annotations

import re
from dataclasses import dataclass

from finetune.arguments.fields import argument
from finetune.errors import Problem

LOCAL, RAY = "local", "ray"
AUTO = "auto"
ADDRESS = re.compile(r"[^\s:/]+:\d{1,5}|\[[0-9a-fA-F:.]+\]:\d{1,5}")


@dataclass
class EngineArguments:
    """The engine."""

    engine: str = argument(
        LOCAL,
        choices=(LOCAL, RAY),
        help="ray: the work is done by the machines of a Ray cluster, with the same bits as result (pip install "
        "'finetune[ray]'); inputs and models must be on a file system that all of them see, or be addresses",
    )
    ray_address: str | None = argument(
        None,
        metavar="auto|local|HOST:PORT",
        help="auto: the cluster that RAY_ADDRESS names or this machine is part of, else one for this run alone; "
        "local: one of this machine for this run alone; HOST:PORT: that of another head. Without it auto",
    )

    def problems(self) -> list[Problem]:
        address = self.ray_address
        if address is None:
            return []
        if self.engine != RAY:
            return [Problem(f"--ray_address {address} is given without --engine ray", remedy="add it, or drop this")]
        if address not in (AUTO, LOCAL) and not ADDRESS.fullmatch(address):
            return [Problem(f"--ray_address {address} is no address", "auto, local or HOST:PORT is allowed")]
        return []
