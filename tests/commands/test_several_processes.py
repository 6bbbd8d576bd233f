"""`--nproc`: a command that starts the processes of one training itself, and ends as they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from finetune.arguments.processes import ProcessArguments
from finetune.errors import UsageError
from finetune.run import launching
from tests import tiny

LONG = 4000
Start = Callable[..., subprocess.Popen]


def make_words(model: Path, output: Path, **flags: object) -> list[str]:
    values = {
        "model_name_or_path": model, "dataset_name": "sample", "output_dir": output, "max_train_samples": 42,
        "max_eval_samples": 21, "max_steps": 3, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "bf16": False,
        "config_overrides": "hidden_dropout_prob=0.0,attention_probs_dropout_prob=0.0", **flags,
    }  # fmt: skip
    return ["--do_train", "--do_eval", *(str(part) for name, value in values.items() for part in (f"--{name}", value))]


@pytest.fixture
def start(repository: Path) -> Start:
    """A command as two processes, or as its words say, in a group of its own."""

    def begin(*words: object, script: str = "run_ner.py", nproc: int = 2) -> subprocess.Popen:
        command = [sys.executable, str(repository / "scripts" / script), *map(str, words), "--nproc", str(nproc)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    return begin


def wait_for(condition: Callable[[], object], process: subprocess.Popen, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


def find_ranks(process: subprocess.Popen) -> dict[str, psutil.Process]:
    return {child.environ()["RANK"]: child for child in psutil.Process(process.pid).children()}


def finish(process: subprocess.Popen) -> tuple[dict, str]:
    """Its last line, which is its only one of that kind, and standard error; no process of its group is left."""
    stdout, stderr = process.communicate(timeout=200)
    told = [line for line in stdout.splitlines() if line.startswith('{"status"')]
    assert len(told) == 1 and stdout.splitlines()[-1] == told[0], (stdout, stderr)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    return json.loads(told[0]), stderr


def read_losses(output: Path) -> list[float]:
    state = json.loads((output / "checkpoint-3" / "trainer_state.json").read_text(encoding="utf-8"))
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


def start_until_saved(start, words, output):
    """A command that has written its first whole checkpoint and trains on."""
    process = start(*words)
    wait_for(lambda: any(output.glob("checkpoint-*/complete.json")), process)
    return process


@pytest.mark.slow
def test_two_processes_by_a_config_file_train_as_one(tmp_path, start, call_command, run_command, tiny_bert):
    one, two, told = tmp_path / "one", tmp_path / "two", tmp_path / "told"
    config = tmp_path / "ner.yaml"
    config.write_text("nproc: 2\nlogging_steps: 1\n", encoding="utf-8")
    words = [*make_words(tiny_bert, two, config_file=config), "--notify_command", f"tee -a {told}"]
    done = run_command("run_ner.py", *words)
    assert done.code == 0, done.stderr
    assert done.last["status"] == "done" and done.stdout.count('"status"') == 1
    assert done.stderr.count("***** Running training *****") == 1
    assert [json.loads(line) for line in told.read_text().splitlines()] == [done.last]
    alone = call_command("run_ner.py", *make_words(tiny_bert, one, per_device_train_batch_size=8, logging_steps=1))
    assert alone.code == 0, alone.stderr
    assert len(read_losses(one)) == 3 and read_losses(two) == pytest.approx(read_losses(one), rel=1e-5)
    again, _ = finish(start(*words, "--if_changed"))
    assert again["status"] == "already_done"


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, "STOP"])
def test_a_signal_to_the_launcher_stops_all_and_the_run_goes_on(tmp_path, start, tiny_bert, sign):
    output = tmp_path / "out"
    words = make_words(tiny_bert, output, max_steps=LONG, save_steps=2)
    process = start_until_saved(start, words, output)
    if sign == "STOP":
        (output / "STOP").touch()
    else:
        process.send_signal(sign)
    last, stderr = finish(process)
    assert process.returncode == 75, stderr
    assert last["status"] == "preempted" and "at step" in last["reason"]
    assert json.loads((output / "run.json").read_text(encoding="utf-8"))["status"] == "preempted"


@pytest.mark.slow
def test_nothing_is_left_of_a_launcher_that_was_killed(tmp_path, start, tiny_bert):
    output = tmp_path / "out"
    process = start_until_saved(start, make_words(tiny_bert, output, max_steps=LONG, save_steps=2), output)
    ranks = find_ranks(process)
    assert set(ranks) == {"0", "1"}
    process.kill()
    _, alive = psutil.wait_procs(list(ranks.values()), timeout=60)
    assert not alive
    assert json.loads((output / "run.json").read_text(encoding="utf-8"))["status"] == "preempted"


@pytest.mark.slow
def test_a_process_that_is_killed_fails_the_run(tmp_path, start, tiny_bert):
    output = tmp_path / "out"
    process = start_until_saved(start, make_words(tiny_bert, output, max_steps=LONG, save_steps=2), output)
    find_ranks(process)["1"].kill()
    last, stderr = finish(process)
    assert process.returncode == 1 and last["status"] == "failed", stderr
    assert "a bug in finetune" not in stderr


@pytest.mark.slow
def test_a_second_signal_ends_all_at_once(tmp_path, start, tiny_bert):
    output = tmp_path / "out"
    process = start_until_saved(start, make_words(tiny_bert, output, max_steps=LONG, save_steps=2), output)
    for child in find_ranks(process).values():
        child.suspend()  # it does not come to save anything
    process.send_signal(signal.SIGTERM)
    time.sleep(1.2)
    process.send_signal(signal.SIGTERM)
    last, stderr = finish(process)
    assert process.returncode == 130 and "interrupted twice" in last["reason"], stderr


@pytest.mark.slow
def test_the_exit_code_is_that_of_the_processes(tmp_path, start, tiny_bert):
    output = tmp_path / "out"
    words = make_words(tiny_bert, output, max_steps=LONG, save_steps=2)
    process = start_until_saved(start, words, output)
    held = start(*words)
    last, stderr = finish(held)
    assert (held.returncode, last["status"]) == (4, "locked"), stderr
    process.send_signal(signal.SIGTERM)
    finish(process)
    wrong = start(*make_words(tmp_path / "nothing", tmp_path / "new"))
    last, stderr = finish(wrong)
    assert wrong.returncode == 2 and "nothing" in last["reason"], stderr
    exploding = start(*make_words(tiny_bert, tmp_path / "explodes", learning_rate=1e30, max_steps=20))
    last, stderr = finish(exploding)
    assert exploding.returncode == 3 and last["status"] == "failed", stderr


@pytest.mark.parametrize(
    ("script", "words", "said"),
    [
        ("run_ner.py", ["--nproc", "0"], "--nproc"),
        ("run_ner.py", ["--nproc", "two"], "--nproc"),
        ("split.py", ["--nproc", "2"], "--nproc: this command works in one process; drop it."),
    ],
)
def test_what_cannot_be_several_is_told(tmp_path, call_command, tiny_bert, script, words, said):
    more = make_words(tiny_bert, tmp_path / "out") if script == "run_ner.py" else ["--help_is_not_asked_for"]
    done = call_command(script, *more, *words)
    assert done.code == 2 and said in done.last["reason"]
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_closed_standard_output_changes_no_exit_code(tmp_path, repository, tiny_bert):
    words = [sys.executable, str(repository / "scripts" / "run_ner.py"), *make_words(tiny_bert, tmp_path / "out")]
    shell = '"$@" --nproc 2 --dry_run >&-'
    done = subprocess.run(["sh", "-c", shell, "sh", *words], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_launcher_of_others_is_left_to_itself(tmp_path, run_two_processes, tiny_bert):
    """torchrun starts two; each would start two more. (On its own command line it takes `--nproc` for its flag.)"""
    config = tmp_path / "ner.yaml"
    config.write_text("nproc: 2\n", encoding="utf-8")
    done = run_two_processes("run_ner.py", *make_words(tiny_bert, tmp_path / "out", config_file=config))
    assert done.code == 0, done.stderr
    assert done.stdout.count('"status"') == 1 and done.last["status"] == "done"


@pytest.fixture(scope="module")
def byte_level():
    return tiny.byte_level(["The keys to the cabinet are here."] * 5, 300)


@pytest.mark.slow
@pytest.mark.parametrize("table", ["csv", "parquet"])
def test_scores_of_three_processes_are_those_of_one(tmp_path, call_command, run_command, byte_level, table):
    """More chunks than processes, texts that are windowed and counted by each, the same bits in one file."""
    model = tiny.save(tiny.gpt2(len(byte_level), n_positions=64), byte_level, tmp_path / "gpt2")
    lines = [f"The {count} keys to " + "the cabinet, " * (count % 40) + "are here." for count in range(1100)]
    (tmp_path / "texts.txt").write_text("\n".join([*lines, "", "end"]) + "\n", encoding="utf-8")
    words = ["--model_name_or_path", model, "--test_file", tmp_path / "texts.txt", "--metrics_format", table]
    words += ["--test_output_file_prefix", "x"]
    done = run_command("score.py", *words, "--output_dir", tmp_path / "three", "--nproc", "3", OMP_NUM_THREADS="1")
    assert done.code == 0, done.stderr
    alone = run_command("score.py", *words, "--output_dir", tmp_path / "one", OMP_NUM_THREADS="1")
    assert alone.code == 0, alone.stderr
    name = "x-test_results" + {"csv": ".csv.gz", "parquet": ".parquet"}[table]
    if table == "parquet":  # its pages may be packed otherwise where rows came from another process
        assert pq.read_table(tmp_path / "three" / name).equals(pq.read_table(tmp_path / "one" / name))
    else:
        assert (tmp_path / "three" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert {**done.last, "output_dir": ""} == {**alone.last, "output_dir": ""}
    said = [line.partition("-   ")[2] for line in alone.stderr.splitlines() if "WARNING" in line]
    assert said and said == [line.partition("-   ")[2] for line in done.stderr.splitlines() if "WARNING" in line]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory, run_command, tiny_bert) -> Path:
    output = tmp_path_factory.mktemp("tagger") / "model"
    done = run_command("run_ner.py", *make_words(tiny_bert, output))
    assert done.code == 0, done.stderr
    return output


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["ours", "torchrun"])
def test_predictions_of_two_processes_are_those_of_one(
    tmp_path, tmp_path_factory, run_command, run_two_processes, tagger, monkeypatch, launcher
):
    """Three chunks and their scores, in order and in one file; done again, it is there already. /tmp is left as it was."""
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    rows = [{"tokens": ["Maria", "saw", f"{n}"], "ner_tags": ["B-PER", "O", "O"]} for n in range(4100)]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ["--model_name_or_path", tagger, "--input_file", source, "--score", "--output_file"]
    two, one = tmp_path / "two.jsonl", tmp_path / "one.jsonl"
    done = (
        run_two_processes("predict.py", *words, two)
        if launcher == "torchrun"
        else run_command("predict.py", *words, two, "--nproc", "2")
    )
    assert done.code == 0, done.stderr
    left = {path.name for path in temporary.iterdir()}
    assert not {name for name in left if not name.startswith("torchinductor_")}, "torch's cache of a user, no run's"
    alone = run_command("predict.py", *words, one)
    assert two.read_bytes() == one.read_bytes() and two.read_bytes().count(b"\n") == 4100
    assert done.last["input"] == alone.last["input"] and done.last["texts"] == 4100
    assert done.stdout.splitlines()[:-1] == alone.stdout.splitlines()[:-1], "the report, once"
    again = run_command("predict.py", *words, two, "--nproc", "2")
    assert again.last["status"] == "already_done"
    assert {path.name for path in tmp_path.iterdir()} == {
        "rows.jsonl", "one.jsonl", "two.jsonl", "one.jsonl.run.json", "two.jsonl.run.json",
    }  # fmt: skip


def test_what_cannot_be_shared_is_told(call_command, tmp_path):
    for script in ("predict.py", "score.py"):
        done = call_command(script, "--model_name_or_path", tmp_path, "--nproc", "2")
        reason = json.loads((done.stdout + done.stderr).splitlines()[-1])["reason"]
        assert done.code == 2 and reason == "--nproc 2: standard input is read by one process; drop it."


@pytest.mark.parametrize(
    ("asked", "gpus", "environment", "expected"),
    [
        ({}, 0, {}, 1), ({}, 1, {}, 1), ({}, 4, {}, 4), ({"multi_gpu": "off"}, 4, {}, 1), ({"nproc": 2}, 4, {}, 2),
        ({"nproc": 3}, 0, {}, 3), ({"nproc": 3}, 2, {}, "more than the 2 GPUs"), ({"nproc": 1}, 4, {}, 1),
        ({}, 4, {"RANK": "0", "WORLD_SIZE": "2"}, 1), ({}, 4, {"ACCELERATE_MIXED_PRECISION": "no"}, 1),
        ({}, 4, {"LOCAL_RANK": "-1"}, 4), ({"nproc": 2}, 1, {}, "more than the 1 GPU that"),
    ],
)  # fmt: skip
def test_how_many_processes_are_started(monkeypatch, asked, gpus, environment, expected):
    monkeypatch.setattr(launching, "count_gpus", lambda: gpus)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    arguments = ProcessArguments(**asked)
    if isinstance(expected, int):
        assert launching.resolve_processes(arguments, on_processor=False) == expected
        alone = 1 if environment else asked.get("nproc", 1)
        assert launching.resolve_processes(arguments, on_processor=True) == alone
        return
    with pytest.raises(UsageError, match=expected):
        launching.resolve_processes(arguments, on_processor=False)
