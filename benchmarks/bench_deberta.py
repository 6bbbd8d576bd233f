"""Training steps of DeBERTa taggers without padding, beside the same models as transformers runs them.

    python benchmarks/bench_deberta.py --write

Forward and backward of v3 (`share_att_key`, 256 buckets of distances) and v1, 4 layers of 384, random weights, float32, one
thread, in one process: both models hold the same weights, take the same batches in turns, and have to give the same loss.
Counted is processor time; ratios with 95 % intervals by bootstrap over rounds. The last line of standard output is JSON.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import Ratio, call_in_turns, hardware_line, table, tell_results

LOSS_TOLERANCE = 1e-5  # relative, without dropout, in float32
# Texts of a batch, and subwords of the shortest and the longest of them.
BATCHES = {
    "16 sentences of 6 to 60": (16, 6, 60),
    "8 texts of 20 to 128": (8, 20, 128),
    "8 texts of 128": (8, 128, 128),
}
PLAIN, OURS = "transformers", "unpadded"


def make_models(version: str) -> dict[str, Any]:
    """Two taggers with the same weights and no dropout."""
    import torch
    from transformers import AutoModelForTokenClassification, DebertaConfig, DebertaV2Config

    from finetune.models.unpadding.hooks import unpad_encoder

    sizes: dict[str, Any] = {
        "vocab_size": 8000, "hidden_size": 384, "num_hidden_layers": 4, "num_attention_heads": 6, "intermediate_size": 1536,
        "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "num_labels": 9, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }  # fmt: skip
    torch.manual_seed(0)
    v3: dict[str, Any] = {
        "share_att_key": True, "position_buckets": 256, "norm_rel_ebd": "layer_norm", "type_vocab_size": 0,
        "position_biased_input": False,
    }  # fmt: skip
    config = DebertaV2Config(**sizes, **v3) if version == "v3" else DebertaConfig(**sizes)
    plain = AutoModelForTokenClassification.from_config(config)
    ours = copy.deepcopy(plain)
    reason = unpad_encoder(ours)
    if reason:
        sys.exit(reason)
    return {PLAIN: plain, OURS: ours}


def make_batch(texts: int, shortest: int, longest: int) -> dict[str, Any]:
    """Texts of lengths evenly between both, padded to the longest, every subword with a label."""
    import torch

    lengths = torch.linspace(shortest, longest, texts).round().long()
    mask = (torch.arange(longest)[None] < lengths[:, None]).long()
    ids = torch.randint(5, 8000, (texts, longest), generator=torch.Generator().manual_seed(1)) * mask
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.where(mask.bool(), ids % 9, -100)}


def step(model: Any, batch: dict[str, Any]) -> dict[str, float]:
    model.zero_grad(set_to_none=True)
    start = time.process_time()
    loss = model(**batch).loss
    loss.backward()
    return {"cpu_seconds": time.process_time() - start, "loss": loss.item()}


def compare(version: str, name: str, rounds: int) -> dict[str, Any]:
    """Both models in turns on one batch, after two steps of each that are not counted."""
    models, batch = make_models(version), make_batch(*BATCHES[name])
    losses = {side: [step(model, batch)["loss"] for _ in range(2)][-1] for side, model in models.items()}
    if abs(losses[OURS] / losses[PLAIN] - 1) > LOSS_TOLERANCE:
        sys.exit(f"{version}, {name}: the losses are not the same: {losses}")
    load = os.getloadavg()[0]
    runs = call_in_turns(list(models), rounds, lambda side: step(models[side], batch))
    padding = 1 - float(batch["attention_mask"].float().mean())
    return {"version": version, "batch": name, "padding": padding, "rounds": rounds, "load": load, "runs": runs}


def describe(results: list[dict[str, Any]]) -> list[str]:
    header = ("model", "batch", "padding", "rounds", "load average", "transformers / unpadded")
    rows = []
    for result in results:
        seconds = {side: [run["cpu_seconds"] for run in runs] for side, runs in result["runs"].items()}
        ratio = str(Ratio.of(seconds[PLAIN], seconds[OURS]))
        shown = f"{result['padding']:.0%}", result["rounds"], f"{result['load']:.1f}", ratio
        rows.append((f"DeBERTa {result['version']}", result["batch"], *shown))
    return table(header, rows)


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/results/deberta.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = [compare(version, name, options.rounds) for version in ("v3", "v1") for name in BATCHES]
    kept = {"machine": hardware_line("cpu"), "results": results}
    tell_results("deberta", "DeBERTa without padding", describe(results), kept, write=options.write)


if __name__ == "__main__":
    main()
