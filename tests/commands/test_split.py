from __future__ import annotations

import json
import subprocess
import sys


def split(repository, *flags, cwd):
    command = [sys.executable, str(repository / "scripts" / "split.py"), *flags]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_documented_command_line(repository, tmp_path):
    (tmp_path / "korean").mkdir()
    documents = [f"문서 {number}\n둘째 줄" for number in range(2500)]
    (tmp_path / "korean" / "all.txt").write_text("\n\n".join(documents) + "\n")
    flags = ("--data_path=korean/all.txt", "--base_path=korean/data.txt", "--ratio=1000")
    done = split(repository, *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "korean" / "data.txt.valid").read_text() == "\n\n".join(documents[:3]) + "\n\n"
    assert (tmp_path / "korean" / "data.txt.train").read_text() == "\n\n".join(documents[3:]) + "\n\n"
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["status"], last["train_documents"], last["validation_documents"]) == ("done", 2497, 3)

    again = split(repository, *flags, cwd=tmp_path)
    assert again.returncode == 2 and again.stderr.count("the file is there already") == 2
    assert split(repository, *flags, "--overwrite", cwd=tmp_path).returncode == 0
