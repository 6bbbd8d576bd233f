"""Tags for texts that nobody has labelled: words found, windowed, tagged, and put back into their text."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from finetune.arguments.prediction import PredictArguments
from finetune.data.prediction_input import InputText, PredictionScore
from finetune.encoding.document_context import ALONE, DocumentContext, choose_context, number_documents
from finetune.encoding.tags import TagScheme, read_spans
from finetune.errors import Problem
from finetune.models.exported import Network
from finetune.models.probabilities import softmax
from finetune.models.settings import TaggerSettings
from finetune.tagging.neighbours import give_neighbours, outer_neighbours
from finetune.tagging.prediction_input import TaggingInputs
from finetune.tagging.report import format_columns, format_result
from finetune.tagging.viterbi import TransitionScores, decode_constrained, forbid_illegal
from finetune.tagging.window_rows import EncodedWindows, encode_windows, keep_sentences
from finetune.tagging.word_predictions import WordPredictions, collect_from_windows
from finetune.tagging.words import WordEncoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

LONGEST_DEFAULT_STRIDE = 32
UNSPECIFIED = "_"  # as CoNLL-U has it


@dataclass(frozen=True)
class PreparedSentences:
    """Some texts on their way to the model."""

    texts: Sequence[InputText]
    split: list[tuple[list[str], list[tuple[int, int]]]]  # words and their places
    encoded: EncodedWindows
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class TaggedSentences:
    """What the model said of them: label probabilities (words, labels) of each."""

    prepared: PreparedSentences
    probabilities: list[npt.NDArray[np.float32]]


@dataclass
class Tagger:
    """A trained tagger, ready to tag."""

    network: Network
    tokenizer: PreTrainedTokenizerBase
    labels: list[str]
    settings: TaggerSettings
    encoder: WordEncoder
    max_length: int
    arguments: PredictArguments
    scored: list[tuple[list[str], list[str]]] = field(default_factory=list)  # predicted and gold tags, with --score
    abstained: int = 0  # entities (or words) that --abstain_below left out

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
        logger.info(said, self.context.size)
        return give_neighbours(texts, self.context.size)

    def tag(self, texts: Sequence[InputText]) -> Iterator[dict[str, Any]]:
        """One result for each text: its words, a tag and a probability for each, and the entities that the tags spell."""
        return self.tell(self.compute(self.prepare(texts)))

    def prepare(self, texts: Sequence[InputText]) -> PreparedSentences:
        """Texts as words, and their ids."""
        split = [text.split(self.segmenter) for text in texts]
        encoded = self.encode(texts, [words for words, _ in split])
        return PreparedSentences(texts, split, encoded, encoded.rows())

    def encode(self, texts: Sequence[InputText], sentences: Sequence[list[str]]) -> EncodedWindows:
        """Words of texts as ids; with document context between those of their neighbours, which are no rows themselves."""
        if not self.context or not texts:
            return self.encode_words(sentences)
        before, after = outer_neighbours(texts)
        read = [*before, *texts, *after]
        words = [
            *(text.split(self.segmenter)[0] for text in before),
            *sentences,
            *(text.split(self.segmenter)[0] for text in after),
        ]
        keys = [None if text.document is None else (text.path, text.document) for text in read]
        encoded = self.encode_words(words, np.array(number_documents(keys)))
        return keep_sentences(encoded, len(before), len(before) + len(texts))

    def encode_words(
        self, sentences: Sequence[Sequence[str]], documents: npt.NDArray[np.int64] | None = None
    ) -> EncodedWindows:
        """Words of sentences as ids, with context where the document of each sentence is given."""
        return encode_windows(
            self.encoder.encode(list(sentences)),
            self.tokenizer,
            max_length=self.max_length,
            stride=self.stride,
            name="input",
            context=ALONE if documents is None else self.context,
            documents=documents,
        )

    def compute(self, prepared: PreparedSentences) -> TaggedSentences:
        """What the model says of texts."""
        return TaggedSentences(prepared, self.find_probabilities(prepared.encoded, prepared.rows))

    def find_probabilities(
        self, encoded: EncodedWindows, rows: Sequence[dict[str, Any]]
    ) -> list[npt.NDArray[np.float32]]:
        """Label probabilities, (words, labels) for each sentence; `rows` are those of `encoded`."""
        logits = self.network.predict(rows, batch_size=self.arguments.batch_size)
        words = collect_from_windows(logits, encoded, padding_side=self.network.padding_side)
        return WordPredictions(softmax(words.values), words.offsets).sentences()

    def tell(self, tagged: TaggedSentences) -> Iterator[dict[str, Any]]:
        prepared = tagged.prepared
        for text, (words, places), rows in zip(prepared.texts, prepared.split, tagged.probabilities, strict=True):
            chosen = self.decode(rows)
            if self.arguments.score and text.gold is not None:
                self.scored.append(([self.labels[index] for index in chosen], text.gold))
            yield self.describe(text, words, places, rows, chosen)

    @property
    def stride(self) -> int:
        """That of training, unless --max_length now makes windows that are too short for it."""
        default = min(LONGEST_DEFAULT_STRIDE, self.max_length // 4)
        saved = self.settings.stride
        return default if saved is None or saved > self.max_length // 2 else saved

    @cached_property
    def context(self) -> DocumentContext:
        """What of its document is read around each text: as much as asked, else as in training."""
        asked, saved = self.arguments.document_context, self.settings
        size = saved.document_context if asked is None else asked
        return choose_context(size, separated=saved.context_separator, tokenizer=self.tokenizer)

    @property
    def is_constrained(self) -> bool:
        asked = self.arguments.constrained_decoding
        return self.settings.constrained_decoding if asked is None else asked

    def decode(self, probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """Label ids of one sentence."""
        if not len(probabilities):
            return np.empty(0, dtype=np.int64)  # a text without words, which may be all that a batch holds
        scheme = TagScheme(self.settings.scheme)
        if not self.is_constrained or scheme is TagScheme.POS:
            return probabilities.argmax(-1)
        learned = self.settings.transitions
        scores = None if learned is None else TransitionScores.from_table(learned)
        transitions = forbid_illegal(self.labels, scheme, scores)
        return decode_constrained(np.log(probabilities + 1e-12), [0, len(probabilities)], transitions)

    def describe(
        self,
        text: InputText,
        words: list[str],
        places: list[tuple[int, int]],
        probabilities: npt.NDArray[np.float32],
        chosen: npt.NDArray[np.int64],
    ) -> dict[str, Any]:
        """The result of one text; what is less probable than --abstain_below is left out, and counted."""
        tags = [self.labels[index] for index in chosen]
        scores = [round(float(row[index]), 4) for row, index in zip(probabilities, chosen, strict=True)]
        tags = self.abstain(tags, scores)
        result: dict[str, Any] = {"text": text.text, "words": words, "tags": tags, "scores": scores}
        if self.arguments.top_k is not None:
            result["top"] = list_top(probabilities, self.labels, self.arguments.top_k)
        if self.has_spans:
            result["entities"] = find_entities(text.text, places, tags, scores)
        if text.gold is not None:
            result["gold_tags"] = text.gold
        return text.beside(result)

    @property
    def has_spans(self) -> bool:
        return TagScheme(self.settings.scheme) is not TagScheme.POS

    def abstain(self, tags: list[str], scores: list[float]) -> list[str]:
        """The tags without those of entities whose least certain word is too uncertain; of words, `_` in their place."""
        least = self.arguments.abstain_below
        if least is None:
            return tags
        if not self.has_spans:
            self.abstained += sum(score < least for score in scores)
            return [tag if score >= least else UNSPECIFIED for tag, score in zip(tags, scores, strict=True)]
        kept = list(tags)
        for _, first, behind in read_spans(tags):
            if min(scores[first:behind]) < least:
                self.abstained += 1
                kept[first:behind] = ["O"] * (behind - first)
        return kept

    def score(self) -> PredictionScore:
        """The tags of all texts that had gold tags, scored as run_ner.py scores a test set."""
        from finetune.data.corpus import Corpus, build_dataset  # only scores need them, and pyarrow with them
        from finetune.encoding.labels import prepare_tags
        from finetune.tagging.metrics import MAIN_METRICS, compare_tags
        from finetune.tagging.summary import summarise_tagging

        predicted, gold = [tags for tags, _ in self.scored], [tags for _, tags in self.scored]
        scheme = TagScheme(self.settings.scheme)
        prepared = prepare_tags(Corpus("input", {"test": build_dataset({"tags": gold})}), scheme=scheme)
        for note in prepared.notes:
            logger.info("%s", note)
        summary = summarise_tagging(compare_tags(predicted, prepared.corpus.splits["test"]["tags"][:], scheme))
        metrics = {**summary.main.as_dict()}
        main = MAIN_METRICS[scheme is not TagScheme.POS]
        return PredictionScore(format_result("input", summary), {name: metrics[name] for name in main})


def check_options(options: PredictArguments) -> list[Problem]:
    """Options that a tagger has no use for."""
    if options.threshold is None:
        return []
    remedy = "drop it; --abstain_below leaves uncertain entities out"
    return [
        Problem("--threshold is for classifiers that give several labels, and this model tags words", remedy=remedy)
    ]


def list_top(probabilities: npt.NDArray[np.float32], labels: Sequence[str], number: int) -> list[list[dict[str, Any]]]:
    """The likeliest labels of each word, (words, labels), with their probabilities."""
    if not len(probabilities):
        return []
    order = np.argsort(-probabilities, axis=-1, kind="stable")[:, :number]
    return [
        [{"tag": labels[index], "score": round(float(row[index]), 4)} for index in best]
        for row, best in zip(probabilities, order, strict=True)
    ]


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


def format_conll(result: dict[str, Any]) -> str:
    """Word, gold tag where the input has one, and predicted tag, tab-separated; a blank line behind the sentence."""
    gold = [result["gold_tags"]] if "gold_tags" in result else []
    return format_columns([result["words"], *gold, result["tags"]])
