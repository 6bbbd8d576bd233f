"""Averages of the weights of a training: kept beside them, validated beside them, the better of them the result.

A moving average over steps (Polyak and Juditsky, 1992; as in https://arxiv.org/abs/1706.02677 it forgets faster in the first
steps: its decay is at most (1 + step) / (10 + step)), and the mean of the last K (Izmailov et al., 2018,
https://arxiv.org/abs/1803.05407). The weights that are trained are never touched by either until training has ended.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from finetune.arguments.averaging import AveragingArguments
from finetune.run.signals import StopRequest

logger = logging.getLogger(__name__)

FILE = "averages.safetensors"
RAW, EMA, LAST = "raw", "ema", "last"
_BETTER = "better"


class Averages(TrainerCallback):
    """The averages of one training. `better` is what the last validation found best, empty where it compared nothing."""

    def __init__(self, asked: AveragingArguments, stop: StopRequest) -> None:
        self.asked, self.stop = asked, stop
        self.weights: dict[str, nn.Parameter] = {}
        self.ema: dict[str, Tensor] = {}
        self.last: deque[dict[str, Tensor]] = deque(maxlen=asked.average_last)
        self.better, self.compared_at, self.settled = "", -1, ""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Everything that the optimizer moves, now or later, is averaged."""
        moved = {id(item) for group in kwargs["optimizer"].param_groups for item in group["params"]}
        self.weights = {name: item for name, item in kwargs["model"].named_parameters() if id(item) in moved}
        if self.asked.ema is not None:
            kept = self.ema or self.weights
            self.ema = {name: kept[name].detach().to(item, copy=True) for name, item in self.weights.items()}

    @torch.no_grad()
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.asked.ema is None:
            return
        decay = min(self.asked.ema, (1 + state.global_step) / (10 + state.global_step))
        own = [item.detach() for item in self.weights.values()]
        torch._foreach_lerp_(list(self.ema.values()), own, 1 - decay)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if args.eval_strategy == "no" and not self.stop.requested:
            self.remember()

    def remember(self) -> None:
        """`--average_last`: the weights as they are now."""
        if self.asked.average_last is not None:
            self.last.append({name: item.detach().to("cpu", copy=True) for name, item in self.weights.items()})

    def averages(self) -> dict[str, Mapping[str, Tensor]]:
        """The averages that there are by now, by name."""
        found: dict[str, Mapping[str, Tensor]] = {EMA: self.ema} if self.ema else {}
        return found | ({LAST: _mean(self.last)} if len(self.last) > 1 else {})

    def compare(self, trainer: Trainer, metrics: dict[str, float]) -> dict[str, float]:
        """Validate the averages, too; `metrics` with the best score of all in the place of the raw weights'."""
        if trainer.state.global_step:
            self.remember()
        name = (trainer.args.metric_for_best_model or "loss").removeprefix("eval_")
        scores = {RAW: metrics[f"eval_{name}"]}
        for kind, values in self.averages().items():
            with self.in_use(values):
                scores[kind] = trainer.evaluate(metric_key_prefix=f"eval_{kind}")[f"eval_{kind}_{name}"]
        greater = bool(trainer.args.greater_is_better) and name != "loss"
        self.better = (max if greater else min)(scores, key=lambda kind: scores[kind])
        self.compared_at = trainer.state.global_step
        shown = ", ".join(f"{kind} {score:.6g}" for kind, score in scores.items())
        logger.info("Validation %s of weights and averages: %s. Best: %s.", name, shown, self.better)
        return {**metrics, f"eval_{name}": scores[self.better]}

    @contextmanager
    def in_use(self, values: Mapping[str, Tensor]) -> Iterator[None]:
        """The averaged values in the place of the weights, which are back afterwards to the last bit."""
        own = {name: item.detach().clone() for name, item in self.weights.items()}
        self.take(values)
        try:
            yield
        finally:
            self.take(own)

    @torch.no_grad()
    def take(self, values: Mapping[str, Tensor]) -> None:
        for name, item in self.weights.items():
            item.copy_(values[name])

    def save(self, folder: Path) -> None:
        """Everything into a checkpoint, with what was best there."""
        kept = {f"{EMA}.{name}": value for name, value in self.ema.items()}
        kept |= {f"{LAST}{n}.{name}": value for n, values in enumerate(self.last) for name, value in values.items()}
        save_file({name: value.contiguous() for name, value in kept.items()}, folder / FILE, {_BETTER: self.better})

    def load(self, folder: Path) -> None:
        """What a checkpoint holds."""
        with safe_open(folder / FILE, "pt") as file:
            self.better = file.metadata()[_BETTER]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        grouped: dict[str, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            kind, _, own = name.partition(".")
            grouped.setdefault(kind, {})[own] = value
        self.ema = grouped.pop(EMA, {})
        self.last.clear()
        self.last.extend(grouped[f"{LAST}{number}"] for number in range(len(grouped)))

    def settle_best(self, folder: Path) -> None:
        """The best checkpoint is loaded: what was best there becomes the model."""
        self.load(folder)
        self._settle(self.better or RAW)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.settled or self.stop.requested:
            return
        known = self.better if self.compared_at == state.global_step else ""
        self._settle(known or next(iter(self.averages()), RAW))
        if not known:
            logger.warning("No validation compared the averages with the weights at the last step.")

    def _settle(self, kind: str) -> None:
        self.settled = kind
        if kind != RAW:
            self.take(self.averages()[kind])
        names = {RAW: "The weights themselves are", EMA: "The moving average is", LAST: "The mean of the last is"}
        logger.info("%s the result.", names[kind])


def _mean(snapshots: deque[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([item[name] for item in snapshots]).mean(0) for name in snapshots[0]}
