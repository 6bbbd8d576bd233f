"""Per-token surprisal tables beside the plain way: equal values first, then tokens per second and memory.

    python benchmarks/bench_surprisal.py                       # a narrow GPT-2 and MiniLM, under a minute on two cores
    python benchmarks/bench_surprisal.py --size gpt2 --texts 200 --rounds 5 --write
    python benchmarks/bench_surprisal.py --device cuda --size gpt2 --texts 4000

Three ways over the same texts: `bare` is the batched forward with its log-softmax and nothing else; `ours` writes the
Parquet table of tokens; `plain` is the published program's way, a Python dictionary per token, held until one csv.gz is
written. GPT-2 comes from a configuration with random weights (gpt2: its 124M parameters; narrow: the same vocabulary, two
layers of 128); masked scoring uses MiniLM's encoder under a random head, one masked row per token. Texts are BLiMP's. The
last line of standard output is JSON. Target: ours at most 1.3 times bare, its bookkeeping 8 times cheaper than plain's.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from measure import DATA, hardware_line, medians, minilm_folder, read_clock, table, write_results
from process_usage import peak_megabytes
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from finetune.surprisal.chunks import in_chunks
from finetune.surprisal.inference import SurprisalModel
from finetune.surprisal.input import ScoringExample
from finetune.surprisal.row_inference import SlotScores
from finetune.surprisal.table_files import TableFile
from finetune.surprisal.tables import SurprisalTables
from finetune.surprisal.task import describe_texts, make_tables

VOCABULARY = 50_257
TOLERANCE_BITS = 2e-3  # float32 sums over 50,257 logits, in another order
BATCH = 32


def read_texts(count: int) -> list[str]:
    """BLiMP's acceptable sentences, paradigms in turn."""
    files = [gzip.decompress(path.read_bytes()).decode().splitlines() for path in sorted((DATA / "blimp").glob("*.gz"))]
    lines = [line for row in zip(*files, strict=False) for line in row]
    return [json.loads(line)["sentence_good"] for line in lines[:count]]


def make_gpt2(size: str, texts: list[str]) -> tuple[Any, Any]:
    """A random GPT-2 with the real one's number of subwords, and a byte-level tokenizer trained on the texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    end = "<|endoftext|>"
    trainer = trainers.BpeTrainer(vocab_size=4000, special_tokens=[end], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    sizes = {"gpt2": {}, "narrow": {"n_embd": 128, "n_layer": 2, "n_head": 4}}[size]
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, **sizes))
    return model, PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end)


def make_minilm() -> tuple[Any, Any]:
    """MiniLM's encoder under a random vocabulary head."""
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig.from_pretrained(minilm_folder()))
    weights = BertModel.from_pretrained(minilm_folder(), add_pooling_layer=False).state_dict()
    model.bert.load_state_dict(weights)
    return model, AutoTokenizer.from_pretrained(minilm_folder())


@torch.inference_mode()
def bare_logits(model: Any, tokenizer: Any, task: str, texts: list[str]) -> Any:
    """Batches of log-probabilities, (rows, width, vocabulary), with what they were computed from."""
    pad = tokenizer.pad_token_id or 0
    for row_batch in plain_batches(tokenizer, task, texts):
        width = max(len(row["ids"]) for row in row_batch)
        ids = torch.tensor([row["ids"] + [pad] * (width - len(row["ids"])) for row in row_batch])
        mask = torch.tensor([[1] * len(row["ids"]) + [0] * (width - len(row["ids"])) for row in row_batch])
        logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits
        yield row_batch, torch.log_softmax(logits.float(), dim=-1)


def plain_batches(tokenizer: Any, task: str, texts: list[str]) -> list[list[dict[str, Any]]]:
    """Rows in the order of the texts, as published: one row a text, or one a masked token."""
    rows = []
    for item, text in enumerate(texts):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if task == "lm":
            rows.append(
                {"item": item, "ids": [tokenizer.bos_token_id, *ids], "tokens": ids, "places": list(range(len(ids)))}
            )
            continue
        for place, token in enumerate(ids):
            masked = [tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]
            masked[place + 1] = tokenizer.mask_token_id
            rows.append({"item": item, "ids": masked, "tokens": [token], "places": [place + 1], "first": place})
    return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]


