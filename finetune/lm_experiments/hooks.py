"""Callbacks at named points of a run: objects that are called with (epoch, batch), both counted from 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

Hook = Callable[[int, Any], object]


class Hooks:
    """The callbacks of each point, in their order, and where the run is (`epoch`, `batch`; 0 before the first)."""

    def __init__(self, callbacks: Mapping[str, Sequence[Hook]] | None = None) -> None:
        self.callbacks = {point: list(hooks) for point, hooks in (callbacks or {}).items()}
        self.epoch = self.batch = 0
        self.turn: Sequence[int] = ()

    def move(self, epoch: int, batch: int = 0, turn: Sequence[int] = ()) -> None:
        """Go to a batch; `turn`: the numbers of those that all processes work on now, where they are several."""
        self.epoch, self.batch, self.turn = epoch, batch, turn or (batch,)

    def call(self, point: str) -> None:
        for hook in self.callbacks.get(point, ()):
            hook(self.epoch, self.batch)

    def call_for_turn(self, point: str) -> None:
        """Call those of a point for every batch of the turn: what they count is the same in all processes."""
        for number in self.turn:
            self.batch = number
            self.call(point)

    def after_step(self) -> None:
        """What callbacks of any point ask to be done after each step of the optimizer, such as putting rows back."""
        for hook in dict.fromkeys(chain(*self.callbacks.values())):
            after = getattr(hook, "after_step", None)
            if after is not None:
                after()


class HookCallback(TrainerCallback):
    """Calls hooks where the Trainer has a point of its own; `ExperimentTrainer` calls the others."""

    def __init__(self, hooks: Hooks) -> None:
        self.hooks = hooks

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.hooks.call("pre_training")

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.hooks.move(int(state.epoch or 0) + 1)
        self.hooks.call("begin_epoch")

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.hooks.call("pre_train_step")

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.hooks.after_step()
        self.hooks.call("post_train_step")

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.hooks.call_for_turn("post_train_batch")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.hooks.call_for_turn("post_train_batch")

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.hooks.call("end_epoch")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.hooks.call("post_training")
