"""Processes against threads: one training as 2 processes x 1 thread and as 1 process x 2 threads; what data and model cost.

    python benchmarks/bench_processes.py --write                 # both parts, 7 rounds: an hour or more of two quiet cores
    python benchmarks/bench_processes.py --parts equality --rounds 3

`equality`: whole commands on WNUT17 with MiniLM, as many rows a step either way, without dropout and in float32; with few
steps and with more, whose difference is that of the steps alone. The losses of all steps have to agree. `costs`: one epoch
of 1, 2 and 4 times the sentences, with MiniLM, with one twice as deep and with one as wide as BERT-base (both drawn at
random), by one process of one thread and by two: seconds of the whole command, and of the training in it. Sides take turns;
intervals are 95 %, by bootstrap over rounds. The last line of standard output is JSON; `--write` keeps
benchmarks/results/scaling.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from kept_parts import read_kept
from measure import HERE, call_in_turns, hardware_line, medians, minilm_folder, table, tell_results, worker_environment
from whole_commands import TIMES as TIMES_TAKEN
from whole_commands import cost_of_a_step, of_load, ratio_of, read_wnut17_sentences, run_command

LOSS_TOLERANCE = 1e-3  # relative, of each step: written before any run
OVERHEAD = 0.10  # the target
ROWS = 16  # a step, over all processes, where nothing else is said
STEPS = (10, 60)
TIMES = (1, 2, 4)
SENTENCES = 400
DEEP, WIDE = {"num_hidden_layers": 12}, {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
MODELS: dict[str, dict[str, int]] = {"MiniLM": {}, "twice as deep": DEEP, "as wide as BERT-base": WIDE}


@dataclass(frozen=True)
class Side:
    """How many processes, with how many threads each."""

    processes: int
    threads: int

    def __str__(self) -> str:
        return f"{self.processes} x {self.threads}"

    def words(self, rows: int) -> list[str]:
        several = ["--nproc", str(self.processes)] if self.processes > 1 else []
        return ["--per_device_train_batch_size", str(rows // self.processes), *several]


THREADS, PROCESSES, SINGLE = Side(1, 2), Side(2, 1), Side(1, 1)


def write_sentences(folder: Path) -> None:
    """WNUT17's sentences, in a file for each amount of them."""
    sentences = read_wnut17_sentences()
    for times in TIMES:
        text = "\n\n".join(sentences[: SENTENCES * times]) + "\n"
        (folder / f"{times}.conll").write_text(text, encoding="utf-8")


def make_model(name: str, folder: Path) -> str:
    """MiniLM, or its shape with other numbers and drawn weights."""
    if not MODELS[name]:
        return minilm_folder()
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    made = folder / name.replace(" ", "-")
    config = AutoConfig.from_pretrained(minilm_folder(), **MODELS[name])
    AutoModel.from_config(config).save_pretrained(made)
    AutoTokenizer.from_pretrained(minilm_folder()).save_pretrained(made)
    return str(made)


def call(side: Side, words: Sequence[str], rows: int = ROWS) -> dict[str, Any]:
    """Seconds of a whole command by the clock and by the processor (all processes), those of its training, its losses."""
    still = "hidden_dropout_prob=0.0,attention_probs_dropout_prob=0.0"
    common = ["--do_train", "--save_strategy", "no", "--seed", "1", "--learning_rate", "5e-5", "--bf16", "False"]
    common += ["--config_overrides", still, "--logging_steps", "1", *side.words(rows)]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "run")
        command = [sys.executable, str(HERE.parent / "scripts" / "run_ner.py"), *common, *words]
        costs, _ = run_command([*command, "--output_dir", str(output)], worker_environment(side.threads))
        history = json.loads((output / "training_history.json").read_text(encoding="utf-8"))["log"]
    result = {
        **{key: costs[key] for key in TIMES_TAKEN},
        "training_seconds": next(entry["train_runtime"] for entry in history if "train_runtime" in entry),
        "losses": [entry["loss"] for entry in history if "loss" in entry],
    }
    shown = {key: value for key, value in result.items() if key != "losses"}
    print(f"  {side}, {' '.join(words[:4])}: {json.dumps(shown)}", file=sys.stderr, flush=True)
    return result


def take_turn(side: Side, words: Sequence[str], rows: int, steps: tuple[int, int]) -> dict[str, Any]:
    """What a step costs, in seconds, and the whole longer command; the losses of that."""
    short, long = (call(side, [*words, "--max_steps", str(count)], rows) for count in steps)
    return {**long, **cost_of_a_step(short, long, steps)}


def compare(options: argparse.Namespace, folder: Path, rows: int) -> dict[str, Any]:
    """Both sides in turns, after one command of each, which fills caches and builds kernels."""
    words = ["--model_name_or_path", minilm_folder(), "--train_file", str(folder / f"{max(TIMES)}.conll")]
    sides = {str(side): side for side in (THREADS, PROCESSES)}
    steps: tuple[int, int] = tuple(options.steps)  # type: ignore[assignment]
    for side in sides.values():
        call(side, [*words, "--max_steps", str(steps[0])], rows)
    load = os.getloadavg()[0]
    runs = call_in_turns(list(sides), options.rounds, lambda name: take_turn(sides[name], words, rows, steps))
    losses = [runs[name][0]["losses"] for name in sides]
    if len(losses[0]) != len(losses[1]):
        sys.exit(f"{len(losses[0])} and {len(losses[1])} losses are no pairs")
    apart = max(abs(one - other) / abs(one) for one, other in zip(*losses, strict=True))
    if apart > LOSS_TOLERANCE:
        sys.exit(f"losses of a step are {apart:.1e} apart, more than {LOSS_TOLERANCE:.0e}")
    runs = {name: [{key: run[key] for key in run if key != "losses"} for run in found] for name, found in runs.items()}
    return {
        "date": date.today().isoformat(), "rounds": options.rounds, "load": [load, os.getloadavg()[0]],
        "steps": list(steps), "losses_apart": apart, "runs": runs,
    }  # fmt: skip


