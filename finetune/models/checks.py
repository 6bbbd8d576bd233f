"""What a model's configuration allows, checked before its weights are read: lengths, vocabulary, heads, labels."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import transformers
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from finetune.data.files import listed
from finetune.encoding.labels import match_labels
from finetune.errors import DataError, Problem
from finetune.models.adapters import OTHER_LABELS, read_adapter
from finetune.models.families import find_position_limit
from finetune.models.loading import HEADS

logger = logging.getLogger(__name__)

# Vocabularies are often rounded up for the hardware; a larger gap means that the two do not belong together.
LARGEST_PADDED_ROWS = 1024
FALLBACK_LENGTH = 512


def resolve_max_length(typed: int | None, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int:
    """The length that counts: what was typed, else the shorter of the model's and the tokenizer's own limit."""
    if typed is not None:
        return typed
    limits = [limit for limit in (find_position_limit(config), tokenizer.model_max_length) if limit and limit < 10**6]
    return min(limits, default=FALLBACK_LENGTH)


def check_max_length(typed: int | None, config: PretrainedConfig) -> list[Problem]:
    """`--max_length` beyond the model's positions would fail in the middle of an epoch."""
    limit = find_position_limit(config)
    if typed is None or limit is None or typed <= limit:
        return []
    return [
        Problem(
            f"--max_length {typed} is more than the {limit} positions of this {config.model_type} model",
            f"allowed: up to {limit}, special tokens included",
            "longer texts are cut into overlapping windows, so nothing is lost by a smaller value",
        )
    ]


def check_vocabulary(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> list[Problem]:
    """Model and tokenizer must share one vocabulary, but for tokens added on purpose and rows padded on purpose."""
    rows, added = config.get_text_config().vocab_size, len(tokenizer.get_added_vocab())
    size = len(tokenizer)
    if size <= rows and rows - size <= LARGEST_PADDED_ROWS:
        return []
    if size > rows >= size - added:
        return []
    return [
        Problem(
            f"the model has {rows:,} embedding rows and the tokenizer {size:,} tokens ({added} of them added)",
            "they must be made for each other",
            "give the model's own tokenizer with --tokenizer_name_or_path",
        )
    ]


def check_objective(config: PretrainedConfig, *, causal: bool) -> list[Problem]:
    """Heads that cannot learn what they are asked: causal ones of models that see both sides or permutations, masked ones
    of models that see one.
    """
    if config.model_type == "xlnet":
        found = "XLNet is trained by permutation language modelling, which is not offered"
        return [Problem(found, "masked and causal language models are", "choose another architecture")]
    if type(config) not in transformers.AutoModelForMaskedLM._model_mapping:
        return []
    left_to_right = getattr(config, "is_decoder", False) or getattr(config, "causal", False)  # XLM says `causal`
    return _of_both_sides(config) if causal and not left_to_right else _of_left_side(config, causal)


def _of_both_sides(config: PretrainedConfig) -> list[Problem]:
    found = (
        f"the family {config.model_type} sees the text on both sides, so predicting the next token tells nothing of it"
    )
    remedy = "use it as a masked language model (run_mlm.py; --mlm; --model_task mlm), or choose a causal one"
    return [Problem(found, remedy=remedy)]


def _of_left_side(config: PretrainedConfig, causal: bool) -> list[Problem]:
    """A model that was made a decoder sees nothing of what follows a mask."""
    if causal or config.is_encoder_decoder or not getattr(config, "is_decoder", False):
        return []
    found = f"the configuration of this {config.model_type} model makes it a decoder, which reads from left to right"
    remedy = "use it as a causal language model (run_clm.py; --model_task lm), or choose a masked one"
    return [Problem(found, "masked language models read both sides", remedy)]


def check_head(config: PretrainedConfig, task: str) -> list[Problem]:
    """An architecture without the head of this task is refused by name."""
    mapping = getattr(transformers, HEADS[task])._model_mapping
    if type(config) in mapping:
        return []
    known = sorted({kind.model_type for kind in mapping if getattr(kind, "model_type", "")})
    near = difflib.get_close_matches(config.model_type, known, n=3, cutoff=0.5)
    examples = ", ".join(near or ("bert", "roberta", "xlm-roberta"))
    return [
        Problem(
            f"the architecture {config.model_type!r} has no {task.replace('_', ' ')} head in transformers "
            f"{transformers.__version__}",
            f"architectures with one include {examples}",
        )
    ]


@dataclass(frozen=True)
class LabelMatch:
    """How the labels of the data meet the head of the checkpoint."""

    labels: list[str]  # in the order of the head's outputs
    new_head: bool
    problems: tuple[Problem, ...] = ()


def match_head(config: PretrainedConfig, labels: Sequence[str], *, trains: bool, folder: str) -> LabelMatch:
    """Match the labels of data and model by name.

    A checkpoint that already knows (at least) these labels keeps its head and its order. Otherwise the head is made anew
    for the data's labels; without training that cannot help, and the labels that the model lacks are problems.
    """
    if not any("Classification" in name for name in config.architectures or ()):
        remedy = "add --do_train, or give a fine-tuned model"
        untrained = Problem(f"the model in {folder} has no trained head for this task", remedy=remedy)
        return LabelMatch(list(labels), new_head=False, problems=() if trains else (untrained,))
    own = list_labels(config)
    try:
        return LabelMatch(match_labels(own, labels, folder=folder), new_head=False)
    except DataError as error:
        if not trains:
            return LabelMatch(list(labels), new_head=True, problems=error.problems)
        if read_adapter(folder):
            shown = f"the adapter has a head of other labels ({listed(own)}) than the data ({listed(labels)})"
            return LabelMatch(list(labels), new_head=True, problems=(Problem(shown, remedy=OTHER_LABELS, path=folder),))
        logger.warning("The model's head has other labels (%s): a new head is trained.", ", ".join(own[:12]))
        return LabelMatch(list(labels), new_head=True)


def list_labels(config: PretrainedConfig) -> list[str]:
    """The label names of a configuration in the order of its outputs."""
    names: dict[int, str] = {int(number): name for number, name in (config.id2label or {}).items()}
    return [names[number] for number in range(len(names))]


def name_labels(config: PretrainedConfig, labels: Sequence[str]) -> None:
    """Write the label names into the configuration, so that the saved model says them."""
    config.num_labels = len(labels)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
