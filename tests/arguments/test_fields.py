from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import pytest

from finetune.arguments.fields import argument, describe_type, fields_of


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@pytest.mark.parametrize(
    ("hint", "kinds", "optional", "choices"),
    [
        (int, ("int",), False, ()),
        (float | None, ("float",), True, ()),
        (str | bool, ("str", "bool"), False, ()),
        (list[str] | None, ("list[str]",), True, ()),
        (str | list[str], ("str", "list[str]"), False, ()),
        (dict[str, Any] | str | None, ("dict", "str"), True, ()),
        (Colour | str, ("str",), False, ("red", "blue")),
        (Literal["a", "b"], ("str",), False, ("a", "b")),
        (str | Literal[False] | None, ("str", "bool"), True, ()),
        (list[Colour], ("list[str]",), False, ("red", "blue")),
    ],
)
def test_types_are_described_as_kinds(hint, kinds, optional, choices):
    assert describe_type(hint) == (kinds, optional, choices)


@dataclass
class Group:
    """A group."""

    path: str = argument(help="needed")
    names: list[str] = argument([], help="many")
    size: int | None = argument(None, help="maybe", aliases=("length",), minimum=1)
    key: str | None = argument(None, help="hidden", secret=True)


def test_fields_of_a_group_carry_what_was_declared():
    path, names, size, key = fields_of(Group)
    assert path.required and not names.required
    assert names.takes_many and names.default == []
    assert (size.optional, size.aliases, size.minimum) == (True, ("length",), 1)
    assert key.secret


def test_defaults_that_are_lists_are_not_shared():
    first, second = Group(path="a"), Group(path="b")
    first.names.append("x")
    assert second.names == []


def test_secrets_do_not_appear_when_a_group_is_printed():
    assert "hush" not in repr(Group(path="a", key="hush"))
