"""The sides of the corpus benchmark: the bare Rust tokenizer, ours, and the recipe of Hugging Face's run_mlm.py."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import minilm_folder
from process_usage import cpu_seconds, watched_children

LENGTH = 128


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
    seconds, processor, subwords = 0.0, 0.0, 0
    for start in range(0, len(lines), size):
        batch = lines[start : start + size]
        began, processor_began = time.perf_counter(), cpu_seconds()
        encodings = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        seconds += time.perf_counter() - began
        processor += cpu_seconds() - processor_began
        subwords += sum(map(len, encodings))
    return {"seconds": seconds, "cpu_seconds": processor, "pieces": subwords}


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
        first = digest([store[index]["input_ids"].tolist() for index in range(min(3, len(store)))])
        subwords = store.description["tokens"] - 2 * store.counts["lines"]
    return {"seconds": seconds, "cpu_seconds": processor, "second_start": again, "pieces": subwords, "first": first}


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
        first = digest([list(row) for row in rows["input_ids"][:3]])
        ids = len(rows) * LENGTH
    return {"seconds": seconds, "cpu_seconds": processor, "ids": ids, "first": first}


def digest(blocks: list[list[int]]) -> str:
    """A short name that only the same subwords have."""
    return hashlib.sha256(json.dumps(blocks).encode()).hexdigest()[:16]


def run_memory(path: Path, workers: int) -> dict[str, Any]:
    """Ours; the peaks of its worker processes are watched from outside."""
    with watched_children() as peaks:
        result = run_ours(path, workers)
    return {**result, "peak_megabytes_of_workers": sum(peaks.values())}
