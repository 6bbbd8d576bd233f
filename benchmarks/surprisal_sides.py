"""The sides of the surprisal benchmark, each in a process of its own that scores a share of the texts whenever it is told.

`python surprisal_sides.py SIDE FOLDER` loads the GPT-2 in FOLDER once. Each line of standard input is a list of texts as
JSON; the answer is a line with seconds, processor seconds and the surprisal of every token in bits.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

BATCH = 32
Score = Callable[[list[str]], list[float]]


def open_ours(folder: str) -> Score:
    """The table of tokens as Parquet, read back: what score.py does with texts."""
    import pyarrow.parquet as pq
    from bench_surprisal import SurprisalModel, make_tables, run_ours

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    surprisal_model = SurprisalModel(model, AutoTokenizer.from_pretrained(folder), "lm", batch_size=BATCH)
    tables = make_tables(surprisal_model, "bench")

    def score(texts: list[str]) -> list[float]:
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "tokens.parquet"
            run_ours(surprisal_model, tables, texts, path)
            return pq.read_table(path, columns=["surprisal"])["surprisal"].to_pylist()

    return score


def open_transformers(folder: str) -> Score:
    """Batches in the order of the texts, padded; log-softmax over the vocabulary, the tokens' own looked up; no table."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token

    @torch.inference_mode()
    def score(texts: list[str]) -> list[float]:
        found: list[float] = []
        for start in range(0, len(texts), BATCH):
            marked = [tokenizer.bos_token + text for text in texts[start : start + BATCH]]
            inputs = tokenizer(marked, padding=True, return_tensors="pt")
            logs = model(**inputs).logits[:, :-1].log_softmax(-1)
            own = logs.gather(-1, inputs["input_ids"][:, 1:, None])[..., 0] / -math.log(2)
            real = inputs["attention_mask"][:, 1:].bool()
            found += own[real].tolist()
        return found

    return score


def open_minicons(folder: str) -> Score:
    """minicons (Misra 2022): `token_score` of batches, with the beginning of the text in front."""
    from minicons import scorer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    model = scorer.IncrementalLMScorer(
        AutoModelForCausalLM.from_pretrained(folder).eval(), device="cpu", tokenizer=tokenizer
    )

    def score(texts: list[str]) -> list[float]:
        found: list[float] = []
        for start in range(0, len(texts), BATCH):
            batch = texts[start : start + BATCH]
            rows = model.token_score(batch, bos_token=True, bow_correction=False, surprisal=True, base_two=True)
            found += [row[1] for tokens in rows for row in tokens[1:]]
        return found

    return score


SIDES = {"ours": open_ours, "transformers": open_transformers, "minicons": open_minicons}


def main() -> None:
    side, folder = sys.argv[1:3]
    torch.set_num_threads(1)
    score = SIDES[side](folder)
    print(json.dumps({"ready": side}), flush=True)
    for line in sys.stdin:
        texts: list[str] = json.loads(line)
        began, processor = time.perf_counter(), time.process_time()
        bits = score(texts)
        answer: dict[str, Any] = {"seconds": time.perf_counter() - began}
        answer |= {"cpu_seconds": time.process_time() - processor, "bits": bits}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
