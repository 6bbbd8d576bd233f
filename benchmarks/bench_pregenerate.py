"""BERT pregeneration beside the bare Rust tokenizer and beside the published way, a Python loop.

    python benchmarks/bench_pregenerate.py                                 # 10 MB, one and two threads
    python benchmarks/bench_pregenerate.py --megabytes 100 --write         # and keep the table in benchmarks/results/
    python benchmarks/bench_pregenerate.py --memory_megabytes 10 1000      # peak memory with --reduce_memory at two sizes

Equal statistics come first: lengths, random next sentences and masks of both ways over several seeds. The bare tokenizer is
`encode_batch_fast` of the `tokenizers` library over lines in memory, and nothing else: the limit. The published way is
written from its description (published_pregeneration.py); it is timed on a smaller text and compared by sentences a second.
Every measurement is a process of its own; the sides take turns. The last line of standard output is JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from bench_corpus import compare_memory, cpu_seconds, parse, peak_megabytes, run_bare
from generated_text import write_text
from measure import call_worker, hardware_line, minilm_folder, table, take_turns, write_results

EPOCHS = 3
SPEED_TARGET = 1.6  # times the bare tokenizer with the same threads
PUBLISHED_MEGABYTES = 2.0
SEEDS = range(5)


def read_documents(path: Path) -> list[list[str]]:
    from finetune.data.text import iterate_documents

    return list(iterate_documents([path]))


def run_ours(path: Path, workers: int, *, reduce_memory: bool = False) -> dict[str, Any]:
    from transformers import AutoTokenizer

    from finetune.encoding.bert_instances import InstanceSettings
    from finetune.encoding.pregeneration import Pregeneration, pregenerate

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    with tempfile.TemporaryDirectory(dir=path.parent) as output:
        task = Pregeneration([path], Path(output), EPOCHS, InstanceSettings(), workers=workers)
        began, processor_began = time.perf_counter(), cpu_seconds()
        counts = pregenerate(replace(task, reduce_memory=reduce_memory), tokenizer)
        seconds, processor = time.perf_counter() - began, cpu_seconds() - processor_began
    return {
        "seconds": seconds,
        "cpu_seconds": processor,
        "sentences": counts["sentences"],
        "instances": sum(counts["instances"]),
    }


def run_published(path: Path, _: int) -> dict[str, Any]:
    """One line tokenized at a time, then one loop an epoch, written as JSON lines."""
    from published_pregeneration import PublishedInstances, PublishedSettings
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    vocabulary = list(tokenizer.get_vocab())
    documents = read_documents(path)
    began = time.perf_counter()
    tokenized = [[tokenizer.tokenize(sentence) for sentence in document] for document in documents]
    with tempfile.TemporaryDirectory(dir=path.parent) as output:
        for epoch in range(EPOCHS):
            instances = PublishedInstances(tokenized, vocabulary, PublishedSettings(), epoch).epoch()
            with Path(output, f"epoch_{epoch}.json").open("w", encoding="utf-8") as stream:
                stream.writelines(json.dumps(instance) + "\n" for instance in instances)
    return {"seconds": time.perf_counter() - began, "sentences": sum(map(len, documents))}


def run_worker(options: dict[str, Any]) -> dict[str, Any]:
    path, threads = Path(options["path"]), options["threads"]
    if options["side"] == "ours":
        result = run_ours(path, threads, reduce_memory=options["reduce_memory"])
    else:
        result = {"bare": run_bare, "published": run_published}[options["side"]](path, threads)
    return {**result, "peak_megabytes": peak_megabytes()}


def call(side: str, path: Path, threads: int, *, reduce_memory: bool = False) -> dict[str, Any]:
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if side == "bare" and threads > 1 else "false"
    options = {"side": side, "path": str(path), "threads": threads, "reduce_memory": reduce_memory}
    return call_worker(__file__, options)


def describe(rows: list[tuple[int, int, bool, int]]) -> dict[str, float]:
    """Numbers that describe an epoch, from (length, length of A, random next, masked) of its instances."""
    lengths, a_lengths, random_next, masked = zip(*rows, strict=True)
    return {
        "instances": len(rows),
        "mean length": statistics.mean(lengths),
        "mean length of A": statistics.mean(a_lengths),
        "random next": statistics.mean(random_next),
        "masked share": sum(masked) / sum(lengths),
    }


def compare_statistics(folder: Path) -> dict[str, dict[str, float]]:
    """Means over some seeds of both ways; they must agree within five standard errors."""
    ours, published = statistics_of_ours(folder), statistics_of_published(folder)
    result = {}
    for name in ours[0]:
        sides = [[epoch[name] for epoch in side] for side in (ours, published)]
        error = sum(statistics.variance(values) / len(values) for values in sides) ** 0.5
        means = [statistics.mean(values) for values in sides]
        if abs(means[0] - means[1]) > 5 * error + 1e-9:
            sys.exit(f"{name}: ours {means[0]:.4f}, published {means[1]:.4f}: nothing to compare")
        result[name] = {"ours": means[0], "published": means[1]}
    return result


def statistics_of_ours(folder: Path) -> list[dict[str, float]]:
    from transformers import AutoTokenizer

    from finetune.encoding.bert_instances import InstanceSettings
    from finetune.encoding.pregenerated import read_arrays
    from finetune.encoding.pregeneration import Pregeneration, pregenerate

    tokenizer, path = AutoTokenizer.from_pretrained(minilm_folder()), write_text(folder / "small.txt", 0.3)
    found = []
    for seed in SEEDS:
        pregenerate(Pregeneration([path], folder / f"seed{seed}", 1, InstanceSettings(seed=seed)), tokenizer)
        arrays = read_arrays(folder / f"seed{seed}" / "epoch_0.safetensors")
        columns = (arrays.lengths, arrays.b_starts.astype(int) - 2, arrays.is_random_next, arrays.masked_counts)
        found.append(describe(list(zip(*(column.tolist() for column in columns), strict=True))))
    return found


def statistics_of_published(folder: Path) -> list[dict[str, float]]:
    from published_pregeneration import PublishedInstances, PublishedSettings
    from transformers import AutoTokenizer

    tokenizer, path = AutoTokenizer.from_pretrained(minilm_folder()), write_text(folder / "small.txt", 0.3)
    tokenized = [[tokenizer.tokenize(sentence) for sentence in document] for document in read_documents(path)]
    vocabulary = list(tokenizer.get_vocab())
    return [
        describe(
            [
                (
                    len(item["tokens"]),
                    item["segment_ids"].count(0) - 2,
                    item["is_random_next"],
                    len(item["masked_lm_labels"]),
                )
                for item in PublishedInstances(tokenized, vocabulary, PublishedSettings(), seed).epoch()
            ]
        )
        for seed in SEEDS
    ]


def compare_speed(path: Path, threads: int, rounds: int) -> dict[str, Any]:
    results = take_turns(("bare", "ours"), rounds, lambda side: call(side, path, threads))
    seconds = {side: results[side]["seconds"] for side in ("bare", "ours")}
    return {
        "threads": threads,
        "seconds": seconds,
        "ours_over_bare": seconds["ours"] / seconds["bare"],
        "ours_over_bare_cpu": results["ours"]["cpu_seconds"] / results["bare"]["cpu_seconds"],
        "sentences_per_second": results["ours"]["sentences"] / seconds["ours"],
        "peak_megabytes": results["ours"]["peak_megabytes"],
    }


def main() -> None:
    options = parse(str(__doc__), 10.0)
    if options.worker:
        print(json.dumps(run_worker(json.loads(options.worker))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        agreement = compare_statistics(folder)
        path = write_text(folder / "text.txt", options.megabytes)
        speed = [compare_speed(path, threads, options.rounds) for threads in options.threads]
        published = call("published", write_text(folder / "published.txt", PUBLISHED_MEGABYTES), 1)
        memory = compare_memory(
            folder, options.memory_megabytes, lambda text: call("ours", text, 1, reduce_memory=True)
        )
    published_rate = published["sentences"] / published["seconds"]
    rows = [
        [
            row["threads"],
            *row["seconds"].values(),
            row["ours_over_bare"],
            row["ours_over_bare_cpu"],
            row["sentences_per_second"],
            row["peak_megabytes"],
        ]
        for row in speed
    ]
    lines = [
        hardware_line("cpu"),
        "",
        f"{options.megabytes:g} MB of generated text, {EPOCHS} epochs, instances of 128.",
        "",
        *table(
            ("threads", "bare, s", "ours, s", "ours / bare", "the same, CPU time", "ours, sentences/s", "peak, MB"),
            rows,
        ),
        "",
        f"The published way: {published_rate:.0f} sentences/s, one process.",
        f"Peak memory (MB) with --reduce_memory by size of the text (MB): {memory['peak_megabytes']}, ratio "
        f"{memory['ratio']:.2f}.",
    ]
    print("\n".join(lines))
    result = {
        "megabytes": options.megabytes,
        "statistics": agreement,
        "speed": speed,
        "published_sentences_per_second": published_rate,
        "target": SPEED_TARGET,
        "memory": memory,
    }
    if options.write:
        write_results("pregenerate", "BERT pregeneration", lines, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
