"""What is changed in a model, whatever the task: a list of small steps, each in place.

`adapt_model` goes through those that follow from tokenizer and labels, once weights are read; `adapt_for_training` through
those that a user asked for, before a model is trained. Whatever changes a model for every command that trains is a step here
and nowhere else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers import initialization as drawing

from finetune.arguments.groups import Adapting
from finetune.errors import Problem, ProblemList, UsageError
from finetune.models.adapters import add_adapter, check_adapter
from finetune.models.freezing import find_entries, split_names
from finetune.models.parts import find_top_layers, find_trained
from finetune.models.quantizing import check_quantizing, quantize_encoder
from finetune.run.launcher import count_processes

logger = logging.getLogger(__name__)


@dataclass
class Adaptation:
    """What the steps have to know. `report` is what loading said; `fresh` are the names of weights that a step drew anew."""

    tokenizer: PreTrainedTokenizerBase
    report: Mapping[str, Any]
    new_head: bool = False
    fresh: list[str] = field(default_factory=list)
    grown: bool = False


def adapt_model(model: PreTrainedModel, adaptation: Adaptation) -> None:
    """Go through all steps, in their order."""
    for step in STEPS:
        step(model, adaptation)


def renew_head(model: PreTrainedModel, adaptation: Adaptation) -> None:
    """Draw the output layer anew where the checkpoint had one of the same size, for other labels."""
    if not adaptation.new_head:
        return
    report = adaptation.report
    drawn_already = {*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"])}
    outputs = {
        name: parameter
        for name, parameter in model.named_parameters()
        if is_of_head(model, name) and parameter.shape[0] == model.config.num_labels and name not in drawn_already
    }
    for name, parameter in outputs.items():
        if name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
        else:
            torch.nn.init.normal_(parameter, std=getattr(model.config, "initializer_range", 0.02))
    adaptation.fresh += list(outputs)


def is_of_head(model: PreTrainedModel, name: str) -> bool:
    """Whether a weight stands on top of the encoder that all heads share."""
    return not name.startswith(f"{model.base_model_prefix}.")


def grow_vocabulary(model: PreTrainedModel, adaptation: Adaptation) -> None:
    """Grow the embedding by the tokens that were added to the tokenizer; never shrink it."""
    size = int(cast(torch.Tensor, model.get_input_embeddings().weight).shape[0])  # I-BERT's is no nn.Embedding
    if len(adaptation.tokenizer) > size:
        model.resize_token_embeddings(len(adaptation.tokenizer))
        adaptation.grown = True
        logger.info("Embedding grown from %d to %d rows for the added tokens.", size, len(adaptation.tokenizer))


STEPS = (renew_head, grow_vocabulary)


@dataclass
class Trained:
    """A model on its way to training. `frozen` are the parameters that are not trained, or not yet."""

    model: PreTrainedModel
    asked: Adapting
    seed: int
    frozen: list[nn.Parameter] = field(default_factory=list)


def adapt_for_training(module: nn.Module, asked: Adapting, *, seed: int) -> Trained:
    """Go through all steps that a user asked for; of a student beside its teacher the student is meant.

    Raises:
        UsageError: with every problem of all of them; nothing is changed then.
    """
    trained = Trained(find_trained(module), asked, seed)
    problems = ProblemList()
    for check in TRAINING_CHECKS:
        problems.attempt(check, trained)
    problems.raise_any(UsageError)
    for step in TRAINING_STEPS:
        step(trained)
    return trained


def check_layers(trained: Trained) -> None:
    """`--reinit_layers` beyond the model."""
    count = trained.asked.rates.reinit_layers
    try:
        find_top_layers(trained.model, count or 0)
    except LookupError as error:
        found = f"--reinit_layers {count} is more than the {error.args[0]} layers of this model"
        raise UsageError(Problem(found)) from None


def check_frozen(trained: Trained) -> None:
    """`--freeze`: names that mean nothing, or everything."""
    names = split_names(trained.asked.rates.freeze or "")
    if trained.asked.rates.unfreezing and count_processes() > 1:
        found = "--unfreeze_after needs a training of one process: several agree at its start on what is trained"
        raise UsageError(Problem(found, remedy="drop it, or train with one process"))
    if any("[" in name for name in names):
        found = "--freeze takes whole parameters and modules, no entries of them"
        raise UsageError(Problem(found, remedy="finetune_lm's callbacks freeze single rows"))
    frozen = find_entries(trained.model, names)
    if frozen and all(item in frozen or not item.requires_grad for item in trained.model.parameters()):
        raise UsageError(Problem("--freeze leaves nothing to be trained", remedy="name fewer parts"))


def redraw_layers(trained: Trained) -> None:
    """`--reinit_layers`: draw the top layers anew, from the seed, as a model without a checkpoint has them.

    Zhang et al., Revisiting few-sample BERT fine-tuning, 2021, https://arxiv.org/abs/2006.05987, section 5.
    """
    count = trained.asked.rates.reinit_layers
    if count is None:
        return
    _draw_from(trained.seed)
    drawn = find_top_layers(trained.model, count)
    with torch.no_grad(), drawing.guard_torch_init_functions():
        for module in [child for layer in drawn for child in layer.modules()]:
            for parameter in module.parameters(recurse=False):
                parameter.__dict__.pop("_is_hf_initialized", None)  # the mark of what a checkpoint had
            trained.model._init_weights(module)
    size = sum(item.numel() for layer in drawn for item in layer.parameters())
    logger.info("Drawn anew: the top %d layers and what pools them, %s weights.", count, f"{size:,}")


def freeze_parts(trained: Trained) -> None:
    """`--freeze`: those weights are not trained, or not yet."""
    asked = trained.asked.rates
    if not asked.freeze:
        return
    trained.frozen = [item for item in find_entries(trained.model, split_names(asked.freeze)) if item.requires_grad]
    for parameter in trained.frozen:
        parameter.requires_grad_(False)
    frozen, total = (sum(item.numel() for item in items) for items in (trained.frozen, trained.model.parameters()))
    until = f", until {asked.unfreeze_after} have passed" if asked.unfreezing else ""
    logger.info("Frozen: %s of %s weights (%s)%s.", f"{frozen:,}", f"{total:,}", asked.freeze, until)


def check_new_adapter(trained: Trained) -> None:
    """`--peft`: what stands against it in the model, and beside it."""
    asked, rates = trained.asked.adapter, trained.asked.rates
    if asked.peft is None:
        return
    problems = ProblemList()
    problems.attempt(check_adapter, trained.model, asked)
    if asked.load_in_4bit:
        problems.attempt(check_quantizing)
    if rates.freeze:
        found = "--freeze with --peft: what an adapter does not train is frozen anyway"
        problems.append(Problem(found, remedy="drop --freeze"))
    if rates.reinit_layers:
        found = "--reinit_layers with --peft: layers that are drawn anew would neither be trained nor saved"
        problems.append(Problem(found, remedy="drop one of them"))
    problems.raise_any(UsageError)


def put_new_adapter(trained: Trained) -> None:
    """`--peft`: an adapter is trained, and the head, and nothing else."""
    if trained.asked.adapter.peft is not None:
        _draw_from(trained.seed)
        if trained.asked.adapter.load_in_4bit:
            logger.info("In 4 bits: %d linear layers.", quantize_encoder(trained.model))
        add_adapter(trained.model, trained.asked.adapter, trained.seed)


def _draw_from(seed: int) -> None:
    from transformers import set_seed  # brings peft along, which takes 0.7 s that prediction is spared

    set_seed(seed)


TRAINING_CHECKS = (check_layers, check_frozen, check_new_adapter)
TRAINING_STEPS = (redraw_layers, put_new_adapter, freeze_parts)
