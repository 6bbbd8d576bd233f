"""Prediction beside the stock Trainer, plain eager code and OpenVINO: equal results first, then processor time by turns.

    python benchmarks/bench_prediction.py                                  # short texts, 256, 512; 1 and 2 threads; 7 rounds
    python benchmarks/bench_prediction.py --lengths 0 256 --threads 2 --rounds 9 --write
    PYTHONPATH=/somewhere/site-packages python benchmarks/bench_prediction.py     # OpenVINO from an environment of its own

MiniLM as a tagger, WNUT17's test sentences, or with a length texts of nearly so many subwords, made by joining them. Every
side lives in a process of its own and takes its turn once a round, every second round backwards. Stock, and ours through
the Trainer, carry loader, collator and loss; ours as predict.py carries collator and sorting; eager and OpenVINO are bare
loops over ready ids. OpenVINO takes part where it is installed. `--write` keeps the tables in benchmarks/results/, where
those that are not made now stay. The last line of standard output is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from kept_parts import read_kept
from live_side import LiveSide
from measure import call_in_turns, hardware_line, ratio_interval, table, write_results

# Written before any run.
FLOAT_TOLERANCE = 1e-4  # largest difference of logits from those of stock float32
SHORT_TOLERANCE = 0.03  # mean difference, as a share of the mean size of logits
TARGETS = {"stock_float32": 12.0, "stock_bf16": 7.0, "openvino_bf16": 1.5}  # at least so many times as fast, with AMX
NAMES = (
    "stock_float32", "stock_bf16", "eager_cast_once", "openvino_bf16", "ours", "ours_trainer", "ours_without_native",
    "ours_float32",
)  # fmt: skip
WHOLE = ("stock_float32", "ours_float32")  # compute in float32


def compare(options: argparse.Namespace, length: int | None, threads: int) -> dict[str, Any]:
    names = [name for name in options.sides if name != "openvino_bf16" or find_spec("openvino")]
    with contextlib.ExitStack() as stack:
        words = {"batch": options.batch, "threads": threads, "sentences": options.sentences, "length": length}
        sides = {name: LiveSide(__file__, words | {"side": name}, threads, options.isa) for name in names}
        for side in sides.values():
            stack.callback(side.end)
        differences = check_equality(sides)
        runs = call_in_turns(names, options.rounds, lambda name: tell(name, sides[name].ask("go")))
    load = os.getloadavg()[0]
    kept = {"date": date.today().isoformat(), "length": length, "threads": threads, "rounds": options.rounds}
    return kept | {"isa": options.isa, "load": load, "differences": differences, "runs": runs}


def tell(name: str, answer: dict[str, Any]) -> dict[str, Any]:
    print(f"  {name}: {json.dumps(answer)}", file=sys.stderr, flush=True)
    return answer


def check_equality(sides: dict[str, LiveSide]) -> dict[str, dict[str, float]]:
    """Differences of logits from those of stock float32; ends the program if they are too large. A warmup, too."""
    import numpy as np

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, side in sides.items():
            side.ask(f"check {folder}/{name}.npy")
            found[name] = np.load(f"{folder}/{name}.npy")
    expected = found.get("stock_float32", next(iter(found.values())))
    told = {name: differ(logits, expected) for name, logits in found.items()}
    wrong = [name for name, one in told.items() if not agrees(name, one)]
    if wrong:
        sys.exit(f"{', '.join(wrong)}: logits differ from those of stock float32, there is nothing to compare: {told}")
    return told


def differ(logits: Any, expected: Any) -> dict[str, float]:
    distance = abs(logits - expected)
    same = float((logits.argmax(-1) == expected.argmax(-1)).mean())
    return {"largest": float(distance.max()), "mean": float(distance.mean() / abs(expected).mean()), "same_label": same}


def agrees(name: str, one: dict[str, float]) -> bool:
    return one["largest"] <= FLOAT_TOLERANCE if name in WHOLE else one["mean"] <= SHORT_TOLERANCE


def describe(result: dict[str, Any]) -> list[str]:
    """The table of one number of threads: rates, and how many times the processor time of ours each side takes."""
    runs = result["runs"]
    ours = [run["cpu_seconds"] for run in runs["ours"]]
    header = ("side", "sentences/s of a processor", "sentences/s", "times the processor time of ours", "95 % interval",
              "mean / largest difference of logits", "same label")  # fmt: skip
    rows = []
    for name, rounds in runs.items():
        seconds, difference = [run["cpu_seconds"] for run in rounds], result["differences"][name]
        low, high = ratio_interval(seconds, ours)
        rows.append(
            (
                name,
                rounds[0]["sentences"] / median(seconds),
                rounds[0]["sentences"] / median(run["seconds"] for run in rounds),
                f"{median(seconds) / median(ours):.2f}",
                f"{low:.2f} to {high:.2f}",
                f"{difference['mean']:.1%} / {difference['largest']:.1e}",
                f"{difference['same_label']:.2%}",
            )
        )
    first = runs["ours"][0]
    facts = (
        f"{first['sentences']} texts of {first['tokens']} subwords together, {result['date']}, {result['rounds']} rounds, "
        f"load average {result['load']:.1f} at the end"
    ) + (f", ONEDNN_MAX_CPU_ISA={result['isa']}." if result["isa"] else ".")
    return [f"## {title_of(result)}", "", facts, "", *table(header, rows), "", *judge(runs, ours), ""]


def title_of(result: dict[str, Any]) -> str:
    texts = f"texts of up to {result['length']} subwords" if result["length"] else "short texts"
    return f"{texts}, {result['threads']} thread(s)" + (f", {result['isa']}" if result["isa"] else "")


def judge(runs: dict[str, Any], ours: Sequence[float]) -> list[str]:
    lines = []
    for name in [name for name in TARGETS if name in runs]:
        times = median(run["cpu_seconds"] for run in runs[name]) / median(ours)
        verdict = "met" if times >= TARGETS[name] else f"missed by {1 - times / TARGETS[name]:.0%}"
        lines.append(f"- Target with AMX: {TARGETS[name]:g} times as fast as {name}; here {times:.2f}: {verdict}.")
    return lines


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", nargs="+", type=int, default=[0, 256, 512], help="0: the sentences as they are")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--isa", help="at most these instructions, as oneDNN's ONEDNN_MAX_CPU_ISA (AVX512_CORE_BF16)")
    parser.add_argument("--sides", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=16, help="sentences of a stock batch, and at least of ours")
    parser.add_argument("--sentences", type=int, default=10**9, help="so many of the test sentences")
    parser.add_argument("--write", action="store_true", help="keep the tables in benchmarks/results/prediction.md")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if "ours" not in options.sides and not options.worker:
        parser.error("--sides needs ours, to which the others are compared")
    return options


def main() -> None:
    options = parse()
    if options.worker:
        from prediction_sides import live

        live(options.worker)
        return
    machine = hardware_line("cpu")
    tables = read_kept("prediction", machine).get("tables", {}) if options.write else {}
    result = {"machine": machine, "tables": tables}
    for length, threads in itertools.product(options.lengths, options.threads):
        found = compare(options, length or None, threads)
        tables[title_of(found)] = found
        if options.write:  # at once: a run that is cut off leaves whole tables
            write_results(
                "prediction", "Prediction beside stock, eager code and OpenVINO", describe_all(result), result
            )
    print("\n".join(describe_all(result)))
    print(json.dumps(result))


def describe_all(result: dict[str, Any]) -> list[str]:
    about = "MiniLM tags WNUT17's test sentences; what each side includes is said in benchmarks/bench_prediction.py."
    parts = [describe(one) for one in result["tables"].values()]
    return [result["machine"], "", about, "", *(line for part in parts for line in part)]


if __name__ == "__main__":
    main()
