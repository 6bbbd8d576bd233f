"""Tokenizing and blocking a corpus beside Hugging Face's run_mlm.py recipe and beside the bare Rust tokenizer.

    python benchmarks/bench_corpus.py                                # 20 MB, one and two threads
    python benchmarks/bench_corpus.py --megabytes 100 --write        # and keep the table in benchmarks/results/
    python benchmarks/bench_corpus.py --memory_megabytes 10 1000     # peak memory of ours at two sizes

Equality comes first: both sides must give the same blocks from a text that fits into one batch of the stock recipe, which
drops what is left behind every batch of a thousand lines. The bare tokenizer is `encode_batch_fast` of the `tokenizers`
library over lists of lines that are in memory already, and nothing else: the limit. Every measurement is a process of its
own; the sides take turns. The last line of standard output is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from generated_text import write_text
from measure import call_worker, hardware_line, minilm_folder, table, take_turns, write_results

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


def run_stock(path: Path, processes: int) -> dict[str, Any]:
    """run_mlm.py of transformers: one map to tokenize, one to join and cut."""
    import datasets
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    datasets.disable_progress_bars()

    def tokenize(batch: dict[str, list]) -> Any:
        return tokenizer([line for line in batch["text"] if line], return_special_tokens_mask=True, verbose=False)

    def group(batch: dict[str, list]) -> dict[str, list]:
        joined = {name: [item for row in rows for item in row] for name, rows in batch.items()}
        total = len(joined["input_ids"]) // LENGTH * LENGTH
        return {
            name: [row[start : start + LENGTH] for start in range(0, total, LENGTH)] for name, row in joined.items()
        }

    with tempfile.TemporaryDirectory(dir=path.parent) as cache:
        began, processor_began = time.perf_counter(), cpu_seconds()
        rows = datasets.load_dataset("text", data_files=str(path), cache_dir=cache)["train"]
        number = processes if processes > 1 else None
        rows = rows.map(tokenize, batched=True, num_proc=number, remove_columns=["text"])
        rows = rows.map(group, batched=True, num_proc=number)
        seconds, processor = time.perf_counter() - began, cpu_seconds() - processor_began
        first = rows["input_ids"][:3]
        ids = len(rows) * LENGTH
    return {"seconds": seconds, "cpu_seconds": processor, "ids": ids, "first": [list(row) for row in first]}


def run_worker(options: dict[str, Any]) -> dict[str, Any]:
    work = {"bare": run_bare, "ours": run_ours, "stock": run_stock}[options["side"]]
    result = work(Path(options["path"]), options["threads"])
    return {**result, "peak_megabytes": peak_megabytes()}


def cpu_seconds() -> float:
    """Processor time of this process and of its workers that have ended: what a shared machine cannot spoil."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peak_megabytes(process: int | str = "self") -> float:
    """Most memory that was resident since a process began (`ru_maxrss` would count what its parent held)."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def call(side: str, path: Path, threads: int) -> dict[str, Any]:
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if side == "bare" and threads > 1 else "false"
    return call_worker(__file__, {"side": side, "path": str(path), "threads": threads})


def compare_equality(folder: Path) -> None:
    path = write_text(folder / "small.txt", 0.05)
    ours, stock, bare = (call(side, path, 1) for side in ("ours", "stock", "bare"))
    if ours["first"] != stock["first"] or ours["pieces"] != bare["pieces"]:
        sys.exit("the sides do not give the same blocks: nothing to compare")
    print("equality: the first blocks of ours and of the stock recipe agree, and no piece is lost")


def compare_speed(path: Path, threads: int, rounds: int) -> dict[str, Any]:
    results = take_turns(SIDES, rounds, lambda side: call(side, path, threads))
    seconds = {side: results[side]["seconds"] for side in SIDES}
    return {
        "threads": threads,
        "seconds": seconds,
        "second_start_seconds": results["ours"]["second_start"],
        "ours_over_bare": seconds["ours"] / seconds["bare"],
        "stock_over_bare": seconds["stock"] / seconds["bare"],
        "ours_over_bare_cpu": results["ours"]["cpu_seconds"] / results["bare"]["cpu_seconds"],
        "peak_megabytes": {side: results[side]["peak_megabytes"] for side in SIDES},
    }


def compare_memory(folder: Path, sizes: list[float], run: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Peak memory of `run` on texts of these sizes, and the last divided by the first."""
    peaks = {f"{size:g}": run(write_text(folder / f"{size:g}.txt", size))["peak_megabytes"] for size in sizes}
    values = list(peaks.values())
    return {"peak_megabytes": peaks, "ratio": values[-1] / values[0], "target": MEMORY_TARGET}


def parse(description: str, megabytes: float) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=megabytes)
    parser.add_argument("--memory_megabytes", type=float, nargs=2, default=[10.0, 40.0], metavar=("SMALL", "LARGE"))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/results/")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse(str(__doc__), 20.0)
    if options.worker:
        print(json.dumps(run_worker(json.loads(options.worker))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        compare_equality(folder)
        path = write_text(folder / "text.txt", options.megabytes)
        speed = [compare_speed(path, threads, options.rounds) for threads in options.threads]
        memory = compare_memory(folder, options.memory_megabytes, lambda text: call("ours", text, 1))
    rows = [
        [
            row["threads"],
            *row["seconds"].values(),
            row["ours_over_bare"],
            row["ours_over_bare_cpu"],
            row["stock_over_bare"],
            row["second_start_seconds"],
        ]
        for row in speed
    ]
    header = (
        "threads",
        *(f"{side}, s" for side in SIDES),
        "ours / bare",
        "the same, CPU time",
        "stock / bare",
        "again, s",
    )
    lines = [
        hardware_line("cpu"),
        "",
        f"{options.megabytes:g} MB of generated text, blocks of {LENGTH}.",
        "",
        *table(header, rows),
        "",
        f"Peak memory of ours (MB) by size of the text (MB): {memory['peak_megabytes']}, ratio {memory['ratio']:.2f}.",
    ]
    print("\n".join(lines))
    result = {"megabytes": options.megabytes, "speed": speed, "target": PREPARATION_TARGET, "memory": memory}
    if options.write:
        write_results("corpus", "Tokenizing and blocking a corpus", lines, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