def measure_costs(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One epoch of each amount of data with each model, by one process and by two, in turns."""
    models = {name: make_model(name, folder) for name in options.models}
    files = {times: ["--train_file", str(folder / f"{times}.conll")] for times in TIMES}
    cells = {
        f"{name}|{times}|{side}": (side, ["--model_name_or_path", models[name], *files[times]])
        for name in models
        for times in TIMES
        for side in (SINGLE, PROCESSES)
    }  # fmt: skip
    load = os.getloadavg()[0]
    epoch = ["--num_train_epochs", "1"] if options.epoch_steps is None else ["--max_steps", str(options.epoch_steps)]
    runs = call_in_turns(list(cells), options.rounds, lambda cell: call(cells[cell][0], [*cells[cell][1], *epoch]))
    found = {cell: medians(results) for cell, results in runs.items()}
    return {
        "date": date.today().isoformat(), "rounds": options.rounds, "load": [load, os.getloadavg()[0]],
        "cut_to_steps": options.epoch_steps, "cells": found,
    }  # fmt: skip


def describe(parts: dict[str, Any]) -> Iterator[str]:
    for rows, kept in parts.get("equality", {}).items():
        yield from describe_equality(int(rows), kept)
    if "costs" in parts:
        yield from describe_costs(parts["costs"])


def describe_equality(per_step: int, kept: dict[str, Any]) -> Iterator[str]:
    few, many = kept["steps"]
    yield f"## {per_step} rows a step, as processes and as threads"
    yield ""
    yield f"{kept['date']}, {kept['rounds']} rounds of {few} and of {many} steps, {of_load(kept)}."
    yield f"The losses of the same step are at most {kept['losses_apart']:.1e} apart, relatively."
    yield ""
    own = kept["runs"][str(THREADS)]
    rows = []
    for name, runs in kept["runs"].items():
        middle = medians(runs)
        cells = [
            1000 * middle["seconds_a_step"],
            1000 * middle["cpu_seconds_a_step"],
            middle["seconds"],
            middle["cpu_seconds"],
        ]
        keys = ("seconds_a_step", "cpu_seconds_a_step", "seconds", "cpu_seconds")
        ratios = ["" if name == str(THREADS) else str(ratio_of(runs, own, key)) for key in keys]
        rows.append([name, *(item for pair in zip(cells, ratios, strict=True) for item in pair)])
    header = ["processes x threads"]
    for what in ("ms a step", "CPU ms a step", f"s of {many} steps with the start", "CPU s of them"):
        header += [what, "times 1 x 2"]
    yield from table(header, rows)
    step = ratio_of(kept["runs"][str(PROCESSES)], own, "seconds_a_step")
    said = "within" if step.value <= 1 + OVERHEAD else "beyond"
    yield ""
    yield f"The target, an overhead of at most {OVERHEAD:.0%} of the time of a step by the clock: {said} it."
    yield ""


def describe_costs(kept: dict[str, Any]) -> Iterator[str]:
    cut = "" if kept["cut_to_steps"] is None else f", **cut to {kept['cut_to_steps']} steps: no measurement**"
    yield f"## One epoch of {SENTENCES} sentences and more, {ROWS} rows a step"
    yield ""
    yield f"{kept['date']}, medians of {kept['rounds']} rounds, {of_load(kept)}{cut}."
    yield ""
    keys = [tuple(cell.split("|")) for cell in kept["cells"]]
    rows = []
    for name, times in dict.fromkeys((name, times) for name, times, _ in keys):
        one, two = (kept["cells"][f"{name}|{times}|{side}"] for side in (SINGLE, PROCESSES))
        gain = one["training_seconds"] / two["training_seconds"]
        seconds = [cell[key] for key in ("seconds", "training_seconds") for cell in (one, two)]
        rows.append([name, int(times) * SENTENCES, *seconds, gain])
    header = ("model", "sentences", f"s, {SINGLE}", f"s, {PROCESSES}", f"training s, {SINGLE}", f"training s, {PROCESSES}",
              "times faster")  # fmt: skip
    yield from table(header, rows)
    yield ""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("equality", "costs"), default=["equality", "costs"])
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS), help="of the costs")
    parser.add_argument(
        "--rows", nargs="+", type=int, default=[ROWS, 4 * ROWS], metavar="N", help="a step, of equality"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", nargs=2, type=int, default=list(STEPS), metavar=("FEW", "MANY"), help="of equality")
    parser.add_argument("--epoch_steps", type=int, metavar="N", help="cut the epochs of the costs, to try the program")
    parser.add_argument("--write", action="store_true", help="keep the tables in benchmarks/results/scaling.md")
    return parser.parse_args()


def main() -> None:
    options = parse()
    machine = hardware_line("cpu")
    parts = read_kept("scaling", machine).get("parts", {}) if options.write else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sentences(folder)
        if "equality" in options.parts:
            for rows in options.rows:
                parts.setdefault("equality", {})[str(rows)] = compare(options, folder, rows)
        if "costs" in options.parts:
            parts["costs"] = measure_costs(options, folder)
    result = {"machine": machine, "parts": parts}
    tell_results("scaling", "Processes, data and models", list(describe(parts)), result, write=options.write)


if __name__ == "__main__":
    main()
