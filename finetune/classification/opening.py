"""A trained classifier of a folder, with its torch model, ready to predict."""

from __future__ import annotations

from pathlib import Path

from transformers import PretrainedConfig

from finetune.arguments.model import ModelArguments
from finetune.arguments.prediction import PredictArguments
from finetune.classification.column_choice import ProblemType
from finetune.classification.decisions import read_decision
from finetune.classification.prediction import Classifier, require_json, resolve_decision
from finetune.classification.task import TASK
from finetune.encoding.subwords import SubwordEncoder
from finetune.errors import ProblemList
from finetune.models.checks import check_max_length, check_vocabulary, resolve_max_length
from finetune.models.loading import check_weights, load_config
from finetune.models.prediction import TorchNetwork, choose_device
from finetune.models.settings import ClassifierSettings
from finetune.supervised.predicting import load_to_predict
from finetune.tokenization.loading import load_tokenizer
from finetune.training.collators import ClassificationCollator


def open_classifier(model_arguments: ModelArguments, arguments: PredictArguments) -> Classifier:
    """Load a trained classifier with the settings that it was saved with.

    Raises:
        UsageError: the output format is for taggers.
        DataError: with everything that is wrong about the folder, stored thresholds of other labels included.
    """
    require_json(arguments)
    problems = ProblemList()
    folder = Path(model_arguments.model_name_or_path)
    settings = problems.attempt(ClassifierSettings.load, folder)
    config = problems.attempt(load_config, model_arguments)
    space_token = settings.space_token if settings else None
    tokenizer = problems.attempt(load_tokenizer, model_arguments, space_token=space_token)
    problems.extend(check_weights(model_arguments))
    device = problems.attempt(choose_device, arguments.device)
    if config is not None:
        problems.extend(check_max_length(arguments.max_length, config))
        settings = settings or settings_of_config(config)
        labels = [str(label) for _, label in sorted((config.id2label or {}).items())]
        kind = ProblemType(settings.problem_type)
        decision = problems.attempt(read_decision, settings, kind, labels)
    if config is not None and tokenizer is not None:
        problems.extend(check_vocabulary(config, tokenizer))
    problems.raise_any()
    assert config is not None and tokenizer is not None and settings is not None and decision is not None
    assert device is not None
    model, bf16 = load_to_predict(model_arguments, config, tokenizer, arguments, task=TASK, device=device)
    decision = resolve_decision(decision, arguments, labels)
    max_length = resolve_max_length(arguments.max_length or settings.max_length, config, tokenizer)
    collate = ClassificationCollator.for_tokenizer(tokenizer)
    network = TorchNetwork(model, collate, tokenizer.padding_side, bf16)
    return Classifier(network, tokenizer, labels, settings, decision, SubwordEncoder(tokenizer), max_length, arguments)


def settings_of_config(config: PretrainedConfig) -> ClassifierSettings:
    """What a model of another program says of itself."""
    guessed = ProblemType.REGRESSION if config.num_labels == 1 else ProblemType.SINGLE
    return ClassifierSettings(problem_type=config.problem_type or guessed.value)
