"""How many real tokens a second training takes, padding and the time of evaluating and saving left out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class TokenRate(TrainerCallback):
    """Counts what `training_step` is given; each line of the log has the rate since the last one, in `tokens_per_second`.

    Of this process. The log history keeps none of it: two runs of the same command have the same history.
    """

    def __init__(self) -> None:
        self.tokens: Tensor | int = 0  # since the last line; a tensor, so that no step waits for a device
        self.seconds = 0.0
        self.all_tokens, self.all_seconds = 0, 0.0
        self.mark: float | None = None

    def count(self, inputs: Mapping[str, Any]) -> None:
        mask = inputs.get("attention_mask")
        if isinstance(mask, Tensor):
            self.tokens = self.tokens + mask.sum()
        elif isinstance(inputs.get("input_ids"), Tensor):
            self.tokens = self.tokens + inputs["input_ids"].numel()

    @property
    def overall(self) -> float | None:
        """Of the whole training by this process so far; None where no step was timed."""
        self._close()
        return self.all_tokens / self.all_seconds if self.all_tokens and self.all_seconds else None

    def _close(self) -> float | None:
        tokens, seconds = int(torch.as_tensor(self.tokens)), self.seconds
        self.tokens, self.seconds = 0, 0.0
        self.all_tokens, self.all_seconds = self.all_tokens + tokens, self.all_seconds + seconds
        return tokens / seconds if tokens and seconds else None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.mark = time.perf_counter()

    on_evaluate = on_save = on_epoch_begin = on_train_begin  # what came before was no training

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        now = time.perf_counter()
        self.seconds += now - (now if self.mark is None else self.mark)
        self.mark = now

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if "loss" in kwargs["logs"] and (rate := self._close()) is not None:
            kwargs["logs"]["tokens_per_second"] = round(rate, 1)
