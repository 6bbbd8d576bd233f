"""Writes training_table.py: every field of the installed transformers' `TrainingArguments`, as data and as types.

    python -m finetune.arguments.make_training_table

The table lets the parser know types, defaults and choices without importing transformers, which takes seconds; by
`TrainingValues` mypy knows which values there are, and of which type, wherever they are settled or read.
"""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Any

from finetune.arguments.fields import Field, default_of, describe_type

TABLE = Path(__file__).with_name("training_table.py")
HEADER = '''"""Generated: python -m finetune.arguments.make_training_table. A test compares it with the library."""

from __future__ import annotations

from typing import Any, TypedDict

from finetune.arguments.fields import Field

TRANSFORMERS_VERSION = {version!r}


class TrainingValues(TypedDict, total=False):
    """Values of TrainingArguments by name: those that were typed or settled, not all of them."""

{types}

TRAINING_FIELDS: tuple[Field, ...] = (
'''


def build_training_fields() -> tuple[Field, ...]:
    """One `Field` per field of `TrainingArguments`, in its order."""
    from transformers import TrainingArguments

    hints = typing.get_type_hints(TrainingArguments)
    return tuple(_build_field(declared, hints[declared.name]) for declared in dataclasses.fields(TrainingArguments))


def _build_field(declared: dataclasses.Field, hint: Any) -> Field:
    kinds, optional, choices = describe_type(hint)
    if declared.metadata.get("const") is True and "bool" not in kinds:
        kinds = ("bool", *kinds)
    if declared.name.endswith("_steps") and kinds == ("float",):
        kinds = ("int", "float")  # a number of steps, or a share of them below 1
    default = default_of(declared)
    const = declared.metadata.get("const")
    return Field(
        name=declared.name,
        kinds=kinds,
        default=getattr(default, "value", default),
        optional=optional or default is None,
        choices=tuple(declared.metadata.get("choices", ())) or choices or _choices_elsewhere(declared.name),
        help=" ".join(declared.metadata.get("help", "").replace("%%", "%").split()),
        const=None if const is None else str(const),
        secret=declared.name.endswith("token"),
    )


def _choices_elsewhere(name: str) -> tuple[str, ...]:
    """Choices that transformers knows but does not declare on the field."""
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    return {
        "report_to": ("all", "none", *sorted(INTEGRATION_TO_CALLBACK)),
        "include_num_input_tokens_seen": ("all", "non_padding", "no"),
    }.get(name, ())


def write_table(path: Path = TABLE) -> None:
    """Write the table as Python source."""
    import transformers

    fields = build_training_fields()
    rows = "".join(f"    {_source_of(field)},\n" for field in fields)
    types = "".join(f"    {field.name}: {type_of(field)}\n" for field in fields)
    path.write_text(HEADER.format(version=transformers.__version__, types=types) + rows + ")\n", encoding="utf-8")


def type_of(field: Field) -> str:
    """The type of a field's values as Python source.

    >>> type_of(Field("optim_args", ("dict", "str"), optional=True))
    'dict[str, Any] | str | None'
    """
    kinds = ["dict[str, Any]" if kind == "dict" else kind for kind in field.kinds]
    return " | ".join([*kinds, "None"] if field.optional else kinds)


def _source_of(field: Field) -> str:
    """The call that makes this field, without what has its default."""
    given = []
    for declared in dataclasses.fields(Field):
        value = getattr(field, declared.name)
        if declared.name == "default" or value != declared.default:
            given.append(f"{declared.name}={value!r}")
    return f"Field({', '.join(given)})"


if __name__ == "__main__":
    write_table()
