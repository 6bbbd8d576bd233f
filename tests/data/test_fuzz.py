"""A short slice of benchmarks/fuzz.py: damaged inputs, the same ones every time, for every reader, parser and loader."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXECUTIONS = 60  # a reader


@pytest.fixture(scope="module")
def fuzz(repository):
    sys.path.insert(0, str(repository / "benchmarks"))
    yield importlib.import_module("fuzz")
    sys.path.remove(str(repository / "benchmarks"))


@pytest.fixture(scope="module")
def readers(fuzz, tmp_path_factory) -> list:
    return fuzz.make_readers(tmp_path_factory.mktemp("true"))


@pytest.fixture
def alarm(fuzz):
    """A reader that takes longer than it may is interrupted."""
    before: Callable | int | None = signal.signal(signal.SIGALRM, fuzz.be_slow)
    yield
    signal.signal(signal.SIGALRM, before)


def test_every_reader_refuses_damage_in_a_sentence(fuzz, readers, alarm, tmp_path):
    assert len(readers) > 50
    found = {}
    for number, reader in enumerate(readers):
        folder = Path(tmp_path / str(number))
        folder.mkdir()
        done = fuzz.Trial(reader, folder).run(1, EXECUTIONS)
        assert done.executions >= EXECUTIONS
        found |= {f"{reader.label}: {finding['place']}": finding["input"][:200] for finding in done.findings}
    assert found == {}


def test_a_finding_is_told_and_made_small(fuzz, alarm, tmp_path):
    def fail(path: Path) -> None:
        if b"x" in path.read_bytes():
            raise KeyError("x")

    done = fuzz.Trial(fuzz.Reader("one", "x.txt", [b"a" * 50 + b"x" + b"b" * 50], fail), tmp_path).run(1, 20)
    assert [(item["place"], item["input"]) for item in done.findings] == [("KeyError in test_fuzz.py:fail", "b'x'")]
