"""What a predictor tells of what its network says: places in the raw text, likeliest labels, thresholds, no answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.arguments.prediction import PredictArguments
from finetune.classification.column_choice import ProblemType
from finetune.classification.decisions import plain_decision
from finetune.classification.prediction import Classifier, resolve_decision
from finetune.data.prediction_input import InputText
from finetune.encoding.subwords import SubwordEncoder
from finetune.errors import UsageError
from finetune.models.settings import ClassifierSettings, TaggerSettings
from finetune.tagging.prediction import Tagger, check_options
from finetune.tagging.words import WordEncoder

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
THAI = ["สวัสดี", "ครับ", "ผม", "ชื่อ", "สมชาย", "กรุงเทพ", "มหานคร", " "]
PIECES = [
    *THAI,
    "Berlin",
    "New",
    " ",
    "  ",
    "\u00a0",
    ".",
    "👩\u200d👩\u200d👧",
    "e\u0301",
    "中文",
    "ok",
    "[SEP]",
    "नमस्ते",
    "\u200b",
]
texts = st.one_of(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.text(max_size=25))


@dataclass
class Drawn:
    """Logits that depend on a row's ids alone, so that windows and batches change nothing."""

    labels: int
    whole: bool = False
    padding_side: str = "right"

    def predict(self, rows: Sequence[Mapping[str, Any]], *, batch_size: int) -> list[np.ndarray]:
        assert batch_size > 0
        return [self.of_row(row["input_ids"]) for row in rows]

    def of_row(self, ids: Sequence[int]) -> np.ndarray:
        shape = (self.labels,) if self.whole else (len(ids), self.labels)
        return np.random.default_rng(list(ids)).normal(size=shape, scale=3).astype(np.float32)


def make_tagger(tokenizer, *, scheme: str = "IOB2", labels: Sequence[str] = TAGS, **options: Any) -> Tagger:
    saved = TaggerSettings(scheme=scheme, max_length=32, stride=4)
    arguments = PredictArguments(**options)
    return Tagger(Drawn(len(labels)), tokenizer, list(labels), saved, WordEncoder(tokenizer), 32, arguments)


def make_classifier(tokenizer, kind: ProblemType, labels: Sequence[str], **options: Any) -> Classifier:
    saved, arguments = ClassifierSettings(problem_type=kind.value), PredictArguments(**options)
    decision = resolve_decision(plain_decision(kind, labels), arguments, labels)
    network, encoder = Drawn(len(labels), whole=True), SubwordEncoder(tokenizer)
    return Classifier(network, tokenizer, list(labels), saved, decision, encoder, 32, arguments)


def inputs(*texts: str) -> list[InputText]:
    return [InputText(text, None, Path("x"), number, {}) for number, text in enumerate(texts, start=1)]


@given(batch=st.lists(texts, min_size=1, max_size=4), constrained=st.booleans())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_entities_are_where_they_say_in_the_raw_text(bert, batch, constrained):
    tagger = make_tagger(bert, constrained_decoding=constrained)
    results = list(tagger.tag(inputs(*batch)))
    assert [result["text"] for result in results] == batch
    for text, result in zip(batch, results, strict=True):
        assert len(result["words"]) == len(result["tags"]) == len(result["scores"])
        position = 0
        for word in result["words"]:  # in order, without overlap, nothing but white space between them
            place = text.index(word, position)
            assert not text[position:place].strip()
            position = place + len(word)
        assert not text[position:].strip()
        ends = 0
        for entity in result["entities"]:
            assert ends <= entity["start"] < entity["end"] <= len(text)
            assert text[entity["start"] : entity["end"]] == entity["text"]
            assert 0 <= entity["score"] <= 1
            ends = entity["end"]
        assert len(result["entities"]) == sum(tag.startswith("B-") for tag in result["tags"]) or not constrained


@given(batch=st.lists(texts, min_size=1, max_size=3), least=st.floats(0, 1))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_abstaining_takes_uncertain_entities_and_no_others(bert, batch, least):
    plain, careful = make_tagger(bert), make_tagger(bert, abstain_below=least)
    before, after = (list(tagger.tag(inputs(*batch))) for tagger in (plain, careful))
    kept = [[entity for entity in result["entities"] if entity["score"] >= least] for result in before]
    assert [result["entities"] for result in after] == kept
    assert careful.abstained == sum(len(result["entities"]) for result in before) - sum(map(len, kept))


