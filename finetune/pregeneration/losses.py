"""What BERT's own pretraining adds to the Trainer: its two losses, epochs of pregenerated data, its files of losses."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.utils.data import Sampler
from transformers import PreTrainedTokenizerBase, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from finetune.encoding.padding import IGNORED
from finetune.models.saving import save_pretrained
from finetune.models.sparse_mlm_head import select_labelled
from finetune.pregeneration.epochs import PregeneratedEpochs
from finetune.training.losses import TokenLoss

logger = logging.getLogger(__name__)

NEXT_SENTENCE = 0  # column of the batch's labels; the columns behind it are those of the subwords


class PretrainingLoss(TokenLoss):
    """Masked-token loss plus next-sentence loss, each a global mean (Devlin et al. 2019, appendix A.2).

    `labels` (batch, 1 + length): column 0 is the next-sentence label, the others are those of the subwords. Counts come as
    a pair: masked subwords and rows of the whole global batch. `gathered`: vocabulary logits are of masked positions only.
    """

    def __init__(self, *, gathered: bool = False) -> None:
        super().__init__()
        self.gathered = gathered

    def __call__(
        self, outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """One micro-batch's share of both global means."""
        subwords = labels[:, NEXT_SENTENCE + 1 :]
        counts = count_items(labels) if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        counts = counts.to(labels.device).clamp(min=1)
        logits = outputs["prediction_logits"] if "prediction_logits" in outputs else outputs["logits"]
        expected = select_labelled(subwords)[1] if self.gathered else subwords
        loss = self.per_position(logits, expected).sum() / counts[0]
        scores = outputs.get("seq_relationship_logits")
        if scores is not None:
            next_sentences = functional.cross_entropy(scores.float(), labels[:, NEXT_SENTENCE], reduction="sum")
            loss = loss + next_sentences / counts[1]
        self.watch(loss)
        return loss


def count_items(labels: torch.Tensor) -> torch.Tensor:
    """(2,): masked subwords, and rows."""
    masked = (labels[:, NEXT_SENTENCE + 1 :] != IGNORED).sum()
    return torch.stack([masked, torch.tensor(len(labels), device=masked.device)])


class EpochSampler(Sampler[int]):
    """Indices of one epoch of pregenerated data, shuffled by seed and epoch."""

    def __init__(self, data: PregeneratedEpochs, seed: int) -> None:
        self.data, self.seed, self.epoch = data, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[int]:
        yield from self.data.draw_order(self.epoch, self.seed).tolist()


class LossFiles(TrainerCallback):
    """`losses_50_steps.txt` and `losses_20000_steps.txt`: mean losses, one a line, and `Loss: ...` in the log.

    Both are written anew from the log history that every checkpoint holds, so that a resumed run's files are those of an
    undisturbed one. The last line of each is the mean of the steps that are left at the end of training, where those are
    fewer: a run shorter than `--logging_steps` has its mean loss, too.
    """

    def __init__(self, folder: Path, write: Callable[[Path, Sequence[float]], object], *, writeout_steps: int) -> None:
        self.folder, self.write, self.writeout_steps = folder, write, writeout_steps

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        control.should_log = control.should_log or _is_over(state)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if "loss" not in (kwargs.get("logs") or {}) or not state.is_world_process_zero:
            return
        losses, interval = logged_losses(state.log_history), int(args.logging_steps)
        steps = losses[-1][0] - (losses[-2][0] if len(losses) > 1 else 0)
        logger.info("[Logging] Loss averaged over %d steps: %s", steps, losses[-1][1])
        logger.info("Loss: %.5f", epoch_mean(state.log_history))
        self.write(self.folder / f"losses_{interval}_steps.txt", [loss for _, loss in losses])
        means = window_means(losses, self.writeout_steps, to_the_end=_is_over(state))
        if means:
            self.write(self.folder / f"losses_{self.writeout_steps}_steps.txt", means)


def logged_losses(history: Sequence[dict[str, float]]) -> list[tuple[int, float]]:
    """(step, mean loss since the entry before) of every log entry with a loss."""
    return [(int(entry["step"]), entry["loss"]) for entry in history if "loss" in entry]


def epoch_mean(history: Sequence[dict[str, float]]) -> float:
    """Mean of the losses logged in the epoch of the last one."""
    entries = [entry for entry in history if "loss" in entry]
    epoch = -(-entries[-1]["epoch"] // 1)
    losses = [entry["loss"] for entry in entries if -(-entry["epoch"] // 1) == epoch]
    return sum(losses) / len(losses)


def _is_over(state: TrainerState) -> bool:
    return state.global_step >= state.max_steps


def window_means(losses: Sequence[tuple[int, float]], window: int, *, to_the_end: bool = False) -> list[float]:
    """Mean loss of every full window of so many steps, and `to_the_end` of the steps behind the last.

    Entries weigh as many steps as they stand for. A window ends with the first entry at its end or behind it.
    """
    means, total, before, begun = [], 0.0, 0, 0
    for step, loss in losses:
        total += loss * (step - before)
        if step // window > before // window:
            means.append(total / (step - begun))
            total, begun = 0.0, step
        before = step
    return [*means, total / (before - begun)] if to_the_end and before > begun else means


class IntermediateModels(TrainerCallback):
    """Every so many steps the model goes to `ep{epoch}_{examples}/`, with the tokenizer, to be used as it is."""

    def __init__(
        self, folder: Path, tokenizer: PreTrainedTokenizerBase, *, writeout_steps: int, steps_per_epoch: int, batch: int
    ) -> None:
        self.folder, self.tokenizer, self.writeout_steps = folder, tokenizer, writeout_steps
        self.steps_per_epoch, self.batch = steps_per_epoch, batch

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step % self.writeout_steps or not state.is_world_process_zero:
            return
        epoch, step = divmod(state.global_step - 1, self.steps_per_epoch)
        target = self.folder / f"ep{epoch}_{(step + 1) * self.batch}"
        logger.info("** ** * Saving fine-tuned model checkpoint ** ** *  %s", target)
        save_pretrained(kwargs["model"], self.tokenizer, target)
