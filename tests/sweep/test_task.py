"""A sweep of a quick command: everything judged first, finished runs skipped, interrupted ones gone on with."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from finetune.arguments.run import RunArguments
from finetune.errors import RunError, UsageError
from finetune.run.signals import StopRequest
from finetune.sweep import local_processes
from finetune.sweep.arguments import SweepArguments
from finetune.sweep.local_processes import Job, run_jobs, share_machine
from finetune.sweep.task import run_sweep

COMMAND = '''
"""A quick command."""
import time
from dataclasses import dataclass
from pathlib import Path
from finetune import cli
from finetune.arguments.fields import argument
from finetune.arguments.parser import CommandParser
from finetune.arguments.run import RunArguments
from finetune.errors import RunError

@dataclass
class Group:
    """Group."""
    output_dir: str = argument(help="folder")
    x: int = argument(1, minimum=0, help="a number")
    seed: int = argument(0, help="a seed")
    seconds: float = argument(0.0, help="how long it takes")
    fails_at: int = argument(-1, help="the number that fails")

def make_parser():
    return CommandParser("", (Group, RunArguments))

def main(arguments, run):
    group = arguments[Group]
    run.start()
    with (run.folder / "starts").open("a") as file:
        file.write("x")
    time.sleep(group.seconds)
    if group.x == group.fails_at and not Path("mended").exists():
        raise RunError("the disk is on fire")
    return {"validation": {"loss": 1.0 / (group.x + 1)}, "test": {"loss": 0.0}}

if __name__ == "__main__":
    cli.launch(make_parser, main)
'''


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "quick.py"
    path.write_text(textwrap.dedent(COMMAND), encoding="utf-8")
    return path


def sweep(script, *words, grid=("x=0,1", "seed=1,2"), behaviour=None, **options):
    asked = SweepArguments(command="quick", output_dir="s", grid=list(grid), processes=2, **options)
    asked.words = list(words)
    return run_sweep(script, asked, behaviour or RunArguments(), StopRequest())


def starts(tmp_path):
    return {path.parent.name: len(path.read_text()) for path in sorted((tmp_path / "s").glob("*/starts"))}


@pytest.mark.slow
def test_runs_then_skips_then_adds(script, tmp_path, capsys):
    result = sweep(script, sort_by="validation.loss")
    assert result["done"] == 4 and result["best"].startswith("x=1")
    table = capsys.readouterr().out
    assert table.splitlines()[0] == "run,x,seed,status,validation.loss,reason"
    assert "test" not in table
    assert starts(tmp_path) == dict.fromkeys(["x=0,seed=1", "x=0,seed=2", "x=1,seed=1", "x=1,seed=2"], 1)
    more = sweep(script, grid=["x=0,1", "seed=1,2,3"])
    assert more["done"] == 6 and set(starts(tmp_path).values()) == {1}


def test_failed_runs_are_named_and_begun_again(script, tmp_path, capsys):
    with pytest.raises(RunError, match=r"1 of 2 runs failed: x=1: the disk is on fire") as error:
        sweep(script, "--fails_at", "1", grid=["x=0,1"])
    assert error.value.exit_code == 1
    assert "failed,NA,the disk is on fire" in capsys.readouterr().out
    (tmp_path / "mended").touch()
    assert sweep(script, "--fails_at", "1", grid=["x=0,1"])["done"] == 2
    assert starts(tmp_path) == {"x=0": 1, "x=1": 2}


def test_restart_is_handed_to_every_run(script, tmp_path):
    sweep(script, grid=["x=0"])
    sweep(script, grid=["x=0"], behaviour=RunArguments(restart=True))
    assert json.loads((tmp_path / "s/x=0/run.json").read_text())["status"] == "done"
    assert "--restart" in json.loads((tmp_path / "s/x=0/run.json").read_text())["command"]


def test_every_mistake_of_every_run_comes_first(script, tmp_path):
    with pytest.raises(UsageError) as error:
        sweep(script, "--secnods", "3", grid=["x=1,-1,none", "seed=1,2"])
    text = str(error.value)
    assert "--x" in text and "-1" in text and "none" in text and "--seconds" in text
    assert text.count("secnods") == 1
    with pytest.raises(UsageError, match="has no --y to sweep"):
        sweep(script, grid=["y=1"])
    with pytest.raises(UsageError, match="names the folder of each"):
        sweep(script, "--output_dir", "z")
    with pytest.raises(UsageError, match="there is no grid"):
        sweep(script, grid=[])
    with pytest.raises(UsageError, match="tests choose nothing"):
        sweep(script, sort_by="test.loss")
    assert not (tmp_path / "s").exists()


def test_a_folder_with_another_run_is_refused_before_any_start(script, tmp_path):
    sweep(script, grid=["x=0"])
    with pytest.raises(UsageError, match=r"--seconds was 0\.0, is now 0\.5"):
        sweep(script, "--seconds", "0.5", grid=["x=0,1"])
    assert starts(tmp_path) == {"x=0": 1}


def test_only_the_table(script, tmp_path, capsys):
    result = sweep(script, grid=["x=0,1"], collect=True)
    assert result["not begun"] == 2 and not starts(tmp_path)


def test_a_signal_ends_the_runs_and_the_same_command_goes_on(script, tmp_path):
    program = (
        "import sys; from pathlib import Path; from finetune.arguments.run import RunArguments\n"
        "from finetune.sweep.arguments import SweepArguments\n"
        "from finetune.run.signals import StopRequest\nfrom finetune.sweep.task import run_sweep\n"
        "stop = StopRequest(); stop.install()\n"
        "asked = SweepArguments(command='quick', output_dir='s', grid=['x=0,1,2'], processes=2)\n"
        "asked.words = ['--seconds', sys.argv[1]]\n"
        "run_sweep(Path('quick.py').resolve(), asked, RunArguments(), stop)\n"
    )
    first = subprocess.Popen([sys.executable, "-c", program, "60"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(starts(tmp_path)) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    _, said = first.communicate(timeout=60)
    assert "Preempted" in said
    statuses = {
        path.parent.name: json.loads(path.read_text())["status"] for path in (tmp_path / "s").glob("*/run.json")
    }
    assert statuses == {"x=0": "preempted", "x=1": "preempted"}


def test_processes_share_the_machine():
    assert share_machine({"CUDA_VISIBLE_DEVICES": "0,1,2,3", "OMP_NUM_THREADS": "1"}, 1, 2) == {
        "CUDA_VISIBLE_DEVICES": "1,3"
    }
    assert share_machine({"CUDA_VISIBLE_DEVICES": "0,1", "OMP_NUM_THREADS": "1"}, 2, 3) == {"CUDA_VISIBLE_DEVICES": "0"}
    assert share_machine({}, 0, 1) == {}
    assert int(share_machine({}, 0, 2)["OMP_NUM_THREADS"]) == max(1, len(os.sched_getaffinity(0)) // 2)


def test_a_folder_in_use_is_tried_again_after_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(local_processes, "PATIENCE", 2.0)
    once = 'test -e "$1" && exit 0; touch "$1"; exit 4'
    jobs = [
        Job("freed", ["sh", "-c", once, "sh", str(tmp_path / "freed")], tmp_path / "freed.log"),
        Job("held", ["sh", "-c", 'echo >> "$1"; exit 4', "sh", str(tmp_path / "held")], tmp_path / "held.log"),
        Job("plain", ["true"], tmp_path / "plain.log"),
    ]
    codes = {}
    run_jobs(jobs, processes=1, stop=StopRequest(), ended=lambda job, code: codes.update({job.name: code}))
    assert codes == {"plain": 0, "freed": 0, "held": 4} and next(iter(codes)) == "plain"
    assert len((tmp_path / "held").read_text()) > 1
