"""Tokenizing and blocking a corpus beside Hugging Face's run_mlm.py recipe and beside the bare Rust tokenizer.

    python benchmarks/bench_corpus.py                                        # 20 MB, one and two threads, all parts
    python benchmarks/bench_corpus.py --parts speed --megabytes 100 --threads 2 --rounds 7 --write
    python benchmarks/bench_corpus.py --parts speed --threads 1 --rounds 7 --before ../old      # another version too
    python benchmarks/bench_corpus.py --parts memory --memory_megabytes 10 1000 --write

`--write` keeps the table in benchmarks/results/; parts that are not run stay there as they were. The parts:

    speed     both sides must give the same blocks from a text that fits into one batch of the stock recipe, which drops
              what is left behind every batch of a thousand lines. Then seconds, in turns, beside the bare tokenizer: the
              limit, `encode_batch_fast` of the `tokenizers` library over lists of lines that are in memory, nothing else.
              Two texts: WikiText-2, and one of any size that is generated (words of WikiText by Zipf's law)
    memory    peak of ours, all processes together, at two sizes of text

Every measurement is a process of its own. The last line of standard output is JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from corpus_sides import LENGTH, run_bare, run_memory, run_ours, run_stock
from generated_text import write_text
from kept_parts import Kept, tell_parts
from measure import DATA, Ratio, call_in_turns, call_worker, hardware_line, medians, table
from process_usage import peak_megabytes

PREPARATION_TARGET = 1.5  # times the bare tokenizer with the same threads
MEMORY_TARGET = 1.15  # times the peak at the smaller size
SIDES = ("bare", "ours", "stock")


def run_worker(options: dict[str, Any]) -> dict[str, Any]:
    work = {"bare": run_bare, "ours": run_ours, "stock": run_stock, "memory": run_memory}[options["side"]]
    result = work(Path(options["path"]), options["threads"])
    return {**result, "peak_megabytes": peak_megabytes()}


def call(side: str, path: Path, threads: int, checkout: Path | None = None) -> dict[str, Any]:
    """Run a side in a process of its own; `before` is ours of another checkout."""
    root = Path(__file__).resolve().parents[1] if checkout is None else checkout.resolve()
    os.environ["PYTHONPATH"] = str(root)
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if side == "bare" and threads > 1 else "false"
    asked = {"side": side.replace("before", "ours"), "path": str(path), "threads": threads}
    return call_worker(str(root / "benchmarks" / "bench_corpus.py"), asked)


def compare_equality(folder: Path) -> None:
    path = write_text(folder / "small.txt", 0.05)
    ours, stock, bare = (call(side, path, 1) for side in ("ours", "stock", "bare"))
    if ours["first"] != stock["first"] or ours["pieces"] != bare["pieces"]:
        sys.exit("the sides do not give the same blocks: nothing to compare")
    print("equality: the first blocks of ours and of the stock recipe agree, and no subword is lost", file=sys.stderr)


def compare_speed(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    compare_equality(folder)
    paths = {
        "WikiText-2": write_wikitext(folder / "wikitext-2.txt"),
        "generated": write_text(folder / f"{options.megabytes:g}.txt", options.megabytes),
    }
    rows = {
        f"{name}, {threads}": {"megabytes": path.stat().st_size / 1e6, **time_sides(path, threads, options)}
        for name, path in paths.items()
        for threads in options.threads
    }
    return {"megabytes": options.megabytes, "target": PREPARATION_TARGET, "rows": rows}


def write_wikitext(path: Path) -> Path:
    """The first 18,000 lines of WikiText-2's training part and its other parts, real text."""
    if not path.is_file():
        files = [DATA / "lm/wikitext-2" / f"{name}.txt.gz" for name in ("train.first18000", "valid", "test")]
        path.write_bytes(b"".join(gzip.decompress(file.read_bytes()) for file in files))
    return path


