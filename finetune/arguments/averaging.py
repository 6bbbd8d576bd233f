"""Averages of the weights of a training, beside the weights themselves."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.arguments.fields import argument
from finetune.errors import Problem


@dataclass
class AveragingArguments:
    """Averages of weights: validated beside the weights themselves, and the better kept."""

    ema: float | None = argument(
        None,
        metavar="DECAY",
        help="a moving average of the weights over all steps, e.g. 0.999; in early steps it forgets faster",
    )
    average_last: int | None = argument(
        None, minimum=2, metavar="K", help="the mean of the weights at the last K evaluations (or ends of epochs)"
    )

    def problems(self) -> list[Problem]:
        if self.ema is None or 0 < self.ema < 1:
            return []
        return [Problem(f"--ema is {self.ema:g}", "allowed: between 0 and 1; 0.99 to 0.9999 are usual")]
