"""Train only the embedding rows that the data can reach; the rest of the vocabulary rests, and is saved, complete.

A fine-tuning corpus uses a few thousand of the 30,000 (BERT) or 250,000 (XLM-R) rows of the embedding matrix. The others get
a gradient of zero in every step, yet gradient, two moments and the optimizer's arithmetic are spent on them. Here the
trained parameter holds the reachable rows only; ids are translated inside the embedding, so data, model and heads do
not change. State dicts hold the full matrix, in both directions, so checkpoints and saved models are those of the plain
model.

Exactness. A row without gradient is changed by AdamW (Loshchilov & Hutter, 2019, https://arxiv.org/abs/1711.05101, alg. 2)
in each step by its decoupled weight decay alone, the factor 1 - lr * weight_decay. The product of these factors is kept
(`follow_weight_decay`) and applied to all full_rows rows when they are read. Optimizers that couple the elements of a
matrix (Adafactor, LAMB) or add the decay to the gradient (Adam) are not served by this: see `serves_optimizer`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from finetune.models.rows_without_gradient import make_room, move_to_file

WORTHWHILE = 0.9  # of the vocabulary reachable: beyond this, a sparse embedding saves nothing
DECOUPLED_OPTIMIZERS = frozenset({"adamw_torch", "adamw_torch_fused"})
PLAIN_OPTIMIZERS = frozenset({"sgd", "rmsprop", "adagrad"})


class SparseEmbedding(nn.Embedding):
    """An embedding of `num_embeddings` ids of which only some rows are a parameter. Made by `use_sparse_embedding`."""

    row_of: Tensor  # (num_embeddings,) row of `weight` of each id, -1 where the row rests
    trained_ids: Tensor  # (rows,) id of each row of `weight`
    full_rows: Tensor  # (num_embeddings, dimension) on the CPU or in a file; rows of trained ids are out of date
    pending_decay: float  # factor that the full_rows rows still have to be multiplied by
    full_padding_idx: int | None

    def forward(self, input: Tensor) -> Tensor:
        """(...) ids -> (..., dimension). In training, ids whose row rests are an error; in evaluation they are read."""
        rows = self.row_of[input]
        if self.training:
            if rows.device.type == "cpu" and bool((rows < 0).any()):
                strangers = sorted(set(input[rows < 0].tolist()))[:5]
                raise IndexError(
                    f"token ids {strangers} were not among the reachable ids that use_sparse_embedding was given"
                )
            return self._embed(rows)
        embedded = self._embed(rows.clamp(min=0))
        strange = rows < 0
        if not bool(strange.any()):
            return embedded
        return embedded.index_put((strange,), self._rest(input[strange]).to(embedded))

    def _embed(self, rows: Tensor) -> Tensor:
        return functional.embedding(rows, self.weight, self.padding_idx)

    def _rest(self, ids: Tensor) -> Tensor:
        return self.full_rows[ids.to(self.full_rows.device)] * self.pending_decay

    @torch.no_grad()
    def resolve(self) -> Tensor:
        """Write decay and trained rows into the full matrix, and return it: (num_embeddings, dimension), not a copy."""
        make_room(self.full_rows)
        if self.pending_decay != 1.0:
            self.full_rows.mul_(self.pending_decay)
            self.pending_decay = 1.0
        self.full_rows[self.trained_ids.cpu()] = self.weight.detach().to(self.full_rows)
        return self.full_rows

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight"] = self.resolve()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *arguments: Any) -> None:
        name = prefix + "weight"
        full = state_dict.get(name)
        if full is not None and full.shape == self.full_rows.shape:
            with torch.no_grad():
                self.full_rows.copy_(full)
            self.pending_decay = 1.0
            state_dict[name] = self.full_rows[self.trained_ids.cpu()]
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def serves_optimizer(name: str, weight_decay: float) -> bool:
    """Whether a sparse embedding gives what the full matrix would, under the optimizer of `TrainingArguments.optim`."""
    return name in DECOUPLED_OPTIMIZERS or (name in PLAIN_OPTIMIZERS and weight_decay == 0)


def use_sparse_embedding(model: PreTrainedModel, reachable_ids: Iterable[int]) -> str | None:
    """Make the rows of `reachable_ids` (and of the padding id) the only trained ones of the input embedding, in place.

    Call before the optimizer is built and before the model is wrapped for several processes. Returns None, or the reason
    why the matrix stays whole. Raises IndexError for ids outside the vocabulary.
    """
    embedding = model.get_input_embeddings()
    reason = _why_not(model, embedding)
    if reason is not None:
        return reason
    assert isinstance(embedding, nn.Embedding)
    size = embedding.num_embeddings
    ids = sorted({*reachable_ids} | ({embedding.padding_idx} if embedding.padding_idx is not None else set()))
    if ids and not 0 <= ids[0] <= ids[-1] < size:
        raise IndexError(f"reachable ids run from {ids[0]} to {ids[-1]}, the vocabulary from 0 to {size - 1}")
    if len(ids) > WORTHWHILE * size:
        return f"the data reaches {len(ids)} of {size} embedding rows"
    _trim(embedding, torch.tensor(ids))
    return None


def _why_not(model: PreTrainedModel, embedding: nn.Module) -> str | None:
    if type(embedding) is not nn.Embedding:
        return f"the input embedding is a {type(embedding).__name__}"
    if embedding.max_norm is not None or embedding.scale_grad_by_freq or embedding.sparse:
        return "the input embedding has max_norm, scale_grad_by_freq or sparse gradients"
    if not embedding.weight.requires_grad:
        return "the input embedding is frozen"
    owners = [name for name, module in model.named_modules() if embedding.weight in _Identity(module)]
    if len(owners) > 1:
        return f"the embedding matrix is shared by {' and '.join(owners)}"
    return None


class _Identity:
    """Membership of the very same tensor among a module's own parameters (`==` of tensors compares elements)."""

    def __init__(self, module: nn.Module) -> None:
        self.parameters = module._parameters.values()

    def __contains__(self, tensor: Tensor) -> bool:
        return any(parameter is tensor for parameter in self.parameters)


