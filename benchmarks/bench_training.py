"""Training steps of the stock Hugging Face recipe and of this project in one run: equal losses first, then time by turns.

    python benchmarks/bench_training.py --write                               # the main tables, 1 and 2 threads, an hour
    python benchmarks/bench_training.py --tasks ner --threads 2 --write       # one table, about five minutes
    python benchmarks/bench_training.py --tasks ner --threads 2 --isa AVX512_CORE_BF16 --write    # a CPU with AMX without it
    python benchmarks/bench_training.py --tasks profile --threads 1 --write   # where the time of our steps goes
    python benchmarks/bench_training.py --device cuda --write

Stock is a plain `transformers.Trainer` with the collators of transformers, as in `run_ner.py`, `run_glue.py` and
`run_mlm.py`; ours is this project's `build_trainer` with nothing switched on by hand. All carry Trainer, data loader and
collator. They start from the same weights and draw batches of the same size from the same rows: the same random ones, but
`stock_bf16_grouped`, which has `train_sampling_strategy=group_by_length`. Each side lives in a process of its own and trains
some steps when its turn comes, once a round, every second round backwards; what is too large to live together starts anew
for each turn. The table for AMX is the one that a CPU with AMX gives without `--isa`.

Compared is processor time for a real token (wall time on a GPU), so that batches need not hold the same number of tokens.
Ratios are those of medians over rounds, with 95 % intervals by bootstrap over rounds. The last line of standard output is
JSON. `--write` keeps the tables in benchmarks/results/, where what is not run now keeps what it had.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from kept_parts import read_kept
from live_side import LiveSide
from measure import call_in_turns, call_worker, hardware_line, write_results
from training_sides import RECIPES, run_worker
from training_tables import describe_all

# Written before any run, relative to the first losses of stock in float32; no side has dropout then.
FLOAT_TOLERANCE = 1e-5  # the first step of float32 sides: the same rows (and masks) and weights
STEPS_TOLERANCE = 1e-3  # their first three steps
SHORT_TOLERANCE = 1e-2  # the first three steps in bfloat16
EQUAL_STEPS, EQUAL_BATCH = 3, 4

MAIN_TASKS = ("ner", "ner_256", "ner_512", "ner_base", "mlm", "xlmr_vocabulary")
OTHER_TASKS = ("classification", "mlm_roberta", "ner_base_256", "thainer_base", "mlm_512", "profile")
CUDA_TASKS = ("ner", "ner_base", "thainer_base", "mlm_512", "xlmr_vocabulary")
STEPS = {"ner": 8, "classification": 8, "xlmr_vocabulary": 2}  # of a turn; others 1
BATCHES = {"ner_512": 8, "ner_base_256": 8}  # others as --batch says
ALONE = ("xlmr_vocabulary", "thainer_base", "ner_base_256")  # six sides at once would not fit into memory
UNGROUPED = ("mlm", "mlm_roberta", "mlm_512")  # texts of one length
SIDES = tuple(name for name, recipe in RECIPES.items() if not recipe.get("extra"))


def compare(task: str, threads: int, options: argparse.Namespace) -> dict[str, Any]:
    """Every side on one task: losses, then what each gave in each round."""
    sides = [name for name in options.sides if task not in UNGROUPED or name != "stock_bf16_grouped"]
    common = {
        "task": task, "device": options.device, "batch": BATCHES.get(task, options.batch), "warmup": options.warmup,
        "steps": options.steps or STEPS.get(task, 1),
    }  # fmt: skip
    losses = check_equality(sides, common, options.isa)
    with contextlib.ExitStack() as stack:
        turn = take_turn_alone if task in ALONE else live_together(sides, common, threads, options.isa, stack)
        load_before = os.getloadavg()[0]
        runs = call_in_turns(sides, options.rounds, lambda name: tell(name, turn(name, common, threads, options.isa)))
    kept = {"date": date.today().isoformat(), "rounds": options.rounds, "threads": threads, "isa": options.isa}
    return kept | common | {"load": [load_before, os.getloadavg()[0]], "first_losses": losses, "runs": runs}


Turn = Callable[[str, dict[str, Any], int, str | None], dict[str, Any]]


def live_together(
    sides: list[str], common: dict[str, Any], threads: int, isa: str | None, stack: contextlib.ExitStack
) -> Turn:
    """Processes that live until `stack` is left, warmed up; returns what gives one its turn."""
    living = {name: LiveSide(__file__, common | {"recipe": name, "threads": threads}, threads, isa) for name in sides}
    for side in living.values():
        stack.callback(side.end)
    for side in living.values():
        side.ask("warmup")
    return lambda name, *_: living[name].ask("go")


def take_turn_alone(name: str, common: dict[str, Any], threads: int, isa: str | None) -> dict[str, Any]:
    side = LiveSide(__file__, common | {"recipe": name, "threads": threads}, threads, isa)
    try:
        side.ask("warmup")
        return side.ask("go")
    finally:
        side.end()


def tell(name: str, answer: dict[str, Any]) -> dict[str, Any]:
    print(f"  {name}: {json.dumps(answer)}", file=sys.stderr, flush=True)
    return answer


def check_equality(sides: list[str], common: dict[str, Any], isa: str | None) -> dict[str, list[float]]:
    """The first losses of every side without dropout; ends the program if one is not stock's in float32."""
    words = {"equal_steps": EQUAL_STEPS, "batch": EQUAL_BATCH, "threads": 1}
    compared = dict.fromkeys(("stock_float32", *(name for name in sides if name != "stock_bf16_grouped")))

    def first_losses(name: str) -> list[float]:
        return call_worker(__file__, common | words | {"recipe": name}, isa=isa)["losses"]

    with ThreadPoolExecutor(1 if common["task"] in ALONE else 2) as pool:
        losses = dict(zip(compared, pool.map(first_losses, compared), strict=True))
    expected = losses["stock_float32"]
    wrong = [name for name, found in losses.items() if not agree(expected, found, RECIPES[name])]
    if wrong:
        sys.exit(f"{common['task']}: the first losses of {', '.join(wrong)} are not those of stock: {losses}")
    return losses


