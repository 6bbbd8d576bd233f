"""What a command accepts, as data: one `Field` per flag, read from the dataclasses of the argument groups.

>>> @dataclass
... class DataArguments:
...     train_file: str | None = argument(None, help="the file to train on")
...     max_length: int = argument(128, help="subwords per window", aliases=("max_seq_length",), minimum=3)
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Sequence
from dataclasses import MISSING, dataclass
from typing import Any, Literal, Union

METADATA_KEY = "finetune"


class Requirement(enum.Enum):
    """The default of a field that has none (dataclasses' own MISSING cannot be a default itself)."""

    REQUIRED = "required"


REQUIRED = Requirement.REQUIRED
SCALARS: dict[type, str] = {bool: "bool", int: "int", float: "float", str: "str", dict: "dict"}


@dataclass(frozen=True)
class Field:
    """One argument: its name, what its value may be, and what `--help` says about it.

    `kinds` are tried in order: bool, int, float, str, dict, or list[...] of one of them. `const` is the value of a
    flag given without one. `aliases` are other names of the same thing. A `secret` is never written to a file.
    `follows` says what the value is where nobody set one and it follows from others, from the data or the machine. What
    is `typed_only` is taken from the command line, never from a file, which may be somebody else's.
    """

    name: str
    kinds: tuple[str, ...]
    default: Any = REQUIRED
    optional: bool = False
    choices: tuple[str, ...] = ()
    help: str = ""
    metavar: str | None = None
    aliases: tuple[str, ...] = ()
    const: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    secret: bool = False
    follows: str = ""
    typed_only: bool = False

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    @property
    def takes_many(self) -> bool:
        return any(kind.startswith("list") for kind in self.kinds)

    @property
    def value_if_bare(self) -> str | None:
        """The text that stands for the flag alone, None where a value must follow."""
        return self.const or ("True" if "bool" in self.kinds else None)


def argument(
    default: object = MISSING,
    *,
    help: str,
    choices: Sequence[str] = (),
    metavar: str | None = None,
    aliases: Sequence[str] = (),
    const: str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    secret: bool = False,
    typed_only: bool = False,
) -> Any:
    """A field of an argument group; one without a default is required."""
    facts = {
        "help": help,
        "choices": tuple(choices),
        "metavar": metavar,
        "aliases": tuple(aliases),
        "const": const,
        "minimum": minimum,
        "maximum": maximum,
        "secret": secret,
        "typed_only": typed_only,
    }
    options: dict[str, Any] = {"metadata": {METADATA_KEY: facts}, "kw_only": True, "repr": not secret}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: type(default)(default), **options)
    return dataclasses.field(default=default, **options)


def with_defaults(group: type, **defaults: Any) -> type:
    """The same group with other defaults, for a command of other habits; `arguments[group]` finds it.

    >>> class_of_this_command = with_defaults(TaggingArguments, label_all_tokens=True)
    """
    hints = typing.get_type_hints(group)
    declared = {item.name: item for item in dataclasses.fields(group)}
    if unknown := set(defaults) - set(declared):
        raise ValueError(f"{group.__name__} has no fields {', '.join(sorted(unknown))}")
    changed = [
        (name, hints[name], dataclasses.field(default=value, metadata=declared[name].metadata, kw_only=True))
        for name, value in defaults.items()
    ]
    return dataclasses.make_dataclass(group.__name__, changed, bases=(group,), namespace={"__doc__": group.__doc__})


def fields_of(group: type) -> list[Field]:
    """The fields of an argument group, in the order of its lines."""
    hints = typing.get_type_hints(group)
    return [_field_of(declared, hints[declared.name]) for declared in dataclasses.fields(group) if declared.init]


def _field_of(declared: dataclasses.Field, hint: Any) -> Field:
    kinds, optional, choices = describe_type(hint)
    facts = dict(declared.metadata[METADATA_KEY])
    facts["choices"] = facts["choices"] or choices
    return Field(declared.name, kinds, default_of(declared), optional, **facts)


def default_of(declared: dataclasses.Field) -> Any:
    """The default of a dataclass field, made if it is made anew each time; REQUIRED where there is none."""
    if declared.default_factory is not MISSING:
        return declared.default_factory()
    return REQUIRED if declared.default is MISSING else declared.default


def describe_type(hint: Any) -> tuple[tuple[str, ...], bool, tuple[str, ...]]:
    """Kinds, whether None is allowed, and the choices that an Enum or a Literal spells out."""
    kinds: list[str] = []
    choices: list[str] = []
    optional = False
    for member in _members_of(hint):
        if member is type(None):
            optional = True
            continue
        kind, values = _describe_member(member)
        choices.extend(values)
        if kind not in kinds:
            kinds.append(kind)
    return tuple(kinds), optional, tuple(choices)


def _members_of(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)


def _describe_member(member: Any) -> tuple[str, tuple[str, ...]]:
    origin = typing.get_origin(member)
    if origin is Literal:
        return _describe_literal(typing.get_args(member))
    if origin is list:
        kind, choices = _describe_member(typing.get_args(member)[0])
        return f"list[{kind}]", choices
    if isinstance(member, type) and issubclass(member, enum.Enum):
        return "str", tuple(str(item.value) for item in member)
    return SCALARS.get(origin or member, "dict"), ()


def _describe_literal(values: tuple[Any, ...]) -> tuple[str, tuple[str, ...]]:
    if all(isinstance(value, bool) for value in values):
        return "bool", ()
    return "str", tuple(str(value) for value in values)