def test_words_without_entities_abstain_by_an_underscore(bert):
    text, labels = inputs("New York and San Francisco are cities"), ["NOUN", "VERB", "ADJ"]
    (plain,) = make_tagger(bert, scheme="POS", labels=labels).tag(text)
    least = sorted(plain["scores"])[3]
    tagger = make_tagger(bert, scheme="POS", labels=labels, abstain_below=least)
    (result,) = tagger.tag(text)
    expected = ["_" if score < least else tag for tag, score in zip(plain["tags"], plain["scores"], strict=True)]
    assert result["tags"] == expected and "entities" not in result
    assert 0 < tagger.abstained == expected.count("_") < len(expected)


def test_scores_are_of_all_answers_those_left_out_too(bert):
    gold = replace(inputs("Berlin and San Francisco")[0], gold=["O", "O", "O", "O"])
    taggers = [make_tagger(bert, score=True, abstain_below=least) for least in (None, 1.0)]
    for tagger in taggers:
        list(tagger.tag([gold]))
    assert taggers[0].scored == taggers[1].scored


def test_the_likeliest_labels_stand_in_order(bert):
    tagger = make_tagger(bert, top_k=2)
    (result,) = tagger.tag(inputs("Berlin and San Francisco"))
    assert [len(best) for best in result["top"]] == [2] * 4
    assert all(first["score"] >= second["score"] for first, second in result["top"])
    assert [best[0]["tag"] for best in result["top"]] == result["tags"]
    classifier = make_classifier(bert, ProblemType.SINGLE, ["a", "b", "c"], top_k=5)
    (answer,) = classifier.tag(inputs("a fine film"))
    assert [item["label"] for item in answer["top"]] == sorted(
        answer["scores"], key=lambda name: -answer["scores"][name]
    )
    assert answer["top"][0] == {"label": answer["label"], "score": answer["score"]}


def test_a_classifier_abstains_by_null_and_counts_it(bert):
    labels, films = ["a", "b", "c"], ["the quick " * number for number in range(30)]
    plain = list(make_classifier(bert, ProblemType.SINGLE, labels).tag(inputs(*films)))
    careful = make_classifier(bert, ProblemType.SINGLE, labels, abstain_below=0.9)
    after = list(careful.tag(inputs(*films)))
    assert [row["label"] for row in after] == [row["label"] if row["score"] >= 0.9 else None for row in plain]
    assert 0 < careful.abstained == sum(row["label"] is None for row in after) < 30


def test_thresholds_are_of_all_labels_or_of_those_named(bert):
    labels, films = ["a", "b", "c"], ["the quick " * number for number in range(30)]
    for typed, values in (("0.9", (0.9, 0.9, 0.9)), ("b=0.1", (0.5, 0.1, 0.5)), ("0.7, c=0.2", (0.7, 0.7, 0.2))):
        classifier = make_classifier(bert, ProblemType.MULTI, labels, threshold=typed)
        for row in classifier.tag(inputs(*films)):
            expected = [name for name, value in zip(labels, values, strict=True) if row["scores"][name] > value]
            assert row["labels"] == expected


@pytest.mark.parametrize("typed", ["x", "1.5", "a=", "a=b", "-0.1", "nan"])
def test_a_threshold_that_is_no_probability_is_a_problem(typed):
    (problem,) = PredictArguments(threshold=typed).problems()
    assert "is no probability" in str(problem)


def test_options_that_a_model_has_no_use_for_are_refused(bert):
    for kind, options, words in (
        (ProblemType.SINGLE, {"threshold": "0.3"}, "gives one"),
        (
            ProblemType.REGRESSION,
            {"top_k": 2, "abstain_below": 0.5},
            r"(?s)--top_k is for labels.*--abstain_below is for",
        ),
        (ProblemType.MULTI, {"threshold": "bb=0.3"}, "'bb'"),
    ):
        with pytest.raises(UsageError, match=words):
            make_classifier(bert, kind, ["b"], **options)
    assert "tags words" in str(check_options(PredictArguments(threshold="0.3"))[0])
    with pytest.raises(UsageError, match="two places"):
        raise UsageError(*PredictArguments(input_file=["a"], output_file="b", output_dir="c").problems())
