"""The fast path beside the stock Hugging Face recipe: equality first, then speed and memory, on a CPU or a GPU.

    python benchmarks/bench_fast_path.py                                  # all tasks of a CPU, about 40 minutes
    python benchmarks/bench_fast_path.py --tasks ner mlm --rounds 5 --write
    python benchmarks/bench_fast_path.py --tasks profile --write          # where the time of our steps goes
    python benchmarks/bench_fast_path.py --device cuda --tasks ner_base mlm_512 xlmr_vocabulary

The stock side is a plain `transformers.Trainer` with the collators of transformers, as in `run_ner.py`, `run_glue.py` and
`run_mlm.py`; ours is this project's `build_trainer` with nothing switched on by hand. Both draw random batches of the same
size from the same rows, and start from the same weights. `*_sorted` recipes batch by length, each side in its own way.
Every measurement is a process of its own, and the recipes take turns. The last line of standard output is JSON. `--write`
keeps a table in benchmarks/results/, where tasks that are not run now keep what they had.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fast_path_sides import RECIPES, run_worker
from kept_parts import read_kept
from measure import call_in_turns, call_worker, hardware_line, medians, ratio_interval, table, write_results

# Written before any run.
LOSS_TOLERANCE = 1e-5  # relative: float32 loss without dropout, the same rows (and masks) and weights
TARGETS = {  # task -> at least so many times as fast as stock
    "ner": {"stock_float32": 3.2, "stock_bf16": 2.2},
    "prediction": {"stock_float32": 3.0},
    "mlm": {"stock_float32": 3.0, "stock_bf16": 1.8},
    "mlm_roberta": {"stock_float32": 3.0, "stock_bf16": 1.8},
    "xlmr_vocabulary": {"stock_float32": 2.0},
    "ner_base": {"stock_bf16": 2.0},
    "thainer_base": {"stock_bf16": 2.0},
}
MEMORY_TARGET = {"xlmr_vocabulary": 0.5}  # at most this part of the peak of stock float32
UTILISATION_TARGET = {"mlm_512": 0.55}  # on a GPU
SEEDS = (1, 2, 3)
# Mean test F1 over the seeds after one epoch may differ by at most this much. One run of MiniLM on WNUT17 has a standard
# deviation near 0.012, so the difference of two means over three seeds has about 0.01.
F1_TOLERANCE = 0.02

CPU_TASKS = ("ner", "classification", "mlm", "mlm_roberta", "prediction", "xlmr_vocabulary", "profile")
CUDA_TASKS = ("ner", "ner_base", "thainer_base", "mlm_512", "xlmr_vocabulary")
SORTED_TASKS = (
    "ner",
    "classification",
    "ner_base",
    "thainer_base",
)  # the others' texts have one length, or are not drawn
STEPS = {"xlmr_vocabulary": 4, "prediction": 40}  # measured steps; others as --steps says
PROFILED = ("ner",)


def compare(task: str, options: argparse.Namespace) -> dict[str, Any]:
    """All recipes on one task: loss difference, then the medians of every recipe's figures and each round's seconds."""
    import torch

    steps = STEPS.get(task, options.steps)
    warmup = 2 if task == "xlmr_vocabulary" else options.warmup
    common = {"task": task, "device": options.device, "batch": options.batch, "steps": steps, "warmup": warmup}
    difference = check_equality(task, options)
    recipes = [name for name in options.recipes if task in SORTED_TASKS or not name.endswith("_sorted")]
    runs = call_in_turns(recipes, options.rounds, lambda name: call_worker(__file__, common | {"recipe": name}))
    figures = {name: medians(results) for name, results in runs.items()}
    for name, figure in figures.items():
        rate = figure["float32_rate" if name == "stock_float32" else "bf16_rate"]
        figure["utilisation"] = figure["useful_flops_per_second"] / rate
    return {
        "date": date.today().isoformat(),
        "rounds": options.rounds,
        "loss_difference": difference,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "recipes": figures,
        "processor_seconds": {name: [run["cpu_seconds_per_step"] for run in results] for name, results in runs.items()},
    }


def check_equality(task: str, options: argparse.Namespace) -> float:
    """Relative difference of the first loss of both sides in float32 without dropout; ends the program if it is one."""
    common = {"task": task, "device": options.device, "batch": options.batch, "steps": 1, "warmup": 1}
    workers = (common | {"no_dropout": True, "recipe": name} for name in ("stock_float32", "ours"))
    stock, ours = (call_worker(__file__, worker)["first_loss"] for worker in workers)
    difference = abs(stock - ours) / abs(stock)
    if difference > LOSS_TOLERANCE:
        sys.exit(f"{task}: the first losses {stock} and {ours} differ by {difference:.1e}: there is nothing to compare")
    return difference


def describe(task: str, result: dict[str, Any]) -> list[str]:
    """The table of one task, and its targets."""
    figures = result["recipes"]
    base = figures.get("stock_float32") or next(iter(figures.values()))
    short = figures.get("stock_bf16", base)
    header = ("recipe", "x stock float32", "x stock bf16", "by processor time", "sentences/s", "real tokens/s",
              "utilisation", "peak GB")  # fmt: skip
    rows = [
        (
            name,
            f["sentences_per_second"] / base["sentences_per_second"],
            f["sentences_per_second"] / short["sentences_per_second"],
            f"{base['cpu_seconds_per_step'] / f['cpu_seconds_per_step']:.2f} / "
            f"{short['cpu_seconds_per_step'] / f['cpu_seconds_per_step']:.2f}",
            f["sentences_per_second"],
            f["tokens_per_second"],
            f"{f['utilisation']:.0%}",
            f["peak_gigabytes"],
        )
        for name, f in figures.items()
    ]
    facts = [
        f"Medians of {result['rounds']} round(s), {result['date']}.",
        f"The losses of both sides differ by {result['loss_difference']:.0e} of their value.",
        *describe_intervals(result),
        *judge(task, figures),
    ]
    return [f"## {task}", "", *table(header, rows), "", *(f"- {fact}" for fact in facts), ""]


def describe_intervals(result: dict[str, Any]) -> list[str]:
    """Ratios of ours to each other recipe with intervals; results that were kept before rounds were have none."""
    seconds = result.get("processor_seconds", {})
    if len(seconds.get("ours", ())) < 2:
        return []
    ours = seconds["ours"]
    others = {name: ratio_interval(rounds, ours) for name, rounds in seconds.items() if name != "ours"}
    ratios = "; ".join(f"{name} {low:.2f} to {high:.2f}" for name, (low, high) in others.items())
    return [
        f"{result['threads']} thread(s), load average {result['load']:.0f} at the end. Processor seconds of other recipes "
        f"as multiples of ours, 95 % intervals by bootstrap over rounds: {ratios}."
    ]


def judge(task: str, figures: dict[str, Any]) -> list[str]:
    """A sentence for each target of the task."""
    if "ours" not in figures:
        return []
    ours = figures["ours"]
    sentences = [
        sentence(f"times {name} in speed", ours["sentences_per_second"] / figures[name]["sentences_per_second"], target)
        for name, target in TARGETS.get(task, {}).items()
        if name in figures
    ]
    if task in MEMORY_TARGET and "stock_float32" in figures:
        share = ours["peak_gigabytes"] / figures["stock_float32"]["peak_gigabytes"]
        sentences.append(sentence("of stock_float32's peak memory", share, MEMORY_TARGET[task], at_most=True))
    if task in UTILISATION_TARGET:
        sentences.append(sentence("of the device's rate", ours["utilisation"], UTILISATION_TARGET[task]))
    return sentences


def sentence(what: str, value: float, target: float, *, at_most: bool = False) -> str:
    met = value <= target if at_most else value >= target
    verdict = "met" if met else f"missed by {abs(value / target - 1):.0%}"
    return f"Target: {'at most' if at_most else 'at least'} {target:g} {what}; measured {value:.2f}: {verdict}."


def profile(options: argparse.Namespace) -> dict[str, Any]:
    """Shares of what our steps compute, by task, and of stock's in bfloat16."""
    common = {"device": options.device, "batch": options.batch, "steps": options.steps, "warmup": options.warmup}
    sides = [(task, name) for task in PROFILED for name in ("stock_bf16", "ours")]
    shares = {
        f"{task}, {name}": call_worker(__file__, common | {"task": task, "recipe": name, "profile": True})["shares"]
        for task, name in sides
    }
    import torch

    return {"date": date.today().isoformat(), "threads": torch.get_num_threads(), "shares": shares}


