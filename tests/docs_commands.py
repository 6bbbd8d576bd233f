"""The commands that documents show: found in fenced blocks, indented lines, code in sentences and docstrings of scripts."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from finetune.commands import find_command

SHELL_FENCES = {"", "bash", "sh", "shell", "console", "crontab"}
LEFT_OUT, IN_FILE = "...", "--config_file"
SEPARATORS, REDIRECTS = set(";&|()"), set("<>&")
BARE_SCRIPT = re.compile(r"[\w/.-]+\.py")


@dataclass(frozen=True)
class Shown:
    """A command as a document shows it; `partial`: some of it is left out, or stands in a file."""

    place: str
    script: Path
    words: list[str]
    partial: bool
    said: str | None = None  # what an `echo` in front of a pipe gives it to read

    def __str__(self) -> str:
        return f"{self.place}: {self.script.stem} {shlex.join(self.words)}"


def find_shown(path: Path, commands: Mapping[str, Path], root: Path) -> Iterator[Shown]:
    """Every command of ours in a Markdown file, a script's docstring included."""
    blocks, prose = split_code(read(path))
    for number, line in join_lines(blocks):
        yield from find_in_line(line, f"{path.relative_to(root)}:{number}", commands)
    for number, line in prose:
        for code in re.findall(r"`([^`]+)`", line):
            place = f"{path.relative_to(root)}:{number}"
            for shown in find_in_line(code, place, commands):
                yield Shown(place, shown.script, [word.strip("[]") for word in shown.words], partial=True)


def read(path: Path) -> str:
    """A document; of a script its docstring."""
    text = path.read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "") if path.suffix == ".py" else text


def split_code(text: str) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """Numbered lines of shell blocks (fenced or indented), and of sentences; blocks of other languages are in neither."""
    code, prose, fence = [], [], None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            fence = (line.removeprefix("```").split() or [""])[0] if fence is None else None
            continue
        if fence is None:
            (code if line.startswith("    ") else prose).append((number, line))
        elif fence in SHELL_FENCES:
            code.append((number, line))
    return code, prose


def join_lines(lines: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Lines whose end is a backslash go on in the next."""
    held, first = "", 0
    for number, line in lines:
        first = first if held else number
        if line.rstrip().endswith("\\"):
            held += line.rstrip()[:-1]
        else:
            yield first, held + line
            held = ""
    if held:
        yield first, held


def find_in_line(line: str, place: str, commands: Mapping[str, Path]) -> Iterator[Shown]:
    """Commands between the separators of a shell line."""
    numbered = re.sub(r"(?<=\s)\d(?=[<>])", "", line)  # 2>file is >file of another stream
    lexer = shlex.shlex(numbered, posix=True, punctuation_chars=True)
    lexer.commenters, lexer.whitespace_split = "#", True
    try:
        words = list(lexer)
    except ValueError:  # a quotation that ends on another line: a program of its own
        return
    part: list[str] = []
    said = None
    for word in [*words, ";"]:
        if word and set(word) <= SEPARATORS:
            yield from _read_command(part, place, commands, said)
            said = " ".join(part[1:]) + "\n" if word == "|" and part[:1] == ["echo"] else None
            part = []
        else:
            part.append(word)


def _read_command(words: list[str], place: str, commands: Mapping[str, Path], said: str | None) -> Iterator[Shown]:
    for number, word in enumerate(words):
        named = words[number + 1] if Path(word).name == "finetune" and len(words) > number + 1 else None
        script = find_command(named, commands) if named and not named.startswith("-") else _find_script(word, commands)
        if script is None:
            continue
        rest = words[number + (2 if named else 1) :]
        cut = next((n for n, other in enumerate(rest) if other and set(other) <= REDIRECTS), len(rest))
        partial = bool({LEFT_OUT, IN_FILE} & set(rest[:cut]))
        yield Shown(place, script, [word for word in rest[:cut] if word != LEFT_OUT], partial, said)
        return


def find_unknown(line: str, commands: Mapping[str, Path]) -> list[str]:
    """Names behind `finetune` in a line of code that are none of ours."""
    names = re.findall(r"(?:^|[\s/])finetune ([a-z][\w-]*)", line)
    return [name for name in names if find_command(name, commands) is None]


def _find_script(word: str, commands: Mapping[str, Path]) -> Path | None:
    if not BARE_SCRIPT.fullmatch(word):
        return None
    return next((path for path in commands.values() if path.as_posix().endswith("/" + word.lstrip("./"))), None)
