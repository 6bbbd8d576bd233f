"""Labels for texts that nobody has labelled, with the settings that a classifier was saved with."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from finetune.arguments.nearest import allowed_values
from finetune.arguments.prediction import PredictArguments
from finetune.classification.column_choice import ProblemType
from finetune.classification.decisions import Decision, Scoring
from finetune.classification.metrics import pool_windows
from finetune.classification.prediction_input import PAIR_FIELD, ClassificationInputs
from finetune.classification.report import describe_outputs, format_result
from finetune.classification.summary import summarise_texts
from finetune.classification.text_rows import EncodedTexts, encode_label_values, encode_texts
from finetune.classification.truncation import LongText
from finetune.data.files import listed
from finetune.data.prediction_input import InputText, PredictionScore
from finetune.encoding.subwords import SubwordEncoder
from finetune.errors import DataError, Problem, UsageError
from finetune.models.exported import Network
from finetune.models.settings import ClassifierSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

HEAD = "ForSequenceClassification"
FURTHER_SCORES = ("f1_macro", "pearson")  # beside the main one


@dataclass(frozen=True)
class PreparedTexts:
    """Some texts on their way to the model."""

    texts: Sequence[InputText]
    encoded: EncodedTexts
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class ClassifiedTexts:
    """What the model said of them: outputs (texts, labels)."""

    texts: Sequence[InputText]
    outputs: npt.NDArray


@dataclass
class Classifier:
    """A trained text classifier, ready to predict."""

    network: Network
    tokenizer: PreTrainedTokenizerBase
    labels: list[str]
    settings: ClassifierSettings
    decision: Decision
    encoder: SubwordEncoder
    max_length: int
    arguments: PredictArguments
    scored: list[tuple[npt.NDArray, Any]] = field(default_factory=list)  # outputs (labels,) and gold, with --score
    abstained: int = 0  # texts (or labels, where there are several) that --abstain_below left without an answer

    def read(self) -> Iterator[InputText]:
        """What is to be classified.

        Raises:
            DataError: as `ClassificationInputs.read`.
        """
        return ClassificationInputs(self.arguments, self.settings, self.labels).read()

    def tag(self, texts: Sequence[InputText]) -> Iterator[dict[str, Any]]:
        """One result for each text: its label (or labels, or number) and the probability of each label."""
        return self.tell(self.compute(self.prepare(texts)))

    def prepare(self, texts: Sequence[InputText]) -> PreparedTexts:
        """Texts, or pairs of them, as ids.

        Raises:
            DataError: a pair lacks its second text.
        """
        pairs = [read_pair(text) for text in texts] if self.settings.pairs else None
        firsts = [first for first, _ in pairs] if pairs else [text.text for text in texts]
        encoded = self.encode(firsts, pairs)
        return PreparedTexts(texts, encoded, encoded.rows())

    def compute(self, prepared: PreparedTexts) -> ClassifiedTexts:
        """Outputs (texts, labels), windows averaged."""
        encoded = prepared.encoded
        logits = self.network.predict(prepared.rows, batch_size=self.arguments.batch_size)
        return ClassifiedTexts(prepared.texts, pool_windows(np.stack(logits), encoded.examples, encoded.number))

    def tell(self, classified: ClassifiedTexts) -> Iterator[dict[str, Any]]:
        answers = describe_outputs(classified.outputs, self.decision, self.labels)
        for text, answer, row in zip(classified.texts, answers, classified.outputs, strict=True):
            if self.arguments.score and text.gold is not None:
                self.scored.append((row, text.gold))
            held = {} if text.gold is None else {self.gold_name: text.gold}
            yield text.beside({"text": text.text, **self.name_answer(answer), **held})

    def name_answer(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """`label` and `score` for one label, `labels` for several, `value` for a number; `scores` of all labels.

        With `--abstain_below`, an answer that is less probable is None, or is not among `labels`.
        """
        predicted, scores = answer["predicted"], answer.get("probabilities")
        if scores is None:
            return {"value": predicted}
        best = sorted(scores.items(), key=lambda item: -item[1])[: self.arguments.top_k or 0]
        more = {"top": [{"label": label, "score": score} for label, score in best]} if best else {}
        least = self.arguments.abstain_below or 0.0
        if isinstance(predicted, list):
            kept = [label for label in predicted if scores[label] >= least]
            self.abstained += len(predicted) - len(kept)
            return {"labels": kept, "scores": scores, **more}
        uncertain = scores[predicted] < least
        self.abstained += uncertain
        return {"label": None if uncertain else predicted, "score": scores[predicted], "scores": scores, **more}

    @property
    def gold_name(self) -> str:
        """The key of the input's own answer: the one of the prediction with `gold_` in front."""
        kinds = {ProblemType.REGRESSION: "gold_value", ProblemType.MULTI: "gold_labels"}
        return kinds.get(ProblemType(self.settings.problem_type), "gold_label")

    def score(self) -> PredictionScore:
        """The predictions of all texts that had a gold label, scored as run_glue.py scores a test set.

        Raises:
            DataError: labels that the model does not know.
        """
        kind = ProblemType(self.settings.problem_type)
        gold = [label for _, label in self.scored]
        require_known_labels(gold, self.labels, kind)
        expected = encode_label_values(gold, self.labels, kind)
        scoring = Scoring(kind)
        outputs = np.stack([row for row, _ in self.scored])
        summary = summarise_texts(outputs, expected, self.decision, scoring, self.labels, listed_errors=0)
        shown = dict.fromkeys((scoring.main, *(name for name in FURTHER_SCORES if name in scoring.names)))
        return PredictionScore(format_result("input", summary), {name: summary.scores[name] for name in shown})

    def encode(self, texts: list[str], pairs: list[tuple[str, str]] | None) -> EncodedTexts:
        return encode_texts(
            list(map(self.clean, texts)),
            None if pairs is None else [self.clean(second) for _, second in pairs],
            self.tokenizer,
            self.encoder,
            max_length=self.max_length,
            long_text=LongText(self.settings.long_text),
            stride=self.settings.stride,
            name="input",
        )

    @property
    def clean(self) -> Callable[[str], str]:
        """What was done to texts before training."""
        if not self.settings.cleaning:
            return str.lower if self.settings.lowercase else str
        from finetune.classification.published.cleaning import make_cleaner  # needs the package regex

        return make_cleaner(self.settings)


