"""--report_to, with real trackers and without an account."""

from __future__ import annotations

import pytest


@pytest.mark.slow
def test_wandb_and_tensorboard_record_beside_the_run_and_leave_the_last_line_alone(tmp_path, run_command, tiny_bert):
    output = tmp_path / "run"
    done = run_command(
        "run_ner.py", "--model_name_or_path", tiny_bert, "--dataset_name", "sample", "--output_dir", output, "--do_train",
        "--max_train_samples", 16, "--max_steps", 2, "--logging_steps", 1, "--report_to", "wandb", "tensorboard",
        cwd=tmp_path, HOME=str(tmp_path), NETRC=str(tmp_path / "netrc"), WANDB_MODE="", WANDB_API_KEY="",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert done.stdout.count("\n") == 1 and done.last["status"] == "done"
    assert "wandb has no account here: the run is recorded offline" in done.stderr
    assert list((output / "wandb").glob("offline-run-*/*.wandb"))
    assert list((output / "runs").glob("*/events.out.tfevents*"))
    assert not (tmp_path / "wandb").exists()


def test_a_tracker_that_is_not_installed_is_a_sentence(tmp_path, call_command, tiny_bert):
    done = call_command(
        "run_ner.py", "--model_name_or_path", tiny_bert, "--dataset_name", "sample", "--output_dir", tmp_path / "run",
        "--do_train", "--max_train_samples", 16, "--report_to", "comet_ml",
    )  # fmt: skip
    assert (done.code, "Traceback" in done.stderr) == (2, False)
    assert "--report_to comet_ml" in done.last["reason"]


@pytest.mark.parametrize(("service", "found"), [("mlflow", "mlruns/*/*/metrics/loss"), ("trackio", "trackio/*.db")])
def test_services_that_record_on_this_machine_do_so_beside_the_run(service, found, tmp_path, run_command, tiny_bert):
    pytest.importorskip(service, reason=f"{service} is not installed: pip install 'finetune[{service}]'")
    output = tmp_path / "run"
    done = run_command(
        "run_ner.py", "--model_name_or_path", tiny_bert, "--dataset_name", "sample", "--output_dir", output, "--do_train",
        "--max_train_samples", 16, "--max_steps", 2, "--logging_steps", 1, "--report_to", service, "--hub_token",
        "hf_verysecretword", cwd=tmp_path, HOME=str(tmp_path),
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert done.last["status"] == "done" and list(output.glob(found)), sorted(output.rglob("*"))
    assert {path.name for path in tmp_path.iterdir()} <= {"run", ".cache", ".config"}, "nothing beside the run"
    written = [path for path in output.rglob("*") if path.is_file()]
    assert not any(b"verysecretword" in path.read_bytes() for path in written)
