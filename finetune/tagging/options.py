"""Options of a tagging run that need more than the command line: a trained model's settings, weights, transition scores."""

from __future__ import annotations

import logging
from pathlib import Path

from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import Arguments
from finetune.data.class_weights import read_class_weights
from finetune.data.corpus import Corpus
from finetune.encoding.tag_column import TagColumn
from finetune.errors import DataError, Problem
from finetune.models.settings import TaggerSettings
from finetune.tagging.arguments import TaggingArguments
from finetune.tagging.viterbi import TransitionScores, estimate_transitions

logger = logging.getLogger(__name__)


def adopt_settings(arguments: Arguments) -> TaggerSettings | None:
    """Without training: words become input as in the training of the model, wherever no flag says otherwise.

    Returns:
        What the model was saved with; None where this run trains, or where another program saved the model.
    """
    if arguments.training.get("do_train"):
        return None
    saved = TaggerSettings.load(Path(arguments[ModelArguments].model_name_or_path))
    if saved is not None:
        apply_settings(arguments, saved)
    return saved


def apply_settings(arguments: Arguments, saved: TaggerSettings) -> None:
    """Set the options of how words become input as a model was trained with them, wherever no flag says otherwise."""
    options = arguments[TaggingArguments]
    decoding = ("learned" if saved.transitions else "zero") if saved.constrained_decoding else None
    trained_with = {
        "max_length": saved.max_length,
        **({} if "max_length" in arguments.typed else {"stride": saved.stride}),  # which fits windows of that length
        "lowercase": saved.lowercase,
        "space_token": saved.space_token,
        "constrained_decoding": decoding,
    }
    changed = {
        name: value
        for name, value in trained_with.items()
        if name not in arguments.typed and value != getattr(options, name)
    }
    for name, value in changed.items():
        setattr(options, name, value)
    if changed:
        shown = ", ".join(f"--{name} {value}" for name, value in changed.items())
        logger.info("As the model was trained: %s.", shown)


def open_class_weights(arguments: Arguments, labels: list[str]) -> list[float] | None:
    """The weights of `--class_weights FILE` in the order of `labels`; None for `balanced`, or without the flag."""
    asked = arguments[TaggingArguments].class_weights
    return None if asked in (None, "balanced") else read_class_weights(Path(str(asked)), labels)


def find_transitions(
    arguments: Arguments, corpus: Corpus, labels: list[str], saved: TaggerSettings | None
) -> TransitionScores | None:
    """The scores of `--constrained_decoding learned`: those that the model was saved with, else from the training tags.

    Raises:
        DataError: there are neither.
    """
    if arguments[TaggingArguments].constrained_decoding != "learned":
        return None
    if saved is not None and saved.transitions is not None:
        return TransitionScores.from_table(saved.transitions)
    if "train" not in corpus.splits:
        found = "--constrained_decoding learned has nothing to learn from: there is no training set"
        raise DataError(Problem(found, remedy="add --train_file, or use --constrained_decoding zero"))
    tags = TagColumn.of_split(corpus.splits["train"])
    ids = tags.numbered({label: number for number, label in enumerate(labels)})
    return estimate_transitions(ids, tags.offsets, len(labels))