def describe_profile(result: dict[str, Any]) -> list[str]:
    shares = result["shares"]
    names = max(shares.values(), key=len)
    rows = [(name, *(f"{share.get(name, 0.0):.0%}" for share in shares.values())) for name in names]
    text = (
        f"Shares of the time of training steps by operators' own time, {result['threads']} thread(s), {result['date']}; the "
        "profiler itself adds some to small ones."
    )
    return ["## Where the time goes", "", text, "", *table(("what", *shares), rows), ""]


def compare_scores(options: argparse.Namespace) -> dict[str, Any]:
    """Test F1 of both sides over paired seeds."""
    common = {"task": "ner", "device": options.device, "batch": options.batch, "warmup": 8, "epochs": options.epochs}
    names = ("stock_float32", "ours")
    scores: dict[str, list[float]] = {name: [] for name in names}
    for seed in SEEDS:
        for name in names:
            scores[name].append(call_worker(__file__, common | {"recipe": name, "seed": seed})["f1"])
    difference = sum(scores["ours"]) / len(SEEDS) - sum(scores["stock_float32"]) / len(SEEDS)
    within = abs(difference) <= F1_TOLERANCE
    return {"f1": scores, "difference": difference, "tolerance": F1_TOLERANCE, "within_tolerance": within}


