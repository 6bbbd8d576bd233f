"""The settings beside a saved model: kept as they are, and refused where somebody or something changed their kind."""

from __future__ import annotations

import json
from typing import Any

import pytest

from finetune.classification.column_choice import ProblemType
from finetune.classification.thresholds import ThresholdScope
from finetune.classification.truncation import LongText
from finetune.data.json_values import is_of_type
from finetune.encoding.tags import TagScheme
from finetune.errors import DataError
from finetune.models.settings import CHOICES, FILE, ClassifierSettings, SavedSettings, TaggerSettings

KEPT = [
    TaggerSettings(),
    *(TaggerSettings(scheme=scheme.value, max_length=48, stride=0) for scheme in TagScheme),
    TaggerSettings(constrained_decoding=True, transitions=[[0.5, -1.0], [2.0, 0.0]]),
    ClassifierSettings(),
    ClassifierSettings("multi_label_classification", thresholds={"a": 0.25}, text_columns=("a", "b"), temperature=1.5),
]


@pytest.mark.parametrize("settings", KEPT)
def test_what_is_saved_is_loaded(tmp_path, settings: SavedSettings):
    settings.save(tmp_path)
    loaded = type(settings).load(tmp_path)
    assert json.loads(json.dumps(vars(loaded))) == json.loads(json.dumps(vars(settings)))


def test_the_words_of_a_setting_are_those_of_the_task():
    kinds = {"problem_type": ProblemType, "long_text": LongText, "threshold_scope": ThresholdScope}
    assert {name: set(words) for name, words in CHOICES.items()} == {name: set(kind) for name, kind in kinds.items()}


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (TaggerSettings, "scheme", "2"),
        (TaggerSettings, "scheme", None),
        (TaggerSettings, "max_length", "48"),
        (TaggerSettings, "max_length", 0),
        (TaggerSettings, "stride", -1),
        (TaggerSettings, "lowercase", 1),
        (TaggerSettings, "transitions", [[0.0, 1.0]]),
        (TaggerSettings, "transitions", [["a"]]),
        (TaggerSettings, "transitions", 5),
        (ClassifierSettings, "problem_type", "regress"),
        (ClassifierSettings, "temperature", 0),
        (ClassifierSettings, "temperature", float("nan")),
        (ClassifierSettings, "thresholds", {"a": None}),
        (ClassifierSettings, "text_columns", "text"),
        (ClassifierSettings, "max_length", True),
    ],
)
def test_a_setting_of_another_kind_is_named(tmp_path, kind: type[SavedSettings], name: str, value: Any):
    (tmp_path / FILE).write_text(json.dumps({name: value}))
    with pytest.raises(
        DataError, match=rf"{FILE}: the settings are damaged: .*({name.removesuffix('s')}|table|square)"
    ):
        kind.load(tmp_path)


@pytest.mark.parametrize(
    ("value", "kind", "fits"),
    [
        (1, int, True),
        (True, int, False),
        (1, float, True),
        (float("inf"), float, False),
        (None, int | None, True),
        ("1", int | None, False),
        (["a"], tuple[str, ...], True),
        ([["a"]], list[list[str]], True),
        ([["a", 1]], list[list[str]], False),
        ({"a": [object]}, dict[str, Any], True),
        ({"a": 1}, dict[str, str], False),
    ],
)
def test_values_of_json_have_the_types_of_annotations(value, kind, fits):
    assert is_of_type(value, kind) is fits
