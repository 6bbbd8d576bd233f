"""A student tagger or classifier beside its teacher as one module for the Trainer; evaluated, it is the student alone."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from finetune.distillation.losses import BinarySoftTargetLoss, LogitLoss
from finetune.distillation.model import Distillation, DistillationLoss, Weights
from finetune.encoding.padding import IGNORED
from finetune.training.losses import TokenLoss


class TaskDistillation(Distillation):
    """Student and teacher with the same labels; what they say is compared where a word or a text is decided.

    `problem_type` is that of the configuration, "" for a tagger. Labels that are decided one by one are compared so; the
    soft target of a number is the teacher's number.
    """

    evaluates_as_one = True  # evaluated, it is the student, a model over rows of ids
    answers_as_teacher = False

    def __init__(
        self,
        student: PreTrainedModel,
        teacher: PreTrainedModel,
        weights: Weights,
        *,
        problem_type: str = "",
        temperature: float = 2.0,
        relation_heads: int | None = None,
        teacher_dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(
            student,
            teacher,
            weights,
            temperature=temperature,
            relation_heads=relation_heads,
            teacher_dtype=teacher_dtype,
        )
        if problem_type == "multi_label_classification":
            self.soft_targets = BinarySoftTargetLoss(temperature)
        elif problem_type == "regression":
            self.soft_targets = LogitLoss()

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        loss_mask: Tensor | None = None,
        teacher_ids: Tensor | None = None,
        teacher_values: Tensor | None = None,
    ) -> dict[str, Any]:
        """Logits of the student, as it gives them, and in training the sum of each loss that compares with the teacher.

        `loss_mask` is 1 where an answer is read, (batch, length) or (batch,); `teacher_*` as in `Distillation`.
        """
        batch = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        if not self.training or loss_mask is None:
            answering = self._teacher_on(input_ids.device) if self.answers_as_teacher else self.student
            return {"logits": call_model(answering, batch).logits}
        own, logits = self._read(self.student, batch, loss_mask)
        if teacher_ids is not None and teacher_values is not None:
            return {
                "logits": logits,
                "sums": {"ce": self.sparse_targets(own["logits"], teacher_ids[0], teacher_values[0])},
            }
        if not (self.weights.ce or self.weights.mse or self.needs_states or self.recorders):
            return {"logits": logits, "sums": {}}
        with torch.no_grad():
            target, _ = self._read(self._teacher_on(input_ids.device), batch, loss_mask)
        return {"logits": logits, "sums": self.compare(own, target, attention_mask)}

    @contextmanager
    def teacher_answering(self) -> Iterator[None]:
        """Within, evaluation asks the teacher in the student's place."""
        self.answers_as_teacher = True
        try:
            yield
        finally:
            self.answers_as_teacher = False

    @torch.no_grad()
    def teacher_logits(  # type: ignore[override]
        self, input_ids: Tensor, attention_mask: Tensor, loss_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """The teacher's logits alone, (places in the loss mask, labels)."""
        batch = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        teacher = self._teacher_on(input_ids.device)
        return select(call_model(teacher, batch).logits, loss_mask)

    def _read(
        self, model: PreTrainedModel, batch: Mapping[str, Tensor | None], loss_mask: Tensor
    ) -> tuple[dict[str, Any], Tensor]:
        """What the losses need, with logits of places in the loss mask only; and all logits."""
        outputs = call_model(model, batch, output_hidden_states=self.needs_states)
        found = self.read_states(model, outputs, cast(Tensor, batch["attention_mask"]))
        return found | {"logits": select(outputs.logits, loss_mask)}, outputs.logits

    def get_input_embeddings(self) -> nn.Module:
        """The student's, of which rows that the data cannot reach may rest."""
        return self.student.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module | None:
        """The student's, which has none: taggers and classifiers project to labels."""
        return self.student.get_output_embeddings()


def select(logits: Tensor, loss_mask: Tensor) -> Tensor:
    """Logits (places, labels) of the places that decide; all of them where each label is a decision of its own."""
    return logits if loss_mask.shape == logits.shape else logits[loss_mask.bool()]


def call_model(model: PreTrainedModel, batch: Mapping[str, Tensor | None], **options: object) -> Any:
    """Student and teacher may be of different families: token types go to those that know them."""
    taken = taken_inputs(type(model))
    return model(**{name: value for name, value in batch.items() if value is not None and name in taken}, **options)


def taken_inputs(model_class: type[PreTrainedModel]) -> frozenset[str]:
    return frozenset(inspect.signature(model_class.forward).parameters)


class TaskDistillationLoss(DistillationLoss):
    """The weighted sum of what the teacher says and of the labels, whose loss is the task's own; validated by the latter."""

    def __init__(self, weights: Weights, labels_loss: TokenLoss) -> None:
        super().__init__(weights)
        self.labels_loss = labels_loss

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        if "sums" in outputs:
            return super().__call__(outputs, labels, num_items_in_batch)
        return self.labels_loss(outputs, labels)

    def sum_hard(self, outputs: Any, labels: Tensor) -> dict[str, Tensor]:
        return {"hard": self.per_position(outputs["logits"], labels).sum()} if self.hard else {}

    def per_position(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.labels_loss.per_position(logits, labels)


def count_decisions(batch: Mapping[str, Tensor]) -> Tensor:
    """(3,): places that decide, labels, real tokens."""
    loss_mask = batch["loss_mask"] if "loss_mask" in batch else batch["labels"] != IGNORED
    return torch.stack([loss_mask.sum(), (batch["labels"] != IGNORED).sum(), batch["attention_mask"].sum()])
