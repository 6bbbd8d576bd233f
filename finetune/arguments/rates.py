"""Freezing and learning rates of parts of a model, for every command that trains one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from finetune.arguments.fields import argument
from finetune.errors import Problem

_MOMENT = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>epochs?|steps?)?")


@dataclass(frozen=True)
class Moment:
    """A time in a training, in epochs (of which there may be half ones) or steps of the optimizer."""

    number: float
    in_steps: bool


@dataclass
class RateArguments:
    """Freezing and learning rates of parts."""

    freeze: str | None = argument(
        None,
        metavar="NAME,...",
        help="parts that are not trained, e.g. embeddings,encoder.layer.0-5 or *.bias: names of parameters or modules, "
        "with ranges of numbers and *",
    )
    unfreeze_after: str | None = argument(
        None,
        metavar="N|Nsteps",
        help="train what --freeze names, too, after N epochs, or after N steps: 2, 0.5, 500steps",
    )
    layerwise_lr_decay: float | None = argument(
        None,
        metavar="FACTOR",
        help="each layer learns at FACTOR times the rate of the one above it; the head learns at --learning_rate",
    )
    head_learning_rate: float | None = argument(
        None, minimum=0, metavar="RATE", help="learning rate of the head, where it is not --learning_rate"
    )
    reinit_layers: int | None = argument(
        None, minimum=1, metavar="N", help="draw the N top layers, and what pools them, anew before training"
    )

    @property
    def moves_rates(self) -> bool:
        return self.layerwise_lr_decay is not None or self.head_learning_rate is not None

    @property
    def unfreezing(self) -> Moment | None:
        """When the frozen parts begin to be trained; None where they never do."""
        found = _MOMENT.fullmatch(self.unfreeze_after or "")
        return Moment(float(found["number"]), (found["unit"] or "").startswith("step")) if found else None

    def problems(self) -> list[Problem]:
        return [*self._wrong_moment(), *self._wrong_decay()]

    def _wrong_moment(self) -> list[Problem]:
        if self.unfreeze_after is None:
            return []
        if self.unfreezing is None:
            found = f"--unfreeze_after {self.unfreeze_after} is no time in a training"
            return [Problem(found, "allowed: a number of epochs (2, 0.5) or of steps (500steps)")]
        if self.unfreezing.in_steps and self.unfreezing.number % 1:
            return [Problem(f"--unfreeze_after {self.unfreeze_after} is no whole number of steps")]
        remedy = "add --freeze with the names of parts, or drop it"
        return [] if self.freeze else [Problem("--unfreeze_after without --freeze changes nothing", remedy=remedy)]

    def _wrong_decay(self) -> list[Problem]:
        decay = self.layerwise_lr_decay
        if decay is None or 0 < decay <= 1:
            return []
        return [Problem(f"--layerwise_lr_decay is {decay:g}", "allowed: above 0, up to 1; 0.8 to 0.95 are usual")]
