"""Training steps and predictions of ModernBERT taggers: a native step, layer by layer, and padded as transformers runs them.

    python benchmarks/bench_modernbert.py --write

4 layers of ModernBERT's proportions (global, local, local, global; a window of 64 to both sides), random weights, no dropout
(the default), bfloat16, one thread, in one process: all models hold the same weights, take the same batches in turns, and
have to give nearly the same loss and logits. A training step is forward, backward and AdamW; a prediction is a forward pass
within whatever each side keeps over batches (`finetune/models/inference.py`, or autocast around each batch as stock has it).
Counted is processor time; ratios with 95 % intervals by bootstrap over rounds. The last line of standard output is JSON.
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

TOLERANCE = 0.02  # relative distance of losses and of all logits, bfloat16 against bfloat16
WIDTHS = {384: 6, 768: 12}  # hidden size: heads; the feed-forward network and its gate are 1.5 times as wide each
# Texts of a batch, and subwords of the shortest and the longest of them.
BATCHES = {"16 sentences of 6 to 60": (16, 6, 60), "8 texts of 256": (8, 256, 256)}
STEPS = {"training": 2, "prediction": 6}  # in a turn
STOCK, LAYERS, NATIVE = "transformers", "layer by layer", "native"


class Side:
    """One way to compute the model, with an optimizer of its own."""

    def __init__(self, name: str, model: Any) -> None:
        import torch

        from finetune.models.native.serving import use_native_encoder
        from finetune.models.unpadding.hooks import unpad_encoder
        from finetune.training.native_adamw import use_native_adamw

        self.name, self.model = name, model
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
        reason = unpad_encoder(model) if name != STOCK else None
        if name == NATIVE:
            reason = reason or use_native_encoder(model) or use_native_adamw(self.optimizer, model)
        if reason:
            sys.exit(f"{name}: {reason}")

    def training(self, batch: dict[str, Any]) -> float:
        import torch

        self.model.train()
        with torch.autocast("cpu", torch.bfloat16):
            loss = self.model(**batch).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    def predict(self, batches: list[dict[str, Any]]) -> Any:
        """The logits of the last batch."""
        import torch

        from finetune.models.inference import inference

        if self.name != STOCK:
            with inference(self.model, bf16=True):
                return [self.model(**batch).logits for batch in batches][-1]
        self.model.eval()
        with torch.inference_mode():
            for batch in batches:
                with torch.autocast("cpu", torch.bfloat16):
                    logits = self.model(**batch).logits
        return logits

    def timed(self, what: str, batch: dict[str, Any]) -> dict[str, float]:
        start = time.process_time()
        if what == "training":
            for _ in range(STEPS[what]):
                self.training(batch)
        else:
            self.predict([batch] * STEPS[what])
        return {"cpu_seconds": (time.process_time() - start) / STEPS[what]}


def make_sides(hidden: int) -> dict[str, Side]:
    import torch
    from transformers import AutoModelForTokenClassification, ModernBertConfig

    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": 8000, "hidden_size": hidden, "num_attention_heads": WIDTHS[hidden], "num_labels": 9,
        "intermediate_size": hidden * 3 // 2, "num_hidden_layers": 4, "pad_token_id": 0, "bos_token_id": 1,
        "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2,
    }  # fmt: skip
    model = AutoModelForTokenClassification.from_config(ModernBertConfig(**sizes))
    return {name: Side(name, copy.deepcopy(model)) for name in (STOCK, LAYERS, NATIVE)}


def make_batch(texts: int, shortest: int, longest: int) -> dict[str, Any]:
    """Texts of lengths evenly between both, padded to the longest, every subword with a label."""
    import torch

    lengths = torch.linspace(shortest, longest, texts).round().long()
    mask = (torch.arange(longest)[None] < lengths[:, None]).long()
    ids = torch.randint(5, 8000, (texts, longest), generator=torch.Generator().manual_seed(1)) * mask
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.where(mask.bool(), ids % 9, -100)}


def require_equal(sides: dict[str, Side], batch: dict[str, Any]) -> None:
    real = batch["attention_mask"].bool()
    logits = {name: side.predict([batch])[real].float() for name, side in sides.items()}
    losses = {name: side.training(batch) for name, side in sides.items()}
    for name in (LAYERS, NATIVE):
        distance = float((logits[name] - logits[STOCK]).norm() / logits[STOCK].norm())
        if not max(distance, abs(losses[name] / losses[STOCK] - 1)) <= TOLERANCE:
            sys.exit(f"{name}: not the same as {STOCK}: logits {distance:.1%} apart, losses {losses}")


def compare(hidden: int, name: str, rounds: int) -> list[dict[str, Any]]:
    """Training and prediction of all sides in turns, after one of each that is not counted."""
    sides, batch = make_sides(hidden), make_batch(*BATCHES[name])
    require_equal(sides, batch)
    found = []
    for what in STEPS:
        for side in sides.values():
            side.timed(what, batch)
        load = os.getloadavg()[0]
        runs = call_in_turns(list(sides), rounds, lambda side, what=what: sides[side].timed(what, batch))
        tokens = int(batch["attention_mask"].sum())
        facts = {"hidden": hidden, "batch": name, "tokens": tokens, "what": what, "rounds": rounds, "load": load}
        found.append(facts | {"runs": runs})
    return found


def describe(results: list[dict[str, Any]]) -> list[str]:
    told = "width", "batch", "what", "rounds", "load average", "native, us a token"
    header = (*told, "layer by layer / native", "transformers / native")
    rows = []
    for result in results:
        seconds = {side: [run["cpu_seconds"] for run in runs] for side, runs in result["runs"].items()}
        ratios = [str(Ratio.of(seconds[side], seconds[NATIVE])) for side in (LAYERS, STOCK)]
        each = 1e6 * median(seconds[NATIVE]) / result["tokens"]
        shown = result["rounds"], f"{result['load']:.1f}", f"{each:.1f}", *ratios
        rows.append((result["hidden"], result["batch"], result["what"], *shown))
    return table(header, rows)


def main() -> None:
    import torch

    from finetune.training.allocator import keep_freed_memory

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", nargs="+", type=int, choices=WIDTHS, default=list(WIDTHS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/results/modernbert.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as a training does
    results = [found for width in options.widths for name in BATCHES for found in compare(width, name, options.rounds)]
    kept = {"machine": hardware_line("cpu"), "results": results}
    title = "ModernBERT as a native step, layer by layer, and padded"
    tell_results("modernbert", title, describe(results), kept, write=options.write)


if __name__ == "__main__":
    main()
