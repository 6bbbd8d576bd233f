"""How many real tokens a second training takes, and what share of the machine's rate of matrix products that is.

Padding is left out, and so is the time of evaluating and saving.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from finetune.training.matrix_rate import matrix_rate
from finetune.training.model_flops import ModelFlops


class TokenRate(TrainerCallback):
    """Counts what `training_step` is given; lines of the log have `tokens_per_second` and `mfu` since the last one.

    Of this process. `mfu` (model FLOPs utilization) is operations that the model needs, `model_flops.py`, in a second,
    divided by those of `matrix_rate.py`. The log history keeps neither, as two runs of the same command have the same
    history; `training_progress.json` does.
    """

    def __init__(self, model: nn.Module | None = None) -> None:
        self.flops = None if model is None else ModelFlops.of(model)
        self.matrix_rate: float | None = None
        # Since the last line: tokens, operations; tensors, so that no step waits for a device.
        self.counted: tuple[Tensor | float, Tensor | float] = (0, 0)
        self.seconds = 0.0
        self.all_tokens, self.all_operations, self.all_seconds = 0.0, 0.0, 0.0
        self.mark: float | None = None

    def count(self, inputs: Mapping[str, Any]) -> None:
        mask, ids = inputs.get("attention_mask"), inputs.get("input_ids")
        if isinstance(mask, Tensor):
            tokens: Tensor | int = mask.sum()
        else:
            tokens = ids.numel() if isinstance(ids, Tensor) else 0
        operations = 0.0 if self.flops is None or self.matrix_rate is None else self.flops.count(inputs)
        self.counted = self.counted[0] + tokens, self.counted[1] + operations

    @property
    def overall(self) -> dict[str, float]:
        """`tokens_per_second` and `mfu` of the whole training by this process so far, as far as they are known."""
        self._close()
        return self._rates(self.all_tokens, self.all_operations, self.all_seconds)

    def _close(self) -> dict[str, float]:
        tokens, operations = (float(torch.as_tensor(number)) for number in self.counted)
        seconds = self.seconds
        self.counted, self.seconds = (0, 0), 0.0
        self.all_tokens, self.all_operations = self.all_tokens + tokens, self.all_operations + operations
        self.all_seconds += seconds
        return self._rates(tokens, operations, seconds)

    def _rates(self, tokens: float, operations: float, seconds: float) -> dict[str, float]:
        if not tokens or not seconds:
            return {}
        shown = {"tokens_per_second": round(tokens / seconds, 1)}
        if operations and self.matrix_rate:
            shown["mfu"] = round(operations / seconds / self.matrix_rate, 4)
        return shown

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        if self.flops is not None and state.is_world_process_zero and self.matrix_rate is None:
            dtype = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else torch.float32
            self.matrix_rate = matrix_rate(args.device, dtype)
        self._mark()

    def _mark(self, *_: object, **__: object) -> None:
        self.mark = time.perf_counter()

    on_evaluate = on_save = on_epoch_begin = _mark  # what came before was no training

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        now = time.perf_counter()
        self.seconds += now - (now if self.mark is None else self.mark)
        self.mark = now

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if "loss" in kwargs["logs"]:
            kwargs["logs"].update(self._close())