def require_json(arguments: PredictArguments) -> None:
    """Raises:
    UsageError: the output format is for taggers.
    """
    if arguments.output_format == "conll":
        found = "--output_format conll is for taggers, and this model classifies whole texts"
        raise UsageError(Problem(found, remedy="drop it: results are JSON lines"))


def resolve_decision(decision: Decision, options: PredictArguments, labels: Sequence[str]) -> Decision:
    """The decision of the model, with the thresholds that were typed.

    Raises:
        UsageError: an option that this kind of model has no use for, or a threshold of no label.
    """
    problems = []
    if options.threshold and decision.problem_type is not ProblemType.MULTI:
        remedy = "drop it; --abstain_below leaves uncertain answers out"
        problems.append(
            Problem("--threshold is for models that give several labels, and this one gives one", remedy=remedy)
        )
    for flag in ("top_k", "abstain_below"):
        if getattr(options, flag) is not None and decision.problem_type is ProblemType.REGRESSION:
            problems.append(Problem(f"--{flag} is for labels, and this model gives a number", remedy="drop it"))
    typed = options.thresholds()
    unknown = [name for name in typed if name is not None and name not in labels]
    problems += [Problem(f"--threshold names {name!r}", allowed_values(name, labels)) for name in unknown]
    if problems:
        raise UsageError(*problems)
    if not typed:
        return decision
    held = decision.thresholds
    pairs = zip(labels, held.values, strict=True)
    values = tuple(typed.get(label, typed.get(None, value)) for label, value in pairs)
    return replace(decision, thresholds=replace(held, values=values))


def require_known_labels(gold: Sequence[Any], labels: Sequence[str], kind: ProblemType) -> None:
    """Raises:
    DataError: labels of the input that are none of the model's, with how often they occur.
    """
    if kind is ProblemType.REGRESSION:
        return
    counts = Counter(name for label in gold for name in (label if isinstance(label, list) else [label]))
    unknown = [(name, count) for name, count in counts.items() if name not in labels]
    if unknown:
        names = listed([f"{name!r} ({count:,} times)" for name, count in unknown])
        raise DataError(
            Problem(f"the input has labels that the model does not know: {names}", allowed_values("", labels))
        )


def read_pair(text: InputText) -> tuple[str, str]:
    """The two texts of a pair: the field `text_pair` of a JSON object, or what stands behind a tab.

    Raises:
        DataError: there is no second text.
    """
    if isinstance(second := text.fields.get(PAIR_FIELD), str):
        return text.text, second
    first, tab, second = text.text.partition("\t")
    if not tab:
        allowed = f'a tab between two texts, or {{"text": ..., "{PAIR_FIELD}": ...}}, is needed'
        raise DataError(Problem("the model reads pairs of texts", allowed, "", text.path, text.line))
    return first, second
