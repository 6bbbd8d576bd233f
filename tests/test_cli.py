"""The template of a command, through a small throw-away script started as users start theirs."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from finetune import cli
from finetune.run.failures import explain

SCRIPT = '''"""A small command that does what --mode says.

    python small.py --output_dir out
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass

from finetune import cli
from finetune.arguments.fields import argument
from finetune.arguments.parser import CommandParser
from finetune.arguments.run import RunArguments


@dataclass
class SmallArguments:
    """Small."""

    mode: str = argument("ok", help="what happens")
    steps: int = argument(4, help="how many steps")
    data: str | None = argument(None, help="input file")


def make_parser():
    return CommandParser(__doc__, [SmallArguments, RunArguments], training_defaults={})


def train(run, steps):
    """Steps that save a checkpoint each, and a stop after the step in which a signal came."""
    from finetune.run.checkpoints import mark_complete, step_of

    done = step_of(run.checkpoint) if run.checkpoint else 0
    with run.stop.deferred():
        for step in range(done + 1, steps + 1):
            print(f"step {step}", flush=True)
            time.sleep(0.3)
            folder = run.folder / f"checkpoint-{step}"
            folder.mkdir()
            (folder / "model.safetensors").write_text(str(step))
            mark_complete(folder)
            if run.stop.requested:
                return


def main(arguments, run):
    from pathlib import Path

    from finetune.errors import DataError, NonFiniteError, Problem

    small = arguments[SmallArguments]
    if small.data:
        run.record_inputs([Path(small.data)])
    if small.mode == "bad_data":
        raise DataError(Problem("3 columns", "2 are allowed", path="train.txt", line=7), "no test split")
    if arguments[RunArguments].dry_run:
        return {"plan": 3}
    run.start()
    print("report")
    if small.mode == "train":
        train(run, small.steps)
    elif small.mode == "wait":
        print("waiting", flush=True)
        time.sleep(60)
    elif small.mode == "bug":
        raise ValueError("oh")
    elif small.mode == "non_finite":
        raise NonFiniteError("the training loss", float("nan"), 3)
    elif small.mode == "memory":
        raise MemoryError
    elif small.mode == "disk":
        raise OSError(28, "No space left on device", "model.safetensors")
    elif small.mode.startswith("exit"):
        sys.exit({"exit": None, "exit0": 0, "exit5": 5, "exit_text": "gave up"}[small.mode])
    return {"f1": 0.5, "loss": float("nan")}


if __name__ == "__main__":
    cli.launch(make_parser, main)
