"""A secret in every flag of every command, typed, in a file and in variables: in nothing that is said or written."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune.arguments.fields import Field
from finetune.arguments.parser import CommandParser
from finetune.arguments.secrets import VARIABLES, is_secret_name
from finetune.commands import find_commands, find_scripts

SECRET = "s3cr3t-Xq7vLp"
SCRIPTS = find_scripts()
COMMANDS = {name: path.relative_to(SCRIPTS).as_posix() for name, path in find_commands(SCRIPTS).items()}
ADDRESSES = (
    f"postgresql://user:{SECRET}@host.invalid/study",
    f"https://host.invalid/data.csv?user=u&api_key={SECRET}",
    f"https://host.invalid/data.csv?token={SECRET}#end",
)


def load_parser(name: str) -> CommandParser | None:
    """The parser of a command; None where the script itself has none, or more than one."""
    make_parser = runpy.run_path(str(SCRIPTS / COMMANDS[name])).get("make_parser")
    return make_parser() if make_parser else None


def is_secret(item: Field) -> bool:
    return item.secret or is_secret_name(item.name)


def planted(item: Field, address: str) -> str:
    """The secret as this flag could hold it; numbers and choices get it by mistake."""
    if is_secret(item):
        return SECRET
    return json.dumps({"a": {"token": SECRET}, "storage": address}) if item.kinds[0] == "dict" else address


def spellings(parser: CommandParser) -> Iterator[tuple[str, Field]]:
    for item in parser.fields.values():
        yield from ((name, item) for name in (item.name, *item.aliases))


def require_hidden(done, folder: Path) -> None:
    assert SECRET not in done.stdout, place_of(done.stdout)
    assert SECRET not in done.stderr, place_of(done.stderr)
    for path in (path for path in folder.rglob("*") if path.is_file()):
        assert SECRET.encode() not in path.read_bytes(), path


def place_of(text: str) -> str:
    start = text.index(SECRET)
    return text[max(start - 200, 0) : start + 60]


@pytest.fixture
def call(call_command, tmp_path, monkeypatch):
    """A command in an empty folder, the secret in every variable that may hold one."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def call(name: str, *words: object):
        done = call_command(COMMANDS[name], *words, **dict.fromkeys(VARIABLES, SECRET))
        require_hidden(done, folder)
        return done

    return call


@pytest.mark.parametrize("name", COMMANDS)
def test_typed(call, name):
    """Every flag in every spelling with a value that it may not have, and each secret apart."""
    parser = load_parser(name)
    fields = dict(spellings(parser)) if parser else {}
    for number, address in enumerate(ADDRESSES):
        joined = [
            f"--{flag}={planted(item, address)}" for flag, item in fields.items() if number or item.kinds != ("bool",)
        ]
        assert call(name, *joined, "--no_such_flag", address).code == 2
    apart = [word for flag, item in fields.items() if is_secret(item) for word in (f"--{flag}", SECRET)]
    assert call(name, *apart, "--no_such_flag", SECRET, "--hf_token", SECRET, "--api-key=" + SECRET).code == 2


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("kind", ["yaml", "json"])
def test_in_a_config_file(call, name, kind, tmp_path):
    parser = load_parser(name)
    if parser is None or "config_file" not in parser.fields:
        pytest.skip("takes no config file")
    for number, address in enumerate(ADDRESSES):
        entries = {item.name: planted(item, address) for item in parser.fields.values() if item.name != "config_file"}
        entries |= {"no_such_name": address} if number else {}
        file = tmp_path / f"config.{kind}"
        lines = "".join(f"{flag}: {json.dumps(value)}\n" for flag, value in entries.items())
        file.write_text(lines if kind == "yaml" else json.dumps(entries), encoding="utf-8")
        assert call(name, "--config_file", file).code == 2
        file.write_text(
            file.read_text(encoding="utf-8")[:-4] + "[", encoding="utf-8"
        )  # the reader quotes what it cannot read
        assert call(name, "--config_file", file).code == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_in_a_printed_configuration(call, name):
    """What every text flag and every secret one holds, in a command that is otherwise in order."""
    parser = load_parser(name)
    if parser is None or "print_config" not in parser.fields:
        pytest.skip("prints no configuration")
    words = []
    for item in parser.fields.values():
        if is_secret(item) or (item.kinds[0] in ("str", "dict") and not item.choices and item.name != "config_file"):
            words += [f"--{item.name}={planted(item, ADDRESSES[0])}"]
    call(name, *words, "--print_config")
