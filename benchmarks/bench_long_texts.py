"""Training steps and predictions of the native encoder step on long texts, beside the same layers as torch runs them.

    python benchmarks/bench_long_texts.py --write

Two layers of BERT of MiniLM's and of the base width, random weights, no dropout, no padding, bfloat16 (autocast on both
sides), one thread, in one process: both encoders hold the same weights, take the same batches in turns, and have to give
nearly the same states. Counted is processor time; ratios with 95 % intervals by bootstrap over rounds. The last line of
standard output is JSON.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import Ratio, call_in_turns, hardware_line, table, tell_results

TOLERANCE = 0.02  # relative distance of all states, bfloat16 against bfloat16
WIDTHS = {
    "MiniLM": (384, 12),
    "BERT base": (768, 12),
}  # hidden size, heads; the feed-forward network is 4 times as wide
BATCHES = {256: 8, 512: 4, 2048: 1}  # subwords of a text: texts of a batch
LAYERS = 2
TORCH, NATIVE = "torch", "native"


def make_encoders(width: str) -> dict[str, Any]:
    import torch
    from transformers import BertConfig, BertModel

    from finetune.models.native.serving import use_native_encoder
    from finetune.models.unpadding.hooks import unpad_encoder

    hidden, heads = WIDTHS[width]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=8000, hidden_size=hidden, num_attention_heads=heads, intermediate_size=4 * hidden,
        num_hidden_layers=LAYERS, max_position_embeddings=max(BATCHES), hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    plain = BertModel(config, add_pooling_layer=False)
    ours = copy.deepcopy(plain)
    reason = unpad_encoder(ours) or use_native_encoder(ours)
    if reason:
        sys.exit(reason)
    return {TORCH: plain, NATIVE: ours}


def make_batch(length: int) -> dict[str, Any]:
    import torch

    ids = torch.randint(5, 8000, (BATCHES[length], length), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def predict(model: Any, batch: dict[str, Any]) -> Any:
    import torch

    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        return model(**batch).last_hidden_state.float()


def train(model: Any, batch: dict[str, Any]) -> None:
    import torch

    model.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16):
        states = model(**batch).last_hidden_state
    states.float().square().mean().backward()


def timed(work: Any, model: Any, batch: dict[str, Any]) -> dict[str, float]:
    start = time.process_time()
    work(model, batch)
    return {"cpu_seconds": time.process_time() - start}


def compare(width: str, length: int, rounds: int) -> list[dict[str, Any]]:
    """Training and prediction, both encoders in turns, after one step of each that is not counted."""
    models, batch = make_encoders(width), make_batch(length)
    states = {side: predict(model, batch) for side, model in models.items()}
    distance = float((states[NATIVE] - states[TORCH]).norm() / states[TORCH].norm())
    if not distance <= TOLERANCE:
        sys.exit(f"{width}, {length}: the states are not the same ({distance:.1%} apart)")
    found = []
    for what, work in (("training", train), ("prediction", predict)):
        for model in models.values():
            work(model, batch)
        load = os.getloadavg()[0]
        runs = call_in_turns(list(models), rounds, lambda side, work=work: timed(work, models[side], batch))
        facts = {
            "width": width,
            "length": length,
            "texts": BATCHES[length],
            "what": what,
            "rounds": rounds,
            "load": load,
        }
        found.append(facts | {"distance": distance, "runs": runs})
    return found


def describe(results: list[dict[str, Any]]) -> list[str]:
    header = (
        "width",
        "subwords of a text",
        "what",
        "rounds",
        "load average",
        "native, us a token and layer",
        "torch / native",
    )
    rows = []
    for result in results:
        seconds = {side: [run["cpu_seconds"] for run in runs] for side, runs in result["runs"].items()}
        each = 1e6 * median(seconds[NATIVE]) / (result["length"] * result["texts"] * LAYERS)
        ratio = str(Ratio.of(seconds[TORCH], seconds[NATIVE]))
        shown = result["rounds"], f"{result['load']:.1f}", f"{each:.1f}", ratio
        rows.append((result["width"], result["length"], result["what"], *shown))
    return table(header, rows)


def main() -> None:
    import torch

    from finetune.training.allocator import keep_freed_memory

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", nargs="+", type=int, choices=BATCHES, default=list(BATCHES))
    parser.add_argument("--widths", nargs="+", choices=WIDTHS, default=list(WIDTHS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/results/long_texts.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as a training does
    results = [
        found
        for width in options.widths
        for length in options.lengths
        for found in compare(width, length, options.rounds)
    ]
    kept = {"machine": hardware_line("cpu"), "results": results}
    tell_results("long_texts", "The native step on long texts", describe(results), kept, write=options.write)


if __name__ == "__main__":
    main()
