"""What docs/batch_jobs.md shows for cron, Slurm and Kubernetes is run here, or read as those would read it."""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

LONG, SHORT = 4000, 4
SYSTEM = "/usr/local/bin:/usr/bin:/bin"
FAKE_SCONTROL = """#!/bin/sh
echo "$@" >> requeued
"""


def read_block(repository: Path, language: str) -> str:
    page = (repository / "docs" / "batch_jobs.md").read_text(encoding="utf-8")
    found = re.findall(rf"```{language}\n(.*?)```", page, re.S)
    assert len(found) == 1, language
    return found[0]


@pytest.fixture
def place(tmp_path, tiny_bert, repository) -> Path:
    """A folder as the examples have it: configuration, finetune, torchrun, a stand-in for scontrol."""
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    launchers = {
        "finetune": f"{sys.executable} -c 'from finetune.cli import main; main()'",
        "torchrun": f"{sys.executable} -m torch.distributed.run --log_dir {tmp_path / 'torchrun'}",
    }
    for name, words in launchers.items():
        text = f'#!/bin/sh\nPYTHONPATH={repository} OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 exec {words} "$@"\n'
        (programs / name).write_text(text)
    (programs / "scontrol").write_text(FAKE_SCONTROL)
    for program in programs.iterdir():
        program.chmod(0o755)
    (tmp_path / "scripts").symlink_to(repository / "scripts")
    write_config(tmp_path, tiny_bert, SHORT)
    return tmp_path


def write_config(folder: Path, model: Path, steps: int, **further: object) -> None:
    values = {"model_name_or_path": str(model), "dataset_name": "sample", "do_train": True, "max_train_samples": 400,
              "per_device_train_batch_size": 4, "max_steps": steps, "save_steps": 10, "bf16": False}  # fmt: skip
    (folder / "ner.yaml").write_text(yaml.safe_dump(values | further), encoding="utf-8")


