"""run-glue.sh and run-glue-old-version.sh, as `./run-glue.sh -v -v` in the document of transformers_examples."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(repository: Path, name: str, *words: object, cwd: Path, **environment: object) -> subprocess.CompletedProcess:
    settings = {key: str(value) for key, value in environment.items()}
    return subprocess.run(
        [str(repository / "scripts" / name), *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHON": sys.executable, **settings},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "run-glue.sh",
            "--model_name_or_path bert-base-uncased --task_name sst2 --do_train --do_eval --do_predict "
            "--max_seq_length 128 --per_device_train_batch_size 32 --per_device_eval_batch_size 64 --learning_rate 2e-5 "
            "--num_train_epochs 3 --output_dir wdir/sst2",
        ),
        (
            "run-glue-old-version.sh",
            "--model_name_or_path bert-base-uncased --task_name SST-2 --do_train --do_eval --data_dir glue_data/SST-2 "
            "--max_seq_length 128 --per_gpu_train_batch_size 32 --per_gpu_eval_batch_size 64 --learning_rate 2e-5 "
            "--num_train_epochs 10 --output_dir wdir/SST-2",
        ),
    ],
)
def test_the_documented_settings(repository: Path, tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "glue_data" / "SST-2").mkdir(parents=True)
    done = run(repository, name, "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [sys.executable, str(repository / "scripts" / "run_glue.py"), *words.split()]
    assert not (tmp_path / "wdir").exists()


def test_both_generations_run(repository: Path, tmp_path: Path, tiny_bert: Path, shared_data: Path) -> None:
    short = ("--max_steps", 2, "--max_train_samples", 20, "--max_eval_samples", 20, "--max_predict_samples", 20)
    glue = shared_data / "glue"
    today = run(
        repository, "run-glue.sh", "-v", "-v", *short, cwd=tmp_path, MODEL=tiny_bert, TASK_NAME="wnli", DATA_DIR=glue
    )
    assert today.returncode == 0, today.stderr
    assert "***** Eval results wnli *****" in today.stderr
    assert (tmp_path / "wdir" / "wnli" / "test_results_wnli.txt").is_file()
    old = run(repository, "run-glue-old-version.sh", "-v", "-v", *short, cwd=tmp_path, MODEL=tiny_bert, GLUE_DIR=glue)
    assert old.returncode == 0, old.stderr
    assert "***** Eval results sst-2 *****" in old.stderr
    assert (tmp_path / "wdir" / "SST-2" / "eval_results.txt").is_file()


def test_missing_data_is_told(repository: Path, tmp_path: Path) -> None:
    done = run(repository, "run-glue-old-version.sh", cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no folder glue_data/SST-2; run download_glue_data.py" in done.stderr
    done = run(repository, "run-glue.sh", cwd=tmp_path, DATA_DIR="nowhere")
    assert done.returncode == 2
    assert "there is no folder nowhere" in done.stderr
