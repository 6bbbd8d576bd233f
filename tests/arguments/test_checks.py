"""What `checks` and `problems()` of every command do to the arguments that they look at: nothing."""

from __future__ import annotations

import copy
import runpy
import sys
from pathlib import Path

import pytest

from finetune.arguments.parser import CommandParser
from finetune.errors import UsageError

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(
    path for path in (REPOSITORY / "scripts").rglob("*.py") if "CommandParser" in path.read_text(encoding="utf-8")
)
LINES = (  # beside what is required; a flag that a command does not have is left out
    {},
    {"do_train": "True", "do_eval": "True", "mlm": "True", "token_counts": "counts.json"},
    {"do_eval": "True", "tokenizer_type_or_public_model_name": "newmm", "log_dir": "logs", "streaming": "True"},
    {"task": "token_classification", "teacher_name": "teacher", "student_name": "student", "train_file": "a.conll"},
    {"task": "sequence_classification", "teacher_name": "teacher", "student_name": "student", "alpha_ce": "0"},
    {"train_batch_size": "7", "gradient_accumulation_steps": "2", "do_optimize": "True", "max_tokens_per_batch": "9"},
)


def open_parser(script: Path, line: dict[str, str], monkeypatch) -> CommandParser:
    words = [str(script), *(["--task", line["task"]] if "task" in line else [])]
    monkeypatch.setattr(sys, "argv", words)
    return runpy.run_path(str(script))["make_parser"]()


def words_for(parser: CommandParser, line: dict[str, str]) -> list[str]:
    values = {item.name: item.choices[0] if item.choices else "1" for item in parser.fields.values() if item.required}
    values |= {name: value for name, value in line.items() if name in parser.fields}
    return [word for name, value in values.items() for word in (f"--{name}", value)]


def state_of(arguments) -> object:
    return copy.deepcopy(
        (
            {group: vars(found) for group, found in arguments.groups.items()},
            arguments.training,
            arguments.environment,
            arguments.typed,
            arguments.values(),
        )
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_checks_change_nothing(script, monkeypatch):
    seen = []
    check = CommandParser._check

    def guarded(self, arguments, unknown):
        before = state_of(arguments)
        first = check(self, arguments, unknown)
        assert state_of(arguments) == before
        assert check(self, arguments, unknown) == first, "a second look finds the same"
        seen.append(arguments)
        return first

    monkeypatch.setattr(CommandParser, "_check", guarded)
    for line in LINES:
        parser = open_parser(script, line, monkeypatch)
        try:
            parser.parse(words_for(parser, line))
        except UsageError as error:
            assert error.problems
    assert len(seen) == len(LINES)


def test_resolved_values_follow_from_what_was_typed(monkeypatch):
    """Of each resolver one value that nobody typed."""
    lines = {
        "run_mlm.py": ({"train_file": "a.txt", "model_name_or_path": "bert"}, {"do_train": True, "do_eval": True}),
        "simple_lm_finetuning.py": ({"gradient_accumulation_steps": "4"}, {"per_device_train_batch_size": 8}),
        "finetune_on_pregenerated.py": ({"epochs": "5"}, {"num_train_epochs": 5.0, "do_train": True}),
        "distillation/train.py": ({"mlm": "True", "token_counts": "c", "alpha_mlm": "2"}, {"alpha_clm": 0.0}),
    }
    for script, (typed, expected) in lines.items():
        parser = open_parser(REPOSITORY / "scripts" / script, typed, monkeypatch)
        found = parser.parse(words_for(parser, typed)).values()
        assert {name: found[name] for name in expected} == expected, script


@pytest.mark.parametrize(("size", "parts"), [("7", "2"), ("1", "3"), ("5", "0")])
def test_a_step_that_cannot_be_divided_is_a_problem_and_no_crash(size, parts, monkeypatch):
    typed = {"train_batch_size": size, "gradient_accumulation_steps": parts, "max_tokens_per_batch": "100"}
    parser = open_parser(REPOSITORY / "scripts" / "simple_lm_finetuning.py", typed, monkeypatch)
    with pytest.raises(UsageError) as caught:
        parser.parse(words_for(parser, typed))
    text = str(caught.value)
    assert "--gradient_accumulation_steps" in text and "--max_tokens_per_batch" in text
