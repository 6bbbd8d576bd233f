"""A short slice of benchmarks/fuzz.py: damaged inputs, the same ones every time, for every reader, parser and loader."""

from __future__ import annotations

import importlib
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXECUTIONS = 30  # a reader
FINDINGS = Path(__file__).with_name("fuzz_findings.jsonl")  # minimal inputs, byte by byte as letters


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
    timers = (signal.SIGALRM, signal.SIGPROF)
    before: list[Callable | int | None] = [signal.signal(timer, fuzz.be_slow) for timer in timers]
    yield
    for timer, handler in zip(timers, before, strict=True):
        signal.signal(timer, handler)


def test_every_reader_refuses_damage_in_a_sentence(fuzz, readers, alarm, tmp_path):
    assert len(readers) > 130
    found = {}
    for number, reader in enumerate(readers):
        folder = Path(tmp_path / str(number))
        folder.mkdir()
        done = fuzz.Trial(reader, folder).run(1, EXECUTIONS)
        assert done.executions >= EXECUTIONS * reader.share
        found |= {f"{reader.label}: {finding['place']}": finding["input"][:200] for finding in done.findings}
    assert found == {}


def test_what_once_ended_with_a_traceback_is_read_or_refused(fuzz, readers, alarm, tmp_path):
    by_label = {reader.label: reader for reader in readers}
    again = {}
    for number, line in enumerate(FINDINGS.read_text(encoding="utf-8").splitlines()):
        finding = json.loads(line)
        folder = tmp_path / str(number)
        folder.mkdir()
        place, _ = fuzz.Trial(by_label[finding["reader"]], folder).call(finding["input"].encode("latin-1"))
        again |= {f"{finding['reader']}: {place}": finding["input"][:200]} if place else {}
    assert again == {}


def test_a_finding_is_told_and_made_small(fuzz, alarm, tmp_path):
    def fail(path: Path) -> None:
        if b"x" in path.read_bytes():
            raise KeyError("x")

    done = fuzz.Trial(fuzz.Reader("one", "x.txt", [b"a" * 50 + b"x" + b"b" * 50], fail), tmp_path).run(1, 20)
    assert [(item["place"], item["input"]) for item in done.findings] == [("KeyError in test_fuzz.py:fail", "b'x'")]
