"""How many processes a command starts for itself on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.arguments.fields import argument

OFF = "off"


@dataclass
class ProcessArguments:
    """Several processes on one machine."""

    nproc: int | None = argument(
        None,
        minimum=1,
        metavar="N",
        help="work in N processes that share every batch, one for each GPU, or so many on the processor; "
        "unless given, as many as GPUs are visible",
    )
    multi_gpu: str = argument(
        "ddp",
        choices=("ddp", OFF),
        help="ddp: with more than one visible GPU and without --nproc, one process for each; off: one process",
    )
