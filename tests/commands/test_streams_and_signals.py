"""What surrounds a command: closed and full streams, a launcher's variables, signals at its very end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def shell(repository: Path, words: str, redirection: str, **variables: str) -> subprocess.CompletedProcess:
    line = f"{sys.executable} {repository}/scripts/run_ner.py {words} {redirection}"
    environment = {**os.environ, **variables}
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=60, env=environment, check=False
    )


BAD = "--dataset_name sample"  # the model is missing


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&-", "2>/dev/full", ">&- 2>&- <&-"])
@pytest.mark.parametrize(("words", "code"), [("--help", 0), (BAD, 2)])
def test_closed_streams_change_no_exit_code(repository, redirection, words, code):
    done = shell(repository, words, redirection)
    assert done.returncode == code
    assert "Traceback" not in done.stderr and "bug in finetune" not in done.stderr + done.stdout
    if ">&-" not in redirection.replace("2>&-", "") and code == 2:
        assert json.loads(done.stdout.splitlines()[-1])["status"] == "failed"


@pytest.mark.parametrize(("words", "code"), [("--help", 1), (BAD, 2)])
def test_results_that_cannot_be_written_are_a_failure(repository, words, code):
    done = shell(repository, words, ">/dev/full")
    assert done.returncode == code
    assert "standard output cannot be written (No space left on device)." in done.stderr
    assert "Traceback" not in done.stderr and "last checkpoint" not in done.stderr


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "WORLD_SIZE"])
def test_a_variable_of_a_launcher_that_is_no_number(repository, name):
    done = shell(repository, BAD, "", **{name: "x"})
    assert done.returncode == 2
    assert (
        f"the variable {name} is 'x'; it must be a whole number" in json.loads(done.stdout.splitlines()[-1])["reason"]
    )


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_storm_of_signals_at_the_end_leaves_75(repository, tiny_bert, tmp_path, first):
    """From the moment the checkpoint is whole until the process is gone."""
    output = tmp_path / "run"
    words = [
        "--model_name_or_path", tiny_bert, "--dataset_name", "sample", "--output_dir", output, "--do_train",
        "--max_steps", 3000, "--save_steps", 5000, "--logging_steps", 1, "--disable_tqdm", "True",
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, repository / "scripts" / "run_ner.py", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    log = output / "run.log"
    wait_until(lambda: log.is_file() and "'loss'" in log.read_text(), process)
    process.send_signal(first)
    wait_until(lambda: any(output.glob("checkpoint-*/complete.json")), process)
    for number in range(2000):
        if process.poll() is not None:
            break
        time.sleep(0.02 if number else 0.3)
        process.send_signal(signal.SIGINT if number % 2 else signal.SIGTERM)
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 75
    assert json.loads(stdout.splitlines()[-1])["status"] == "preempted"
    assert json.loads((output / "run.json").read_text())["status"] == "preempted"


def wait_until(condition, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
