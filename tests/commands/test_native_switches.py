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
    environment = {name: value for name, value in os.environ.items() if name not in ("CXX", "FINETUNE_NATIVE")}
    environment |= {"FINETUNE_CACHE_DIR": str(folder / "cache"), "OMP_NUM_THREADS": "1", **changes}
    script = Path(__file__).parents[2] / "scripts" / "run_ner.py"
    return subprocess.run(
        [sys.executable, str(script), *words], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"PATH": "/nowhere"}, "no C++ compiler (g++, clang++, c++)"),
        ({"ATEN_CPU_CAPABILITY": "avx2"}, "AVX512"),
        ({"FINETUNE_NATIVE": "0"}, "FINETUNE_NATIVE=0"),
    ],
)
def test_training_goes_on_without_kernels_and_one_line_says_why(tiny_bert, tmp_path, changes, said):
    done = train(tmp_path, str(tiny_bert), **changes)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1])["status"] == "done"
    lines = [line for line in done.stderr.splitlines() if "native" in line and "Fast path" in line]
    assert len(lines) == 1 and "no native encoder step and AdamW (" in lines[0] and said in lines[0]
    assert "Compiling" not in done.stderr and not list((tmp_path / "cache").glob("encoder-*"))
