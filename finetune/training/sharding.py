"""`--fsdp`: parameters shared out among processes by FSDP2, and checkpoints that are whole all the same.

accelerate makes FSDP of groups of accelerators only (`AcceleratorState.__init__` lists them, without MULTI_CPU), and
trains whole models on processors, without a word. What follows in accelerate and transformers asks for the
kind of the group and for the plugin; with both set, processors shard as GPUs do, over gloo.

A checkpoint holds weights and optimizer as one process writes them: it is a model folder, and a training goes on from it
with any number of processes, sharded or not. (transformers writes files of its own, which only FSDP reads.)
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from safetensors import safe_open
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import Trainer, TrainingArguments

from finetune.arguments.fast_path import FastPathArguments
from finetune.arguments.groups import Adapting
from finetune.arguments.training_table import TrainingValues
from finetune.errors import Problem, UsageError
from finetune.models.sparse_embedding import SparseEmbedding
from finetune.run.folder import Run
from finetune.run.launcher import count_processes

logger = logging.getLogger(__name__)

WEIGHTS = "model*.safetensors"
TRIMS = "trains_reached_rows_only"


def check_sharding(values: TrainingValues) -> list[Problem]:
    """What keeps `--fsdp` from having an effect."""
    if not values.get("fsdp"):
        return []
    if count_processes() == 1:
        found = "--fsdp shares parameters out among several processes, and this training is one"
        return [Problem(found, remedy="add --nproc N, start it by torchrun, or drop it")]
    if values.get("use_cpu") and torch.accelerator.is_available():
        found = "--fsdp shares out over the accelerators that torch sees, and this training is on the processor"
        return [Problem(found, remedy="hide them (CUDA_VISIBLE_DEVICES=''), or drop --use_cpu")]
    if not values.get("do_train", True):
        return [Problem("--fsdp is for training, and nothing is trained", remedy="drop it")]
    return []


def require_sharded(
    arguments: TrainingArguments, model: object, adapting: Adapting, fast_path: FastPathArguments
) -> None:
    """Refuse what does not go with parameters of which each process has a part.

    Raises:
        UsageError: with all of it.
    """
    config: Mapping[str, Any] = arguments.fsdp_config if isinstance(arguments.fsdp_config, Mapping) else {}
    reasons = {
        "--fsdp_config version: FSDP2 it is": int(config.get("version", 2)) != 2,
        "--fsdp_config state_dict_type: checkpoints are whole": "SHARDED" in str(config.get("state_dict_type", "")),
        "--fsdp shards the parameters of one model, not those of a student beside its teacher": not hasattr(
            model, "config"
        ),
        "--fsdp: this model shares the bias of its vocabulary layer with another module, and accelerate parts the two": (
            shares_head(model)
        ),
        "--fsdp and --peft: an adapter is small": adapting.adapter.peft is not None,
        "--fsdp and averages of weights (--ema, --average_last)": adapting.averaging.ema is not None
        or adapting.averaging.average_last is not None,
        "--fsdp and batches by length (--max_tokens_per_batch, --length_window)": bool(
            fast_path.max_tokens_per_batch or fast_path.length_window
        ),
    }
    if problems := [Problem(found, remedy="drop one of them") for found, is_so in reasons.items() if is_so]:
        raise UsageError(*problems)


def shares_head(model: Any) -> bool:
    """Whether a module beside the embeddings holds a parameter of the vocabulary layer, as BERT's head does its bias.

    Both would be in different units, which torch refuses; accelerate takes care of weights that embeddings share only.
    """
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if head is None:
        return False
    own = {id(item) for item in head.parameters()}
    others = (module for module in model.modules() if module is not head and module is not model.get_input_embeddings())
    return any(id(item) in own for module in others for item in module.parameters(recurse=False))


def without_fast_path(fast_path: FastPathArguments) -> FastPathArguments:
    """The plain recipe: steps of ours read whole parameters."""
    if not fast_path.no_fast_path:
        logger.info("--fsdp switches the fast path off: its steps read whole parameters.")
    return replace(fast_path, no_fast_path=True, max_tokens_per_batch=None, length_window=0)


def shard_on_processor(trainer: Trainer) -> None:
    """Let accelerate shard over processes on CPUs as it does over accelerators. Called once the Trainer has made its own."""
    state: Any = trainer.accelerator.state
    asked = trainer.args.fsdp_plugin_args
    if asked is None or state.distributed_type is not DistributedType.MULTI_CPU:
        return
    plugin = FullyShardedDataParallelPlugin(**asked)
    if trainer.accelerator.mixed_precision != "no":
        plugin.set_mixed_precision(trainer.accelerator.mixed_precision)
    state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    state.fsdp_plugin = plugin
    trainer.is_fsdp_enabled = True


def choose_units(trainer: Trainer) -> None:
    """What is gathered at once where the user does not say: layers, by the names that the model has for them.

    Some of these hold the embeddings (BertEmbeddings), which accelerate makes units of their own, too: torch refuses that.
    """
    plugin: Any = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    if plugin is None or plugin.transformer_cls_names_to_wrap is not None:
        return
    model: Any = trainer.model
    embeddings = {
        id(item) for item in (model.get_input_embeddings(), model.get_output_embeddings()) if item is not None
    }
    names = set(getattr(model, "_no_split_modules", None) or ())
    holders = {
        type(module).__name__ for module in model.modules() if embeddings & {id(part) for part in module.modules()}
    }
    found = {type(module).__name__ for module in model.modules()}
    plugin.transformer_cls_names_to_wrap = sorted(names & found - holders)


def require_same_rows(run: Run, model: nn.Module) -> None:
    """Keep whether only those rows of the embedding are trained that the data reach: the optimizer holds no others.

    Raises:
        UsageError: the run began the other way, as only one that was sharded then or is now can.
    """
    trims, before = any(isinstance(module, SparseEmbedding) for module in model.modules()), run.recall(TRIMS)
    if run.checkpoint is not None and before not in (None, trims):
        found = "with --fsdp every row of the embedding is trained, without it those that the data reach"
        remedy = "go on as the run began, or begin it with --no_trim_vocabulary, which goes on either way"
        raise UsageError(Problem(f"{found}: the optimizer of this run holds others", remedy=remedy))
    run.record(**{TRIMS: trims})


def tell_shares(model: nn.Module) -> None:
    """How much of the parameters this process holds."""
    whole = sum(item.nbytes for item in model.parameters())
    own = sum((item.to_local() if isinstance(item, DTensor) else item).nbytes for item in model.parameters())
    logger.info("--fsdp: each process holds about %.1f of %.1f MB of parameters.", own / 1e6, whole / 1e6)


def load_whole_weights(model: nn.Module, folder: Path) -> None:
    """The weights of a model folder, of which each process keeps its part. (Weights that are tied are there once.)"""
    held = model.state_dict()
    for path in sorted(folder.glob(WEIGHTS)):
        with safe_open(path, "pt") as file, torch.no_grad():
            names = file.keys()
            for name in names:
                held[name].copy_(take_part(file.get_tensor(name), held[name]))


def keep_tied_once(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights that were put together, without those that are tied to others: one process writes them once."""
    tied = dict(getattr(model, "all_tied_weights_keys", None) or {})
    return {
        name: value
        for name, value in weights.items()
        if name not in tied or tied[name] not in weights or not torch.equal(value, weights[tied[name]])
    }


