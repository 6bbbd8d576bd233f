"""Tokenizing and blocking a corpus beside Hugging Face's run_mlm.py recipe and beside the bare Rust tokenizer.

    python benchmarks/bench_corpus.py                                        # 20 MB, one and two threads, all parts
    python benchmarks/bench_corpus.py --parts speed --megabytes 100 --threads 2 --write
    python benchmarks/bench_corpus.py --parts memory --memory_megabytes 10 1000 --write

`--write` keeps the table in benchmarks/results/; parts that are not run stay there as they were. The parts:

    speed     both sides must give the same blocks from a text that fits into one batch of the stock recipe, which drops
              what is left behind every batch of a thousand lines. Then seconds, in turns, beside the bare tokenizer: the
              limit, `encode_batch_fast` of the `tokenizers` library over lists of lines that are in memory, nothing else
    memory    peak of ours, all processes together, at two sizes of text

Every measurement is a process of its own. The last line of standard output is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from generated_text import write_text
from kept_parts import Kept, tell_parts
from measure import call_worker, hardware_line, minilm_folder, peak_megabytes, table, take_turns

LENGTH = 128
PREPARATION_TARGET = 1.5  # times the bare tokenizer with the same threads
MEMORY_TARGET = 1.15  # times the peak at the smaller size
SIDES = ("bare", "ours", "stock")


def read_lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").split("\n") if line]


def run_bare(path: Path, _: int) -> dict[str, Any]:
    """`RAYON_NUM_THREADS` says how many threads; lines in batches as large as ours."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(minilm_folder()) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    lines = read_lines(path)
    size = max(1, len(lines) * (1 << 19) // path.stat().st_size)
    seconds, processor, pieces = 0.0, 0.0, 0
    for start in range(0, len(lines), size):
        batch = lines[start : start + size]
        began, processor_began = time.perf_counter(), cpu_seconds()
        encodings = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        seconds += time.perf_counter() - began
        processor += cpu_seconds() - processor_began
        pieces += sum(map(len, encodings))
    return {"seconds": seconds, "cpu_seconds": processor, "pieces": pieces}


def run_ours(path: Path, workers: int) -> dict[str, Any]:
    from transformers import AutoTokenizer

    from finetune.encoding.corpus import CorpusSettings, Packing, prepare_store
    from finetune.encoding.token_store import TokenStore

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    with tempfile.TemporaryDirectory(dir=path.parent) as cache:
        began, processor_began = time.perf_counter(), cpu_seconds()
        settings = CorpusSettings(Packing.STREAM, LENGTH)
        folder = prepare_store([path], tokenizer, settings, Path(cache), workers=workers)
        seconds, processor = time.perf_counter() - began, cpu_seconds() - processor_began
        began = time.perf_counter()
        prepare_store([path], tokenizer, settings, Path(cache), workers=workers)
        again = time.perf_counter() - began
        store = TokenStore(folder)
        first = [store[index]["input_ids"].tolist() for index in range(min(3, len(store)))]
        pieces = store.description["tokens"] - 2 * store.counts["lines"]
    return {"seconds": seconds, "cpu_seconds": processor, "second_start": again, "pieces": pieces, "first": first}


def stock_rows(path: Path, tokenizer: Any, length: int, cache: str, processes: int | None = None) -> Any:
    """The data set of run_mlm.py of transformers: one map to tokenize, one to join and cut."""
    import datasets

    datasets.disable_progress_bars()

    def tokenize(batch: dict[str, list]) -> Any:
        return tokenizer([line for line in batch["text"] if line], return_special_tokens_mask=True, verbose=False)

    def group(batch: dict[str, list]) -> dict[str, list]:
        joined = {name: [item for row in rows for item in row] for name, rows in batch.items()}
        total = len(joined["input_ids"]) // length * length
        return {
            name: [row[start : start + length] for start in range(0, total, length)] for name, row in joined.items()
        }

    rows = datasets.load_dataset("text", data_files=str(path), cache_dir=cache)["train"]
    rows = rows.map(tokenize, batched=True, num_proc=processes, remove_columns=["text"])
    return rows.map(group, batched=True, num_proc=processes)


def run_stock(path: Path, processes: int) -> dict[str, Any]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    with tempfile.TemporaryDirectory(dir=path.parent) as cache:
        began, processor_began = time.perf_counter(), cpu_seconds()
        rows = stock_rows(path, tokenizer, LENGTH, cache, processes if processes > 1 else None)
        seconds, processor = time.perf_counter() - began, cpu_seconds() - processor_began
        first = [list(row) for row in rows["input_ids"][:3]]
        ids = len(rows) * LENGTH
    return {"seconds": seconds, "cpu_seconds": processor, "ids": ids, "first": first}


def run_memory(path: Path, workers: int) -> dict[str, Any]:
    """Ours; the peaks of its worker processes are watched from outside."""
    from pregeneration_sides import watch_children  # not above: that module takes the bare side from here

    peaks: dict[int, float] = {}
    is_done = threading.Event()
    watcher = threading.Thread(target=watch_children, args=(peaks, is_done))
    watcher.start()
    result = run_ours(path, workers)
    is_done.set()
    watcher.join()
    return {**result, "peak_megabytes_of_workers": sum(peaks.values())}


def run_worker(options: dict[str, Any]) -> dict[str, Any]:
    work = {"bare": run_bare, "ours": run_ours, "stock": run_stock, "memory": run_memory}[options["side"]]
    result = work(Path(options["path"]), options["threads"])
    return {**result, "peak_megabytes": peak_megabytes()}


def cpu_seconds() -> float:
    """Processor time of this process and of its workers that have ended: what a shared machine cannot spoil."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def call(side: str, path: Path, threads: int) -> dict[str, Any]:
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if side == "bare" and threads > 1 else "false"
    return call_worker(__file__, {"side": side, "path": str(path), "threads": threads})


def compare_equality(folder: Path) -> None:
    path = write_text(folder / "small.txt", 0.05)
    ours, stock, bare = (call(side, path, 1) for side in ("ours", "stock", "bare"))
    if ours["first"] != stock["first"] or ours["pieces"] != bare["pieces"]:
        sys.exit("the sides do not give the same blocks: nothing to compare")
    print("equality: the first blocks of ours and of the stock recipe agree, and no piece is lost", file=sys.stderr)


def compare_speed(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    compare_equality(folder)
    path = write_text(folder / f"{options.megabytes:g}.txt", options.megabytes)
    rows = {str(threads): time_sides(path, threads, options) for threads in options.threads}
    sizes = {name: getattr(options, name) for name in ("megabytes", "rounds", "stock_rounds")}
    return {**sizes, "target": PREPARATION_TARGET, "rows": rows}


def time_sides(path: Path, threads: int, options: argparse.Namespace) -> dict[str, Any]:
    results = take_turns(("bare", "ours"), options.rounds, lambda side: call(side, path, threads))
    results |= take_turns(("stock",), options.stock_rounds, lambda side: call(side, path, threads))
    seconds, processor = ({side: results[side][name] for side in SIDES} for name in ("seconds", "cpu_seconds"))
    if results["ours"]["pieces"] != results["bare"]["pieces"]:
        sys.exit("ours and the bare tokenizer do not find as many pieces: nothing to compare")
    return {
        "seconds": seconds,
        "second_start_seconds": results["ours"]["second_start"],
        "ours_over_bare": seconds["ours"] / seconds["bare"],
        "ours_over_bare_cpu": processor["ours"] / processor["bare"],
        "stock_over_bare": seconds["stock"] / seconds["bare"],
        "peak_megabytes": {side: results[side]["peak_megabytes"] for side in SIDES},
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
    header = (
        "threads",
        *(f"{side}, s" for side in SIDES),
        "ours / bare",
        "the same, CPU time",
        "stock / bare",
        "again, s",
    )
    keys = ("ours_over_bare", "ours_over_bare_cpu", "stock_over_bare", "second_start_seconds")
    rows = [(threads, *row["seconds"].values(), *(row[key] for key in keys)) for threads, row in part["rows"].items()]
    return [
        f"{part['megabytes']:g} MB of generated text, blocks of {LENGTH}, medians of {part['rounds']} rounds "
        f"({part['stock_rounds']} of the stock recipe). Target: at most {part['target']} times the bare tokenizer. `again` "
        "is a second start, which finds the work done.",
        "",
        *table(header, rows),
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
    parser.add_argument("--rounds", type=int, default=3, help="turns of ours and of the bare tokenizer")
    parser.add_argument("--stock_rounds", type=int, default=1, help="runs of the stock recipe, which takes long")
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
