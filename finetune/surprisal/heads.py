"""What a language model predicts, told by its architecture's name: causal (`lm`), masked (`mlm`), encoder-decoder."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from transformers import PretrainedConfig, PreTrainedModel

from finetune.errors import DataError, Problem

logger = logging.getLogger(__name__)

HEADS = {"lm": "causal_lm", "mlm": "masked_lm", "seq2seq": "seq2seq_lm"}  # task -> head that models/loading.py loads
ENDINGS = {
    "seq2seq": ("ForConditionalGeneration", "ForSeq2SeqLM"),
    "mlm": ("ForMaskedLM", "ForPreTraining"),
    "lm": ("ForCausalLM", "LMHeadModel", "DoubleHeadsModel"),
}


def tasks_of(architectures: Sequence[str]) -> list[str]:
    """The tasks among `lm`, `mlm`, `seq2seq` that these classes of transformers are for."""
    return [task for task, ends in ENDINGS.items() if any(name.endswith(ends) for name in architectures)]


def task_of(model: PreTrainedModel) -> str:
    """The task of a loaded model; a class of another name that decodes is `seq2seq`, else `lm`."""
    if model.config.is_encoder_decoder:
        return "seq2seq"
    return next(iter(tasks_of([type(model).__name__])), "lm")


def find_task(config: PretrainedConfig, asked: str | None, folder: str) -> str:
    """`lm`, `mlm` or `seq2seq`: as asked, else as `config.architectures` says.

    Raises:
        DataError: the model has no head that predicts tokens.
    """
    names = tuple(config.architectures or ())
    found = tasks_of(names)
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
