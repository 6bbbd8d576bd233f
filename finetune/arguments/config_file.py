"""YAML and JSON files of arguments: read as if their entries had been typed, and written so that they read back."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from finetune.arguments.fields import Field
from finetune.arguments.remote_code import ONLY_TYPED
from finetune.arguments.scanner import Typed
from finetune.arguments.secrets import hide_in
from finetune.errors import Problem, UsageError

NOT_WRITTEN = ("config_file", "print_config")
MOST_VALUES = 100_000
STANDARD = "tag:yaml.org,2002:"
TAGS = frozenset(
    {
        "null",
        "bool",
        "int",
        "float",
        "binary",
        "timestamp",
        "str",
        "map",
        "seq",
        "set",
        "omap",
        "pairs",
        "merge",
        "value",
    }
)
SUFFIXES = (".json", ".yaml", ".yml")


def is_config_file(word: str) -> bool:
    return word.endswith(SUFFIXES)


def read_config_file(path: Path) -> list[Typed]:
    """The entries of a config file as typed flags that know their line.

    Values stay text (`learning_rate: 1e-5` is no number in YAML 1.1, and `save_strategy: no` no text), so that the
    same reader checks them as checks the command line.

    Raises:
        UsageError: the file is missing, is not UTF-8, does not parse, or holds something else than names and values.
    """
    text = _read_text(path)
    return _read_json(path, text) if path.suffix == ".json" else _read_yaml(path, text)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(Problem(f"byte {error.start} is not UTF-8", remedy="save it as UTF-8", path=path)) from error
    except OSError as error:
        found = f"the config file cannot be read ({error.strerror})"
        raise UsageError(Problem(found, remedy="check the path after --config_file", path=path)) from error


def _read_json(path: Path, text: str) -> list[Typed]:
    try:
        values = json.loads(text, parse_float=str, parse_int=str, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise UsageError(Problem(f"not valid JSON: {error.msg}", path=path, line=error.lineno)) from error
    except RecursionError as error:
        raise UsageError(_too_deep(path)) from error
    except ValueError as error:
        raise UsageError(Problem(str(error), remedy="keep one of them", path=path)) from error
    if not isinstance(values, dict):
        raise UsageError(_not_a_mapping(path))
    return [_typed(path, _line_of_key(text, name), name, value) for name, value in values.items()]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} stands there more than once")
    return dict(pairs)


def _line_of_key(text: str, name: str) -> int | None:
    position = text.find(json.dumps(name, ensure_ascii=False))
    return None if position < 0 else text.count("\n", 0, position) + 1


def _read_yaml(path: Path, text: str) -> list[Typed]:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        entries = _yaml_entries(root, path)
    except RecursionError as error:
        raise UsageError(_too_deep(path)) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise UsageError(Problem(f"not valid YAML: {error.problem}", path=path, line=line)) from error
    except yaml.YAMLError as error:
        raise UsageError(Problem(f"not valid YAML: {str(error).splitlines()[0]}", path=path)) from error
    return entries


def _yaml_entries(root: yaml.Node | None, path: Path) -> list[Typed]:
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode) or not all(isinstance(key, yaml.ScalarNode) for key, _ in root.value):
        raise UsageError(_not_a_mapping(path))
    plain = PlainValues(path)
    return [_typed(path, key.start_mark.line + 1, key.value, plain.of(value)) for key, value in root.value]


def _not_a_mapping(path: Path) -> Problem:
    return Problem(
        "the config file does not hold names with values", "expected lines such as max_length: 128", path=path
    )


def _too_deep(path: Path) -> Problem:
    return Problem("values stand too deep inside each other", remedy="write them flat", path=path)


class PlainValues:
    """YAML nodes as text, None, lists and dictionaries; scalars keep the text they were written with, but for those in
    dictionaries, which are what YAML says they are (dates, sets and bytes, which JSON has not, stay text).
    """

    def __init__(self, path: Path) -> None:
        self.path, self.count, self.above = path, 0, set[int]()

    def of(self, node: yaml.Node, *, typed: bool = False) -> Any:
        """The value of a node.

        Raises:
            UsageError: it holds itself, or by its aliases more values than anybody means.
        """
        self.count += 1
        line = node.start_mark.line + 1
        if node.tag.removeprefix(STANDARD) not in TAGS:
            raise UsageError(Problem(f"not valid YAML: {node.tag} is no kind of value here", path=self.path, line=line))
        if self.count > MOST_VALUES:
            found = f"by its aliases the file holds more than {MOST_VALUES:,} values"
            raise UsageError(Problem(found, remedy="write out what you mean", path=self.path, line=line))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, typed=typed)
        if id(node) in self.above:
            raise UsageError(Problem("a value holds itself by its alias", path=self.path, line=line))
        self.above.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                yaml.SafeLoader("").flatten_mapping(node)  # `<<`
                return {str(self.of(key)): self.of(item, typed=True) for key, item in node.value}
            return [self.of(item, typed=typed) for item in node.value]
        finally:
            self.above.discard(id(node))

    @staticmethod
    def _scalar(node: yaml.ScalarNode, *, typed: bool) -> Any:
        if node.tag.endswith(":null"):
            return None
        if not typed:
            return node.value
        try:
            value = yaml.SafeLoader("").construct_document(node)
        except ValueError:  # 2024-13-45
            return node.value
        return value if isinstance(value, bool | int | float | str) else node.value


def _typed(path: Path, line: int | None, name: str, value: object) -> Typed:
    return Typed(f"--{name}", _words_of(value), attached=True, path=path, line=line)


def _words_of(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, list):
        return tuple(_word_of(item) for item in value)
    return (_word_of(value),)


def _word_of(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def format_config(
    sections: Iterable[tuple[str, Iterable[Field]]], values: Mapping[str, Any], settled: Collection[str]
) -> str:
    """Every value as YAML, under a comment per section.

    Only the fields in `settled` read back; the others stand as comments, because what they are may follow from others
    (an `eval_strategy` that was never chosen). Secrets are left out.
    """
    lines: list[str] = []
    for title, fields in sections:
        lines.append(f"# {title}")
        lines.extend(_format_entry(item, values[item.name], settled) for item in fields if item.name not in NOT_WRITTEN)
        lines.append("")
    return "\n".join(lines)


def _format_entry(item: Field, value: object, settled: Collection[str]) -> str:
    if item.secret:
        return f"# {item.name} is secret and not written"
    if item.follows and item.name not in settled:
        return f"# {item.name} follows: {item.follows}"
    entry = f"{item.name}: {json.dumps(hide_in(value), ensure_ascii=False)}"  # JSON values are YAML values
    return entry if item.name in settled and not (item.name in ONLY_TYPED and value) else f"# {entry}"