def agree(expected: list[float], found: list[float], recipe: dict[str, Any]) -> bool:
    apart = [abs(a - b) / abs(a) for a, b in zip(expected, found, strict=True)]
    if not recipe["float32"]:
        return max(apart) <= SHORT_TOLERANCE
    return apart[0] <= FLOAT_TOLERANCE and max(apart) <= STEPS_TOLERANCE


def profile(threads: int, options: argparse.Namespace) -> dict[str, Any]:
    """Shares of what our steps compute, and of stock's in bfloat16."""
    common = {"device": options.device, "batch": options.batch, "steps": 24, "warmup": 8, "threads": threads}
    shares = {
        f"ner, {name}": call_worker(__file__, common | {"task": "ner", "recipe": name, "profile": True})["shares"]
        for name in ("stock_bf16", "ours_without_native", "ours")
    }
    return {"date": date.today().isoformat(), "threads": threads, "load": os.getloadavg()[0], "shares": shares}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=(*MAIN_TASKS, *OTHER_TASKS))
    parser.add_argument("--sides", nargs="+", choices=list(RECIPES), default=list(SIDES))
    parser.add_argument("--threads", nargs="+", type=int, default=[2, 1])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--isa", help="at most these instructions, as oneDNN's ONEDNN_MAX_CPU_ISA (AVX512_CORE_BF16)")
    parser.add_argument("--batch", type=int, default=16, help="texts of a batch (8 of 512 tokens)")
    parser.add_argument("--rounds", type=int, default=7, help="turns that each side takes")
    parser.add_argument("--steps", type=int, help="measured steps of a turn (default: by task)")
    parser.add_argument("--warmup", type=int, default=2, help="steps before the first turn")
    parser.add_argument("--write", action="store_true", help="keep the tables in benchmarks/results/")
    parser.add_argument("--name", help="name of that file")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if "ours" not in options.sides:
        parser.error("--sides needs ours, to which the others are compared")
    return options


def main() -> None:
    options = parse()
    if options.worker:
        run_worker(options.worker)
        return
    name = options.name or ("training" if options.device == "cpu" else "training_cuda")
    machine = hardware_line(options.device)
    tables = read_kept(name, machine).get("tables", {}) if options.write else {}
    result = {"machine": machine, "tables": tables}
    for task in options.tasks or (MAIN_TASKS if options.device == "cpu" else CUDA_TASKS):
        for threads in options.threads:
            found = profile(threads, options) if task == "profile" else compare(task, threads, options)
            tables[f"{task}, {threads} thread(s)" + (f", {options.isa}" if options.isa else "")] = found
            if options.write:  # at once: a run that is cut off leaves whole tables
                write_results(name, "Training beside the stock recipe", describe_all(result), result)
    print("\n".join(describe_all(result)))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