'''


@pytest.fixture
def small(tmp_path, repository):
    """Starts the script; `small(...)` waits for it, `small.start(...)` does not."""
    return Small(tmp_path, repository)


class Small:
    def __init__(self, folder: Path, repository: Path) -> None:
        self.script, self.out = folder / "small.py", folder / "out"
        self.script.write_text(SCRIPT)
        self.folder = folder
        self.environment = {**os.environ, "PYTHONPATH": str(repository)}

    def start(self, *words: str, **environment: str) -> subprocess.Popen:
        command = [sys.executable, str(self.script), "--output_dir", str(self.out), *words]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**self.environment, **environment},
        )

    def __call__(self, *words: str, **environment: str) -> Ended:
        process = self.start(*words, **environment)
        return Ended(process, *process.communicate(timeout=60))

    def record(self) -> dict:
        return json.loads((self.out / "run.json").read_text())


class Ended:
    def __init__(self, process: subprocess.Popen, out: str, err: str) -> None:
        self.code, self.out, self.err = process.returncode, out, err

    @property
    def last(self) -> dict:
        return json.loads(self.out.splitlines()[-1])


def test_a_run_ends_with_one_line_of_json(small):
    ended = small()
    assert ended.code == 0
    assert ended.out == f'report\n{{"status":"done","output_dir":"{small.out}","f1":0.5,"loss":null}}\n'


def test_the_folder_tells_the_story(small):
    small("--seed", "5", "--per_gpu_train_batch_size", "4")
    record = small.record()
    assert record["status"] == "done" and record["seed"] == 5 and record["result"] == {"f1": 0.5, "loss": None}
    assert record["arguments"]["per_device_train_batch_size"] == 4 and record["arguments"]["learning_rate"] == 5e-05
    assert record["command"][-4:] == ["--seed", "5", "--per_gpu_train_batch_size", "4"]
    log = (small.out / "run.log").read_text()
    assert "--per_gpu_train_batch_size is now --per_device_train_batch_size 4." in log
    assert "Custom args SmallArguments(mode='ok'" in log


def test_the_same_command_on_a_finished_folder(small):
    small()
    before = (small.out / "run.log").read_bytes()
    ended = small("--dataloader_num_workers", "2")  # does not change the outcome
    assert (ended.code, ended.last) == (0, {**ended.last, "status": "already_done", "f1": 0.5})
    assert "finished; nothing is left to do" in ended.err and "report" not in ended.out
    assert (small.out / "run.log").read_bytes() == before


def test_other_arguments_are_refused_with_the_differences(small):
    small()
    ended = small("--seed", "7", "--learning_rate", "1e-3")
    assert ended.code == 2 and ended.last["status"] == "failed"
    assert "--seed was 42, is now 7." in ended.err and "--learning_rate was 5e-05, is now 0.001." in ended.err
    assert small("--seed", "7", "--overwrite_output_dir").last["status"] == "done"
    assert small.record()["seed"] == 7


def test_all_problems_of_the_line_without_a_folder(small):
    ended = small("--stepps", "3", "--fp16", "--bf16", "--mode")
    assert ended.code == 2 and not small.out.exists()
    assert ended.err.splitlines() == [
        "error: unknown flag --stepps; did you mean --steps.",
        "error: --mode is given without a value; it takes a word.",
        "error: --fp16 and --bf16 are both given; choose one of the two precisions.",
    ]
    assert ended.last["reason"].startswith("unknown flag --stepps")


def test_bad_data_changes_nothing(small):
    ended = small("--mode", "bad_data")
    assert ended.code == 2 and not small.out.exists()
    assert (
        "ERROR - finetune.cli -   train.txt:7: 3 columns; 2 are allowed.\n" in ended.err
        and "no test split." in ended.err
    )
    small()
    before = {path: path.read_bytes() for path in small.out.iterdir()}
    assert small("--mode", "bad_data", "--overwrite_output_dir").code == 2
    assert {path: path.read_bytes() for path in small.out.iterdir()} == before


@pytest.mark.parametrize(
    ("mode", "code", "status", "reason"),
    [
        ("non_finite", 3, "failed", "the training loss became nan at step 3"),
        ("memory", 1, "failed", "the machine ran out of memory"),
        ("disk", 1, "failed", "the disk is full (model.safetensors)"),
        ("exit", 0, "done", ""),
        ("exit0", 0, "done", ""),
        ("exit5", 5, "failed", ""),
        ("exit_text", 1, "failed", "gave up"),
    ],
)
def test_exit_codes(small, mode, code, status, reason):
    ended = small("--mode", mode)
    assert (ended.code, ended.last["status"]) == (code, status)
    assert ended.last.get("reason", "").startswith(reason) and "Traceback" not in ended.err
    assert small.record()["status"] == status


@pytest.mark.parametrize("before", ["", "something else failed. "])
def test_a_disk_too_full_to_record_that_it_is_full_is_told_once(before):
    class FullFolder:
        def finish(self, *facts, ended=None):
            raise OSError(errno.ENOSPC, "No space left on device")

    sentence = explain(OSError(errno.ENOSPC, ""))
    command = cli.Command(lambda: None, lambda *_: {}, needs_folder=True)
    command.stop.hold, command.run_of_folder = lambda: None, FullFolder()
    ended = command._end(cli.Outcome(1, "failed", reason=f"{before}{sentence}."))
    assert ended.reason == f"{before}{sentence}." and ended.code == 1
    ended = command._end(cli.Outcome(3, "failed", reason="the loss is nan."))
    assert ended.reason == f"the loss is nan. {sentence}" and ended.code == 3


def test_a_bug_shows_its_traceback_and_says_so(small):
    ended = small("--mode", "bug")
    assert ended.code == 1 and "this is a bug in finetune" in ended.last["reason"]
    log = (small.out / "run.log").read_text()
    for text in (ended.err, log):
        assert text.count("Traceback (most recent call last)") == 1 and "ValueError: oh" in text


def test_debug_shows_the_traceback_of_every_error(small):
    assert "Traceback" in small("--mode", "bad_data", "--debug").err
    assert "Traceback" in small("--stepps", "--debug").err


def test_a_dry_run_leaves_no_folder(small):
    ended = small("--dry_run")
    assert (ended.code, ended.last["plan"]) == (0, 3) and not small.out.exists()


def test_help_and_print_config_are_nothing_but_their_text(small):
    text = small("--help").out
    assert text.startswith("usage: small.py") and "A small command that does what --mode says." in text
    config = small("--steps", "9", "--print_config")
    assert config.code == 0 and "steps: 9" in config.out and "status" not in config.out
    (small.folder / "c.yaml").write_text(config.out)
    assert small("--config_file", "c.yaml", "--print_config").out == config.out
    assert not small.out.exists()


@pytest.mark.parametrize("words", ["--help", "--print_config"])
def test_a_reader_that_stops_early_is_no_error(small, words):
    command = f"{sys.executable} {small.script} --output_dir {small.out} {words} | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], env=small.environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("steps", "code", "status", "reason"),
    [("1", 0, "done", None), ("3", 1, "failed", "the program that reads standard output has closed it.")],
)
def test_a_reader_that_goes_away_costs_only_what_it_did_not_wait_for(small, steps, code, status, reason):
    process = small.start("--mode", "train", "--steps", steps)
    wait_for(process, "step 1")
    process.stdout.close()
    assert process.wait(timeout=30) == code
    assert "BrokenPipeError" not in process.stderr.read()
    assert (small.record()["status"], small.record()["reason"]) == (status, reason)
    process.stderr.close()


def wait_for(process: subprocess.Popen, line: str) -> None:
    while (found := process.stdout.readline()) and found != f"{line}\n":
        pass
    assert found


def test_a_second_process_is_refused_while_the_first_lives(small):
    first = small.start("--mode", "wait")
    wait_for(first, "waiting")
    ended = small("--mode", "wait")
    assert ended.code == 4 and ended.last["status"] == "locked"
    assert f"is in use by process {first.pid} on " in ended.last["reason"]
    first.kill()
    first.communicate()
    assert small.record()["status"] == "running"
    assert small().code == 0, "the lock died with its owner, and nothing was reached that could be lost"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_in_training_is_resumed_by_the_same_command(small, number):
    process = small.start("--mode", "train")
    wait_for(process, "step 2")
    process.send_signal(number)
    ended = Ended(process, *process.communicate(timeout=30))
    assert (ended.code, ended.last["status"]) == (75, "preempted")
    assert "run the same command again" in ended.last["reason"] and f"{number.name}: saving the state" in ended.err
    assert small.record()["status"] == "preempted"
    again = small("--mode", "train", "--overwrite_output_dir")  # old cron lines carry that flag always
    assert again.out.splitlines()[:-1] == ["report", "step 3", "step 4"]
    assert again.last["status"] == "done" and "Going on from" in again.err


def test_a_stop_outside_of_training_saves_time_not_state(small):
    process = small.start("--mode", "wait")
    wait_for(process, "waiting")
    process.send_signal(signal.SIGTERM)
    ended = Ended(process, *process.communicate(timeout=30))
    assert (ended.code, ended.last["status"]) == (75, "preempted") and "Traceback" not in ended.err


@pytest.mark.slow
def test_after_a_kill_the_newest_whole_checkpoint_counts(small):
    process = small.start("--mode", "train")
    wait_for(process, "step 3")
    process.kill()
    process.communicate()
    (small.out / "checkpoint-2" / "model.safetensors").write_text("")
    again = small("--mode", "train")
    assert again.out.splitlines()[:-1] == ["report", "step 2", "step 3", "step 4"]
    assert "checkpoint-2 is not whole (model.safetensors has 0 bytes instead of 1); it is set aside" in again.err
    assert (small.out / "checkpoint-2.broken").is_dir()


@pytest.mark.slow
def test_restart_begins_anew(small):
    small("--mode", "train", "--steps", "2")
    ended = small("--mode", "train", "--steps", "2", "--restart")
    assert ended.out.splitlines()[:-1] == ["report", "step 1", "step 2"]
    assert "the earlier run there is discarded" in ended.err


def test_data_that_changed_makes_another_run(small):
    data = small.folder / "train.txt"
    data.write_text("a")
    small("--data", str(data))
    assert small("--data", str(data)).last["status"] == "already_done"
    data.write_text("b")
    ended = small("--data", str(data))
    assert ended.code == 2 and f"{data} has changed since." in ended.err


def test_names_that_are_no_utf8_break_nothing(small):
    data = os.fsencode(small.folder) + b"/\xff.txt"
    Path(os.fsdecode(data)).write_text("x")
    ended = small("--data", os.fsdecode(data))
    assert ended.code == 0 and small.record()["arguments"]["data"].endswith("\udcff.txt")
    assert small("--data", os.fsdecode(data)).last["status"] == "already_done"
    out = small.folder / os.fsdecode(b"\xfe")
    process = small.start("--output_dir", str(out))
    assert json.loads(process.communicate()[0].splitlines()[-1])["output_dir"] == str(out)


def test_output_that_cannot_hold_thai_is_still_json(small):
    ended = small("--mode", "ไทย", "--stepps", PYTHONIOENCODING="ascii")
    assert ended.code == 2 and ended.last["status"] == "failed"
    small.script.write_text(SCRIPT.replace('"f1": 0.5', '"label": "ไทย"'))
    assert small(PYTHONIOENCODING="ascii").last["label"] == "ไทย"


def test_only_rank_0_speaks_and_owns_the_folder(small):
    ended = small(RANK="1", LOCAL_RANK="1")
    assert ended.out == "" and not small.out.exists()
    assert small(RANK="0", LOCAL_RANK="0").last["status"] == "done"


def test_old_flags_set_the_environment_that_replaced_them(small):
    small.script.write_text(
        SCRIPT.replace('return {"f1": 0.5,', 'return {"where": os.environ["TENSORBOARD_LOGGING_DIR"],')
    )
    assert small("--logging_dir", "tb").last["where"] == "tb"


# finetune NAME


@pytest.fixture
def finetune(tmp_path, repository):
    """`finetune ...` of a checkout whose scripts are a few small ones."""
    scripts = tmp_path / "scripts"
    for name in ("small.py", "old-small.py", "deep/run_small.py", "a/train.py", "b/train.py"):
        path = scripts / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SCRIPT.replace("A small command", f"{name}: a small command"))
    starter = (
        "import sys; from pathlib import Path; from finetune import cli, commands; "
        f"cli.find_scripts = commands.find_scripts = lambda: Path({str(scripts)!r}); sys.argv[0] = 'finetune'; cli.main()"
    )

    def run(*words):
        command = [sys.executable, "-c", starter, *words]
        environment = {**os.environ, "PYTHONPATH": str(repository)}
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)

    return run


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_the_list_of_commands(finetune, words):
    done = finetune(*words)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines[0].startswith("usage: finetune NAME")
    assert "  run_small  deep/run_small.py: a small command that does what --mode says." in lines
    assert lines[2] == "Other names:"
    assert {line.split()[0] for line in lines[3:-2]} == {"a/train", "b/train", "run_small", "small", "old-small"}


@pytest.mark.parametrize("name", ["run_small", "run-small", "run_small.py", "deep/run_small", "b/train", "old-small"])
def test_a_command_runs_by_its_name(finetune, tmp_path, name):
    done = finetune(name, "--output_dir", "out", "--steps", "2")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["program"] in ("run_small.py", "train.py", "old-small.py")
    assert record["arguments"]["steps"] == 2


def test_an_unknown_command(finetune):
    done = finetune("smal", "--help")
    assert done.returncode == 2 and "error: unknown command smal; did you mean 'small'" in done.stderr
    assert json.loads(done.stdout)["status"] == "failed"


def test_the_scripts_of_the_checkout_are_found(repository):
    from finetune.commands import find_commands, find_scripts

    assert find_scripts() == repository / "scripts"
    assert "run_ner" in find_commands(find_scripts())
