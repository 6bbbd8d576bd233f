"""A trained tagger of a folder, with its torch model, ready to tag."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from finetune.arguments.model import ModelArguments
from finetune.arguments.prediction import PredictArguments
from finetune.encoding.tag_column import TagColumn
from finetune.encoding.tags import TagScheme, canonical_spellings, detect_scheme
from finetune.errors import DataError, Problem, ProblemList
from finetune.models.checks import check_max_length, check_vocabulary, list_labels, resolve_max_length
from finetune.models.loading import check_weights, load_config
from finetune.models.prediction import TorchNetwork, choose_device
from finetune.models.settings import FILE, TaggerSettings
from finetune.supervised.predicting import load_to_predict
from finetune.tagging.prediction import Tagger, check_options
from finetune.tagging.words import WordEncoder
from finetune.tokenization.loading import load_tokenizer
from finetune.training.collators import TaggingCollator
from finetune.training.unpadded_batches import mark_read

logger = logging.getLogger(__name__)

TASK = "token_classification"


def open_tagger(model_arguments: ModelArguments, arguments: PredictArguments) -> Tagger:
    """Load a trained tagger with the settings that it was saved with.

    Raises:
        DataError: with everything that is wrong about the folder.
    """
    problems = ProblemList()
    problems.extend(check_options(arguments))
    folder = Path(model_arguments.model_name_or_path)
    settings = problems.attempt(TaggerSettings.load, folder)
    config = problems.attempt(load_config, model_arguments)
    space_token = settings.space_token if settings else None
    tokenizer = problems.attempt(load_tokenizer, model_arguments, space_token=space_token, add_prefix_space=True)
    problems.extend(check_weights(model_arguments))
    if config is not None:
        problems.extend(check_max_length(arguments.max_length, config))
        problems.extend(check_tagger(config.architectures, folder))
    if config is not None and tokenizer is not None:
        problems.extend(check_vocabulary(config, tokenizer))
    device = problems.attempt(choose_device, arguments.device)
    problems.raise_any()
    assert config is not None and tokenizer is not None
    assert device is not None
    model, bf16 = load_to_predict(model_arguments, config, tokenizer, arguments, task=TASK, device=device)
    labels = list_labels(config)
    if settings is None:
        labels, settings = guess_tagger_settings(labels)
    encoder = WordEncoder(tokenizer, lowercase=settings.lowercase, space_token=settings.space_token)
    max_length = resolve_max_length(arguments.max_length or settings.max_length, config, tokenizer)
    network = TorchNetwork(
        model, mark_read(model, TaggingCollator.for_tokenizer(tokenizer)), tokenizer.padding_side, bf16
    )
    return Tagger(network, tokenizer, labels, settings, encoder, max_length, arguments)


def check_tagger(architectures: Sequence[str] | None, folder: Path) -> list[Problem]:
    if any(name.endswith("ForTokenClassification") for name in architectures or ()):
        return []
    found = f"the model is {' and '.join(architectures or ('of no named kind',))}, not a trained tagger"
    return [Problem(found, remedy="give the output folder of a tagging run", path=folder)]


def guess_tagger_settings(labels: list[str]) -> tuple[list[str], TaggerSettings]:
    """What can be known of a tagger that another program saved: its labels, spelt canonically, and their scheme."""
    try:
        spellings = canonical_spellings(labels)
    except DataError:  # some labels spell spans and some do not: nothing to mend in a trained model
        spellings = {label: label for label in labels}
    known = [spellings[label] for label in labels]
    scheme = detect_scheme(TagColumn.of_sequences([label] for label in known))
    meaning = "one label per word" if scheme is TagScheme.POS else f"entities in the scheme {scheme}"
    logger.info("There is no %s beside the model; its labels are taken as %s.", FILE, meaning)
    return known, TaggerSettings(scheme=scheme.value)
