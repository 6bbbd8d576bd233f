"""The tutorial, run as it stands: every block of docs/first_tagger.md in one shell."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_block_of_the_tutorial_runs(repository, tmp_path):
    text = (repository / "docs" / "first_tagger.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.S)
    assert len(blocks) == 5
    commands = tmp_path / "bin"
    commands.mkdir()
    programs = {"finetune": '-c "from finetune.cli import main; main()" ', "python": ""}
    for name, words in programs.items():
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n', encoding="utf-8")
    for program in commands.iterdir():
        program.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(repository), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    check_outcome(tmp_path)


def check_outcome(folder: Path) -> None:
    metrics = json.loads((folder / "tagger" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["validation"]["nb_samples"] == 2
    first = json.loads((folder / "predicted.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["words"] == ["My", "Kindle", "Oasis", "arrived", "on", "Tuesday"]
    assert len(first["tags"]) == 6
