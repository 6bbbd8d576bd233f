"""A folder that `finetune export` wrote, ready to predict: without torch.

And without transformers, where tokenizer.json says all about the tokenizer.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from finetune.arguments.model import ModelArguments
from finetune.arguments.prediction import PredictArguments
from finetune.classification.column_choice import ProblemType
from finetune.classification.decisions import read_decision
from finetune.classification.prediction import Classifier, require_json, resolve_decision
from finetune.encoding.batches import RowPadder
from finetune.encoding.subwords import SubwordEncoder
from finetune.errors import DataError, Problem, UsageError
from finetune.models.exported import ExportFacts, has_bf16_units, load_exported, read_facts, require_packages
from finetune.models.settings import ClassifierSettings, SavedSettings, TaggerSettings
from finetune.tagging.prediction import Tagger
from finetune.tagging.prediction import check_options as check_tagger
from finetune.tagging.words import WordEncoder
from finetune.tokenization.portable import load_portable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

TOKENIZER_FILE = "tokenizer.json"
Settings = TypeVar("Settings", bound=SavedSettings)


def open_exported(folder: Path, options: PredictArguments) -> Tagger | Classifier:
    """The predictor of an exported folder.

    Raises:
        UsageError: a flag asks for what an exported model cannot do; what runs it is not installed.
        DataError: a file of the folder is missing or broken.
    """
    facts = read_facts(folder)
    check_options(facts, options, folder)
    tokenizer = open_tokenizer(folder, facts)
    bf16 = facts.format == "openvino" and facts.short_formats
    bf16 = bf16 and (has_bf16_units() if options.bf16 is None else options.bf16)
    logger.info("Exported model: %s in %s.", facts.format, "bfloat16" if bf16 else "the precision of its program")
    network = load_exported(folder, facts, RowPadder.for_tokenizer(tokenizer), bf16=bf16)
    return build_predictor(network, tokenizer, facts, folder, options)


def build_predictor(
    network: Any, tokenizer: PreTrainedTokenizerBase, facts: ExportFacts, folder: Path, options: PredictArguments
) -> Tagger | Classifier:
    """Network and tokenizer with the settings of the folder."""
    if facts.task == "classifier":
        require_json(options)
        classifier = load_settings(ClassifierSettings, folder)
        decision = read_decision(classifier, ProblemType(classifier.problem_type), facts.labels)
        decision = resolve_decision(decision, options, facts.labels)
        length = options.max_length or classifier.max_length or facts.longest
        encoder = SubwordEncoder(tokenizer)
        return Classifier(network, tokenizer, facts.labels, classifier, decision, encoder, length, options)
    tagger = load_settings(TaggerSettings, folder)
    words = WordEncoder(tokenizer, lowercase=tagger.lowercase, space_token=tagger.space_token)
    length = options.max_length or tagger.max_length or facts.longest
    return Tagger(network, tokenizer, facts.labels, tagger, words, length, options)


def name_task(predictor: object) -> str:
    """What `ExportFacts.task` calls it."""
    return "tagger" if isinstance(predictor, Tagger) else "classifier"


def check_options(facts: ExportFacts, options: PredictArguments, folder: Path) -> None:
    """Raises:
    UsageError: another device than the CPU, more subwords than the model has positions, a masked language model.
    """
    problems = check_tagger(options) if facts.task == "tagger" else []
    if facts.task not in ("tagger", "classifier"):
        found = f"this exported model is a {facts.task} language model, which labels no texts"
        problems.append(Problem(found, remedy="give an exported tagger or classifier", path=folder))
    if options.device not in ("auto", "cpu"):
        found = f"--device {options.device} is for models of torch; an exported one runs on the CPU here"
        problems.append(Problem(found, remedy="add --device cpu", path=folder))
    if options.max_length and facts.limit and options.max_length > facts.limit:
        found = f"--max_length {options.max_length} is more than the {facts.limit} positions of this model"
        problems.append(Problem(found, f"allowed: up to {facts.limit}, special tokens included"))
    if problems:
        raise UsageError(*problems)


def load_settings(kind: type[Settings], folder: Path) -> Settings:
    """The settings of an exported folder.

    Raises:
        DataError: they are missing or broken.
    """
    settings = kind.load(folder)
    if settings is None:
        raise DataError(
            Problem("the settings of this exported model are missing", remedy="export it again", path=folder)
        )
    return settings


def open_tokenizer(folder: Path, facts: ExportFacts) -> Any:
    """The tokenizer of an exported folder, by `tokenizers` alone where that is known to be the same.

    Raises:
        UsageError: transformers has to load it, and is not installed.
        DataError: its file is missing or broken.
    """
    if facts.tokenizer is None:
        require_packages("transformers", kind=facts.format)
        from finetune.tokenization.loading import load_tokenizer

        return load_tokenizer(ModelArguments(model_name_or_path=str(folder)), add_prefix_space=facts.task == "tagger")
    path = folder / TOKENIZER_FILE
    try:
        return load_portable(path.read_text(encoding="utf-8"), facts.tokenizer)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(Problem(f"the tokenizer cannot be read: {error}", path=path)) from error
