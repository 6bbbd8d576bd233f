"""Facts that stand beside texts (metadata) -> columns of the tables: one type and one name for each, and nothing lost."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import pyarrow as pa

logger = logging.getLogger(__name__)

PREFIX = "metadata_"


class FactKind(StrEnum):
    """What the values of one fact have in common."""

    NOTHING = "nothing"  # null everywhere
    BOOL = "bool"
    INTEGER = "integer"  # a float holds it exactly
    LONG = "long"  # 64 bits do, a float does not: an id
    NUMBER = "number"
    TEXT = "text"  # whatever else: lists, mixtures, integers of more than 64 bits


ARROW_TYPES = {
    FactKind.NOTHING: pa.string(), FactKind.BOOL: pa.bool_(), FactKind.INTEGER: pa.int64(), FactKind.LONG: pa.int64(),
    FactKind.NUMBER: pa.float64(), FactKind.TEXT: pa.string(),
}  # fmt: skip


def kind_of(value: object) -> FactKind:
    """The narrowest kind of a value of JSON."""
    if value is None:
        return FactKind.NOTHING
    if isinstance(value, bool):
        return FactKind.BOOL
    if isinstance(value, int):
        if abs(value) <= 1 << 53:
            return FactKind.INTEGER
        return FactKind.LONG if -(1 << 63) <= value < 1 << 63 else FactKind.TEXT
    return FactKind.NUMBER if isinstance(value, float) else FactKind.TEXT


def widest(first: FactKind, second: FactKind) -> FactKind:
    """The kind that holds values of both unchanged."""
    kinds = {first, second} - {FactKind.NOTHING}
    if len(kinds) < 2:
        return next(iter(kinds), FactKind.NOTHING)
    if kinds == {FactKind.INTEGER, FactKind.LONG}:
        return FactKind.LONG
    return FactKind.NUMBER if kinds == {FactKind.INTEGER, FactKind.NUMBER} else FactKind.TEXT


def note_facts(facts: dict[str, FactKind], record: Mapping[str, Any]) -> None:
    """Widen the kinds of `facts` so that they hold a record, too."""
    for name, value in record.items():
        facts[name] = widest(facts.get(name, FactKind.NOTHING), kind_of(value))


def join_facts(facts: Iterable[Mapping[str, FactKind]]) -> dict[str, FactKind]:
    """The facts of several files with kinds that hold each file's."""
    joined: dict[str, FactKind] = {}
    for name, kind in (item for one in facts for item in one.items()):
        joined[name] = widest(joined.get(name, FactKind.NOTHING), kind)
    return joined


def name_apart_from(names: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """A name for each fact that is not `taken`, and no name twice: its own, else with `metadata_` in front, again if
    need be.

    >>> name_apart_from(["item", "metadata_item"], {"item"})
    {'item': 'metadata_metadata_item', 'metadata_item': 'metadata_item'}
    """
    names = list(dict.fromkeys(names))
    used = {*taken, *(name for name in names if name not in taken)}
    chosen = {}
    for name in names:
        column = name
        while column in taken or (column != name and column in used):
            column = PREFIX + column
        chosen[name] = column
        used.add(column)
    return chosen


def tell_renamed(columns: Mapping[str, str]) -> None:
    """Say which facts have a column of another name."""
    renamed = [f"{name} as {column}" for name, column in columns.items() if name != column]
    if renamed:
        logger.warning("Metadata whose names are columns of the tables already is written %s.", ", ".join(renamed))


def fact_column(values: Sequence[object], kind: FactKind) -> pa.Array:
    """One fact of each text; values of a column of texts that are none are written as JSON."""
    spelled = [_spell(value) for value in values] if ARROW_TYPES[kind] == pa.string() else values
    return pa.array(spelled, ARROW_TYPES[kind])


def _spell(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
