"""What a machine refuses: files that may not grow, a disk that is read-only, few open files. One sentence, and exit 1."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.errors import DataError
from finetune.run.atomic_files import AtomicFile
from finetune.run.failures import explain
from finetune.run.folders_aside import files_written_aside


@pytest.fixture
def train_tokenizer(repository, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat\n" * 200, encoding="utf-8")

    def run(output: Path, **limits: int) -> subprocess.CompletedProcess[str]:
        def limit() -> None:
            for name, value in limits.items():
                kind = getattr(resource, f"RLIMIT_{name}")
                resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))

        command = [sys.executable, repository / "scripts" / "train_tokenizer.py", "--train_dir", text,
                   "--pre_tokenizer_type", "bpe", "--vocab_size", 300, "--output_file", output]  # fmt: skip
        return subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=False, preexec_fn=limit, timeout=120
        )

    return run


def test_files_that_may_not_grow(train_tokenizer, tmp_path):
    output = tmp_path / "out" / "vocab.json"
    done = train_tokenizer(output, FSIZE=2048)
    assert done.returncode == 1, done.stderr
    assert "a file may not grow that large here" in done.stdout and "Traceback" not in done.stderr
    assert not list(output.parent.iterdir())
    assert train_tokenizer(output, NOFILE=32).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_disk_that_is_read_only(train_tokenizer, tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", folder], check=False)
    if mounted.returncode:
        pytest.skip("this container may not mount")
    try:
        done = train_tokenizer(folder / "vocab.json")
    finally:
        subprocess.run(["umount", folder], check=True)
    assert done.returncode == 1, done.stderr
    assert "the disk is read-only" in done.stdout and "Traceback" not in done.stderr


def test_too_many_open_files_are_a_sentence(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 8, limits[1]))
    try:
        with pytest.raises(OSError) as found:
            while True:
                taken.append(AtomicFile(tmp_path / str(len(taken))))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for file in taken:
            file.discard()
    assert "too many files are open" in (explain(found.value) or "")


def test_nothing_is_left_where_several_files_could_not_be_named(tmp_path):
    with pytest.raises(DataError), files_written_aside(tmp_path / "out") as aside:
        (aside / "a").write_text("x")
        raise DataError("no")
    assert not list((tmp_path / "out").iterdir())
