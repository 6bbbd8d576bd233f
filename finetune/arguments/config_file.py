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
    return [_typed(path, key.start_mark.line + 1, key.value, _plain(value)) for key, value in root.value]


def _not_a_mapping(path: Path) -> Problem:
    return Problem(
        "the config file does not hold names with values", "expected lines such as max_length: 128", path=path
    )


def _plain(node: yaml.Node) -> Any:
    """A YAML node as text, None, a list or a dict; scalars keep the text they were written with."""
    if isinstance(node, yaml.ScalarNode):
        return None if node.tag.endswith(":null") else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    return yaml.SafeLoader("").construct_document(node)


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
