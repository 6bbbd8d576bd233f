"""The same line at every full hour: what is told when a run ends, what the log begins with, what makes it run anew."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

TELL = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"


@pytest.fixture
def data(tmp_path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    sentence = "Paris\tB-LOC\nshines\tO\n\n"
    (folder / "train.conll").write_text(sentence * 8, encoding="utf-8")
    return folder


@pytest.fixture
def start(call_command, tiny_bert, tmp_path, data):
    model = tmp_path / "model"
    shutil.copytree(tiny_bert, model)

    def call(*further: object, **environment: str):
        return call_command(
            "run_ner.py", "--model_name_or_path", model, "--train_file", data / "train.conll", "--output_dir",
            tmp_path / "run", "--do_train", "--max_steps", 2, "--bf16", "False", *further, **environment,
        )  # fmt: skip

    return call


@pytest.fixture
def teller(tmp_path) -> tuple[str, Path]:
    program, told = tmp_path / "tell.py", tmp_path / "told"
    program.write_text(TELL, encoding="utf-8")
    return f"{sys.executable} {program} {told}", told


def test_the_end_of_a_run_is_told_once_as_its_last_line(start, teller):
    command, told = teller
    done = start("--notify_command", command)
    assert done.code == 0, done.stderr
    assert told.read_text() == done.stdout.strip().splitlines()[-1] + "\n"
    assert start("--notify_command", command).last["status"] == "already_done"
    assert len(told.read_text().splitlines()) == 1, "each start of a cron line would tell it again"


def test_a_failure_is_told_too(start, teller, data):
    command, told = teller
    (data / "train.conll").write_text("Paris\tB-LOC\textra\nshines\tO\n", encoding="utf-8")
    done = start("--notify_command", command)
    assert done.code == 2
    assert json.loads(told.read_text()) == done.last and done.last["status"] == "failed"


def test_a_dry_run_tells_nobody(start, teller):
    command, told = teller
    assert start("--notify_command", command, "--dry_run").code == 0
    assert not told.exists()


def test_who_cannot_be_told_changes_no_exit_code(start, tmp_path):
    done = start("--notify_command", f"{sys.executable} -c 'raise SystemExit(5)'")
    assert (done.code, done.last["status"]) == (0, "done")
    assert "--notify_command ended with exit code 5" in done.stderr


def test_the_command_may_hold_secrets_and_stands_in_no_file(start, teller, tmp_path):
    command, _ = teller
    assert start("--notify_command", f"{command} s3cr3t-t0k3n", "--verbose").code == 0
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or b"s3cr3t-t0k3n" not in path.read_bytes(), path


def test_a_config_file_starts_no_program(start, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("seed: 3\nnotify_command: touch /tmp/house-was-here\n", encoding="utf-8")
    done = start("--config_file", config)
    assert done.code == 2
    assert f"{config}:2: notify_command in a file" in str(done.last["reason"])
    assert "type --notify_command on the command line" in str(done.last["reason"])
    config.write_text("seed: 3\nnotify_command: null\n", encoding="utf-8")
    assert start("--config_file", config).code == 0


def test_each_attempt_begins_with_its_header(start, tmp_path):
    first = start()
    assert first.code == 0, first.stderr
    record = tmp_path / "run/run.json"
    facts = json.loads(record.read_text())
    record.write_text(json.dumps({**facts, "status": "running"}))
    assert start("--hub_token", "s3cr3t").code == 0
    log = (tmp_path / "run/run.log").read_text(encoding="utf-8")
    headers = re.findall(r"===== Attempt (\d+): 20\S+, host \S+, process \d+ =====", log)
    assert headers == ["1", "2"]
    assert "===== Attempt 1" in log.splitlines()[0]
    second = log[log.index("===== Attempt 2") :].splitlines()
    assert re.search(r"Command: python \S*run_ner.py --model_name_or_path .* --max_steps 2", second[1])
    assert "s3cr3t" not in log and "(not written)" in second[1]
    assert f"torch {facts['versions']['torch']}" in second[3]


def test_nothing_is_done_again_while_nothing_has_changed(start, tmp_path):
    assert start("--if_changed", "--overwrite_output_dir").code == 0
    written = (tmp_path / "run/model.safetensors").stat().st_mtime_ns
    for flags in (["--if_changed"], ["--if_changed", "--overwrite_output_dir"], ["--if_changed", "--verbose"]):
        again = start(*flags)
        assert (again.code, again.last["status"]) == (0, "already_done"), again.stderr
    assert (tmp_path / "run/model.safetensors").stat().st_mtime_ns == written


def test_a_run_of_the_time_before_the_flag_counts_as_well(start):
    assert start().code == 0
    assert start("--if_changed").last["status"] == "already_done"


def more_data(tmp_path: Path) -> list[str]:
    with (tmp_path / "data/train.conll").open("a", encoding="utf-8") as file:
        file.write("Rome\tB-LOC\n\n")
    return []


def other_model(tmp_path: Path) -> list[str]:
    path = tmp_path / "model/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "hidden_dropout_prob": 0.2}))
    return []


def other_arguments(tmp_path: Path) -> list[str]:
    return ["--learning_rate", "1e-3"]


def other_code(tmp_path: Path) -> list[str]:
    path = tmp_path / "run/run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "code": "of another day"}))
    return []


def other_version(tmp_path: Path) -> list[str]:
    path = tmp_path / "run/run.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "versions": {**facts["versions"], "tokenizers": "0.1"}}))
    return []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (more_data, "train.conll has changed since"),
        (other_model, "config.json has changed since"),
        (other_arguments, "--learning_rate was 5e-05, is now 0.001"),
        (other_code, "the code of finetune has changed"),
        (other_version, "tokenizers 0.1 -> "),
    ],
)
def test_whatever_changes_makes_it_run_anew(start, tmp_path, change, said):
    assert start("--if_changed").code == 0
    began = json.loads((tmp_path / "run/run.json").read_text())["started"]
    flags = ["--if_changed", *change(tmp_path)]
    again = start(*flags)
    assert (again.code, again.last["status"]) == (0, "done"), again.stderr
    assert f"Changed since the run in {tmp_path}/run: " in again.stderr and said in again.stderr
    assert start(*flags).last["status"] == "already_done", "once"
    assert json.loads((tmp_path / "run/run.json").read_text())["started"] >= began


def test_a_bad_change_costs_nothing_that_was_there(start, tmp_path, data):
    assert start("--if_changed").code == 0
    before = (tmp_path / "run/model.safetensors").read_bytes()
    (data / "train.conll").write_text("Paris\tB-LOC\textra\nshines\tO\n", encoding="utf-8")
    assert start("--if_changed").code == 2
    assert (tmp_path / "run/model.safetensors").read_bytes() == before


def test_commands_that_keep_no_record_refuse_the_flag(call_command, tmp_path):
    done = call_command(
        "predict.py", "--model_name_or_path", tmp_path, "--input_file", tmp_path / "texts", "--if_changed"
    )
    assert done.code == 2
    assert "--if_changed: this command keeps no record of its runs" in str(done.last["reason"])


def test_to_start_anew_and_only_if_changed_contradict_each_other(start):
    assert "--restart and --if_changed contradict each other" in str(start("--restart", "--if_changed").last["reason"])
