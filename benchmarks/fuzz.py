"""Damaged inputs for every reader, parser and loader: each is read, or refused in a sentence, soon and in little memory.

    python benchmarks/fuzz.py --executions 200000 --write      # half an hour on two cores
    python benchmarks/fuzz.py --only 'tagging: JSON' --executions 20000

Inputs are drawn from --seed: true files (`fuzz_readers.py`) with bytes, lines, words and JSON values changed, moved,
doubled, cut and replaced by what readers fear (deep nesting, numbers of 5,000 digits, lone surrogates, NUL, other line
ends). Anything but an exception of `finetune.errors` is a finding, as are more than SECONDS for one input and more than
MEMORY beside what the process held. Findings are made smaller and kept with --keep, one for each place where an exception
comes from. Each reader runs in a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import multiprocessing
import os
import random
import resource
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz_readers import Reader, make_readers
from measure import RESULTS, hardware_line

from finetune.errors import FinetuneError

SECONDS = 5  # of the processor: a machine may have other work
HANGS = 60  # seconds by the clock
MEMORY = 1 << 30
STEPS_OF_MINIMIZING = 300
FEARED = (
    b"[" * 5000,
    b'{"a":' * 3000,
    b"(" * 300,
    b"9" * 5000,
    b"-" + b"9" * 4301,
    b"1e999",
    b"NaN",
    b"-Infinity",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b'"\\ud800"',
    b"\r",
    b"\x0b",
    b"\xe2\x80\xa8",
    b"\x85",
    b"\t",
    b"\n\n",
    b'"',
    b"'",
    b"\\",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"0",
    b"-1",
    b"18446744073709551616",
    b"0.1",
    b"&a [*a, *a]",
    b"&a [*a]",
    b"!!python/object:os.x",
    b"2020-01-01",
    b"!!set {a, b}",
    b"? ",
    b": ",
    b"- ",
    b"#",
    b"*a",
    b"<<: *a",
    b"%YAML",
    b"---\n",
    b"B-",
    b"I-X",
    b"__label__",
    b" ",
    b"|",
    b"_",
    b"1-2",
    b"1.1",
    b"-1-5",
    b"../../x",
    b"/",
    b"~",
    b"~nouser/x",
    b"a" * 300,
    b"<!DOCTYPE x>",
    b"&lt;",
    b"--",
    b"=",
)
FEARED_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    10**30,
    -(10**5000),
    "",
    "x",
    "\ud800",
    "\0",
    [],
    {},
    [[]],
    {"a": None},
    [None],
    float("nan"),
    float("inf"),
    "9" * 5000,
    ["a", 1],
    {"": 0},
    "/",
    "..",
    2**63,
)


class TooSlow(Exception):
    """Raised by the alarm."""


@dataclass
class Found:
    """What one reader did."""

    label: str
    executions: int = 0
    refused: int = 0
    slowest: float = 0.0
    grown: int = 0  # bytes of resident memory beside what the process held before
    findings: list[dict[str, Any]] = field(default_factory=list)


def mutate(seeds: list[bytes], draw: random.Random, *, is_json: bool) -> bytes:
    """A damaged input."""
    content = draw.choice(seeds)
    if is_json and draw.random() < 0.5:
        content = mutate_json(content, draw)
        if draw.random() < 0.7:
            return content
    for _ in range(draw.choice((1, 1, 2, 3, 6))):
        content = draw.choice(MUTATIONS)(content, seeds, draw)
    return content[: 1 << 17]


def _place(content: bytes, draw: random.Random) -> int:
    return draw.randrange(len(content) + 1)


def _flip(content: bytes, _: list[bytes], draw: random.Random) -> bytes:
    if not content:
        return b"\0"
    changed, place = bytearray(content), draw.randrange(len(content))
    changed[place] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _insert(content: bytes, _: list[bytes], draw: random.Random) -> bytes:
    place = _place(content, draw)
    return content[:place] + draw.choice(FEARED) + content[place:]


def _replace(content: bytes, _: list[bytes], draw: random.Random) -> bytes:
    start = _place(content, draw)
    return content[:start] + draw.choice(FEARED) + content[start + draw.randrange(1, 9) :]


def _cut(content: bytes, _: list[bytes], draw: random.Random) -> bytes:
    return content[: _place(content, draw)]


def _drop(content: bytes, _: list[bytes], draw: random.Random) -> bytes:
    start = _place(content, draw)
    return content[:start] + content[start + draw.randrange(1, 17) :]


def _double(content: bytes, _: list[bytes], draw: random.Random) -> bytes:
    start, end = sorted((_place(content, draw), _place(content, draw)))
    return content[:end] + content[start:end] * draw.choice((1, 1, 2, 30)) + content[end:]


def _splice(content: bytes, seeds: list[bytes], draw: random.Random) -> bytes:
    other = draw.choice(seeds)
    return content[: _place(content, draw)] + other[_place(other, draw) :]


def _swap_lines(content: bytes, _: list[bytes], draw: random.Random) -> bytes:
    lines = content.split(b"\n")
    draw.shuffle(lines)
    return b"\n".join(lines)


def _other_ends(content: bytes, _: list[bytes], draw: random.Random) -> bytes:
    return content.replace(b"\n", draw.choice((b"\r\n", b"\r", b"\n\n", b"", b"\x85", b"\t")))


MUTATIONS = (_flip, _flip, _insert, _insert, _replace, _cut, _drop, _double, _splice, _swap_lines, _other_ends)


def mutate_json(content: bytes, draw: random.Random) -> bytes:
    """One value of one document replaced by another, or left out."""
    lines = content.split(b"\n")
    number = draw.randrange(len(lines))
    try:
        value = json.loads(lines[number])
    except ValueError:
        return content
    lines[number] = dump(_mutate_value(value, draw))
    return b"\n".join(lines)


def dump(value: Any) -> bytes:
    """JSON of any number of digits."""
    import sys

    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(value).encode("utf-8", "surrogatepass")
    finally:
        sys.set_int_max_str_digits(4300)


def _mutate_value(value: Any, draw: random.Random) -> Any:
    if not isinstance(value, dict | list) or not value or draw.random() < 0.15:
        return draw.choice(FEARED_VALUES)
    if isinstance(value, dict):
        name, changed = draw.choice(list(value)), dict(value)
        if draw.random() < 0.15:
            changed.pop(name)
        elif draw.random() < 0.1:
            changed[draw.choice(("", "x", "\ud800", "text", "__class__"))] = changed.pop(name)
        else:
            changed[name] = _mutate_value(value[name], draw)
        return changed
    place, items = draw.randrange(len(value)), list(value)
    items[place] = _mutate_value(value[place], draw)
    return items if draw.random() < 0.8 else items[:place]


class Trial:
    """Executions of one reader in this process."""

    def __init__(self, reader: Reader, folder: Path) -> None:
        self.reader, self.folder = reader, folder
        self.found = Found(reader.label)
        self._places: set[str] = set()

    def run(self, seed: int, executions: int) -> Found:
        draw = random.Random(f"{seed} {self.reader.label}")
        for content in self.reader.seeds:
            self.execute(content)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(math.ceil(executions * self.reader.share)):
            self.execute(mutate(self.reader.seeds, draw, is_json=self.reader.is_json))
        self.found.grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        return self.found

    def execute(self, content: bytes) -> None:
        start = time.monotonic()
        place, text = self.call(content)
        self.found.executions += 1
        self.found.slowest = max(self.found.slowest, time.monotonic() - start)
        if place and place not in self._places:
            self._places.add(place)
            small = self.minimize(content, place)
            self.found.findings.append(
                {"place": place, "text": text[-1500:], "input": repr(small[:2000]), "bytes": len(small)}
            )

    def call(self, content: bytes) -> tuple[str, str]:
        """Where an exception that is none of finetune's comes from, and its traceback; empty where there is none."""
        path = self.folder / self.reader.name
        path.write_bytes(content)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(HANGS)
        try:
            with contextlib.redirect_stdout(None), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.reader.call(path)
        except FinetuneError:
            self.found.refused += 1
        except SystemExit:
            pass
        except BaseException as error:
            return _place_of(error), traceback.format_exc()
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
        return "", ""

    def minimize(self, content: bytes, place: str) -> bytes:
        """Parts left out as long as the same exception comes from the same place."""
        refused = self.found.refused
        size, steps = max(len(content) // 2, 1), 0
        while size and steps < STEPS_OF_MINIMIZING and "TooSlow" not in place:
            for start in range(0, len(content), size):
                steps += 1
                shorter = content[:start] + content[start + size :]
                if steps < STEPS_OF_MINIMIZING and self.call(shorter)[0] == place:
                    content = shorter
                    break
            else:
                size //= 2
        self.found.refused = refused
        return content


def _place_of(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/finetune/" in frame.filename] or list(frames)
    at = ours[-1] if ours else None
    where = f"{Path(at.filename).name}:{at.name}" if at else "?"
    return f"{type(error).__name__} in {where}"


def be_slow(*_: object) -> None:
    raise TooSlow


def work(label: str, seed: int, executions: int, kept: Path, queue: Any) -> None:
    """One reader in a process of its own, whose memory is bounded."""
    signal.signal(signal.SIGALRM, be_slow)
    signal.signal(signal.SIGPROF, be_slow)
    logging.disable(logging.CRITICAL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        reader = next(item for item in make_readers(kept) if item.label == label)
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY + (1 << 28), resource.RLIM_INFINITY))
        queue.put(Trial(reader, Path(folder)).run(seed, executions))


def fuzz(labels: list[str], executions: int, seed: int, kept: Path, workers: int) -> Iterator[Found]:
    """All readers, some at a time; a process that dies is a finding, too."""
    context = multiprocessing.get_context("fork")
    waiting = list(labels)
    running: dict[str, tuple[Any, Any]] = {}
    while waiting or running:
        while waiting and len(running) < workers:
            label, queue = waiting.pop(0), context.SimpleQueue()
            process = context.Process(target=work, args=(label, seed, executions, kept, queue))
            process.start()
            running[label] = process, queue
        for label, (process, queue) in list(running.items()):
            if process.is_alive() and queue.empty():
                continue
            yield queue.get() if not queue.empty() else _died(label, process.exitcode)
            process.join()
            del running[label]
        time.sleep(0.05)


def _died(label: str, code: int | None) -> Found:
    return Found(label, findings=[{"place": f"the process died ({code})", "text": "", "input": "", "bytes": 0}])


def tabulate(results: list[Found]) -> list[str]:
    head = [
        "| reader | executions | refused | tracebacks | slowest, s | memory, MiB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    total = Found("all", sum(item.executions for item in results), sum(item.refused for item in results))
    total.slowest = max((item.slowest for item in results), default=0.0)
    total.grown = max((item.grown for item in results), default=0)
    total.findings = [finding for item in results for finding in item.findings]
    return head + [
        f"| {item.label} | {item.executions:,} | {item.refused:,} | {len(item.findings)} | {item.slowest:.2f} "
        f"| {item.grown >> 20:,} |"
        for item in [*results, total]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=200_000, help="of all readers together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="readers whose name holds this")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="findings, one JSON a line")
    parser.add_argument("--write", action="store_true", help="the table, to benchmarks/results/fuzz.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        readers = [item for item in make_readers(Path(folder)) if options.only in item.label]
        labels = [item.label for item in readers]
        each = math.ceil(options.executions / sum(item.share for item in readers))
        results = []
        for found in fuzz(labels, each, options.seed, Path(folder), options.workers):
            results.append(found)
            print(tabulate([found])[2], flush=True)
            for finding in found.findings:
                print(f"  {finding['place']}: {finding['input'][:300]}", flush=True)
                if options.keep:
                    with options.keep.open("a", encoding="utf-8") as file:
                        file.write(json.dumps({"reader": found.label, **finding}) + "\n")
    results.sort(key=lambda item: labels.index(item.label))
    if options.write:
        title = "# Damaged inputs: every reader refuses them in a sentence"
        limits = (
            f"More than {SECONDS} s of the processor for one input ({HANGS} s by the clock), or more than 1 GiB, would "
            f"count as a traceback. Seed {options.seed}."
        )
        lines = [title, "", hardware_line("cpu"), "", limits, "", *tabulate(results), ""]
        (RESULTS / "fuzz.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
