"""The one place that builds the optimizer's parameter groups: which part learns at which rate, and decays."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from finetune.arguments.rates import Moment, RateArguments
from finetune.models.adapting import Trained
from finetune.models.parts import Part, find_parts, find_trained

logger = logging.getLogger(__name__)

BESIDE = Part("beside the model", 0)  # such as projections between student and teacher
LISTED_AT_MOST = 3


@dataclass(frozen=True)
class GroupRow:
    """A line of the table of `--dry_run`: which parts, how many weights, learning at what rate, with what weight decay."""

    name: str
    parameters: int
    rate: float
    decay: float


def needs_groups(trained: Trained) -> bool:
    """Whether transformers' own two groups (decaying, not decaying) do not do."""
    return trained.asked.rates.moves_rates or trained.asked.rates.unfreezing is not None


def build_groups(
    module: nn.Module, trained: Trained, *, rate: float, decay: float, decaying: Collection[str]
) -> list[dict[str, Any]]:
    """Groups of one rate and one decay each, the one that learns at `rate` first: its rate is what the log tells.

    Args:
        module: what the Trainer trains.
        trained: the model in it, and what is to be trained only later.
        rate: `--learning_rate`.
        decay: the weight decay of those that decay; others have none.
        decaying: their names in `module`.
    """
    parts, later = _parts_by_identity(module), _waiting(trained)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in _from_the_top(module, parts):
        if parameter.requires_grad or id(parameter) in later:
            own = rate_of(parts.get(id(parameter), BESIDE), trained.asked.rates, rate)
            key = (own, decay if name in decaying else 0.0)
            groups.setdefault(key, {"params": [], "lr": own, "weight_decay": key[1]})["params"].append(parameter)
    return sorted(groups.values(), key=lambda group: group["lr"] != rate)


def rate_of(part: Part, asked: RateArguments, rate: float) -> float:
    """The learning rate of a part: a factor less for each layer below the head, or that of the head."""
    if part.below == 0:
        return rate if asked.head_learning_rate is None or part == BESIDE else asked.head_learning_rate
    return rate * (1.0 if asked.layerwise_lr_decay is None else asked.layerwise_lr_decay) ** part.below


def _parts_by_identity(module: nn.Module) -> dict[int, Part]:
    model = find_trained(module)
    named = dict(model.named_parameters())
    return {id(named[name]): part for name, part in find_parts(model).items()}


def _from_the_top(module: nn.Module, parts: Mapping[int, Part]) -> list[tuple[str, nn.Parameter]]:
    return sorted(module.named_parameters(), key=lambda item: parts.get(id(item[1]), BESIDE).below)


def _waiting(trained: Trained) -> set[int]:
    return {id(item) for item in trained.frozen} if trained.asked.rates.unfreezing else set()


def list_groups(module: nn.Module, optimizer: Optimizer) -> list[GroupRow]:
    """The groups of an optimizer, and what of the model is in none."""
    parts = _parts_by_identity(module)
    rows = [
        GroupRow(_name(group["params"], parts), _count(group["params"]), float(group["lr"]), group["weight_decay"])
        for group in optimizer.param_groups
        if group["params"]
    ]
    trained = {id(item) for group in optimizer.param_groups for item in group["params"]}
    rest = [item for item in module.parameters() if id(item) not in trained]
    return rows + ([GroupRow(f"not trained: {_name(rest, parts)}", _count(rest), 0.0, 0.0)] if rest else [])


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(item.numel() for item in parameters)


def _name(parameters: Iterable[nn.Parameter], parts: Mapping[int, Part]) -> str:
    """The parts of a group from the top down, those in the middle left out where they are many."""
    found = {parts.get(id(item), BESIDE) for item in parameters}
    names = [part.name for part in sorted(found, key=lambda part: (part.below, part.name))]
    return ", ".join(names) if len(names) <= LISTED_AT_MOST else f"{names[0]} down to {names[-1]}"


def format_groups(rows: Iterable[GroupRow]) -> str:
    lines = [("parameters of", "number", "rate", "decay")]
    lines += [(row.name, f"{row.parameters:,}", f"{row.rate:.3g}", f"{row.decay:g}") for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return "\n".join(
        f"  {name:<{widths[0]}}  {number:>{widths[1]}}  {rate:>{widths[2]}}  {decay:>{widths[3]}}"
        for name, number, rate, decay in lines
    )


class Unfreezing(TrainerCallback):
    """`--unfreeze_after`: from then on frozen parameters are trained, which the optimizer has known from the start."""

    def __init__(self, moment: Moment, frozen: list[nn.Parameter]) -> None:
        self.moment, self.frozen = moment, frozen

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        passed = state.global_step if self.moment.in_steps else (state.epoch or 0.0)
        if passed < self.moment.number - 1e-9 or not self.frozen:
            return
        for parameter in self.frozen:
            parameter.requires_grad_(True)
        self.frozen = []
        logger.info("Step %d: what was frozen is trained from now on.", state.global_step + 1)
