"""Words -> the value of a field, or the problem with them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from finetune.arguments.fields import Field
from finetune.arguments.nearest import allowed_values
from finetune.errors import Problem, UsageError

TRUE_WORDS = frozenset({"true", "t", "yes", "y", "on", "1"})
FALSE_WORDS = frozenset({"false", "f", "no", "n", "off", "0"})
MAY_BE_INFINITE = ("max_grad_norm",)  # gradients are measured, and not clipped
EXPECTED = {
    "bool": "True or False",
    "int": "a whole number",
    "float": "a number",
    "str": "a word",
    "dict": 'a JSON object such as {"name": 1}',
}


def read_bool(word: str) -> bool:
    """True or False as people write them; ValueError for anything else."""
    folded = word.casefold()
    if folded not in TRUE_WORDS | FALSE_WORDS:
        raise ValueError(word)
    return folded in TRUE_WORDS


def is_bool(word: str) -> bool:
    return word.casefold() in TRUE_WORDS | FALSE_WORDS


def words_taken(field: Field, words: Sequence[str], attached: bool) -> int:
    """How many of the words that follow a flag are its value; the rest belongs to positional arguments."""
    if field.takes_many:
        return len(words)
    if attached or field.value_if_bare is None:
        return min(1, len(words))
    return 1 if words and (is_bool(words[0]) or _fits_beside_bool(field, words[0])) else 0


def _fits_beside_bool(field: Field, word: str) -> bool:
    if all(kind == "bool" for kind in field.kinds):
        return False
    return not field.choices or word.casefold() in map(str.casefold, field.choices)


def read_value(field: Field, words: Sequence[str] | None, flag: str) -> Any:
    """The value that `words` spell for `field`.

    Raises:
        UsageError: with one sentence that names the flag, what was found and what is allowed.
    """
    if words is None or (field.optional and list(words) in (["None"], ["null"])):
        return _read_none(field, flag)
    if not words:
        return _read_bare(field, flag)
    if not field.takes_many and len(words) > 1:
        raise UsageError(Problem(f"{flag} has {len(words)} values: {', '.join(words)}", f"it takes {expected(field)}"))
    if not field.takes_many or ("str" in field.kinds and len(words) == 1):
        return _read_one(field, words[0], flag)
    return [_read_one(field, word, flag) for word in words]


def _read_none(field: Field, flag: str) -> None:
    if not field.optional:
        raise UsageError(Problem(f"{flag} cannot be empty", f"it takes {expected(field)}"))


def _read_bare(field: Field, flag: str) -> Any:
    if field.value_if_bare is not None:
        return _read_one(field, field.value_if_bare, flag)
    if field.takes_many and "str" not in field.kinds:
        return []
    raise UsageError(Problem(f"{flag} is given without a value", f"it takes {expected(field)}"))


def _read_one(field: Field, word: str, flag: str) -> Any:
    kinds = [kind.removeprefix("list[").removesuffix("]") for kind in field.kinds]
    for kind in sorted(dict.fromkeys(kinds), key=lambda kind: kind == "str"):  # a str takes anything: it comes last
        try:
            value = _READERS[kind](word)
        except json.JSONDecodeError as error:
            if word.lstrip().startswith("{"):
                raise UsageError(
                    Problem(f"{flag} is not valid JSON: {error}", f"it takes {expected(field)}")
                ) from error
            continue
        except ValueError:
            continue
        return _require_allowed(field, value, word, flag)
    raise UsageError(Problem(f"{flag} is {word!r}", f"it takes {expected(field)}"))


def _require_allowed(field: Field, value: object, word: str, flag: str) -> Any:
    if isinstance(value, str) and field.choices:
        return _chosen(field, value, flag)
    if isinstance(value, float) and math.isinf(value) and field.name not in MAY_BE_INFINITE:
        raise UsageError(Problem(f"{flag} is {word}"[:80], "it must be a finite number"))
    if isinstance(value, int | float) and not isinstance(value, bool) and not _in_range(field, value):
        raise UsageError(Problem(f"{flag} is {word}", f"it must be {_range_text(field)}"))
    return value


def _chosen(field: Field, word: str, flag: str) -> str:
    """The choice that a word names, in whatever case it is typed (`--task_type NER`)."""
    for choice in field.choices:
        if choice.casefold() == word.casefold():
            return choice
    raise UsageError(Problem(f"{flag} is {word!r}", allowed_values(word, field.choices)))


def _in_range(field: Field, value: float) -> bool:
    return (field.minimum is None or value >= field.minimum) and (field.maximum is None or value <= field.maximum)


def _range_text(field: Field) -> str:
    if field.maximum is None:
        return f"{field.minimum:g} or more"
    return f"{field.maximum:g} or less" if field.minimum is None else f"from {field.minimum:g} to {field.maximum:g}"


def expected(field: Field) -> str:
    """What a field takes, for sentences: `True or False`, `a whole number`, `one of a, b`."""
    if field.choices:
        return "one of " + ", ".join(field.choices)
    names = [EXPECTED.get(kind, "one or more words") for kind in field.kinds]
    return " or ".join(dict.fromkeys(names))


def _read_int(word: str) -> int:
    if "e" not in word.casefold():
        return int(word)
    value = float(word)  # 1e6 steps
    if not value.is_integer():
        raise ValueError(word)
    return int(value)


def _read_float(word: str) -> float:
    value = float(word)
    if math.isnan(value):
        raise ValueError(word)
    return value


def _read_dict(word: str) -> dict[str, Any]:
    try:
        value = json.loads(word)
    except RecursionError as error:
        raise json.JSONDecodeError("it is nested too deeply", word[:1], 0) from error
    if not isinstance(value, dict):
        raise ValueError(word)
    return value


_READERS: dict[str, Callable[[str], Any]] = {
    "bool": read_bool,
    "int": _read_int,
    "float": _read_float,
    "str": str,
    "dict": _read_dict,
}
