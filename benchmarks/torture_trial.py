"""One trial of torture.py: a command in a forked process, what befalls it, and what it leaves beside the undisturbed run.

Python, torch and transformers are imported once; a trial is a fork of that process with a session, streams and a folder of
its own, so that it takes a second instead of ten. `failing_calls.c` lies in between by LD_PRELOAD.
"""

from __future__ import annotations

import contextlib
import csv
import ctypes
import hashlib
import importlib
import json
import os
import re
import runpy
import shutil
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OPEN, WRITE, SYNC, RENAME, REMOVE, MKDIR, READ = (1 << bit for bit in range(7))
CHANGING = OPEN | WRITE | SYNC | RENAME | REMOVE | MKDIR
NEVER = 1 << 60
SECONDS_AT_MOST = 120.0
HANGS = "hangs"

# What legitimately differs from the undisturbed run, by name: times, and what tells of the attempts.
NOT_COMPARED = (
    r"(.*/)?run\.log",  # one part per attempt
    r"(.*/)?events\.out\.tfevents\..*",  # one file per attempt, its name and entries hold times
    r"(.*/)?logs/[^/]+\.(out|err)",  # what the runs of a sweep said, at which time, at which speed
    r"cache/([^/]+\.so|matrix-rate-[^/]+\.json)",  # asked once of the machine, not of each run
    r"(.*/)?plots/(tokens_per_second|mfu)\.png",
    r"(.*/)?checkpoint-\d+\.broken(\.\d+)?/.*",  # set aside by name, as documented, after a save that was cut off
)
TIMED = re.compile(r"runtime|per_second|seconds|_time$|^time|^started$|^finished$|^modified_ns$|memory|_mb$|^mfu")
# Tables of a page that hold times: what was logged (compared in training_history.json) and facts on the run.
TIMED_TABLE = re.compile(rb"<table>\s*<caption>(Everything that was logged|The run)</caption>.*?</table>", re.DOTALL)
SPEED_FIGURE = re.compile(rb"<figure>(?:(?!</figure>).)*?id=.(?:tokens_per_second|mfu)-.*?</figure>", re.DOTALL)
SPEED_IN_WORDS = re.compile(rb"(, )?(tokens per second|mfu) [\d.,]*\d")
ATTEMPTS = frozenset({"resumed", "files", "foreign", "host", "command"})


class Library:
    """The preloaded library of `failing_calls.c`."""

    def __init__(self) -> None:
        self._calls = ctypes.CDLL(None)
        self._calls.failing_calls_share.restype = ctypes.c_void_p
        self._page = self._calls.failing_calls_share()

    def arm(self, folder: Path, fault: Fault) -> None:
        first, last = (ctypes.c_long(number) for number in (fault.nth, NEVER if fault.lasting else fault.nth))
        below = os.fsencode(folder) + b"/"
        self._calls.failing_calls_arm(below, fault.classes, first, last, fault.error, fault.at_call, fault.times)

    @property
    def count(self) -> int:
        return ctypes.c_long.from_address(self._page).value

    @property
    def hits(self) -> int:
        return ctypes.c_long.from_address(self._page + 8).value

    @property
    def what(self) -> str:
        return ctypes.string_at(self._page + 16, 1024).split(b"\0")[0].decode(errors="replace")


@dataclass(frozen=True)
class Fault:
    """What befalls one start of a command."""

    kind: str = "none"
    signals: tuple[int, ...] = ()  # after `delay` and then `gap` seconds
    delay: float = 0.0
    gap: float = 0.0
    nth: int = NEVER  # call that fails, or brings `at_call`
    classes: int = CHANGING
    error: int = 0
    at_call: int = 0
    times: int = 1
    lasting: bool = False
    file_size: int = 0
    cold: bool = False

    @property
    def codes(self) -> frozenset[int]:
        """Exit codes that docs/errors.md and docs/batch_jobs.md allow for it; 0 where it came too late or was outlived."""
        numbers = {*self.signals, self.at_call} - {0}
        if numbers:
            twice = len(self.signals) > 1 or self.times > 1
            killed = {-signal.SIGKILL} if signal.SIGKILL in numbers else set()
            asked = {75} if numbers - {signal.SIGKILL} else set()
            return frozenset({0} | killed | asked | ({130} if twice and asked else set()))
        return frozenset({0, 1}) if self.kind != "none" else frozenset({0})


@dataclass
class Ended:
    """How one start ended."""

    code: int | str
    stdout: str
    stderr: str
    seconds: float
    calls: int = 0
    hits: int = 0
    what: str = ""
    last: dict[str, Any] = field(default_factory=dict)