def start(place: Path, text: str) -> subprocess.Popen:
    script = place / "job.sh"
    script.write_text(text, encoding="utf-8")
    environment = {"PATH": f"{place}/.venv/bin:{SYSTEM}", "HOME": str(place), "SLURM_JOB_ID": "4711"}
    return subprocess.Popen(
        ["bash", str(script)], cwd=place, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def wait_for_checkpoint(folder: Path, process: subprocess.Popen) -> None:
    """Until any is whole: the first may be gone by the time that a busy machine looks."""
    deadline = time.monotonic() + 120
    while not any(folder.glob("checkpoint-*/complete.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize("number", [0, 1])
def test_a_crontab_line_runs_as_cron_runs_it(repository, place, number):
    """Five fields, then words for /bin/sh in a bare environment; `%` would be the end of a line."""
    line = read_block(repository, "crontab").splitlines()[number]
    *fields, command = line.split(None, 5)
    assert all(re.fullmatch(r"(\*|\d+)(/\d+)?", field) for field in fields) and "%" not in command
    command = command.replace("cd /data", f"cd {place}")
    codes = [
        subprocess.run(
            ["/bin/sh", "-c", command], env={"PATH": "/usr/bin:/bin", "HOME": str(place)}, timeout=200, check=False
        ).returncode
        for _ in range(2)
    ]
    assert codes == [0, 0], (place / "ner.err").read_text()
    statuses = [ast.literal_eval(line)["status"] for line in (place / "ner.out").read_text().splitlines()]
    assert statuses == ["done", "already_done"]
    told = place / "told.jsonl"
    assert told.exists() == (number == 1) and (number == 0 or len(told.read_text().splitlines()) == 1)


@pytest.mark.parametrize(("ask", "requeued"), [(signal.SIGUSR1, True), (signal.SIGTERM, True), ("STOP", False)])
def test_a_slurm_job_is_queued_again_when_its_time_is_up(repository, place, tiny_bert, ask, requeued):
    write_config(place, tiny_bert, LONG)
    process = start(place, read_block(repository, "bash slurm"))
    wait_for_checkpoint(place / "runs/ner", process)
    if ask == "STOP":
        (place / "runs/ner/STOP").touch()
    else:
        process.send_signal(ask)
    _, err = process.communicate(timeout=280)
    assert process.returncode == 75, err
    assert (place / "requeued").exists() == requeued
    assert not requeued or (place / "requeued").read_text() == "requeue 4711\n"


def test_a_slurm_job_that_is_done_or_failed_is_not_queued_again(repository, place, tiny_bert):
    text = read_block(repository, "bash slurm")
    process = start(place, text)
    assert process.wait(timeout=200) == 0, process.stderr.read()
    write_config(place, tiny_bert, SHORT, learning_rate=1e-3)
    assert start(place, text).wait(timeout=200) == 2
    assert not (place / "requeued").exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pkill") is None, reason="pkill (procps) is not installed here")
def test_torchrun_under_slurm_hands_the_announcement_to_its_workers(repository, place, tiny_bert):
    write_config(place, tiny_bert, LONG)
    text = read_block(repository, "bash slurm-torchrun")
    process = start(place, text.replace("--nproc_per_node 4", "--standalone --nproc_per_node 2"))
    wait_for_checkpoint(place / "runs/ner", process)
    process.send_signal(signal.SIGUSR1)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 75, err
    assert (place / "requeued").read_text() == "requeue 4711\n"


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_to_the_whole_group_is_one_to_the_run(tmp_path, place, tiny_bert, sign):
    """As `timeout`, systemd and Slurm send it: data loader workers get it, too, and the step needs them."""
    write_config(tmp_path, tiny_bert, LONG, dataloader_num_workers=2, save_steps=3)
    process = subprocess.Popen(
        [str(place / ".venv/bin/finetune"), "run_ner", "--config_file", "ner.yaml", "--output_dir", "runs/ner"],
        cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    wait_for_checkpoint(place / "runs/ner", process)  # in the middle of an epoch: the workers are there
    os.killpg(process.pid, sign)
    out, err = process.communicate(timeout=280)
    assert process.returncode == 75, err
    assert f"stopped by {sign.name} at step" in out


def decide_as_kubernetes(rules: list[dict], code: int, *, disrupted: bool = False) -> str:
    """The action of the first rule that fits a failed pod; without one it counts towards `backoffLimit`.

    https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy
    """
    for rule in rules:
        if "onPodConditions" in rule and disrupted:
            assert rule["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
            return rule["action"]
        codes = rule.get("onExitCodes")
        if codes and codes["operator"] == "In" and code in codes["values"]:
            return rule["action"]
    return "Count"


@pytest.mark.parametrize(
    ("code", "disrupted", "action"),
    [
        (2, False, "FailJob"), (3, False, "FailJob"), (1, False, "Count"), (75, False, "Count"), (4, False, "Count"),
        (75, True, "Ignore"), (137, True, "Ignore"), (137, False, "Count"),
    ],
)  # fmt: skip
def test_a_kubernetes_job_retries_what_a_retry_can_mend(repository, code, disrupted, action):
    job = yaml.safe_load(read_block(repository, "yaml kubernetes"))
    assert decide_as_kubernetes(job["spec"]["podFailurePolicy"]["rules"], code, disrupted=disrupted) == action


def test_a_kubernetes_job_keeps_the_rules_of_the_api(repository, place):
    """What the API server refuses otherwise; and the command of its container is one of ours."""
    job = yaml.safe_load(read_block(repository, "yaml kubernetes"))
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert pod["restartPolicy"] == "Never" and spec["podReplacementPolicy"] == "Failed"
    names = {container["name"] for container in pod["containers"]}
    for rule in spec["podFailurePolicy"]["rules"]:
        assert rule["action"] in ("Ignore", "FailJob", "Count", "FailIndex")
        assert ("onExitCodes" in rule) != ("onPodConditions" in rule)
        codes = rule.get("onExitCodes", {"values": [1], "containerName": "finetune", "operator": "In"})
        assert codes["values"] == sorted(set(codes["values"])) and 0 not in codes["values"]
        assert codes["containerName"] in names and codes["operator"] in ("In", "NotIn")
    mounts = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}
    words = [
        word.replace("/config/", f"{place}/").replace("/runs/", f"{place}/") for word in pod["containers"][0]["command"]
    ]
    done = subprocess.run(
        [str(place / ".venv/bin" / words[0]), *words[1:], "--print_config"], capture_output=True, check=False
    )
    assert done.returncode == 0 and b"save_minutes: 10" in done.stdout, done.stderr


def test_every_promise_names_a_test_that_is_there(repository):
    page = (repository / "docs" / "batch_jobs.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| (`tests/.+`) \|$", page, re.M)
    assert len(rows) >= 15
    named = [name for _, cell in rows for name in re.findall(r"`([^`]+)`", cell)]
    missing = [name for name in named if not is_there(repository, *name.partition("::")[::2])]
    assert not missing


def is_there(repository: Path, file: str, test: str) -> bool:
    path = repository / file
    return path.is_file() and (not test or f"def {test}(" in path.read_text(encoding="utf-8"))
