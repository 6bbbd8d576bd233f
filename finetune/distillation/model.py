"""A student beside its teacher as one module for the Trainer: sums of all losses come out, the student alone is saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from finetune.distillation.losses import (
    CosineLoss,
    HardLabelLoss,
    HiddenStateLoss,
    LogitLoss,
    RelationLoss,
    SoftTargetLoss,
    SparseSoftTargetLoss,
    choose_relation_heads,
    map_layers,
)
from finetune.encoding.padding import IGNORED
from finetune.models.sparse_mlm_head import use_sparse_mlm_head
from finetune.training.losses import TokenLoss

ON_LOGITS = ("ce", "mse")  # of positions whose logits are compared
HARD = ("mlm", "clm", "hard")  # of positions with labels
EXTRA = "distillation."  # names of learned projections among the weights of a checkpoint
_PROJECTIONS = (("query", "key", "value"), ("q_lin", "k_lin", "v_lin"))


@dataclass(frozen=True)
class Weights:
    """The factor of each loss; those of 0 are not computed."""

    ce: float = 0.0
    mlm: float = 0.0
    clm: float = 0.0
    mse: float = 0.0
    cos: float = 0.0
    hidden: float = 0.0
    relation: float = 0.0
    hard: float = 0.0

    @property
    def reads_layers(self) -> bool:
        """Whether hidden states or projections of layers are compared, not logits alone."""
        return bool(self.cos or self.hidden or self.relation)

    def named(self) -> dict[str, float]:
        return {name: weight for name, weight in vars(self).items() if weight > 0}


class Distillation(nn.Module):
    """Student, teacher and the learned projections between them.

    The teacher is no submodule: it is neither trained nor saved. The state dict is the student's, with the projections
    under names of their own, so that a checkpoint resumes exactly and serves as a model of the student.
    """

    def __init__(
        self,
        student: PreTrainedModel,
        teacher: PreTrainedModel,
        weights: Weights,
        *,
        temperature: float = 2.0,
        relation_heads: int | None = None,
        teacher_dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.student, self.config, self.weights = student, student.config, weights
        widths = (int(student.config.hidden_size), int(teacher.config.hidden_size))
        depths = (int(student.config.num_hidden_layers), int(teacher.config.num_hidden_layers))
        self.cosine = CosineLoss(*widths) if weights.cos else nn.Identity()
        self.hidden = HiddenStateLoss(*widths, map_layers(*depths)) if weights.hidden else nn.Identity()
        self.relation = RelationLoss(relation_heads or choose_relation_heads(*widths))
        self.soft_targets: Callable[[Tensor, Tensor], Tensor] = SoftTargetLoss(temperature)
        self.sparse_targets, self.logits = SparseSoftTargetLoss(temperature), LogitLoss()
        if teacher.dtype != teacher_dtype:
            cast(nn.Module, teacher).to(teacher_dtype)
        self.__dict__["teacher"] = teacher.requires_grad_(False).eval()
        self.sparse = {id(model): use_sparse_mlm_head(model) is None for model in (student, teacher)}
        self.recorders = {id(model): Recorder(model) for model in (student, teacher)} if weights.relation else {}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        positions: Tensor,
        counted: Tensor,
        teacher_ids: Tensor | None = None,
        teacher_values: Tensor | None = None,
    ) -> dict[str, Any]:
        """Logits of the student at `positions` (n, vocabulary), and the sum of each loss that compares with the teacher.

        `teacher_ids` (1, n, K) and `teacher_values` (1, n, K + 1) stand for the teacher where they were kept.
        """
        batch = {"input_ids": input_ids, "attention_mask": attention_mask}
        own = self._run(self.student, batch, positions, counted)
        if teacher_ids is not None and teacher_values is not None:
            sums = {"ce": self.sparse_targets(own["logits"], teacher_ids[0], teacher_values[0])}
            return {"logits": own["logits"], "sums": sums}
        with torch.no_grad():  # not inference_mode: what the losses save for the backward pass must be plain tensors
            target = self._run(self._teacher_on(input_ids.device), batch, positions, counted)
        return {"logits": own["logits"], "sums": self.compare(own, target, attention_mask)}

    @torch.no_grad()
    def teacher_logits(self, input_ids: Tensor, attention_mask: Tensor, positions: Tensor, counted: Tensor) -> Tensor:
        """The teacher's logits alone, (counted positions, vocabulary)."""
        batch = {"input_ids": input_ids, "attention_mask": attention_mask}
        return self._run(self._teacher_on(input_ids.device), batch, positions, counted)["logits"]

    def _teacher_on(self, device: torch.device) -> PreTrainedModel:
        teacher: Any = self.__dict__["teacher"]
        return teacher if teacher.device == device else teacher.to(device)

    def _needs_logits(self, model: nn.Module) -> bool:
        hard = self.weights.mlm or self.weights.clm
        return bool(self.weights.ce or self.weights.mse or (hard and model is self.student))

    def _run(
        self, model: PreTrainedModel, batch: Mapping[str, Tensor], positions: Tensor, counted: Tensor
    ) -> dict[str, Any]:
        """What the losses need of one model: logits (counted positions, vocabulary), states, relations."""
        called: Any = model if self._needs_logits(model) else model.base_model
        gathers = called is model and self.sparse[id(model)]
        more = {"labelled_positions": positions} if gathers else {}
        outputs = called(**batch, **more, output_hidden_states=self.needs_states)
        found = self.read_states(model, outputs, batch["attention_mask"])
        if called is model:
            logits = outputs.logits.flatten(0, 1)
            at_positions = logits if gathers else logits.index_select(0, positions.reshape(-1))
            found["logits"] = at_positions[: int(counted.sum())]  # filler comes last
        return found

    @property
    def needs_states(self) -> bool:
        return bool(self.weights.cos or self.weights.hidden)

    def read_states(self, model: PreTrainedModel, outputs: Any, mask: Tensor) -> dict[str, Any]:
        """Of a model that was just called: no logits yet, states (tokens, width) of each layer, relations."""
        found: dict[str, Any] = {"logits": None, "states": None, "relations": None}
        if self.needs_states:
            found["states"] = [state[mask.bool()] for state in outputs.hidden_states]
        if self.recorders:
            found["relations"] = self.recorders[id(model)].take(mask)
        return found

    def compare(self, own: dict, target: dict, mask: Tensor) -> dict[str, Tensor]:
        """The sum of each loss between student and teacher; mask (batch, length) of real tokens."""
        sums: dict[str, Tensor] = {}
        if target["logits"] is not None:
            sums |= {"ce": self.soft_targets(own["logits"], target["logits"])} if self.weights.ce else {}
            sums |= {"mse": self.logits(own["logits"], target["logits"])} if self.weights.mse else {}
        if self.weights.cos:
            sums["cos"] = self.cosine(own["states"][-1], target["states"][-1])
        if self.weights.hidden:
            sums["hidden"] = self.hidden(own["states"], target["states"])
        if self.weights.relation:
            sums["relation"] = self.relation(own["relations"], target["relations"], mask)
        return sums

    def gradient_checkpointing_enable(self, **options: object) -> None:
        """`--gradient_checkpointing`, of the student alone: the teacher keeps nothing for a backward pass."""
        self.student.gradient_checkpointing_enable(**options)

    def projections(self) -> dict[str, Tensor]:
        """The learned projections by name."""
        parts = {"cosine": self.cosine, "hidden": self.hidden}
        return {
            f"{EXTRA}{part}.{name}": value
            for part, module in parts.items()
            for name, value in module.named_parameters()
        }

    def state_dict(self, *args: object, **kwargs: object) -> dict[str, Any]:  # type: ignore[override]
        """The student's weights, each once, and the projections."""
        weights = self.student.state_dict()
        seen: dict[int, str] = {}
        for name, weight in weights.items():
            seen.setdefault(weight.data_ptr(), name)
        own = {name: weights[name] for name in seen.values()}
        return own | {name: value.detach() for name, value in self.projections().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Weights as `state_dict` gave them; tied ones are tied already."""
        projections = self.projections()
        with torch.no_grad():
            for name, value in projections.items():
                value.copy_(state_dict[name])
        own = {name: value for name, value in state_dict.items() if name not in projections}
        result = self.student.load_state_dict(own, strict=False, assign=assign)
        lost = [name for name in result.missing_keys if name in self.state_dict()]
        if lost or result.unexpected_keys:
            raise RuntimeError(f"this checkpoint is not of this student: {[*lost, *result.unexpected_keys]}")
        result.missing_keys.clear()
        return result


class Recorder:
    """Keeps queries, keys and values of a model's last layer during a call, until they are taken."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.found: dict[str, Tensor] = {}
        self.names = find_projections(model)
        modules = dict(model.named_modules())
        for name in self.names:
            modules[name].register_forward_hook(self._record(name))

    def _record(self, name: str) -> Any:
        def keep(_module: nn.Module, _args: tuple, output: Tensor) -> None:
            self.found[name] = output

        return keep

    def take(self, mask: Tensor) -> list[Tensor]:
        """Three of (batch, length, width), padded like `mask` (batch, length)."""
        found, self.found = self.found, {}
        return [pad_packed(found[name], mask) for name in self.names]


def find_projections(model: nn.Module) -> list[str]:
    """Names of the modules that make queries, keys and values in the last layer; empty where they are not apart."""
    names = [name for name, _ in model.named_modules()]
    for triple in _PROJECTIONS:
        last = [[name for name in names if name.rpartition(".")[2] == part][-1:] for part in triple]
        if all(last):
            return [name for found in last for name in found]
    return []


def pad_packed(states: Tensor, mask: Tensor) -> Tensor:
    """(1, rows, width) of an unpadded encoder, whose rows are the real tokens in order -> (batch, length, width)."""
    if states.shape[:2] == mask.shape:
        return states
    real = mask.bool()
    padded = states.new_zeros(*mask.shape, states.shape[-1])
    return padded.masked_scatter(real[..., None], states[0, : int(real.sum())])


class DistillationLoss(TokenLoss):
    """The weighted sum of all losses, each a mean over its positions in the whole global batch.

    `parts` are sums over steps of each loss's share, for `take_means`.
    """

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.factors, self.parts, self.steps = weights.named(), {}, 0  # type: ignore[var-annotated]
        self.hard = next((name for name in HARD if name in self.factors), "")

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        counts = cast(Tensor, num_items_in_batch).to(labels.device).clamp(min=1)
        sums = {**outputs["sums"], **self.sum_hard(outputs, labels)}
        means = {name: value / counts[count_index(name)] for name, value in sums.items()}
        for name, value in means.items():
            self.parts[name] = self.parts.get(name, 0.0) + value.detach()
        loss = torch.stack([self.factors[name] * value for name, value in means.items()]).sum()
        self.watch(loss)
        return loss

    def sum_hard(self, outputs: Any, labels: Tensor) -> dict[str, Tensor]:
        """The loss of what stands in the text, by its name; empty where it has no weight."""
        if not self.hard:
            return {}
        of_positions = labels.reshape(-1)[: len(outputs["logits"])]  # filler comes last
        return {self.hard: HardLabelLoss()(outputs["logits"], of_positions)}

    def take_means(self) -> dict[str, float]:
        """Mean of each loss over the steps since the last call; all processes of a run ask at the same time."""
        parts, steps = self.parts, max(self.steps, 1)
        self.parts, self.steps = {}, 0
        if not parts:
            return {}
        sums = torch.stack([torch.as_tensor(value).float() for value in parts.values()])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)  # each process has its share of the global mean
        return {name: value / steps for name, value in zip(parts, sums.tolist(), strict=True)}


def count_index(name: str) -> int:
    """Which count a loss is divided by: positions with logits, labels, or tokens."""
    return 0 if name in ON_LOGITS else 1 if name in HARD else 2


def count_items(batch: Mapping[str, Tensor]) -> Tensor:
    """(3,): positions with logits, labels, real tokens."""
    return torch.stack([batch["counted"].sum(), (batch["labels"] != IGNORED).sum(), batch["attention_mask"].sum()])


def count_positions(batch: Mapping[str, Tensor]) -> list[int]:
    """How many positions of each row of a batch have logits, (rows,)."""
    rows, width = batch["input_ids"].shape
    found = batch["positions"][batch["counted"].bool()] // width
    return torch.bincount(found, minlength=rows).tolist()