def run(library: Library, command: list[str], folder: Path, fault: Fault, environment: dict[str, str]) -> Ended:
    """Start a command in `folder`, let the fault befall it, wait for its end."""
    streams = folder.with_name(folder.name + ".out"), folder.with_name(folder.name + ".err")
    start = time.monotonic()
    process = os.fork()
    if process == 0:
        _be_command(library, command, folder, fault, environment, streams)
    code = _wait(process, fault, start)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)  # workers of a killed process
    stdout, stderr = (path.read_text(encoding="utf-8", errors="replace") for path in streams)
    ended = Ended(code, stdout, stderr, time.monotonic() - start, library.count, library.hits, library.what)
    with contextlib.suppress(ValueError, IndexError):
        ended.last = json.loads(stdout.strip().splitlines()[-1])
    return ended


def _be_command(
    library: Library,
    command: list[str],
    folder: Path,
    fault: Fault,
    environment: dict[str, str],
    streams: tuple[Path, Path],
) -> None:
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        _redirect(streams)
        os.environ.update(environment)
        if fault.file_size:
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (fault.file_size, resource.RLIM_INFINITY))
        if fault.cold:
            os.execv(sys.executable, [sys.executable, *command])
        sys.argv[:] = command
        sys.path.insert(0, str(Path(command[0]).parent))
        library.arm(folder, fault)
        runpy.run_path(command[0], run_name="__main__")
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
            if fault.kind == "none":
                folder.with_name(folder.name + ".modules").write_text("\n".join(sys.modules))
        os._exit(code)


def import_as(folder: Path) -> None:
    """Import what the last undisturbed command did, so that the next ones find it; but not what is tested."""
    for name in folder.with_name(folder.name + ".modules").read_text().split("\n"):
        if name.partition(".")[0] not in ("finetune", "__main__", "__mp_main__"):
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def _redirect(streams: tuple[Path, Path]) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for descriptor, path in enumerate(streams, 1):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115


def _wait(process: int, fault: Fault, start: float) -> int | str:
    due = _schedule(process, fault)
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        now = time.monotonic()
        if ended:
            return os.waitstatus_to_exitcode(status)
        if due and now >= due[0][0]:
            os.kill(process, due.pop(0)[1])
        if now - start > SECONDS_AT_MOST:
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return HANGS
        time.sleep(0.001)


def _schedule(process: int, fault: Fault) -> list[tuple[float, int]]:
    """When to send what; not before the command handles signals, which takes it a tenth of a second and is documented."""
    if not fault.signals:
        return []
    limit = time.monotonic() + SECONDS_AT_MOST
    while not _handles_signals(process) and time.monotonic() < limit:
        time.sleep(0.001)
    first = time.monotonic() + fault.delay
    return [(first + number * fault.gap, each) for number, each in enumerate(fault.signals)]


def _handles_signals(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return True
    caught = int(re.findall(r"SigCgt:\s*(\w+)", status)[0], 16) if "SigCgt" in status else -1
    return bool(caught >> (signal.SIGTERM - 1) & 1) or "zombie" in status


def snapshot(folder: Path) -> dict[str, str]:
    """Every file below a folder with a digest of what must not differ."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not any(re.fullmatch(pattern, name) for pattern in NOT_COMPARED):
            found[name] = hashlib.sha256(_comparable(path, folder)).hexdigest()
    return found


def _comparable(path: Path, folder: Path) -> bytes:
    content = path.read_bytes().replace(os.fsencode(folder), b"FOLDER")
    if path.name == "report.html":
        for timed in (TIMED_TABLE, SPEED_FIGURE, SPEED_IN_WORDS):
            content = timed.sub(b"", content)
        return content
    if path.suffix == ".csv":
        return _without_timed_columns(content)
    if path.suffix != ".json":
        return content
    try:
        value = _without_times(json.loads(content))
    except ValueError:
        return content
    if path.name == "complete.json":
        value.pop("trainer_state.json", None)  # its checksum is over times, too
    if path.name == "run.json":
        value = {name: item for name, item in value.items() if name not in ATTEMPTS}
    return json.dumps(value, sort_keys=True).encode()


def _without_timed_columns(content: bytes) -> bytes:
    """A small table of results; any other file of that name as it is."""
    rows = list(csv.reader(content.decode("utf-8", "replace").splitlines()))
    timed = {place for place, name in enumerate(rows[0] if rows else []) if TIMED.search(name)}
    if not timed:
        return content
    return repr([[cell for place, cell in enumerate(row) if place not in timed] for row in rows]).encode()


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_times(item) for name, item in value.items() if not TIMED.search(name)}
    return [_without_times(item) for item in value] if isinstance(value, list) else value


def differences(expected: dict[str, str], found: dict[str, str]) -> tuple[list[str], list[str]]:
    """Names of files that are other or missing, and of files that nobody asked for."""
    other = [name for name, digest in expected.items() if found.get(name) != digest]
    return other, [name for name in found if name not in expected]


def empty(folder: Path, kernels: list[Path]) -> None:
    """A folder for one trial, with what the machine is asked once in its cache: compiled kernels, its speed."""
    shutil.rmtree(folder, ignore_errors=True)
    cache = folder / "cache"
    cache.mkdir(parents=True)
    for kernel in kernels:
        os.link(kernel, cache / kernel.name)
