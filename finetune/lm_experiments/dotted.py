"""The dotted command line: `--a.b.c value` sets a key of a dictionary, and values are read by how they look.

The same scanner and parser as everywhere; what is added is a way to fill dictionary fields, merged into their defaults:

    --loss_classes_kwargs.train.KLBaselineLoss.scaleby 2.5     a number in a nested dictionary
    --params.lr.values 1e-5 1e-4                               a list
    --optimize_kwargs.show_progress_bar                        True
    --train_optimizer_kwargs.weight_decay __delete_field__     without that default
    --study_kwargs.storage_kwargs json:{"lock": [{"a": 0.5}]}  JSON
    --data_preprocessing_fn.train mask_random_tokens           a function, where the field asks for one
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from finetune.arguments.config_file import format_config
from finetune.arguments.fields import Field
from finetune.arguments.gathering import FROM_COMMAND_LINE, FROM_FILE, Gathering, Given
from finetune.arguments.legacy import OldFlag
from finetune.arguments.nearest import nearest
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.scanner import Typed
from finetune.arguments.values import expected
from finetune.errors import Problem, UsageError
from finetune.lm_experiments.object_names import PREFIXES, ObjectKind, check_prefixes, name_object

DEEPEST = 100  # levels of a dotted value
DELETE = "__delete_field__"
ALLOW_IMPORT = "allow_import"
WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?inf")
CONSTANTS: dict[str, Any] = {"True": True, "False": False, "None": None}


class _Delete:
    """Stands for a key that is to be removed; the same word in quotes is a string."""


def read_word(word: str, flag: str) -> Any:
    """The value that one word spells: quotes, constants, JSON, whole numbers, numbers, else the word itself.

    Numbers are what JSON calls so, and what people type for them (`1e-5`, `.5`, `007`, `inf`); Python's other spellings
    (`nan`, `1_000`, digits of other scripts) are words, which a list of words may hold.

    >>> [read_word(word, "--x") for word in ("1e-5", "'1e-5'", "None", "2024_05", "nan")]
    [1e-05, '1e-5', None, '2024_05', 'nan']

    Raises:
        UsageError: what follows `json:` is no JSON.
    """
    if is_quoted(word):
        return word[1:-1]
    if word in CONSTANTS:
        return CONSTANTS[word]
    if word == DELETE:
        return _Delete
    if word.startswith("json:") or word[:1] in ("{", "["):
        return _read_json(word.removeprefix("json:"), flag)
    if NUMBER.fullmatch(word):
        return int(word) if WHOLE_NUMBER.fullmatch(word) else float(word)
    return word


def is_quoted(word: str) -> bool:
    """Whether a word stands in one pair of quotes, as it reaches us from a shell by `"'0.5'"`."""
    return len(word) > 1 and word[0] == word[-1] and word[0] in "'\""


def read_words(words: Sequence[str] | None, flag: str) -> Any:
    """The value that all words after a flag spell: none is True, several are a list; None (a null in a file) is None."""
    if words is None:
        return None
    if not words:
        return True
    values = [read_word(word, flag) for word in words]
    return values[0] if len(values) == 1 else values


def _read_json(text: str, flag: str) -> Any:
    try:
        value = json.loads(text)
        if _is_deep(value):
            raise RecursionError
        return value
    except RecursionError as error:
        raise UsageError(Problem(f"{flag} is not valid JSON: it is nested too deeply")) from error
    except ValueError as error:  # numbers of thousands of digits, too
        raise UsageError(Problem(f"{flag} is not valid JSON: {error}", remedy="put it in single quotes")) from error


def _is_deep(value: Any) -> bool:
    """Whether a value is nested deeper than anything that a run takes."""
    level = [value]
    for _ in range(DEEPEST):
        level = [child for item in level for child in _children(item)]
    return bool(level)


def _children(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def as_if_typed(value: object, flag: str) -> Any:
    """A value of a config file, its texts read as if they stood on a command line."""
    if isinstance(value, dict):
        return {key: as_if_typed(item, flag) for key, item in value.items()}
    if isinstance(value, list):
        return [as_if_typed(item, flag) for item in value]
    return read_word(value, flag) if isinstance(value, str) else value


def merge(default: object, given: object, flag: str) -> Any:
    """`given` laid over `default`, dictionary by dictionary; a key set to `__delete_field__` is removed.

    Raises:
        UsageError: a key is to be removed that is not there.
    """
    if not (isinstance(default, dict) and isinstance(given, dict)):
        return given
    merged = dict(default)
    for key, value in given.items():
        if value is not _Delete:
            merged[key] = merge(merged.get(key, {}), value, f"{flag}.{key}")
        elif key in merged:
            del merged[key]
        else:
            raise UsageError(_nothing_to_delete(flag, key, default))
    return merged


def _nothing_to_delete(flag: str, key: str, default: Mapping[str, Any]) -> Problem:
    match = nearest(key, default)
    hint = f"did you mean {flag}.{match}" if match else f"its keys are {', '.join(default) or 'none'}"
    return Problem(f"{flag}.{key} is to be removed, but there is no such key", hint)


class DottedGathering(Gathering):
    """A `Gathering` that also takes dictionary keys; quotes around the words of other fields are removed."""

    def __init__(self, fields: Mapping[str, Field], old_flags: Mapping[str, OldFlag]) -> None:
        super().__init__(fields, old_flags)
        self.trees: dict[tuple[str, int], dict[str, Any]] = {}
        self.set_by: dict[tuple[str, ...], Typed] = {}
        self.last: dict[str, Typed] = {}

    def _add_one(self, typed: Typed, rank: int) -> None:
        head, *keys = typed.flag.lstrip("-").split(".")
        if len(keys) > DEEPEST:
            self.problems.append(Problem(f"--{head} is nested too deeply", path=typed.path, line=typed.line))
            return
        name = self.names.get(head.replace("-", "_"))
        if name is None or "dict" not in self.fields[name].kinds:
            self._add_plain(typed, rank, keys, name)
        elif keys or not self._is_one_word(typed, self.fields[name]):
            self._add_key(typed, rank, name, keys)
        else:
            self._add_plain(typed, rank, [], name)

    @staticmethod
    def _is_one_word(typed: Typed, field: Field) -> bool:
        """`--data_preprocessing_fn identity`: a field that takes a word for the whole as well."""
        others = [kind for kind in field.kinds if kind != "dict"]
        return bool(others) and not any(word.startswith(("json:", "{")) for word in typed.words or ())

    def _add_plain(self, typed: Typed, rank: int, keys: list[str], name: str | None) -> None:
        if keys and name:
            found, allowed = f"{typed.flag} names a key", f"--{name} takes {expected(self.fields[name])}"
            self.problems.append(Problem(found, allowed, path=typed.path, line=typed.line))
            return
        if keys:
            typed = replace(typed, flag=typed.flag.split(".")[0])
        words = tuple(word[1:-1] if is_quoted(word) else word for word in typed.words or ())
        super()._add_one(typed if typed.words is None else replace(typed, words=words), rank)

    def _add_key(self, typed: Typed, rank: int, name: str, keys: list[str]) -> None:
        try:
            value = read_words(typed.words, typed.flag)
            value = as_if_typed(value, typed.flag) if typed.path else value
            self._put(typed, rank, (name, *keys), value)
        except UsageError as error:
            self.problems.extend(replace(problem, path=typed.path, line=typed.line) for problem in error.problems)

    def _put(self, typed: Typed, rank: int, path: tuple[str, ...], value: object) -> None:
        if len(path) == 1 and not isinstance(value, dict):
            shown = " ".join(typed.words or ()) or "without a value"
            allowed = f"it takes a dictionary: {typed.flag}.KEY VALUE, or json:{{...}}"
            raise UsageError(Problem(f"{typed.flag} is {shown}", allowed))
        self._require_again(typed, rank, path, value)
        tree: dict[str, Any] = {path[-1]: value}
        for key in reversed(path[:-1]):
            tree = {key: tree}
        slot = (path[0], rank)
        self.trees[slot] = _overlay(self.trees.get(slot, {}), tree[path[0]])
        self.last[path[0]] = typed

    def _require_again(self, typed: Typed, rank: int, path: tuple[str, ...], value: object) -> None:
        """The same key again: the last one wins, said. A key of what has a plain value: a contradiction."""
        key = (str(rank), *path)
        for other, before in self.set_by.items():
            shorter = min(len(other), len(key))
            if other[:shorter] == key[:shorter] and other != key:
                both = f"{_shown(before)} and {_shown(typed)} contradict each other"
                raise UsageError(Problem(both, "one sets a value, the other a key of it", "keep one of them"))
        if (same := self.set_by.get(key)) and same.words != typed.words:
            self.lines.append(f"{typed.flag} is given more than once; the last value counts: {_shown(typed)}.")
        if not isinstance(value, dict):
            self.set_by[key] = typed

    def translate_old_flags(self) -> None:
        """Called once, after every `add`: the trees become words of their fields, too."""
        super().translate_old_flags()
        for name, typed in self.last.items():
            self._close(name, typed)

    def _close(self, name: str, typed: Typed) -> None:
        value = self.fields[name].default
        if name in self.given:
            found = f"{self.given[name].shown(secret=False)} and {_shown(typed)} contradict each other"
            self.problems.append(Problem(found, remedy="keep one of them", path=typed.path, line=typed.line))
            return
        try:
            for rank in (FROM_FILE, FROM_COMMAND_LINE):
                value = merge(value if isinstance(value, dict) else {}, self.trees.get((name, rank), {}), f"--{name}")
        except UsageError as error:
            self.problems.extend(error.problems)
            return
        self.given[name] = Given(f"--{name}", (json.dumps(value),), FROM_COMMAND_LINE)


def _overlay(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`merge` that keeps the marks of keys to remove, for they are meant for the default."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _overlay(merged[key], value) if both else value
    return merged


def _shown(typed: Typed) -> str:
    return " ".join((typed.flag, *(typed.words or ())))


def as_typed(value: object, default: object) -> Any:
    """A value that, read from a config file and merged into `default`, comes back: `as_if_typed` and `merge` reversed."""
    if isinstance(value, dict):
        base = default if isinstance(default, dict) else {}
        removed = {key: DELETE for key in base if key not in value}
        return {**{key: as_typed(item, base.get(key)) for key, item in value.items()}, **removed}
    if isinstance(value, list):
        return [as_typed(item, None) for item in value]
    looks_else = isinstance(value, str) and (value in (DELETE, *CONSTANTS) or not _is_plain(value))
    return f"'{value}'" if looks_else else value


def _is_plain(word: str) -> bool:
    try:
        return read_word(word, "") == word and not is_quoted(word)
    except UsageError:
        return False


class DottedArguments(Arguments):
    """Arguments whose dictionaries are written so that they read back, keys that were removed included."""

    def as_yaml(self) -> str:
        values, owned = self.as_typed(), {name for group in self.groups.values() for name in vars(group)}
        for item in (item for _, fields in self.sections for item in fields if "dict" in item.kinds):
            if isinstance(values[item.name], dict):
                values[item.name] = as_typed(values[item.name], item.default)
        return format_config(self.sections, values, owned | set(self.training))


def _list_names(kind: ObjectKind) -> str:
    """One kind of objects: the names of the document, and the modules whose others may be named, too."""
    names = [name.rpartition(".")[2] for name in kind.names]
    others = [f"whatever {home} has" for home in kind.homes]
    text = f"{kind.what}: {', '.join(dict.fromkeys([*names, *others]))}"
    return textwrap.fill(text, width=100, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False)


class DottedParser(CommandParser):
    """A `CommandParser` with the dotted command line.

    Groups name what becomes an object in a class variable `OBJECTS`: a path (`loss_classes.*`, a star is one key) ->
    `ObjectKind`. The values of such places are full dotted names once parsed; `object_names.find_object` loads them.
    """

    gathering_class = DottedGathering

    def parse(self, argv: Sequence[str]) -> DottedArguments:
        return DottedArguments(**vars(super().parse(argv)))

    @property
    def objects(self) -> dict[str, ObjectKind]:
        return {path: kind for group in self.groups for path, kind in getattr(group, "OBJECTS", {}).items()}

    def format_help(self) -> str:
        """The flags, and behind them what may be named where they ask for functions and classes."""
        kinds = dict.fromkeys(self.objects.values())
        return "\n".join(
            [super().format_help().rstrip(), "", "Functions and classes by name:", *map(_list_names, kinds), ""]
        )

    def _read_values(self, given: Mapping[str, Given], problems: list[Problem]) -> dict[str, Any]:
        values = super()._read_values(given, problems)
        allow = values.get(ALLOW_IMPORT) or []
        problems.extend(check_prefixes(allow))
        for name, value in values.items():
            values[name] = self._name_objects(name, value, allow, problems)
        return values

    def _name_objects(self, path: str, value: object, allow: Sequence[str], problems: list[Problem]) -> Any:
        if isinstance(value, dict):
            return {key: self._name_objects(f"{path}.{key}", item, allow, problems) for key, item in value.items()}
        if isinstance(value, list):
            return [self._name_objects(path, item, allow, problems) for item in value]
        if isinstance(value, bool | int | float) and any(_fits(path, pattern) for pattern in self.objects):
            found = f"--{path} is given without a value" if value is True else f"--{path} is {value}"
            problems.append(Problem(found, "it takes the name of a class or function"))
            return str(value)
        return self._name_object(path, value, allow, problems) if isinstance(value, str) else value

    def _name_object(self, path: str, word: str, allow: Sequence[str], problems: list[Problem]) -> str:
        kind = next((kind for pattern, kind in self.objects.items() if _fits(path, pattern)), None)
        try:
            if kind is not None:
                return name_object(word, kind, f"--{path}", allow)
            if word.startswith(PREFIXES):
                raise UsageError(Problem(f"--{path} is {word!r}", "no class or function is taken there"))
        except UsageError as error:
            problems.extend(error.problems)
        return word


def _fits(path: str, pattern: str) -> bool:
    keys, stars = path.split("."), pattern.split(".")
    return len(keys) == len(stars) and all(fnmatchcase(key, star) for key, star in zip(keys, stars, strict=True))