def time_sides(path: Path, threads: int, options: argparse.Namespace) -> dict[str, Any]:
    """Times of all sides, in turns; ratios are those of medians with 95 % intervals over rounds."""
    sides = [*SIDES, *(["before"] if options.before else [])]

    def turn(side: str) -> dict[str, Any]:
        return call(side, path, threads, options.before if side == "before" else None)

    runs = call_in_turns(sides, options.rounds, turn)
    for side in {"ours", *sides} - {"bare", "stock"}:
        if runs[side][0]["pieces"] != runs["bare"][0]["pieces"]:
            sys.exit(f"{side} and the bare tokenizer do not find as many subwords: nothing to compare")
    results = {side: medians(found) for side, found in runs.items()}
    processor = {side: [run["cpu_seconds"] for run in found] for side, found in runs.items()}
    ratios = {f"ours / {side}": Ratio.of(processor["ours"], processor[side]) for side in sides if side != "ours"}
    return {
        "rounds": options.rounds,
        "seconds": {side: results[side]["seconds"] for side in sides},
        "second_start_seconds": results["ours"]["second_start"],
        "cpu_seconds": processor,
        "cpu_ratios": {name: [ratio.value, ratio.low, ratio.high] for name, ratio in ratios.items()},
        "peak_megabytes": {side: results[side]["peak_megabytes"] for side in sides},
    }


def compare_memory(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    rows = {str(workers): peaks_by_size(folder, options, workers) for workers in options.threads}
    return {"sizes": options.memory_megabytes, "target": MEMORY_TARGET, "rows": rows}


def peaks_by_size(folder: Path, options: argparse.Namespace, workers: int) -> dict[str, Any]:
    """Peak memory (MB) of all processes together for each size of text, and the last divided by the first."""
    results = [call("memory", write_text(folder / f"{size:g}.txt", size), workers) for size in options.memory_megabytes]
    peaks = [result["peak_megabytes"] + result["peak_megabytes_of_workers"] for result in results]
    return {
        "peak_megabytes": peaks,
        "ratio": peaks[-1] / peaks[0],
        "seconds": [result["seconds"] for result in results],
    }


PARTS: dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "speed": compare_speed,
    "memory": compare_memory,
}
SAME = {"speed": ("megabytes", "machine"), "memory": ("sizes", "machine")}  # rows of other threads stay if these agree


def format_speed(part: dict[str, Any]) -> list[str]:
    lines = []
    for name, row in part["rows"].items():
        ratios = [str(Ratio(*ratio)) for ratio in row["cpu_ratios"].values()]
        lines.append([f"{name} ({row['megabytes']:.0f} MB)", row["rounds"], *list(row["seconds"].values())[:3], *ratios[:2],
                      *(ratios[2:] or ["-"]), row["second_start_seconds"]])  # fmt: skip
    header = ("text, threads", "rounds", *(f"{side}, s" for side in SIDES), *(f"ours / {side}" for side in SIDES[::2]))
    return [
        f"Blocks of {LENGTH}; medians of rounds, sides in turns; ratios of processor time with 95 % intervals by bootstrap "
        f"over rounds. Target: at most {part['target']} times the bare tokenizer. `before` is an earlier version of ours; "
        "`again` a second start, which finds the work done.",
        "",
        *table((*header, "ours / before", "again, s"), lines),
    ]


def format_memory(part: dict[str, Any]) -> list[str]:
    rows = [(workers, *row["peak_megabytes"], row["ratio"]) for workers, row in part["rows"].items()]
    return [
        f"Peak memory of ours, all processes together (MB). Target: at most {part['target']} times that of the smaller.",
        "",
        *table(("workers", *(f"{size:g} MB of text" for size in part["sizes"]), "ratio"), rows),
    ]


FORMATS = {"speed": format_speed, "memory": format_memory}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--megabytes", type=float, default=20.0)
    parser.add_argument("--memory_megabytes", type=float, nargs=2, default=[10.0, 40.0], metavar=("SMALL", "LARGE"))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads, or worker processes of ours")
    parser.add_argument("--rounds", type=int, default=3, help="turns of all sides")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="another version of this project")
    parser.add_argument("--folder", type=Path, help="keep generated text there, to be found again by the next run")
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
        folder = options.folder or Path(temporary)
        found = {part: PARTS[part](folder, options) | measured for part in options.parts}
    tell_parts(found, FORMATS, keep=Kept("corpus", "Tokenizing and blocking a corpus", SAME) if options.write else None)


if __name__ == "__main__":
    main()
