"""Token classification beside the stock Hugging Face recipe: equality first, then encoding, then scores over paired seeds.

    python benchmarks/bench_token_classification.py --write             # everything (about forty minutes on two cores)
    python benchmarks/bench_token_classification.py --parts scores      # test F1 over paired seeds only

The stock side is what `run_ner.py` of transformers does: one batched call of the tokenizer, a plain
`transformers.Trainer`, `DataCollatorForTokenClassification`. Ours is what `scripts/run_ner.py` of this project does.
Both see the same sentences in the same batches. Every measurement is a process of its own; the sides take turns. How fast
training is, bench_training.py measures. The last line of standard output is JSON; `--write` keeps the tables in
benchmarks/results/, where parts that are not run stay as they were.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from kept_parts import Kept, tell_parts
from measure import PairedDifference, call_worker, hardware_line, seconds_of, table, take_turns
from tagging_sides import LONGEST, find_model, load_corpus, run_worker

# Written before the runs: mean test F1 of ours over the seeds may be below the stock recipe's by at most this much. Three
# seeds of MiniLM on WNUT17 have a standard deviation near 0.01 each, so the difference of two means has about 0.008.
F1_TOLERANCE = 0.01
LOSS_TOLERANCE = 1e-4  # relative, of the first step's float32 loss without dropout: the same batch, the same model
ENCODING_TOLERANCE = 1.0  # our encoding may take at most this times one batched call of the fast tokenizer
ENCODING_ROUNDS = 5
SIDES = {
    "stock": {"side": "stock", "bf16": False},
    "stock --bf16": {"side": "stock", "bf16": True},
    "ours": {"side": "ours"},
}


def compare_equality(thai_folder: str, _: argparse.Namespace) -> dict[str, Any]:
    """Without dropout the first float32 losses of both sides are those of the same batch and the same model."""
    return {"target": LOSS_TOLERANCE, "rows": {data: compare_losses(data, thai_folder) for data in LONGEST}}


def compare_losses(data: str, thai_folder: str) -> dict[str, Any]:
    exact = {"data": data, "thai_folder": thai_folder, "seed": 1, "steps": 3, "no_dropout": True, "bf16": False}
    losses = {side: call_worker(__file__, {**exact, "side": side})["losses"] for side in ("stock", "ours")}
    worst = max(abs(a - b) / abs(a) for a, b in zip(losses["stock"], losses["ours"], strict=True))
    if worst > LOSS_TOLERANCE:
        sys.exit(f"{data}: the losses differ by {worst:.1e}, more than {LOSS_TOLERANCE:.0e}: nothing to compare")
    return {"losses": losses, "difference": worst}


def compare_encoding(thai_folder: str, _: argparse.Namespace) -> dict[str, Any]:
    """Our encoding beside one batched call of the fast tokenizer over the same sentences, interleaved, from cold."""
    return {"target": ENCODING_TOLERANCE, "rows": {data: time_encoding(data, thai_folder) for data in LONGEST}}


def time_encoding(data: str, thai_folder: str) -> dict[str, float]:
    from transformers import AutoTokenizer

    from finetune.tagging.words import WordEncoder

    train = load_corpus(data)[0]["train"]
    tokenizer = AutoTokenizer.from_pretrained(find_model(data, Path(thai_folder)))
    sentences, column = train["words"][:], train.data.column("words")
    work: dict[str, Callable[[], object]] = {
        "tokenizer": lambda: tokenizer(sentences, is_split_into_words=True),
        "ours": lambda: WordEncoder(tokenizer).encode(column),
    }
    seconds = take_turns(("tokenizer", "ours"), ENCODING_ROUNDS, lambda name: {"seconds": seconds_of(work[name])})
    medians = {name: row["seconds"] for name, row in seconds.items()}
    return {**medians, "ratio": medians["ours"] / medians["tokenizer"]}


def compare_scores(thai_folder: str, options: argparse.Namespace) -> dict[str, Any]:
    """Whole trainings on WNUT17 over paired seeds (the same rows, batches and first weights): test F1 of every side."""
    common = {"data": "wnut17", "thai_folder": thai_folder, "epochs": options.epochs, "score": True}
    f1: dict[str, list[float]] = {side: [] for side in options.sides}
    for number, seed in enumerate(options.seeds):
        for side in options.sides if number % 2 == 0 else reversed(options.sides):
            f1[side].append(call_worker(__file__, {**common, **SIDES[side], "seed": seed})["f1"])
    differences = {side: PairedDifference.of(f1["ours"], f1[side]) for side in f1 if side != "ours"}
    return {
        "epochs": options.epochs,
        "seeds": options.seeds,
        "f1": f1,
        "differences": {side: asdict(difference) for side, difference in differences.items()},
        "tolerance": F1_TOLERANCE,
        "holds": all(difference.mean >= -F1_TOLERANCE for difference in differences.values()),
    }


PARTS: dict[str, Callable[[str, argparse.Namespace], dict[str, Any]]] = {
    "equality": compare_equality,
    "encoding": compare_encoding,
    "scores": compare_scores,
}
SAME: dict[str, tuple[str, ...]] = dict.fromkeys(PARTS, ("machine",))


def format_equality(part: dict[str, Any]) -> list[str]:
    worst = {data: row["difference"] for data, row in part["rows"].items()}
    told = ", ".join(f"{value:.1e} ({data})" for data, value in worst.items())
    return [
        f"First float32 losses of both sides without dropout, largest relative difference: {told}; allowed {part['target']}."
    ]


def format_encoding(part: dict[str, Any]) -> list[str]:
    rows = [(data, row["tokenizer"], row["ours"], row["ratio"]) for data, row in part["rows"].items()]
    return [
        "Words to subwords, seconds for the training split, beside one batched call of the fast tokenizer (allowed: "
        f"{part['target']} times).",
        "",
        *table(("data", "fast tokenizer, s", "ours, s", "ours / tokenizer"), rows),
    ]


def format_scores(part: dict[str, Any]) -> list[str]:
    f1 = part["f1"]
    rows = [(seed, *(f"{values[place]:.4f}" for values in f1.values())) for place, seed in enumerate(part["seeds"])]
    means = ("mean", *(f"{statistics.mean(values):.4f}" for values in f1.values()))
    told = [
        f"- Ours minus {side}: {PairedDifference(**difference)} (tolerance -{part['tolerance']})."
        for side, difference in part["differences"].items()
    ]
    return [
        f"WNUT17, test F1 after {part['epochs']:g} epoch(s), whole trainings with paired seeds; ours as it comes. "
        f"{'Holds' if part['holds'] else 'FAILS'}. Differences are means over the seeds with 95 % intervals of Student's t "
        "for pairs.",
        "",
        *table(("seed", *f1), [*rows, means]),
        "",
        *told,
    ]


FORMATS = {
    "equality": format_equality,
    "encoding": format_encoding,
    "scores": format_scores,
}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--epochs", type=float, default=3.0, help="epochs of the score comparison")
    parser.add_argument(
        "--sides", nargs="+", choices=SIDES, default=list(SIDES), help="of the score comparison, with ours"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results/")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.worker:
        print(json.dumps(run_worker(json.loads(options.worker))))
        return
    measured = {"machine": hardware_line("cpu"), "date": date.today().isoformat()}
    with tempfile.TemporaryDirectory() as folder:
        found = {part: PARTS[part](f"{folder}/thai", options) | measured for part in options.parts}
    keep = Kept("token_classification", "Token classification beside run_ner.py", SAME) if options.write else None
    tell_parts(found, FORMATS, keep=keep)
    if not found.get("scores", {"holds": True})["holds"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
