"""BERT pregeneration beside the bare Rust tokenizer and beside the published way, a Python loop.

    python benchmarks/bench_pregenerate.py                        # 10 MB, one and two threads, all parts
    python benchmarks/bench_pregenerate.py --parts speed --megabytes 100 --threads 2 --write
    python benchmarks/bench_pregenerate.py --parts memory --memory_megabytes 10 1000 --write

`--write` keeps the table in benchmarks/results/; parts that are not run stay there as they were. The parts:

    speed       ours beside `encode_batch_fast` of the `tokenizers` library over lines in memory, and nothing else: the
                limit; both must find the same number of subwords
    published   lengths, random next sentences and masks of both ways must agree over several seeds; then ours beside the
                published way, written from its description (published_pregeneration.py)
    memory      peak of all processes with --reduce_memory at two sizes of text

Every measurement is a process of its own; the sides take turns. The last line of standard output is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from generated_text import write_text
from kept_parts import Kept, tell_parts
from measure import call_worker, hardware_line, table, take_turns
from pregeneration_sides import EPOCHS, SEEDS, compare_statistics, run_worker

SPEED_TARGET = 1.6  # times the bare tokenizer with the same threads
MEMORY_TARGET = 1.15  # times the peak at the smaller size
# Rows of an earlier run stay if these agree.
SAME = {"speed": ("megabytes", "epochs", "machine"), "published": (), "memory": ("megabytes", "epochs", "machine")}


def call(side: str, path: Path, threads: int, *, epochs: int = EPOCHS) -> dict[str, Any]:
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if side == "bare" and threads > 1 else "false"
    return call_worker(__file__, {"side": side, "path": str(path), "threads": threads, "epochs": epochs})


def compare_speed(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    path = write_text(folder / "text.txt", options.megabytes)
    rows = {str(threads): time_beside_bare(path, threads, options.rounds) for threads in options.threads}
    return {"megabytes": options.megabytes, "epochs": EPOCHS, "rounds": options.rounds, "rows": rows}


def time_beside_bare(path: Path, threads: int, rounds: int) -> dict[str, Any]:
    results = take_turns(("bare", "ours"), rounds, lambda side: call(side, path, threads))
    bare, ours = results["bare"], results["ours"]
    if bare["pieces"] != ours["pieces"]:
        sys.exit(
            f"the bare tokenizer finds {bare['pieces']:.0f} subwords, ours {ours['pieces']:.0f}: nothing to compare"
        )
    return {
        "seconds": {"bare": bare["seconds"], "ours": ours["seconds"]},
        "ours_over_bare": ours["seconds"] / bare["seconds"],
        "ours_over_bare_cpu": ours["cpu_seconds"] / bare["cpu_seconds"],
        "sentences_per_second": ours["sentences"] / ours["seconds"],
    }


def compare_published(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    agreement = compare_statistics(folder)
    path = write_text(folder / "published.txt", options.published_megabytes)
    results = take_turns(("published", "ours"), options.rounds, lambda side: call(side, path, 1))
    sides = {
        side: {
            "sentences_per_second": result["sentences"] / result["seconds"],
            "megabytes_written": result["megabytes_written"],
        }
        for side, result in results.items()
    }
    speedup = results["published"]["seconds"] / results["ours"]["seconds"]
    return {"megabytes": options.published_megabytes, "statistics": agreement, **sides, "speedup": speedup}


def compare_memory(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    texts = [write_text(folder / f"{size:g}.txt", size) for size in options.memory_megabytes]
    rows = {str(workers): peaks_of(texts, workers, options.memory_epochs) for workers in options.threads}
    return {"megabytes": options.memory_megabytes, "epochs": options.memory_epochs, "rows": rows}


def peaks_of(texts: list[Path], workers: int, epochs: int) -> dict[str, Any]:
    """Peak memory (MB) of all processes together by text, and the last divided by the first."""
    results = {text.stem: call("memory", text, workers, epochs=epochs) for text in texts}
    peaks = {name: row["peak_megabytes"] + row["peak_megabytes_of_workers"] for name, row in results.items()}
    values = list(peaks.values())
    return {"peak_megabytes": peaks, "ratio": values[-1] / values[0]}


PARTS: dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "speed": compare_speed,
    "published": compare_published,
    "memory": compare_memory,
}


def format_speed(part: dict[str, Any]) -> list[str]:
    rows = [
        (
            threads,
            *row["seconds"].values(),
            row["ours_over_bare"],
            row["ours_over_bare_cpu"],
            row["sentences_per_second"],
        )
        for threads, row in part["rows"].items()
    ]
    header = ("threads", "bare tokenizer, s", "ours, s", "ours / bare", "the same, CPU time", "ours, sentences/s")
    return [
        f"{part['megabytes']:g} MB of generated text, {part['epochs']} epochs, instances of 128, medians of "
        f"{part['rounds']} rounds. Target: at most {SPEED_TARGET} times the bare tokenizer.",
        "",
        *table(header, rows),
    ]


def format_published(part: dict[str, Any]) -> list[str]:
    rows = [
        (name, part[side]["sentences_per_second"], part[side]["megabytes_written"])
        for side, name in (("published", "the published way, JSON"), ("ours", "ours, compact"))
    ]
    agreement = [(name, *values.values()) for name, values in part["statistics"].items()]
    return [
        f"Beside the published way (here with the Rust tokenizer, a line at a time; in 2019 it was one in Python): "
        f"{part['megabytes']:g} MB, {EPOCHS} epochs, one process: {part['speedup']:.1f} times as fast.",
        "",
        *table(("", "sentences/s", "MB written"), rows),
        "",
        f"Both ways over {len(SEEDS)} seeds, means of an epoch:",
        "",
        *table(("", "ours", "published", "standard errors apart"), agreement),
    ]


def format_memory(part: dict[str, Any]) -> list[str]:
    sizes = list(next(iter(part["rows"].values()))["peak_megabytes"])
    rows = [(workers, *row["peak_megabytes"].values(), row["ratio"]) for workers, row in part["rows"].items()]
    return [
        f"Peak memory of all processes together (MB) with `--reduce_memory`, {part['epochs']} epoch. Target: at most "
        f"{MEMORY_TARGET} times that of the smaller text.",
        "",
        *table(("workers", *(f"{size} MB of text" for size in sizes), "ratio"), rows),
    ]


FORMATS = {"speed": format_speed, "published": format_published, "memory": format_memory}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--megabytes", type=float, default=10.0)
    parser.add_argument("--published_megabytes", type=float, default=2.0)
    parser.add_argument("--memory_megabytes", type=float, nargs=2, default=[10.0, 40.0], metavar=("SMALL", "LARGE"))
    parser.add_argument("--memory_epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=Path, help="folder in which the generated texts stay for the next run")
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/results/")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.worker:
        print(json.dumps(run_worker(json.loads(options.worker))))
        return
    measured = {"machine": hardware_line("cpu"), "date": date.today().isoformat()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.texts or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = {part: PARTS[part](folder, options) | measured for part in options.parts}
    tell_parts(found, FORMATS, keep=Kept("pregenerate", "BERT pregeneration", SAME) if options.write else None)


if __name__ == "__main__":
    main()
