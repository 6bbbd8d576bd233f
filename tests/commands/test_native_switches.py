"""Machines without a compiler, and CPUs without AVX512, train by the path without kernels, and one line says why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROWS = [{"tokens": ["Anna", "sees", "Rome"], "tags": ["B-PER", "O", "B-LOC"]}] * 6


def train(folder: Path, model: str, **changes: str) -> subprocess.CompletedProcess[str]:
    data = folder / "train.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    words = ["--model_name_or_path", model, "--train_file", str(data), "--text_column_name", "tokens"]
    words += ["--label_column_name", "tags", "--output_dir", str(folder / "out"), "--do_train", "--max_steps", "2"]
    words += ["--save_strategy", "no", "--bf16", "False"]
    return run(folder, "run_ner.py", *words, **changes)


def run(folder: Path, script: str, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: this one may have loaded the kernels already."""
    environment = {name: value for name, value in os.environ.items() if name not in ("CXX", "FINETUNE_NATIVE")}
    environment |= {"FINETUNE_CACHE_DIR": str(folder / "cache"), "OMP_NUM_THREADS": "1", **changes}
    command = [sys.executable, str(Path(__file__).parents[2] / "scripts" / script), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


MACHINES = pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"PATH": "/nowhere"}, "no C++ compiler (g++, clang++, c++)"),
        ({"ATEN_CPU_CAPABILITY": "avx2"}, "AVX512"),
        ({"FINETUNE_NATIVE": "0"}, "FINETUNE_NATIVE=0"),
    ],
)


@MACHINES
def test_training_goes_on_without_kernels_and_one_line_says_why(tiny_bert, tmp_path, changes, said):
    done = train(tmp_path, str(tiny_bert), **changes)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1])["status"] == "done"
    lines = [line for line in done.stderr.splitlines() if "native" in line and "Fast path" in line]
    assert len(lines) == 1 and "no native encoder step and AdamW (" in lines[0] and said in lines[0]
    assert "Compiling" not in done.stderr and not list((tmp_path / "cache").glob("encoder-*"))


@MACHINES
def test_the_doctor_says_why_there_are_no_kernels(tmp_path, changes, said):
    done = run(tmp_path, "doctor.py", HF_HUB_OFFLINE="1", **changes)
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = [line for line in done.stdout.splitlines() if "native kernels" in line]
    assert "off: " in line and said in line and "torch computes in their place" in line
    compiler = [line for line in done.stdout.splitlines() if "install g++ or clang++" in line]
    assert len(compiler) == ("PATH" in changes)
