"""Whole commands in turns: what a training step costs a user now, in another checkout, and with an adapter.

    git worktree add ../before/finetune 67f3b15
    python benchmarks/bench_commands.py --before ../before/finetune --tasks ner ner_256 mlm --threads 1 2 --write
    python benchmarks/bench_commands.py --adapter --tasks sst2 --write

Measured is the whole real command, twice a round and checkout, with few steps and with more: the difference is that of the
steps alone, the first command is what a start costs. All commands are given the same words (and one `--peft lora`), so that
they draw the same rows; the mean losses of both checkouts have to agree. Time is that of the processor,
with 95 % intervals by bootstrap over rounds. The last line of standard output is JSON; `--write` keeps the table in
benchmarks/results/, where what is not run now keeps what it had.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from kept_parts import read_kept
from measure import (
    DATA,
    HERE,
    call_in_turns,
    hardware_line,
    medians,
    minilm_folder,
    table,
    tell_results,
    worker_environment,
)
from whole_commands import cost_of_a_step, of_load, ratio_of, read_wnut17_sentences, run_command

# Written before any run: bfloat16 with other masks of dropout; the mean loss of that many steps hangs on few rows.
LOSS_TOLERANCE = 0.1
# Of the shorter and of the longer command.
STEPS = {"ner": (8, 72), "ner_256": (2, 14), "mlm": (2, 18), "sst2": (8, 72)}
OWN, BEFORE, ADAPTER = "this version", "before", "this version, --peft lora"
FLAGS = {ADAPTER: ("--peft", "lora")}


def words(task: str, folder: Path) -> list[str]:
    """The script of a task and its flags, which both versions know."""
    common = ["--model_name_or_path", minilm_folder(), "--per_device_train_batch_size", "16", "--do_train"]
    common += ["--save_strategy", "no", "--seed", "1", "--learning_rate", "5e-5", "--logging_steps", "1000"]
    if task == "mlm":
        text = str(folder / "corpus.txt")
        return ["run_mlm.py", *common, "--train_file", text, "--max_seq_length", "128"]
    if task == "sst2":
        text = str(DATA / "glue" / "SST-2" / "train.first20000.tsv.gz")
        return ["run_glue.py", *common, "--train_file", text]
    return ["run_ner.py", *common, "--train_file", str(folder / f"{task}.conll"), "--max_seq_length", "256"]


def write_inputs(folder: Path) -> None:
    """WNUT17's sentences, the same joined to texts of up to 256 subwords, and WikiText-2."""
    sentences = read_wnut17_sentences()
    joined = ["\n".join(sentences[start : start + 8]) for start in range(0, len(sentences), 8)]
    (folder / "ner.conll").write_text("\n\n".join(sentences) + "\n", encoding="utf-8")
    (folder / "ner_256.conll").write_text("\n\n".join(joined) + "\n", encoding="utf-8")
    with gzip.open(DATA / "lm" / "wikitext-2" / "test.txt.gz", "rt", encoding="utf-8") as file:
        (folder / "corpus.txt").write_text(file.read(), encoding="utf-8")


def call(root: Path, flags: Sequence[str], steps: int, threads: int) -> dict[str, float]:
    """Seconds of the clock and of the processor of one command of a checkout, its peak memory, and its mean loss."""
    script, *flags = flags
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, str(root / "scripts" / script), *flags, "--max_steps", str(steps)]
        environment = worker_environment(threads) | {"PYTHONPATH": str(root)}
        costs, log = run_command([*command, "--output_dir", output], environment)
    losses = re.findall(r"'train_loss': '?([0-9.]+)", log)
    if not losses:
        sys.exit(f"{' '.join(command)} says no loss:\n{log[-3000:]}")
    return {**costs, "loss": float(losses[-1])}


