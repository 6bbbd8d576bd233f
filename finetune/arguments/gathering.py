"""What a user gave, flag by flag: spellings resolved, old flags translated, contradictions and unknown names found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from finetune.arguments.fields import Field, fields_of
from finetune.arguments.legacy import OldFlag, Translation
from finetune.arguments.nearest import nearest
from finetune.arguments.processes import ProcessArguments
from finetune.arguments.remote_code import explain_only_typed, may_stand_in_file
from finetune.arguments.scanner import Typed
from finetune.arguments.values import is_bool, read_bool, words_taken
from finetune.errors import Problem, UsageError

FROM_FILE, FROM_COMMAND_LINE = 0, 1
OF_SEVERAL = frozenset(item.name for item in fields_of(ProcessArguments))
Words = tuple[str, ...]


@dataclass(frozen=True)
class Given:
    """The words given for one field, by which spelling, where; a higher rank wins."""

    flag: str
    words: Words | None
    rank: int
    path: Path | None = None
    line: int | None = None

    def shown(self, *, secret: bool) -> str:
        """The flag with its words as they were typed; a secret is not repeated."""
        return " ".join((self.flag, *(("...",) if secret else self.words or ())))


class Gathering:
    """Collects `given` (field name -> Given), `stray` words with the flag before each, `lines` to say, `problems`."""

    def __init__(self, fields: Mapping[str, Field], old_flags: Mapping[str, OldFlag]) -> None:
        self.fields, self.old_flags = fields, old_flags
        self.names = {spelling: field.name for field in fields.values() for spelling in (field.name, *field.aliases)}
        self.given: dict[str, Given] = {}
        self.old: dict[str, tuple[Given, str]] = {}
        self.stray: list[tuple[str, str]] = []
        self.lines: list[str] = []
        self.environment: dict[str, str] = {}
        self.problems: list[Problem] = []

    def add(self, entries: Iterable[Typed], rank: int) -> None:
        """Take flags of one source: the config file first, the command line after it."""
        for typed in entries:
            self._add_one(typed, rank)

    def add_positional(self, field: Field, word: str) -> None:
        """A word without a flag, for a field that a command takes by its place."""
        if field.name in self.given and self.given[field.name].rank == FROM_COMMAND_LINE:
            found = f"{field.name} is given twice, as {word!r} and by {self.given[field.name].shown(secret=False)}"
            self.problems.append(Problem(found, remedy="give it once"))
        self.given[field.name] = Given(field.name, (word,), FROM_COMMAND_LINE)

    def _add_one(self, typed: Typed, rank: int) -> None:
        positive = typed.name.removeprefix("no_")
        if typed.path is not None and not may_stand_in_file(typed.name, typed.words):
            self.problems.append(explain_only_typed(typed.name, typed.path, typed.line))
            return
        if typed.name in self.old_flags:  # before living names: TrainingArguments keeps some old flags, deprecated
            self._add_old(typed.name, typed, rank)
        elif name := self.names.get(typed.name):
            self._insert(name, self._keep(typed, self.fields[name], rank))
        elif positive in self.old_flags and self.old_flags[positive].takes == "bool":
            self._put_back(typed.words or (), typed.flag)
            self._add_old(positive, replace(typed, words=("False",), attached=True), rank)
        elif (negated := self._negated(typed)) is not None:
            self._insert(negated, self._given(typed, ("False",), rank))
            self._put_back(typed.words or (), typed.flag)
        else:
            self.problems.append(self._unknown(typed))

    def _negated(self, typed: Typed) -> str | None:
        """`--no_flag` of a yes/no flag: the field it switches off."""
        name = self.names.get(typed.name.removeprefix("no_")) if typed.name.startswith("no_") else None
        return name if name and "bool" in self.fields[name].kinds else None

    def _keep(self, typed: Typed, field: Field, rank: int) -> Given:
        if typed.words is None:
            return self._given(typed, None, rank)
        taken = words_taken(field, typed.words, typed.attached)
        if typed.path is None:
            self._put_back(typed.words[taken:], typed.flag)
            return self._given(typed, typed.words[:taken], rank)
        return self._given(typed, typed.words, rank)

    def _put_back(self, words: Words, flag: str) -> None:
        self.stray.extend((word, flag) for word in words)

    @staticmethod
    def _given(typed: Typed, words: Words | None, rank: int) -> Given:
        flag = typed.flag if typed.path is None else typed.flag.lstrip("-")
        return Given(flag, words, rank, typed.path, typed.line)

    def _add_old(self, name: str, typed: Typed, rank: int) -> None:
        takes_value = self.old_flags[name].takes == "value"
        words = typed.words or ()
        takes_word = takes_value or typed.attached or (words and is_bool(words[0]))
        taken = 1 if takes_word else 0
        self._put_back(words[taken:], typed.flag)
        word = words[0] if words and taken else None
        if word is None and takes_value:
            self.problems.append(Problem(f"{typed.flag} is given without a value", path=typed.path, line=typed.line))
            return
        self.old[name] = (self._given(typed, words[:taken], rank), word or "True")

    def translate_old_flags(self) -> None:
        """Turn the old flags that were given into today's, one line each. Call once, after every `add`."""
        for name, (given, word) in self.old.items():
            words_by_name = {other: found.words for other, found in self.given.items()}
            try:
                translation = self._translate(name, given, word, words_by_name)
            except UsageError as error:
                self.problems.extend(error.problems)
                continue
            self._apply(translation, given)

    def _translate(self, name: str, given: Given, word: str, others: Mapping[str, Words | None]) -> Translation:
        old = self.old_flags[name]
        if old.takes == "bool" and not is_bool(word):
            found = f"{given.flag} is {word!r}"
            raise UsageError(Problem(found, "it takes True or False", path=given.path, line=given.line))
        if old.takes == "bool":
            word = str(read_bool(word))
        return old.translate(word, others)

    def _apply(self, translation: Translation, old: Given) -> None:
        self.lines.append(f"{old.flag} {translation.line}.")
        self.environment.update(translation.environment)
        for name, words in translation.values.items():
            if name not in self.fields:
                continue
            given = Given(old.flag, words, old.rank, old.path, old.line)
            if translation.overrides:
                self.given[name] = given
            else:
                self._insert(name, given)

    def _insert(self, name: str, new: Given) -> None:
        before = self.given.get(name)
        if before is None or before.rank < new.rank:
            self.given[name] = new
        elif before.rank == new.rank:
            self._insert_again(name, before, new)

    def _insert_again(self, name: str, before: Given, new: Given) -> None:
        """The same flag again: the last one wins, said. Another spelling with another value: a contradiction."""
        secret = self.fields[name].secret
        same_spelling = before.flag.replace("-", "_") == new.flag.replace("-", "_")
        if same_spelling or before.words == new.words:
            if before.words != new.words:
                self.lines.append(
                    f"{new.flag} is given more than once; the last value counts: {new.shown(secret=secret)}."
                )
            self.given[name] = new
            return
        both = f"{before.shown(secret=secret)} and {new.shown(secret=secret)}"
        found = f"{both} contradict each other: both set --{name}"
        self.problems.append(Problem(found, remedy="keep one of them", path=new.path, line=new.line))

    def _unknown(self, typed: Typed) -> Problem:
        flag = typed.flag if typed.path is None else typed.flag.lstrip("-")
        if typed.name in OF_SEVERAL:
            found = f"{flag}: this command works in one process"
            return Problem(found, remedy="drop it", path=typed.path, line=typed.line)
        match = nearest(typed.name, [*self.names, *self.old_flags])
        known = f"did you mean {'' if typed.path else '--'}{match}" if match else ""
        remedy = "" if match else "--help lists all flags"
        kind = "flag" if typed.path is None else "argument"
        return Problem(f"unknown {kind} {flag}", known, remedy, path=typed.path, line=typed.line)
