"""Values that no shell, flag or line leaves alone: each task of a sweep for Slurm, and each wrapper, gets them whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.arguments.run import RunArguments
from finetune.errors import UsageError
from finetune.run.signals import StopRequest
from finetune.sweep.arguments import SweepArguments
from finetune.sweep.task import run_sweep

COMMAND = '''
"""A command that writes down what it was given."""
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from finetune.arguments.fields import argument
from finetune.arguments.parser import CommandParser
from finetune.arguments.run import RunArguments

@dataclass
class Group:
    """Group."""
    output_dir: str = argument(help="folder")
    text: str = argument("", help="a text")
    other: str = argument("", help="another text")

def make_parser():
    return CommandParser("", (Group, RunArguments))

if __name__ == "__main__":
    group = make_parser().parse(sys.argv[1:])[Group]
    with open(sys.argv[0] + ".seen", "a", encoding="utf-8", errors="surrogateescape") as seen:
        seen.write(json.dumps([group.text, group.other]) + "\\n")
'''
AWKWARD = [
    *(
        "two  words",
        " spaces around ",
        "'",
        '"',
        "it's",
        "\"quoted\" 'twice'",
        "$(touch broken)",
        "`touch broken`",
        "${HOME}",
    ),
    *(
        "a\nb",
        "a\n#SBATCH --mem=1G\n",
        "\r\n",
        "\t",
        "--restart",
        "-x",
        "--",
        "--other=3",
        "-",
        "-1e-5",
        "*",
        "?",
        "~",
        "~/x",
    ),
    *(
        "\\",
        "\\n",
        ";",
        "&",
        "|",
        "<x",
        ">x",
        "#",
        "!",
        "%a",
        "{}",
        "a,b",
        "[a]",
        "=",
        "a=b",
        "ไทย",
        "\x1b[2J",
        "\u2028",
    ),
]
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=10)
VALUES = st.one_of(st.sampled_from(AWKWARD), WORDS).filter(lambda text: text not in ("None", "null"))


def write_sweep(folder, texts, others):
    """The script of a sweep over two flags; returns it and the command's file."""
    script = folder / "noting down.py"
    script.write_text(COMMAND, encoding="utf-8")
    grid = folder / "grid.json"
    grid.write_text(json.dumps({"text": texts, "other": others}), encoding="utf-8")
    before = Path.cwd()
    os.chdir(folder)
    try:
        asked = SweepArguments(command="x", output_dir="all $(runs)", slurm=True, grid_file=str(grid))
        asked.words = []
        run_sweep(script, asked, RunArguments(), StopRequest())
    finally:
        os.chdir(before)
    return folder / "all $(runs)" / "sweep.sbatch", script


def run_task(script, number):
    environment = {**os.environ, "SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_JOB_ID": "1", "PYTHONUTF8": "1"}
    return subprocess.run(["bash", script], env=environment, check=False, capture_output=True, text=True)


@settings(max_examples=8)
@given(texts=st.lists(VALUES, min_size=1, max_size=3, unique=True), other=VALUES)
def test_each_task_gets_its_own_values_as_they_are(texts, other, tmp_path_factory):
    folder = tmp_path_factory.mktemp("a sweep's")
    script, command = write_sweep(folder, texts, [other])
    for number, text in enumerate(texts):
        done = run_task(script, number)
        assert done.returncode == 0, done.stderr
        assert json.loads(command.with_name(command.name + ".seen").read_text().splitlines()[-1]) == [text, other]
    assert {path.name for path in folder.iterdir()} == {
        command.name,
        f"{command.name}.seen",
        "grid.json",
        "all $(runs)",
    }


def test_every_awkward_value_by_a_task_of_its_own(tmp_path):
    script, command = write_sweep(tmp_path, AWKWARD, ["x"])
    rows = json.loads((script.parent / "commands.json").read_text(encoding="utf-8"))
    assert len(rows) == len(AWKWARD) and script.read_text(encoding="utf-8").count("\n#SBATCH") == 6
    for number in range(0, len(AWKWARD), 5):
        assert run_task(script, number).returncode == 0
        seen = command.with_name(command.name + ".seen").read_text().splitlines()[-1]
        assert json.loads(seen) == [AWKWARD[number], "x"]


@pytest.mark.parametrize("value", ["a\0b", "\0", "\ud800"])
def test_what_no_command_line_can_hold_is_refused(value, tmp_path):
    with pytest.raises(UsageError, match=r"no word of a command line holds that|surrogate|half"):
        write_sweep(tmp_path, ["x", value], ["y"])
    assert not (tmp_path / "all $(runs)").exists()


FAKE = f"""#!{sys.executable}
import json, os, sys
json.dump(sys.argv[1:], open(os.environ["CALLED"], "w"))
"""
WRAPPERS = {"train-ner.sh": "MODEL", "finetune-roberta.sh": "TRAIN_FILE", "run-glue.sh": "MODEL"}


@pytest.mark.parametrize("name", WRAPPERS)
@settings(max_examples=6)
@given(words=st.lists(VALUES, max_size=4), setting=VALUES.filter(bool))
def test_wrappers_hand_on_words_and_variables_as_they_are(name, words, setting, repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wrapped")
    python = folder / "python"
    python.write_text(FAKE)
    python.chmod(0o755)
    (folder / "data").mkdir()
    for part in ("train", "dev", "test"):
        (folder / "data" / f"{part}.txt").write_text("a O\n\n")
    environment = {**os.environ, "PYTHON": str(python), "CALLED": str(folder / "called"), WRAPPERS[name]: setting}
    command = [repository / "scripts" / name, "--further", *words]
    done = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True)
    if any(word in ("-v", "-h", "--help", "--dry-run") for word in words):
        return  # the wrapper's own
    assert done.returncode == 0, done.stderr
    called = json.loads((folder / "called").read_text())
    assert called[len(called) - len(words) - 1 :] == ["--further", *words]
    assert setting in called
    assert not (folder / "broken").exists()