def _trim(embedding: nn.Embedding, ids: Tensor) -> None:
    full = embedding.weight.detach()
    device = full.device
    row_of = torch.full((embedding.num_embeddings,), -1)
    row_of[ids] = torch.arange(len(ids))
    embedding.__class__ = SparseEmbedding
    assert isinstance(embedding, SparseEmbedding)
    embedding.register_buffer("row_of", row_of.to(device), persistent=False)
    embedding.register_buffer("trained_ids", ids.to(device), persistent=False)
    embedding.full_padding_idx = embedding.padding_idx
    embedding.padding_idx = None if embedding.padding_idx is None else int(row_of[embedding.padding_idx])
    embedding.weight = nn.Parameter(full[ids.to(device)])
    embedding.full_rows, embedding.pending_decay = move_to_file(full.cpu()), 1.0


def use_full_embedding(model: nn.Module) -> None:
    """Undo `use_sparse_embedding`: one parameter with all rows again. An optimizer built before is of no use afterwards."""
    for embedding in _sparse_embeddings(model):
        weight = nn.Parameter(embedding.resolve().to(embedding.weight.device))
        for name in ("row_of", "trained_ids", "full_rows", "pending_decay"):
            delattr(embedding, name)
        embedding.padding_idx = embedding.__dict__.pop("full_padding_idx")
        embedding.__class__ = nn.Embedding  # type: ignore[assignment]
        embedding.weight = weight


def follow_weight_decay(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[RemovableHandle]:
    """Let the full_rows rows of `model` shrink by what each step of `optimizer` (a torch one) decays the trained rows."""
    return [optimizer.register_step_post_hook(_Decay(embedding)) for embedding in _sparse_embeddings(model)]


class _Decay:
    def __init__(self, embedding: SparseEmbedding) -> None:
        self.embedding = embedding

    def __call__(self, optimizer: torch.optim.Optimizer, _args: object, _kwargs: object) -> None:
        overflow = getattr(optimizer, "found_inf", None)  # set by a GradScaler: then a fused step changes nothing
        if overflow is not None and bool(overflow):
            return
        if self.embedding.weight.grad is None:  # the step was passed over: the trained rows do not decay either
            return
        for group in optimizer.param_groups:
            if any(parameter is self.embedding.weight for parameter in group["params"]):
                self.embedding.pending_decay *= 1 - float(group["lr"]) * group["weight_decay"]


def _sparse_embeddings(model: nn.Module) -> list[SparseEmbedding]:
    return [module for module in model.modules() if isinstance(module, SparseEmbedding)]
