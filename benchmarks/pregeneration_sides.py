"""The sides of the pregeneration benchmark, each run in a process of its own, and the statistics both ways must share."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from corpus_sides import run_bare
from generated_text import write_text
from measure import minilm_folder
from process_usage import cpu_seconds, peak_megabytes, watched_children

EPOCHS = 3
STATISTICS_MEGABYTES = 0.3
SEEDS = range(10)
STANDARD_ERRORS = 5  # that the means of both ways may be apart


def read_documents(path: Path) -> list[list[str]]:
    from finetune.data.text import iterate_documents

    return list(iterate_documents([path]))


def run_ours(path: Path, workers: int, *, epochs: int = EPOCHS, reduce_memory: bool = False) -> dict[str, Any]:
    from transformers import AutoTokenizer

    from finetune.pregeneration.instances import InstanceSettings
    from finetune.pregeneration.pregenerate import Pregeneration, pregenerate

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    with tempfile.TemporaryDirectory(dir=path.parent) as output:
        task = Pregeneration([path], Path(output), epochs, InstanceSettings(), workers=workers)
        began, processor_began = time.perf_counter(), cpu_seconds()
        counts = pregenerate(replace(task, reduce_memory=reduce_memory), tokenizer)
        seconds, processor = time.perf_counter() - began, cpu_seconds() - processor_began
        size = sum(file.stat().st_size for file in Path(output).glob("epoch_*.safetensors"))
    return {
        "seconds": seconds,
        "cpu_seconds": processor,
        "sentences": counts["sentences"],
        "pieces": counts["pieces"],
        "instances": sum(counts["instances"]),
        "megabytes_written": size / 1e6,
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
        seconds = time.perf_counter() - began
        size = sum(file.stat().st_size for file in Path(output).glob("epoch_*.json"))
    return {"seconds": seconds, "sentences": sum(map(len, documents)), "megabytes_written": size / 1e6}


def run_memory(path: Path, workers: int, epochs: int) -> dict[str, Any]:
    """Ours with `--reduce_memory`; the peaks of its worker processes are watched from outside."""
    with watched_children() as peaks:
        result = run_ours(path, workers, epochs=epochs, reduce_memory=True)
    largest = sorted(peaks.values(), reverse=True)[:workers]  # both stages have workers of their own
    return {**result, "peak_megabytes_of_workers": sum(largest)}


def run_worker(options: dict[str, Any]) -> dict[str, Any]:
    path, threads = Path(options["path"]), options["threads"]
    sides: dict[str, Callable[[Path, int], dict[str, Any]]] = {
        "bare": run_bare,
        "ours": run_ours,
        "published": run_published,
        "memory": lambda text, workers: run_memory(text, workers, options["epochs"]),
    }
    return {**sides[options["side"]](path, threads), "peak_megabytes": peak_megabytes()}


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
    """Means over some seeds of both ways; they must agree within `STANDARD_ERRORS` of their difference."""
    path = write_text(folder / "statistics.txt", STATISTICS_MEGABYTES)
    ours, published = statistics_of_ours(path), statistics_of_published(path)
    result = {}
    for name in ours[0]:
        sides = [[epoch[name] for epoch in side] for side in (ours, published)]
        error = sum(statistics.variance(values) / len(values) for values in sides) ** 0.5
        means = [statistics.mean(values) for values in sides]
        apart = abs(means[0] - means[1])
        if apart > STANDARD_ERRORS * error + 1e-9:
            sys.exit(f"{name}: ours {means[0]:.4f}, published {means[1]:.4f}: nothing to compare")
        result[name] = {"ours": means[0], "published": means[1], "standard_errors_apart": apart / error}
    return result


def statistics_of_ours(path: Path) -> list[dict[str, float]]:
    from transformers import AutoTokenizer

    from finetune.pregeneration.epoch_files import read_arrays
    from finetune.pregeneration.instances import InstanceSettings
    from finetune.pregeneration.pregenerate import Pregeneration, pregenerate

    tokenizer, found = AutoTokenizer.from_pretrained(minilm_folder()), []
    for seed in SEEDS:
        folder = path.parent / f"seed{seed}"
        pregenerate(Pregeneration([path], folder, 1, InstanceSettings(seed=seed)), tokenizer)
        arrays = read_arrays(folder / "epoch_0.safetensors")
        columns = (arrays.lengths, arrays.b_starts.astype(int) - 2, arrays.is_random_next, arrays.masked_counts)
        found.append(describe(list(zip(*(column.tolist() for column in columns), strict=True))))
    return found


def statistics_of_published(path: Path) -> list[dict[str, float]]:
    from published_pregeneration import PublishedInstances, PublishedSettings
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    tokenized = [[tokenizer.tokenize(sentence) for sentence in document] for document in read_documents(path)]
    vocabulary = list(tokenizer.get_vocab())
    epochs = [PublishedInstances(tokenized, vocabulary, PublishedSettings(), seed).epoch() for seed in SEEDS]
    return [describe([row_of(item) for item in epoch]) for epoch in epochs]


def row_of(item: dict[str, Any]) -> tuple[int, int, bool, int]:
    """What `describe` takes, of one JSON instance."""
    length_of_a = item["segment_ids"].count(0) - 2
    return len(item["tokens"]), length_of_a, item["is_random_next"], len(item["masked_lm_labels"])
