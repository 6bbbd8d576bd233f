"""Facts beside texts become columns that hold each of them unchanged."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.surprisal.facts import FactKind, fact_column, name_apart_from, note_facts

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.integers(-5, 5), st.floats(allow_nan=False), st.text(),
    st.lists(st.integers(), max_size=2),
)  # fmt: skip


@given(st.lists(VALUES, max_size=6))
def test_each_value_can_be_read_back(values):
    facts: dict[str, FactKind] = {}
    for value in values:
        note_facts(facts, {"x": value})
    kind = facts.get("x", FactKind.NOTHING)
    column = fact_column(values, kind).to_pylist()
    for value, cell in zip(values, column, strict=True):
        plain = json.loads(cell) if isinstance(cell, str) and not isinstance(value, str) else cell
        assert plain == value


@pytest.mark.parametrize("value", [12345678901234567890, -(2**63) - 1, 2**53 + 1])
def test_ids_keep_every_digit(value):
    facts: dict[str, FactKind] = {}
    for number in (value, 0.5):
        note_facts(facts, {"id": number})
    assert str(fact_column([value, 0.5], facts["id"]).to_pylist()[0]) == str(value)


@given(st.lists(st.sampled_from(["item", "metadata_item", "metadata_metadata_item", "loss", "verb"]), unique=True))
def test_no_fact_takes_the_place_of_another(names):
    chosen = name_apart_from(names, {"item", "loss"})
    assert len(set(chosen.values())) == len(names) and not {"item", "loss"} & set(chosen.values())
    assert all(chosen[name] == name for name in names if name not in ("item", "loss"))