def take_part(whole: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """What of a tensor that every process has whole is held as `like` is."""
    if not isinstance(like, DTensor):
        return whole
    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def plain_optimizer(optimizer: Any) -> torch.optim.Optimizer:
    """Without what accelerate wraps around it."""
    return getattr(optimizer, "optimizer", optimizer)


def read_whole_optimizer(optimizer: torch.optim.Optimizer, *, keep: bool) -> dict[str, Any]:
    """The state of an optimizer as one process would have it, in those that `keep` it. All processes take part."""
    found = optimizer.state_dict()
    state = {
        number: {name: put_together(value, keep=keep) for name, value in values.items()}
        for number, values in found["state"].items()
    }
    return {**found, "state": state}


def put_together(value: Any, *, keep: bool) -> Any:
    whole = value.full_tensor() if isinstance(value, DTensor) else value
    return whole.cpu() if keep and isinstance(whole, torch.Tensor) else whole if keep else None


def load_whole_optimizer(optimizer: torch.optim.Optimizer, path: Path) -> None:
    """Go on with the state of one process's optimizer, of which each process keeps its part."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, values in saved["state"].items():
        like = parameters[number]
        values.update({name: take_part(value, like) for name, value in values.items() if value.shape == like.shape})
    optimizer.load_state_dict(saved)