def run_bare(model: Any, tokenizer: Any, task: str, texts: list[str], _path: Path) -> None:
    for _rows, log_probabilities in bare_logits(model, tokenizer, task, texts):
        del log_probabilities


def run_plain(
    model: Any, tokenizer: Any, task: str, texts: list[str], path: Path
) -> tuple[list[dict[str, Any]], float]:
    """One dictionary a token, each value taken from the tensor on its own, all kept, then one csv.gz.

    Returns the rows, and the seconds that were spent on rows and file, model and best guesses not counted.
    """
    results, seconds = [], 0.0
    for rows, log_probabilities in bare_logits(model, tokenizer, task, texts):
        guesses = log_probabilities.argmax(-1)
        start = read_clock(model.device.type)
        for number, row in enumerate(rows):
            for index, (place, token) in enumerate(zip(row["places"], row["tokens"], strict=True)):
                scores = log_probabilities[number, place]
                best = int(guesses[number, place])
                subword = tokenizer.convert_ids_to_tokens(token)
                results.append({
                    "model_name": "bench", "task": task, "n_params": "124M", "item": row["item"],
                    "original_text": texts[row["item"]], "input_text": texts[row["item"]],
                    "token_num": row.get("first", index), "token": subword, "token_id": token,
                    "token_is_start_of_word": subword.startswith("Ġ"),
                    "surprisal": -float(scores[token]) / math.log(2), "predicted_token_id": best,
                    "predicted_token": tokenizer.convert_ids_to_tokens(best),
                    "predicted_token_surprisal": -float(scores[best]) / math.log(2),
                })  # fmt: skip
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    with gzip.open(path.with_suffix(".csv.gz"), "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, results[0])
        writer.writeheader()
        writer.writerows(results)
    return results, seconds + time.perf_counter() - start


def run_ours(surprisal_model: SurprisalModel, tables: SurprisalTables, texts: list[str], path: Path) -> None:
    examples = [ScoringExample(number, text, None, {}, "bench") for number, text in enumerate(texts)]
    with TableFile(path) as file:
        for chunk in in_chunks(examples):
            scored = surprisal_model.score([item.text for item in chunk])
            file.write(tables.build(describe_texts(surprisal_model, chunk, scored, {}, detail="token"), "token"))


def bench(name: str, model: Any, tokenizer: Any, task: str, texts: list[str], rounds: int) -> dict[str, Any]:
    """Equal values, then the three ways in turns."""
    plain_model = model.eval()
    ours_model = type(model)(model.config).to(model.device).eval()
    ours_model.load_state_dict(model.state_dict())
    surprisal_model = SurprisalModel(ours_model, tokenizer, task, masking="single", batch_size=BATCH)
    tables = make_tables(surprisal_model, "bench")  # spells the vocabulary once a run
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokens.parquet"
        difference = require_equal(surprisal_model, plain_model, texts[:64], path)
        ways = {
            "bare": lambda: run_bare(plain_model, tokenizer, task, texts, path),
            "ours": lambda: run_ours(surprisal_model, tables, texts, path),
            "plain": lambda: run_plain(plain_model, tokenizer, task, texts, path),
        }
        plain_books: list[float] = []
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for number in range(rounds):
            for way in list(ways) if number % 2 == 0 else reversed(list(ways)):
                start = read_clock(model.device.type)
                answer = ways[way]()
                runs[way].append({"seconds": read_clock(model.device.type) - start})
                plain_books += [answer[1]] if way == "plain" else []
        run_ours(surprisal_model, tables, texts, path)
        count = pq.read_metadata(path).num_rows
    seconds = {way: medians(results)["seconds"] for way, results in runs.items()}
    books = bookkeeping(surprisal_model, texts)
    plain = min(plain_books)
    result = {
        "model": name,
        "tokens": count,
        "largest_difference_bits": difference,
        **{f"{way}_tokens_per_second": count / value for way, value in seconds.items()},
        "ours_over_bare": seconds["ours"] / seconds["bare"],
        "plain_over_bare": seconds["plain"] / seconds["bare"],
        "ours_bookkeeping_us_per_token": 1e6 * books,
        "plain_bookkeeping_us_per_token": 1e6 * plain / count,
        "bookkeeping_ratio": plain / count / books,
    }
    print(json.dumps(result), file=sys.stderr, flush=True)
    return result


def bookkeeping(surprisal_model: SurprisalModel, texts: list[str]) -> float:
    """Seconds a token of everything but the model, over enough texts that a run's fixed costs fade.

    Scores are random numbers of the right shape; encoding, planning, words, tables and the file are as usual.
    """
    rows, tables = surprisal_model.rows, make_tables(surprisal_model, "bench")
    many = texts * max(2000 // len(texts), 1)

    class StandIn:
        follows = rows.follows

        def score(self, _plan: Any, _ids: Any, *, slots: int, encoder: Any = None) -> SlotScores:
            generator = np.random.default_rng(0)
            floats = [-10 * generator.random(slots, dtype=np.float32) for _ in range(3)]
            return SlotScores(floats[0], generator.integers(0, 4000, slots).astype(np.int32), floats[1], floats[2])

    surprisal_model.rows = StandIn()  # type: ignore[assignment]
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.parquet"
            times = []
            for _ in range(3):
                start = time.perf_counter()
                run_ours(surprisal_model, tables, many, path)
                times.append(time.perf_counter() - start)
            return min(times) / pq.read_metadata(path).num_rows
    finally:
        surprisal_model.rows = rows


def require_equal(surprisal_model: SurprisalModel, model: Any, texts: list[str], path: Path) -> float:
    """The largest difference in bits between both tables; ends the program where it is too large."""
    run_ours(surprisal_model, make_tables(surprisal_model, "bench"), texts, path)
    ours = pq.read_table(path)
    plain, _ = run_plain(model, surprisal_model.tokenizer, surprisal_model.task, texts, path)
    if ours.column("token_id").to_pylist() != [row["token_id"] for row in plain]:
        sys.exit("the two ways score different tokens")
    expected = np.array([row["surprisal"] for row in plain])
    difference = float(np.abs(ours.column("surprisal").to_numpy() - expected).max())
    if difference > TOLERANCE_BITS:
        sys.exit(f"surprisals differ by {difference} bits, more than {TOLERANCE_BITS}")
    return difference


def memory_growth(surprisal_model: SurprisalModel, texts: list[str]) -> float:
    """Megabytes that the peak grows by when four times as many tokens are written."""
    tables = make_tables(surprisal_model, "bench")
    with tempfile.TemporaryDirectory() as folder:
        run_ours(surprisal_model, tables, texts, Path(folder) / "a.parquet")
        before = peak_megabytes()
        run_ours(surprisal_model, tables, texts * 4, Path(folder) / "a.parquet")
        return peak_megabytes() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("narrow", "gpt2"), default="narrow")
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--masked_texts", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/results/")
    options = parser.parse_args()
    texts = read_texts(options.texts)
    model, tokenizer = make_gpt2(options.size, texts)
    results = [bench(options.size, model.to(options.device), tokenizer, "lm", texts, options.rounds)]
    growth = memory_growth(SurprisalModel(model, tokenizer, "lm"), texts)
    model, tokenizer = make_minilm()
    masked = texts[: options.masked_texts]
    results.append(bench("MiniLM", model.to(options.device), tokenizer, "mlm", masked, options.rounds))
    keys = list(results[0])
    lines = table(keys, [[result[key] for key in keys] for result in results])
    summary = {"hardware": hardware_line(options.device), "memory_growth_mb": growth, "results": results}
    print("\n".join(lines))
    if options.write:
        write_results("surprisal_tables", "Per-token surprisal tables", [summary["hardware"], "", *lines], summary)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
