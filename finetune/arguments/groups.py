"""The argument groups that every command which trains a model takes, after those of its task."""

from __future__ import annotations

from dataclasses import dataclass, field

from finetune.arguments.adapters import AdapterArguments
from finetune.arguments.averaging import AveragingArguments
from finetune.arguments.fast_path import FastPathArguments
from finetune.arguments.parser import Arguments
from finetune.arguments.processes import ProcessArguments
from finetune.arguments.rates import RateArguments
from finetune.arguments.run import RunArguments
from finetune.arguments.unattended import UnattendedArguments

ADAPTING_GROUPS: tuple[type, ...] = (AdapterArguments, RateArguments)
TRAINING_GROUPS: tuple[type, ...] = (
    FastPathArguments,
    *ADAPTING_GROUPS,
    AveragingArguments,
    UnattendedArguments,
    ProcessArguments,
    RunArguments,
)


@dataclass(frozen=True)
class Adapting:
    """How a model is changed for training, and how its parts are trained, whatever the task."""

    rates: RateArguments = field(default_factory=RateArguments)
    adapter: AdapterArguments = field(default_factory=AdapterArguments)
    averaging: AveragingArguments = field(default_factory=AveragingArguments)

    def flags(self) -> list[str]:
        """The flags that ask for something."""
        groups = (vars(group) for group in vars(self).values())
        return [f"--{name}" for group in groups for name, value in group.items() if value]


def find_adapting(arguments: Arguments) -> Adapting:
    """What a user asked for; nothing of it where the command does not take it."""
    rates, adapter = arguments.find(RateArguments), arguments.find(AdapterArguments)
    averaging = arguments.find(AveragingArguments)
    return Adapting(rates or RateArguments(), adapter or AdapterArguments(), averaging or AveragingArguments())