def take_turn(root: Path, flags: Sequence[str], task: str, threads: int) -> dict[str, float]:
    """What a start and what a step costs, both in seconds; the mean loss and the peak of the longer command."""
    short, long = (call(root, flags, steps, threads) for steps in STEPS[task])
    steps = cost_of_a_step(short, long, STEPS[task])
    start = short["cpu_seconds"] - STEPS[task][0] * steps["cpu_seconds_a_step"]
    result = {**steps, "cpu_seconds_of_a_start": start, "loss": long["loss"], "gigabytes": long["gigabytes"]}
    print(f"  {task}, {root}: {json.dumps(result)}", file=sys.stderr, flush=True)
    return result


def compare(task: str, threads: int, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All sides in turns, after one command of each, which fills caches and builds kernels."""
    others = ([BEFORE] if options.before else []) + ([ADAPTER] if options.adapter else [])
    roots = {name: options.before.resolve() if name == BEFORE else HERE.parent for name in (OWN, *others)}
    flags = {name: [*words(task, folder), *FLAGS.get(name, ())] for name in roots}
    for name, root in roots.items():
        call(root, flags[name], STEPS[task][0], threads)
    load = os.getloadavg()[0]
    turns = call_in_turns(list(roots), options.rounds, lambda name: take_turn(roots[name], flags[name], task, threads))
    apart = abs(medians(turns[OWN])["loss"] / medians(turns.get(BEFORE, turns[OWN]))["loss"] - 1)
    if apart > LOSS_TOLERANCE:
        sys.exit(f"{task}: the losses are {apart:.0%} apart, more than {LOSS_TOLERANCE:.0%}")
    commit = commit_of(options.before) if options.before else None
    return {
        "date": date.today().isoformat(), "task": task, "threads": threads, "rounds": options.rounds, "commit": commit,
        "load": [load, os.getloadavg()[0]], "runs": turns,
    }  # fmt: skip


def commit_of(root: Path) -> str:
    command = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def describe(tables: dict[str, dict[str, Any]]) -> list[str]:
    """One row for each task, number of threads and side."""
    header = (
        "task", "threads", "side", "ms a step", "CPU ms a step", "times this version's processor time", "by the clock",
        "CPU s of a start", "peak GB", "mean loss",
    )  # fmt: skip
    rows = [row for kept in tables.values() for row in rows_of(kept)]
    lines = ["Whole commands with few and with more steps; a step is the difference. benchmarks/bench_commands.py.", ""]
    lines += [*table(header, rows), ""]
    for name, kept in tables.items():
        lines.append(f"- {name}: {kept['date']}, {kept['rounds']} rounds, {of_load(kept)}.")
    return lines


def rows_of(kept: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    own = kept["runs"][OWN]
    for side, runs in kept["runs"].items():
        middle = medians(runs)
        ratios = [
            str(ratio_of(runs, own, key)) if side != OWN else "" for key in ("cpu_seconds_a_step", "seconds_a_step")
        ]
        milliseconds = [1000 * middle[key] for key in ("seconds_a_step", "cpu_seconds_a_step")]
        shown = f"{side} ({kept['commit']})" if side == BEFORE else side
        rest = middle["cpu_seconds_of_a_start"], middle["gigabytes"], middle["loss"]
        yield kept["task"], kept["threads"], shown, *milliseconds, *ratios, *rest


def name_of(task: str, threads: int, options: argparse.Namespace) -> str:
    return f"{task}, {threads} thread(s)" + (", adapter" if options.adapter else "")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="another version of this project")
    parser.add_argument("--adapter", action="store_true", help="this version with --peft lora beside it")
    parser.add_argument("--tasks", nargs="+", choices=list(STEPS), default=["ner"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/results/commands.md")
    return parser.parse_args()


def main() -> None:
    options = parse()
    machine = hardware_line("cpu")
    tables = read_kept("commands", machine).get("tables", {}) if options.write else {}
    with tempfile.TemporaryDirectory() as name:
        write_inputs(Path(name))
        for threads in options.threads:
            for task in options.tasks:
                tables[name_of(task, threads, options)] = compare(task, threads, options, Path(name))
    result = {"machine": machine, "tables": tables}
    tell_results("commands", "Training commands now and before", describe(tables), result, write=options.write)


if __name__ == "__main__":
    main()
