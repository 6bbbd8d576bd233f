"""What a language model predicts, told by transformers' own tables: causal (`lm`), masked (`mlm`), encoder-decoder."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from transformers import (
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from finetune.errors import DataError, Problem
from finetune.models.checks import check_objective, check_vocabulary

logger = logging.getLogger(__name__)

HEADS = {"lm": "causal_lm", "mlm": "masked_lm", "seq2seq": "seq2seq_lm"}  # task -> head that models/loading.py loads
# In this order: BART's generating class counts as masked too, XLM's as causal and masked (its configuration says which).
TABLES = {
    "seq2seq": MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    "lm": MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    "mlm": MODEL_FOR_MASKED_LM_MAPPING_NAMES,
}
# Classes of older releases and of models that read pictures too stand in none of the tables.
GENERATING = ("ForConditionalGeneration", "ForSeq2SeqLM", "ForCausalLM", "LMHeadModel", "DoubleHeadsModel")
DISCRIMINATING = ("Electra", "Funnel")  # their ...ForPreTraining tells real tokens from replaced ones


def tasks_of(config: PretrainedConfig) -> list[str]:
    """The tasks among `lm`, `mlm`, `seq2seq` that the classes named in a configuration are for."""
    names = config.architectures or ()
    found = [task for task, table in TABLES.items() if any(name in _classes(table) for name in names)]
    if found:
        return found
    if any(name.endswith(GENERATING) for name in names):
        return _generating_task(config)
    trained = [name for name in names if name.endswith(("ForMaskedLM", "ForPreTraining"))]
    return ["mlm"] if any(not name.startswith(DISCRIMINATING) for name in trained) else []


def _classes(table: Mapping[str, str | tuple[str, ...]]) -> set[str]:
    return {name for names in table.values() for name in ((names,) if isinstance(names, str) else names)}


def _generating_task(config: PretrainedConfig) -> list[str]:
    if config.is_encoder_decoder:
        return ["seq2seq"]
    return ["lm"] if type(config) in AutoModelForCausalLM._model_mapping else []


def task_of(model: PreTrainedModel) -> str:
    """The task of a loaded model; a class of another name that decodes is `seq2seq`, else `lm`."""
    if model.config.is_encoder_decoder:
        return "seq2seq"
    name = type(model).__name__
    return next((task for task, table in TABLES.items() if name in _classes(table)), "lm")


def find_task(config: PretrainedConfig, asked: str | None, folder: str) -> str:
    """`lm`, `mlm` or `seq2seq`: as asked, else as `config.architectures` says.

    Raises:
        DataError: the model has no head that predicts tokens.
    """
    names = tuple(config.architectures or ())
    found = tasks_of(config)
    if asked and asked not in found:
        logger.warning(
            "--model_task %s, but the model was saved as %s: weights of its head that are missing are random.",
            asked,
            ", ".join(names) or "nothing in particular",
        )
    if asked or found:
        return asked or found[0]
    head = f"its architectures are {', '.join(names)}" if names else "its config.json names no architecture"
    remedy = "give a model with such a head, or say --model_task lm, mlm or seq2seq"
    raise DataError(Problem(f"no head that predicts tokens is known of this model: {head}", remedy=remedy, path=folder))


def check_language_model(
    config: PretrainedConfig, task: str, tokenizer: PreTrainedTokenizerBase | None
) -> list[Problem]:
    """Models whose head does not compute what `task` asks of it, and tokenizers of another model."""
    problems = check_objective(config, causal=task == "lm")
    return problems if tokenizer is None else [*problems, *check_vocabulary(config, tokenizer)]
