"""The model behind the service: opened and asked exactly as predict.py does it."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from finetune.arguments.model import ModelArguments
from finetune.arguments.prediction import PredictArguments
from finetune.classification.prediction import Classifier
from finetune.data.prediction_input import InputText
from finetune.prediction.task import open_predictor
from finetune.serving.arguments import ServeArguments, ServedModelArguments
from finetune.serving.requests import REQUEST, RequestReader
from finetune.tagging.prediction import Tagger
from finetune.tagging.prediction_input import TaggingInputs, read_record

WARM_UP = "The model is made ready."


@dataclass
class ServedModel:
    """A trained model, what it answers to, and how long texts are for it."""

    predictor: Tagger | Classifier
    counter: TokenCounter
    name: str

    @property
    def task(self) -> str:
        return "token_classification" if isinstance(self.predictor, Tagger) else "sequence_classification"

    @property
    def needs_pairs(self) -> bool:
        return isinstance(self.predictor, Classifier) and self.predictor.settings.pairs

    def predict(self, texts: list[InputText]) -> list[dict[str, Any]]:
        """What predict.py writes for these texts."""
        return list(self.predictor.tag(texts))

    def make_reader(self, options: ServeArguments) -> RequestReader:
        predictor = self.predictor
        if isinstance(predictor, Classifier):
            return RequestReader(options.max_texts, options.max_tokens, None, self.needs_pairs)
        columns = TaggingInputs(predictor.arguments, predictor.labels, predictor.segmenter).columns

        def read_words(words: list[str], number: int) -> InputText:
            return read_record({"words": words}, number, REQUEST, columns)

        return RequestReader(options.max_texts, options.max_tokens, read_words, False)

    def warm_up(self) -> None:
        """Weights packed, dictionaries read: the first request is no slower than the next."""
        fields = {"text_pair": WARM_UP} if self.needs_pairs else {}
        self.predict([InputText(WARM_UP, None, REQUEST, 1, fields)])


class TokenCounter:
    """Subword tokens of texts, counted by a copy of the tokenizer, so that threads share none."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.is_fast = tokenizer.is_fast
        if self.is_fast:
            self.own: Any = copy.deepcopy(tokenizer.backend_tokenizer)  # type: ignore[attr-defined]
            self.own.no_truncation()
            self.own.no_padding()
        else:
            self.own = copy.deepcopy(tokenizer)

    def count(self, texts: list[InputText]) -> list[int]:
        """Of each text and its second one, without special tokens."""
        whole = [
            f"{text.text} {text.fields['text_pair']}" if "text_pair" in text.fields else text.text for text in texts
        ]
        if self.is_fast:
            return [len(encoding.ids) for encoding in self.own.encode_batch_fast(whole, add_special_tokens=False)]
        return [len(self.own.tokenize(text)) for text in whole]


def open_model(options: ServeArguments, of_model: ServedModelArguments) -> ServedModel:
    """Load the model of a run.

    Raises:
        UsageError, DataError: as `open_predictor`.
    """
    asked = {name: value for name, value in vars(of_model).items() if name != "tokenizer_type"}
    model = ModelArguments(model_name_or_path=options.run, tokenizer_type=of_model.tokenizer_type)
    predictor = open_predictor(model, PredictArguments(**asked))
    assert isinstance(predictor, Tagger | Classifier)
    for name in ("finetune.tagging.encoding", "finetune.classification.encoding"):
        logging.getLogger(name).addFilter(partial(_say_once, set()))
    served = ServedModel(predictor, TokenCounter(predictor.tokenizer), Path(options.run).resolve().name)
    served.warm_up()
    return served


def _say_once(said: set[str], record: logging.LogRecord) -> bool:
    """Each kind of remark on texts once, whatever its numbers: requests must not fill the log."""
    kind = "".join(character for character in record.getMessage() if not character.isdigit())
    if kind in said:
        return False
    said.add(kind)
    return True
