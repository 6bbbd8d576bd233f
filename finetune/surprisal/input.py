"""Texts to score, one example at a time, with their labels and whatever stands beside them.

`X.txt(.gz)` has one text a line, `X.json(.gz)` and `.jsonl(.gz)` one object with `text` and perhaps `labels`. Beside
either, `X_metadata.json(.gz)` may hold one object a line about the text of that line. Files are read twice: to check them
and to learn the columns, then to score; a file of any size takes the memory of one line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from finetune.data.files import find_paths, iterate_lines, listed, raise_problems
from finetune.data.json_values import parse_json
from finetune.data.prediction_input import STDIN, iterate_standard_input
from finetune.errors import DataError, Problem, ProblemList
from finetune.surprisal.facts import FactKind, name_apart_from, note_facts

JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".xlsx", ".xls", ".ods")
METADATA = "_metadata"
RESERVED = ("text", "labels")


@dataclass(frozen=True)
class ScoringExample:
    """A text to score, with the labels and facts that its file gives."""

    item: int  # number of the example in its file, from 0
    text: str
    labels: str | None
    facts: Mapping[str, Any]
    dataset: str


@dataclass
class InputFile:
    """A checked file: the kinds of the facts in its lines and in its metadata, and how many examples have labels."""

    path: Path
    metadata: Path | None
    own_facts: dict[str, FactKind] = field(default_factory=dict)
    metadata_facts: dict[str, FactKind] = field(default_factory=dict)
    examples: int = 0
    labelled: int = 0
    name: str = ""  # of the data set

    def __post_init__(self) -> None:
        self.name = self.name or data_set_name(self.path)

    @property
    def metadata_names(self) -> dict[str, str]:
        """What the facts of the metadata are called: a name that the lines of the file have too is another fact."""
        return name_apart_from(self.metadata_facts, {*RESERVED, *self.own_facts})

    @property
    def facts(self) -> dict[str, FactKind]:
        names = self.metadata_names
        return {**self.own_facts, **{names[name]: kind for name, kind in self.metadata_facts.items()}}


def data_set_name(path: Path) -> str:
    """`X` of `X.txt.gz`."""
    name = path.name.removesuffix(".gz")
    return name.removesuffix(Path(name).suffix) if Path(name).suffix in (".txt", *JSON_SUFFIXES) else name


def name_apart(paths: Sequence[Path]) -> list[str]:
    """The data sets' names; files of one name in several folders are called by folder and name."""
    names = [data_set_name(path) for path in paths]
    counts = Counter(names)
    return [f"{path.parent.name}/{name}" if counts[name] > 1 else name for path, name in zip(paths, names, strict=True)]


def resolve_input_files(patterns: Sequence[str], *, flag: str) -> list[InputFile]:
    """Read every file once and check it.

    Raises:
        DataError: files that are missing or not UTF-8, lines that are not what their suffix says, a metadata file with
            another number of lines than its texts.
    """
    problems = ProblemList()
    paths = [path for pattern in patterns for path in problems.attempt(find_paths, pattern, flag=flag) or ()]
    files = [problems.attempt(resolve_input_file, path) for path in paths]
    problems.raise_any()
    named = zip(files, name_apart(paths), strict=True)
    return [replace(file, name=name) for file, name in named if file is not None]


def read_scoring_file(file: InputFile) -> Iterator[ScoringExample]:
    """The examples of a checked file in their order."""
    metadata, names = iterate_lines(file.metadata) if file.metadata else iter(()), file.metadata_names
    for number, line in enumerate(iterate_lines(file.path)):
        record = parse_json(line) if _is_json(file.path) else {"text": line}
        beside = parse_json(next(metadata)) if file.metadata else {}
        facts = _own_facts(record) | {names[name]: value for name, value in beside.items()}
        yield ScoringExample(number, record["text"], record.get("labels"), facts, file.name)


def read_standard_input() -> Iterator[ScoringExample]:
    """One text a line.

    Raises:
        DataError: a line is not UTF-8.
    """
    for number, line in enumerate(iterate_standard_input()):
        yield ScoringExample(number, line, None, {}, STDIN.name.strip("<>"))


def find_metadata(path: Path) -> Path | None:
    """The metadata file beside a file of texts, packed or not."""
    names = [f"{data_set_name(path)}{METADATA}.json{packed}" for packed in (".gz", "")]
    return next((path.with_name(name) for name in names if path.with_name(name).is_file()), None)


def resolve_input_file(path: Path) -> InputFile:
    """Read a file and the metadata beside it once and check them.

    Raises:
        DataError: with the problems of both; the file is a table.
    """
    require_texts(path)
    file = InputFile(path, find_metadata(path))
    problems: list[Problem] = []
    file.examples = sum(1 for _ in _check_lines(file, problems))
    if file.metadata:
        rows = sum(1 for _ in _check_metadata(file, problems))
        if rows != file.examples:
            found = f"it has {rows:,} lines, but {path.name} has {file.examples:,} texts"
            problems.insert(0, Problem(found, "one line for each text is needed", path=file.metadata))
    raise_problems(problems, path)
    if not file.examples:
        raise DataError(Problem("the file holds no text", path=path))
    return file


def require_texts(path: Path) -> None:
    """Tables are no texts: their header, ids and commas would be scored as words.

    Raises:
        DataError: the name is that of a table.
    """
    if Path(path.name.removesuffix(".gz")).suffix.lower() in TABLE_SUFFIXES:
        remedy = 'write one text a line (.txt), or one object a line such as {"text": "..."} (.json)'
        allowed = ".txt, .json and .jsonl are read, packed by gzip or not"
        raise DataError(Problem("this is a table, not a file of texts", allowed, remedy, path))


def _check_lines(file: InputFile, problems: list[Problem]) -> Iterator[None]:
    for number, line in enumerate(iterate_lines(file.path), start=1):
        yield
        if not _is_json(file.path):
            continue
        record = _read_object(line, file.path, number, problems)
        if record is None:
            continue
        file.labelled += record.get("labels") is not None
        problems.extend(_check_record(record, file.path, number))
        note_facts(file.own_facts, _own_facts(record))


def _check_record(record: Mapping[str, Any], path: Path, number: int) -> Iterator[Problem]:
    needed = 'a line reads {"text": "...", "labels": "..."}, or has no labels'
    if "text" not in record:
        found = f"there is no 'text'; the keys are {listed(list(record))}"
        yield Problem(found, needed, path=path, line=number)
    elif not isinstance(record["text"], str):
        yield Problem("text is no text", needed, path=path, line=number)
    if not isinstance(record.get("labels"), str | None):
        yield Problem("labels is no text", needed, path=path, line=number)


def _check_metadata(file: InputFile, problems: list[Problem]) -> Iterator[None]:
    assert file.metadata is not None
    for number, line in enumerate(iterate_lines(file.metadata), start=1):
        yield
        record = _read_object(line, file.metadata, number, problems)
        if record is not None:
            note_facts(file.metadata_facts, record)


def _read_object(line: str, path: Path, number: int, problems: list[Problem]) -> dict[str, Any] | None:
    try:
        record = parse_json(line)
    except ValueError as error:
        problems.append(Problem(f"the line is no JSON ({error})", path=path, line=number))
        return None
    if isinstance(record, dict):
        return record
    problems.append(
        Problem("the line is JSON, but no object", 'one like {"text": "..."} is allowed', path=path, line=number)
    )
    return None


def _own_facts(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in RESERVED}


def _is_json(path: Path) -> bool:
    return Path(path.name.removesuffix(".gz")).suffix in JSON_SUFFIXES
