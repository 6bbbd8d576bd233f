"""The parser of every command: argument groups and TrainingArguments in, an `Arguments` object or all problems out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from finetune.arguments.config_file import format_config, is_config_file, read_config_file
from finetune.arguments.fields import REQUIRED, Field, fields_of
from finetune.arguments.gathering import FROM_COMMAND_LINE, FROM_FILE, Gathering, Given
from finetune.arguments.help import format_help
from finetune.arguments.legacy import OLD_FLAGS, OldFlag
from finetune.arguments.nearest import nearest
from finetune.arguments.paths import Localize, resolve_paths
from finetune.arguments.remote_code import check_dictionary
from finetune.arguments.scanner import Typed, scan
from finetune.arguments.secrets import (
    HIDDEN,
    find_in_words,
    find_secrets,
    hide_in,
    hide_words,
    is_secret_name,
    remember_secrets,
)
from finetune.arguments.training import training_fields, training_problems
from finetune.arguments.training_table import TrainingValues
from finetune.arguments.values import expected, read_value
from finetune.errors import Problem, UsageError

Group = TypeVar("Group")
TRAINING_TITLE = "Training (transformers.TrainingArguments)"
DASHES = "-\u2013\u2014\u2212"
HELP_FLAGS = ("h", "help")


@dataclass
class Arguments:
    """The effective arguments of one command line.

    `training` holds the TrainingArguments values that the user typed or the command sets; `typed` names everything
    that the user gave, by flag or file; `translated` has one line per old flag; `environment` what old flags became.
    """

    groups: dict[type, Any]
    training: TrainingValues = field(default_factory=TrainingValues)
    translated: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    typed: frozenset[str] = frozenset()
    sections: list[tuple[str, list[Field]]] = field(default_factory=list)
    argv: tuple[str, ...] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)  # where a path was fetched from, or is sent to

    def find(self, group: type[Group]) -> Group | None:
        """The group of that class, or of the class that `with_defaults` made of it; None where the command has none."""
        return cast("Group | None", next((found for found in self.groups.values() if isinstance(found, group)), None))

    def __getitem__(self, group: type[Group]) -> Group:
        """`find(group)` for a group that the command has.

        Raises:
            KeyError: it has no such group.
        """
        found = self.find(group)
        if found is None:
            raise KeyError(group.__name__)
        return found

    def get(self, name: str, default: object = None) -> Any:
        """The effective value of a field, in whatever group it stands."""
        return self.values().get(name, default)

    def values(self) -> dict[str, Any]:
        """Every argument by name with its effective value, TrainingArguments fields included."""
        fields = [item for _, members in self.sections for item in members]
        defaults = {item.name: None if item.required else item.default for item in fields}
        owned = {name: value for group in self.groups.values() for name, value in vars(group).items()}
        return {**defaults, **self.training, **owned}

    def effective(self) -> dict[str, Any]:
        """`values()` as it may be written to a file: without secrets."""
        secret = self._secrets()
        values = self.as_typed()
        return {name: HIDDEN if name in secret and value else hide_in(value) for name, value in values.items()}

    def as_typed(self) -> dict[str, Any]:
        """`values()` with addresses in place of the paths where they lie on this machine."""
        return {name: self._address_of(value) for name, value in self.values().items()}

    def _address_of(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._address_of(item) for item in value]
        return self.addresses.get(value, value) if isinstance(value, str) else value

    def command_line(self) -> list[str]:
        """The words that started this command, without the secrets among them."""
        return hide_words(("python", sys.argv[0], *self.argv))

    def _secrets(self) -> set[str]:
        return {item.name for _, fields in self.sections for item in fields if item.secret}

    def as_yaml(self) -> str:
        """Every effective argument, as `--config_file` reads it back."""
        owned = {name for group in self.groups.values() for name in vars(group)}
        return format_config(self.sections, self.as_typed(), owned | set(self.training))


class CommandParser:
    """Reads a command line into argument groups.

    `groups` are dataclasses of `argument()` fields. First `resolvers` set the values that follow from others; then
    the groups with a `problems()` method say what is wrong with them, and `checks` what is wrong with several together:
    both change nothing. TrainingArguments fields are taken only if `training_defaults` is given (it may be empty);
    `required` names those of them that must be typed. `positionals` name fields that may be given by place. `legacy` are
    old flags of this command beside the common ones.
    """

    gathering_class: type[Gathering] = Gathering
    localize: Localize | None = None  # without it an address stays what it is

    def __init__(
        self,
        description: str,
        groups: Sequence[type],
        *,
        training_defaults: TrainingValues | None = None,
        required: Sequence[str] = ("output_dir",),
        legacy: Mapping[str, OldFlag] | None = None,
        positionals: Sequence[str] = (),
        resolvers: Sequence[Callable[[Arguments], None]] = (),
        checks: Sequence[Callable[[Arguments], list[Problem]]] = (),
        prog: str | None = None,
    ) -> None:
        self.description, self.groups = description, tuple(groups)
        self.resolvers, self.checks = tuple(resolvers), tuple(checks)
        self.prog = prog or Path(sys.argv[0]).name
        self.sections = [(_title(group), fields_of(group)) for group in groups]
        own_sections = list(self.sections)
        self.has_training = training_defaults is not None
        if training_defaults is not None:
            self.sections.append((TRAINING_TITLE, self._training_section(training_defaults, required)))
        self.fields = _by_name(self.sections)
        self.training_defaults = training_defaults or TrainingValues()
        self.old_flags = dict(OLD_FLAGS if self.has_training else {})
        for table in (*(getattr(group, "OLD_FLAGS", {}) for group in groups), legacy or {}):
            self.old_flags.update(table)
        own = {spelling for _, fields in own_sections for item in fields for spelling in (item.name, *item.aliases)}
        self.old_flags = {name: old for name, old in self.old_flags.items() if name not in own}
        self.positionals = [self.fields[name] for name in positionals]

    def _training_section(self, defaults: TrainingValues, required: Sequence[str]) -> list[Field]:
        owned = {item.name for _, fields in self.sections for item in fields}
        fields = [item for item in training_fields(defaults) if item.name not in owned]
        must = set(required) - set(defaults)
        return [replace(item, default=REQUIRED, optional=False) if item.name in must else item for item in fields]

    def format_help(self) -> str:
        return format_help(self.prog, self.description, self.sections, self.positionals)

    def parse(self, argv: Sequence[str]) -> Arguments:
        """The effective arguments of a command line.

        Raises:
            UsageError: with every problem of the line and of its config file.
            SystemExit: with code 0, after printing the help that was asked for.
        """
        remember_secrets(find_in_words(argv))
        leading, typed = scan(argv)
        if any(entry.name in HELP_FLAGS for entry in typed):
            print(self.format_help())
            raise SystemExit(0)
        gathering = self.gathering_class(self.fields, self.old_flags)
        self._gather(gathering, leading, typed)
        return self._build(gathering, tuple(argv))

    def _gather(self, gathering: Gathering, leading: list[str], typed: list[Typed]) -> None:
        if len(leading) == 1 and is_config_file(leading[0]) and "config_file" in self.fields and not self.positionals:
            typed = [Typed("--config_file", (leading.pop(),)), *typed]
        for entry in typed:
            if entry.name == "config_file" and entry.words:
                self._gather_file(gathering, Path(entry.words[0]))
        self._remember_secrets(typed)
        gathering.add(typed, FROM_COMMAND_LINE)
        self._place_words(gathering, [(word, "") for word in leading] + gathering.stray)
        gathering.translate_old_flags()

    def _gather_file(self, gathering: Gathering, path: Path) -> None:
        try:
            entries = read_config_file(path)
        except UsageError as error:
            gathering.problems.extend(error.problems)
            return
        self._remember_secrets(entries)
        nested = [entry for entry in entries if entry.name == "config_file"]
        found = "a config file cannot name another one"
        gathering.problems.extend(Problem(found, path=path, line=entry.line) for entry in nested)
        gathering.add((entry for entry in entries if entry not in nested), FROM_FILE)

    def _remember_secrets(self, entries: Iterable[Typed]) -> None:
        """Before anything can be said of them. A value that is no JSON, or a flag that does not exist, is searched too."""
        secret = {name for item in self.fields.values() if item.secret for name in (item.name, *item.aliases)}
        for entry in entries:
            words = entry.words or ()
            remember_secrets(words if entry.name in secret or is_secret_name(entry.flag) else find_in_words(words))

    def _place_words(self, gathering: Gathering, words: list[tuple[str, str]]) -> None:
        for item, (word, _) in zip(self.positionals, words, strict=False):
            gathering.add_positional(item, word)
        gathering.problems.extend(self._stray(word, flag) for word, flag in words[len(self.positionals) :])

    def _stray(self, word: str, flag: str) -> Problem:
        """A word that is nobody's value; a pasted typographic dash and a forgotten one are recognised."""
        found = f"unexpected word {word!r}" + (f" after {flag}" if flag else "")
        name = word.lstrip(DASHES).replace("-", "_").partition("=")[0]
        if word[0:1] in DASHES or name in self.fields:
            match = nearest(name, self.fields)
            return Problem(found, f"did you mean --{match}" if match else "flags start with two dashes")
        if flag and (item := self.fields.get(flag.lstrip("-").replace("-", "_"))):
            return Problem(found, f"{flag} takes {expected(item)}", "put a value that holds spaces in quotes")
        return Problem(found, remedy="put a value that holds spaces in quotes")

    def _build(self, gathering: Gathering, argv: tuple[str, ...]) -> Arguments:
        problems = gathering.problems
        values = self._read_values(gathering.given, problems)
        unread = {name for name in gathering.given if name not in values}
        missing = [item for item in self.fields.values() if item.required and item.name not in gathering.given]
        problems.extend(self._missing(item) for item in missing)
        if self.localize is not None and not problems:  # nothing is fetched for a line that is wrong anyway
            values = self._localize(values, problems)
        arguments = Arguments(
            groups={},
            training=self._training_values(values),
            translated=gathering.lines,
            environment=gathering.environment,
            typed=frozenset(gathering.given),
            sections=self.sections,
            argv=argv,
        )
        arguments.groups = {group: _build_group(group, values) for group in self.groups}
        unknown = unread | {item.name for item in missing}
        self._resolve(arguments)
        problems.extend(self._check(arguments, unknown))
        if problems:
            raise UsageError(*dict.fromkeys(problems))
        return arguments

    def _read_values(self, given: Mapping[str, Given], problems: list[Problem]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, entry in given.items():
            try:
                value = read_value(self.fields[name], entry.words, entry.flag)
                values[name] = resolve_paths(self.fields[name], value, entry.flag)
                _require_typed(self.fields[name], values[name], entry)
                problems.extend(check_dictionary(values[name], f"--{name}", entry.path, entry.line))
                remember_secrets(find_secrets(values[name]))
            except UsageError as error:
                problems.extend(replace(problem, path=entry.path, line=entry.line) for problem in error.problems)
        return values

    def _localize(self, values: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
        """The values with the paths of what lies at addresses."""
        found: dict[str, Any] = {}
        for name, value in values.items():
            try:
                found[name] = resolve_paths(self.fields[name], value, f"--{name}", self.localize)
            except UsageError as error:
                found[name] = value
                problems.extend(error.problems)
        return found

    def _missing(self, item: Field) -> Problem:
        flag = item.name if item in self.positionals else f"--{item.name}"
        return Problem(f"{flag} is missing: {item.help.rstrip('.')}")

    def _training_values(self, values: Mapping[str, Any]) -> TrainingValues:
        if not self.has_training:
            return {}
        trained = {item.name for item in self.sections[-1][1]}
        typed = {name: value for name, value in values.items() if name in trained}
        return {**self.training_defaults, **cast(TrainingValues, typed)}

    def _resolve(self, arguments: Arguments) -> None:
        """Values that follow from others: what groups want of the Trainer, then what the command's resolvers set."""
        for group in arguments.groups.values():
            extra = getattr(group, "training_values", None)
            arguments.training.update(extra() if extra and self.has_training else {})
        for resolve in self.resolvers:
            resolve(arguments)

    def _check(self, arguments: Arguments, unknown: set[str]) -> list[Problem]:
        """What groups say of themselves, then of each other; a group with unknown values cannot."""
        problems: list[Problem] = []
        for group in arguments.groups.values():
            check = getattr(group, "problems", None)
            problems += check() if check and not unknown & set(vars(group)) else []
        if self.has_training:
            problems += training_problems(arguments.values(), arguments.training)
        return problems + [problem for check in self.checks for problem in check(arguments)]


def _require_typed(item: Field, value: Any, given: Given) -> None:
    """A file may repeat the default of what is only taken from the command line, and say nothing else."""
    if item.typed_only and given.path is not None and value != item.default:
        found = f"{given.flag} in a file would let whoever wrote the file decide what is started here"
        raise UsageError(Problem(found, remedy=f"type --{item.name} on the command line"))


def _title(group: type) -> str:
    return (group.__doc__ or group.__name__).strip().splitlines()[0].rstrip(".")


def _by_name(sections: Sequence[tuple[str, Sequence[Field]]]) -> dict[str, Field]:
    fields: dict[str, Field] = {}
    for _, members in sections:
        for item in members:
            if item.name in fields:
                raise ValueError(f"two argument groups declare {item.name}")
            fields[item.name] = item
    return fields


def _build_group(group: type[Group], values: Mapping[str, Any]) -> Group:
    """A group of what was read; a required field that is missing (a problem already) is None."""
    own = {item.name: values.get(item.name) for item in fields_of(group) if item.required}
    own.update({item.name: values[item.name] for item in fields_of(group) if item.name in values})
    return group(**own)
