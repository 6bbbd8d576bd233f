"""What the documents tell to type: every command of theirs is known, with every flag, and takes its values."""

from __future__ import annotations

import re
import runpy
import sys
from functools import cache
from pathlib import Path

import pytest

from finetune.arguments.parser import CommandParser
from finetune.commands import find_commands
from finetune.errors import Problem, ProblemError
from tests.docs_commands import Shown, find_in_line, find_shown, find_unknown, join_lines, read, split_code

ROOT = Path(__file__).parents[1]
COMMANDS = find_commands(ROOT / "scripts")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(set(COMMANDS.values()))]
BEHIND = "--"  # words behind it are those of another command
RUNS_OTHERS = ("sweep", "search", "repeat")
NOT_THERE = re.compile(
    r"no such|not there|there is no |does not exist|cannot be (read|found)|is neither|no file|not a folder|no folder",
    re.I,
)
# What is wrong with words that are there, in a command of which some are left out.
WRONG_WORDS = re.compile(r"unknown|unexpected word|; it takes |; allowed|is not one of")
LACKING = "is given without a value"


@cache
def load_maker(script: Path):
    passed_on = re.search(r'with_name\("(.+?)"\)', script.read_text(encoding="utf-8"))  # to a script of another name
    script = script.with_name(passed_on[1]) if passed_on else script
    return runpy.run_path(str(script))["make_parser"]


def parse(shown: Shown, words: list[str], monkeypatch) -> list[Problem]:
    """What the command's own parser says against the words, but for files that only a reader has."""
    monkeypatch.setattr(sys, "argv", [str(shown.script), *words])
    parser: CommandParser = load_maker(shown.script)()
    try:
        parser.parse(words)
    except ProblemError as error:
        found = [problem for problem in error.problems if problem.path is None and not NOT_THERE.search(str(problem))]
        return [problem for problem in found if not shown.partial or is_wrong(str(problem))]
    except SystemExit as ending:  # --help
        assert ending.code == 0
    return []


def is_wrong(problem: str) -> bool:
    return bool(WRONG_WORDS.search(problem)) and LACKING not in problem


def check(shown: Shown, monkeypatch) -> list[str]:
    words = shown.words
    if shown.script.stem not in RUNS_OTHERS or BEHIND not in words:
        return [f"{shown}: {problem}" for problem in parse(shown, words, monkeypatch)]
    place = words.index(BEHIND)
    own = parse(shown, words, monkeypatch)
    inner = list(find_in_line(f"finetune {' '.join(words[:1])}", shown.place, COMMANDS))
    further = [
        problem
        for other in inner
        for problem in parse(Shown(shown.place, other.script, [], partial=True), words[place + 1 :], monkeypatch)
    ]
    return [f"{shown}: {problem}" for problem in [*own, *further]]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_is_taken_by_its_parser(document, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert [wrong for shown in find_shown(document, COMMANDS, ROOT) for wrong in check(shown, monkeypatch)] == []


def test_the_commands_of_all_documents_are_found():
    """Without this, silence above would prove nothing; the number falls if a way of writing them is not seen."""
    found = [shown for document in DOCUMENTS for shown in find_shown(document, COMMANDS, ROOT)]
    assert len(found) > 150 and len({shown.script for shown in found}) >= 30


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("finetune run_ner --model_name_or_path m --output_dir o --do_trian", "do_trian"),
        ("echo 'a b' | finetune predict --model_name_or_path m --top_kk 3 > out", "top_kk"),
        ("A=1 python scripts/score.py --model_name_or_path gpt2 --metrics_format excel", "excel"),
        ("torchrun --nproc_per_node 4 scripts/run_ner.py --model_name_or_path m --output_dir o --seed one &", "one"),
        ("finetune run_ner --output_dir o --do_train", "model_name_or_path"),
        ("finetune sweep run_ner --output_dir o --grid seed=1,2 -- --learning_rat 1", "learning_rat"),
    ],
)
def test_a_wrong_command_is_noticed(line, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (shown,) = find_in_line(line, "here", COMMANDS)
    assert any(said in wrong for wrong in check(shown, monkeypatch))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_that_is_named_is_there(document):
    code, _ = split_code(read(document))
    assert [name for _, line in code for name in find_unknown(line, COMMANDS)] == []


def test_a_command_that_is_not_there_is_noticed():
    assert find_unknown("cat x | .venv/bin/finetune predikt --top_k 3; finetune score", COMMANDS) == ["predikt"]


def test_blocks_of_all_kinds_are_read():
    text = "Say `finetune doctor`.\n\n```bash slurm\na \\\n  b  # c\n```\n```yaml\nno: a\n```\n    python d.py\n"
    code, prose = split_code(text)
    assert list(join_lines(code)) == [(4, "a   b  # c"), (10, "    python d.py")] and prose[0] == (
        1,
        "Say `finetune doctor`.",
    )
