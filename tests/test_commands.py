from __future__ import annotations

import subprocess
import sys

import pytest

from finetune.commands import OTHERS, TASKS, find_command, find_commands, format_commands, group_commands


@pytest.fixture
def commands(repository):
    return find_commands(repository / "scripts")


def test_every_command_is_listed_once_with_its_task(commands):
    listed = [name for names in TASKS.values() for name in names]
    assert len(listed) == len(set(listed)) and set(listed) <= set(commands)
    groups = group_commands(commands)
    assert sorted(name for names in groups.values() for name in names) == sorted(commands)
    assert groups[OTHERS] == ["train_token_classificaition_lm_finetuning"], "a new command belongs to a task"


def test_the_list_begins_with_tasks_and_ends_with_helpers(commands):
    text = format_commands(commands)
    titles = [line.removesuffix(":") for line in text.splitlines() if line.endswith(":")]
    assert titles == [*TASKS, OTHERS] and titles[-2].startswith("Helpers")
    assert "  distill  " in text and "\n  train  " not in text


@pytest.mark.parametrize("typed", ["distill", "distill.py", "train", "train.py", "distillation/train"])
def test_distillation_by_its_name_and_by_its_old_one(commands, repository, typed, capsys):
    assert find_command(typed, commands) == repository / "scripts/distillation/train.py"
    said = capsys.readouterr().err
    assert said == ("" if typed.startswith("distill.") or typed == "distill" else f"{typed} is called distill today.\n")


def test_finetune_train_says_its_name_and_starts(repository):
    starter = "import sys; sys.argv[0] = 'finetune'; from finetune.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", starter, "train", "--help"], capture_output=True, text=True, cwd=repository, check=True
    )
    assert done.stderr == "train is called distill today.\n"
    assert done.stdout.startswith("usage: train.py") and "--alpha_ce" in done.stdout