def describe_scores(result: dict[str, Any]) -> list[str]:
    rows = [(name, *scores, sum(scores) / len(scores)) for name, scores in result["f1"].items()]
    verdict = "within" if result["within_tolerance"] else "OUTSIDE"
    ends = f"Difference of the means {result['difference']:+.4f}, {verdict} the tolerance of {result['tolerance']}."
    return ["## Test F1 on WNUT17 after one epoch", "", *table(("recipe", *map(str, SEEDS), "mean"), rows), "",
            ends, ""]  # fmt: skip


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=sorted({*CPU_TASKS, *CUDA_TASKS}))
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=16, help="sentences of a batch")
    parser.add_argument("--rounds", type=int, default=3, help="turns that each recipe takes")
    parser.add_argument("--steps", type=int, default=24, help="measured steps of a turn")
    parser.add_argument("--warmup", type=int, default=8, help="steps before")
    parser.add_argument(
        "--scores", action="store_true", help="compare test F1 over three seeds, too (alone: only that)"
    )
    parser.add_argument("--epochs", type=float, default=1.0, help="epochs of the score comparison")
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/results/")
    parser.add_argument("--name", help="name of that table")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def choose_tasks(options: argparse.Namespace) -> tuple[str, ...]:
    if options.tasks or options.scores:
        return tuple(options.tasks or ())
    return CPU_TASKS if options.device == "cpu" else CUDA_TASKS


def describe_all(result: dict[str, Any]) -> list[str]:
    known = dict.fromkeys((*CPU_TASKS, *CUDA_TASKS))
    tasks = result["tasks"]
    parts = [describe_profile(tasks[t]) if t == "profile" else describe(t, tasks[t]) for t in known if t in tasks]
    parts += [describe_scores(result["scores"])] if "scores" in result else []
    scores = "Test scores of whole trainings over paired seeds: token_classification.md, sequence_classification.md."
    return [result["machine"], "", scores, "", *(line for part in parts for line in part)]


def main() -> None:
    options = parse()
    if options.worker:
        print(json.dumps(run_worker(options.worker)))
        return
    name = options.name or ("fast_path" if options.device == "cpu" else "fast_path_cuda")
    machine = hardware_line(options.device)
    kept = read_kept(name) if options.write else {}
    result = {**kept, "machine": machine, "batch": options.batch}
    result["tasks"] = dict(kept.get("tasks", {})) if kept.get("machine") == machine else {}
    for task in choose_tasks(options):
        result["tasks"][task] = profile(options) if task == "profile" else compare(task, options)
        if options.write:  # at once: a run that is cut off leaves whole tasks
            write_results(name, "The fast path beside the stock recipe", describe_all(result), result)
    if options.scores:
        result["scores"] = compare_scores(options)
    lines = describe_all(result)
    print("\n".join(lines))
    if options.write:
        write_results(name, "The fast path beside the stock recipe", lines, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
