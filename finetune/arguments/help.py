"""The text of `--help`: argparse formats it, from the same fields that the parser reads."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from finetune.arguments.fields import Field

CHOICES_SHOWN = 8


def format_help(
    prog: str,
    description: str,
    sections: Sequence[tuple[str, Sequence[Field]]],
    positionals: Sequence[Field] = (),
) -> str:
    """Groups, flags, defaults and choices; the required ones in the usage line."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        usage=_usage(prog, sections, positionals),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    for field in positionals:
        parser.add_argument(field.name, help=_help_of(field))
    for title, fields in sections:
        group = parser.add_argument_group(title)
        for field in fields:
            _add(group, field)
    parser.add_argument_group("Help").add_argument("-h", "--help", action="help", help="show this text and stop")
    return parser.format_help()


def _usage(prog: str, sections: Sequence[tuple[str, Sequence[Field]]], positionals: Sequence[Field]) -> str:
    places = {field.name for field in positionals}
    required = [field for _, fields in sections for field in fields if field.required and field.name not in places]
    words = [field.name for field in positionals]
    words += [f"--{field.name} {_metavar(field)}" for field in required]
    return " ".join([prog, *words, "[--flag value ...]"]).replace("%", "%%")


def _add(group: Any, field: Field) -> None:
    flags = [f"--{name}" for name in (field.name, *field.aliases)]
    nargs = "*" if field.takes_many else "?" if field.value_if_bare is not None else None
    group.add_argument(*flags, dest=field.name, nargs=nargs, metavar=_metavar(field), help=_help_of(field))


def _metavar(field: Field) -> str:
    if field.metavar:
        return field.metavar
    if "bool" in field.kinds:
        return "True|False"
    kind = field.kinds[0].removeprefix("list[").removesuffix("]")
    return {"int": "N", "float": "X", "dict": "JSON"}.get(kind, "TEXT")


def _help_of(field: Field) -> str:
    """The help text with what a value may be and what it is when not given."""
    facts = []
    if field.choices and len(field.choices) <= CHOICES_SHOWN:
        facts.append("one of " + ", ".join(field.choices))
    facts.append("required" if field.required else f"default: {shown_default(field)}")
    return f"{field.help} ({'; '.join(facts)})".strip().replace("%", "%%")


def shown_default(field: Field) -> str:
    """What the value is where none is given."""
    if field.follows:
        return field.follows
    if field.default is None:
        return "not set"
    return (
        repr(field.default)
        if isinstance(field.default, str) and field.default.strip() != field.default
        else (str(field.default) if field.default not in ("", []) else "none")
    )
