"""Tags for texts that nobody has labelled: words found, windowed, tagged, and put back into their text."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune.arguments.model import ModelArguments
from finetune.arguments.prediction import PredictArguments
from finetune.data.corpus import Corpus, build_dataset
from finetune.data.prediction_input import InputText, PredictionScore
from finetune.encoding.document_context import number_documents
from finetune.encoding.labels import prepare_tags
from finetune.encoding.tags import TagScheme, read_spans
from finetune.errors import Problem, ProblemList
from finetune.models.checks import check_max_length, check_vocabulary, list_labels, resolve_max_length
from finetune.models.exported import find_format
from finetune.models.loading import check_weights, load_config
from finetune.models.prediction import choose_device, predict_logits
from finetune.models.settings import TaggerSettings, guess_tagger_settings
from finetune.supervised.predicting import load_to_predict
from finetune.tagging.encoding import EncodedTagging, encode_tagging, keep_sentences
from finetune.tagging.metrics import MAIN_METRICS, compare_tags
from finetune.tagging.neighbours import give_neighbours, outer_neighbours
from finetune.tagging.prediction_input import TaggingInputs
from finetune.tagging.report import format_columns, format_result
from finetune.tagging.summary import summarise_tagging
from finetune.tagging.viterbi import TransitionScores, decode_constrained, forbid_illegal
from finetune.tagging.word_predictions import WordPredictions, collect_word_predictions
from finetune.tagging.words import WordEncoder
from finetune.tokenization.loading import load_tokenizer
from finetune.training.collators import TaggingCollator
from finetune.training.unpadded_batches import mark_read

logger = logging.getLogger(__name__)

TASK = "token_classification"
LONGEST_DEFAULT_STRIDE = 32


@dataclass(frozen=True)
class PreparedSentences:
    """Some texts on their way to the model."""

    texts: Sequence[InputText]
    split: list[tuple[list[str], list[tuple[int, int]]]]  # words and their places
    encoded: EncodedTagging
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class TaggedSentences:
    """What the model said of them: label probabilities (words, labels) of each."""

    prepared: PreparedSentences
    probabilities: list[npt.NDArray[np.float32]]


@dataclass
class Tagger:
    """A trained tagger, ready to tag."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    labels: list[str]
    settings: TaggerSettings
    encoder: WordEncoder
    max_length: int
    arguments: PredictArguments
    bf16: bool
    scored: list[tuple[list[str], list[str]]] = field(default_factory=list)  # predicted and gold tags, with --score

    @property
    def segmenter(self) -> str:
        """How raw text is cut into words: as asked, else as in training."""
        return self.arguments.word_segmenter or self.settings.word_segmenter

    def read(self) -> Iterator[InputText]:
        """What is to be tagged.

        Raises:
            DataError: as `TaggingInputs.read`.
        """
        texts = TaggingInputs(self.arguments, self.labels, self.segmenter).read()
        if not self.context:
            return texts
        said = "Each text is read with up to %d subwords of its document on each side; an empty line ends a document."
        logger.info(said, self.context)
        return give_neighbours(texts, self.context)

    def tag(self, texts: Sequence[InputText]) -> Iterator[dict[str, Any]]:
        """One result for each text: its words, a tag and a probability for each, and the entities that the tags spell."""
        return self.tell(self.compute(self.prepare(texts)))

    def prepare(self, texts: Sequence[InputText]) -> PreparedSentences:
        """Texts as words, and their ids."""
        split = [text.split(self.segmenter) for text in texts]
        encoded = self.encode(texts, [words for words, _ in split])
        return PreparedSentences(texts, split, encoded, list(encoded.dataset))

    def encode(self, texts: Sequence[InputText], sentences: Sequence[list[str]]) -> EncodedTagging:
        """Words of texts as ids; with document context between those of their neighbours, which are no rows themselves."""
        encode = partial(
            encode_tagging,
            tokenizer=self.tokenizer,
            label_list=self.labels,
            max_length=self.max_length,
            stride=self.stride,
            encoder=self.encoder,
            name="input",
        )
        if not self.context or not texts:
            return encode(build_dataset({"words": list(sentences)}))
        before, after = outer_neighbours(texts)
        read = [*before, *texts, *after]
        words = [
            *(text.split(self.segmenter)[0] for text in before),
            *sentences,
            *(text.split(self.segmenter)[0] for text in after),
        ]
        keys = [None if text.document is None else (text.path, text.document) for text in read]
        split = build_dataset({"words": words, "document": number_documents(keys)})
        return keep_sentences(encode(split, context=self.context), len(before), len(before) + len(texts))

    def compute(self, prepared: PreparedSentences) -> TaggedSentences:
        """What the model says of texts."""
        return TaggedSentences(prepared, self.find_probabilities(prepared.encoded, prepared.rows))

    def find_probabilities(
        self, encoded: EncodedTagging, rows: Sequence[dict[str, Any]]
    ) -> list[npt.NDArray[np.float32]]:
        """Label probabilities, (words, labels) for each sentence; `rows` are those of the encoded data set."""
        size, collate = self.arguments.batch_size, mark_read(self.model, self.collator)
        logits = predict_logits(self.model, rows, collate, batch_size=size, bf16=self.bf16)
        words = collect_word_predictions(logits, encoded, padding_side=self.collator.padding_side)
        return WordPredictions(softmax(words.values, axis=-1), words.offsets).sentences()

    def tell(self, tagged: TaggedSentences) -> Iterator[dict[str, Any]]:
        prepared = tagged.prepared
        for text, (words, places), rows in zip(prepared.texts, prepared.split, tagged.probabilities, strict=True):
            result = self.describe(text, words, places, rows)
            if self.arguments.score and text.gold is not None:
                self.scored.append((result["tags"], text.gold))
            yield result

    @property
    def stride(self) -> int:
        """That of training, unless --max_length now makes windows that are too short for it."""
        default = min(LONGEST_DEFAULT_STRIDE, self.max_length // 4)
        saved = self.settings.stride
        return default if saved is None or saved > self.max_length // 2 else saved

    @property
    def context(self) -> int:
        """Subwords of the document around each text: as asked, else as in training."""
        asked = self.arguments.document_context
        return self.settings.document_context if asked is None else asked

    @property
    def collator(self) -> TaggingCollator:
        return TaggingCollator.for_tokenizer(self.tokenizer)

    @property
    def is_constrained(self) -> bool:
        asked = self.arguments.constrained_decoding
        return self.settings.constrained_decoding if asked is None else asked

    def decode(self, probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """Label ids of one sentence."""
        scheme = TagScheme(self.settings.scheme)
        if not self.is_constrained or scheme is TagScheme.POS or not len(probabilities):
            return probabilities.argmax(-1)
        learned = self.settings.transitions
        scores = None if learned is None else TransitionScores.from_table(learned)
        transitions = forbid_illegal(self.labels, scheme, scores)
        return decode_constrained(np.log(probabilities + 1e-12), [0, len(probabilities)], transitions)

    def describe(
        self, text: InputText, words: list[str], places: list[tuple[int, int]], probabilities: npt.NDArray[np.float32]
    ) -> dict[str, Any]:
        chosen = self.decode(probabilities)
        tags = [self.labels[index] for index in chosen]
        scores = [round(float(row[index]), 4) for row, index in zip(probabilities, chosen, strict=True)]
        result: dict[str, Any] = {"text": text.text, "words": words, "tags": tags, "scores": scores}
        if TagScheme(self.settings.scheme) is not TagScheme.POS:
            result["entities"] = find_entities(text.text, places, tags, scores)
        if text.gold is not None:
            result["gold_tags"] = text.gold
        return text.beside(result)

    def score(self) -> PredictionScore:
        """The tags of all texts that had gold tags, scored as run_ner.py scores a test set."""
        predicted, gold = [tags for tags, _ in self.scored], [tags for _, tags in self.scored]
        scheme = TagScheme(self.settings.scheme)
        prepared = prepare_tags(Corpus("input", {"test": build_dataset({"tags": gold})}), scheme=scheme)
        for note in prepared.notes:
            logger.info("%s", note)
        summary = summarise_tagging(compare_tags(predicted, prepared.corpus.splits["test"]["tags"][:], scheme))
        metrics = {**summary.main.as_dict()}
        main = MAIN_METRICS[scheme is not TagScheme.POS]
        return PredictionScore(format_result("input", summary), {name: metrics[name] for name in main})


def find_entities(
    text: str, places: list[tuple[int, int]], tags: list[str], scores: list[float]
) -> list[dict[str, Any]]:
    """Entities with character offsets into `text`; the score is that of its least certain word."""
    return [
        {
            "type": kind,
            "start": places[first][0],
            "end": places[behind - 1][1],
            "text": text[places[first][0] : places[behind - 1][1]],
            "score": min(scores[first:behind]),
        }
        for kind, first, behind in read_spans(tags)
    ]


def open_tagger(model_arguments: ModelArguments, arguments: PredictArguments) -> Tagger:
    """Load a trained tagger with the settings that it was saved with.

    Raises:
        DataError: with everything that is wrong about the folder.
    """
    problems = ProblemList()
    folder = Path(model_arguments.model_name_or_path)
    settings = problems.attempt(TaggerSettings.load, folder)
    config = problems.attempt(load_config, model_arguments)
    space_token = settings.space_token if settings else None
    tokenizer = problems.attempt(load_tokenizer, model_arguments, space_token=space_token, add_prefix_space=True)
    exported = problems.attempt(find_format, folder)
    problems.extend([] if exported else check_weights(model_arguments))
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
    return Tagger(model, tokenizer, labels, settings, encoder, max_length, arguments, bf16)


def check_tagger(architectures: Sequence[str] | None, folder: Path) -> list[Problem]:
    if any(name.endswith("ForTokenClassification") for name in architectures or ()):
        return []
    found = f"the model is {' and '.join(architectures or ('of no named kind',))}, not a trained tagger"
    return [Problem(found, remedy="give the output folder of a tagging run", path=folder)]


def format_conll(result: dict[str, Any]) -> str:
    """Word, gold tag where the input has one, and predicted tag, tab-separated; a blank line behind the sentence."""
    gold = [result["gold_tags"]] if "gold_tags" in result else []
    return format_columns([result["words"], *gold, result["tags"]])
