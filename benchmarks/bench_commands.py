"""The same command line of this checkout and of another one, in turns: what a training step costs a user now and before.

    git worktree add ../before/finetune 67f3b15
    python benchmarks/bench_commands.py --before ../before/finetune --tasks ner ner_256 mlm --threads 1 2 --write

Measured is the whole real command, twice a round and checkout, with few steps and with more: the difference is that of the
steps alone, the first command is what a start costs. Both commands are given the same words, so that they draw the same
rows; the losses of the longer ones, which the last line of a training tells, have to agree. Time is that of the processor,
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
import time
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from kept_parts import read_kept
from measure import DATA, HERE, Ratio, call_in_turns, hardware_line, medians, minilm_folder, table, worker_environment
from measure import write_results as write_table

# Written before any run: bfloat16 with other masks of dropout; the mean loss of that many steps hangs on few rows.
LOSS_TOLERANCE = 0.1
STEPS = {"ner": (8, 72), "ner_256": (2, 14), "mlm": (2, 18)}  # of the shorter and of the longer command
OWN, BEFORE = "this version", "before"


def words(task: str, folder: Path) -> list[str]:
    """The script of a task and its flags, which both versions know."""
    common = ["--model_name_or_path", minilm_folder(), "--per_device_train_batch_size", "16", "--do_train"]
    common += ["--save_strategy", "no", "--seed", "1", "--learning_rate", "5e-5", "--logging_steps", "1000"]
    if task == "mlm":
        text = str(folder / "corpus.txt")
        return ["run_mlm.py", *common, "--train_file", text, "--max_seq_length", "128"]
    return ["run_ner.py", *common, "--train_file", str(folder / f"{task}.conll"), "--max_seq_length", "256"]


def write_inputs(folder: Path) -> None:
    """WNUT17's sentences, the same joined to texts of up to 256 subwords, and WikiText-2."""
    with gzip.open(DATA / "wnut17" / "wnut17train.conll.gz", "rt", encoding="utf-8") as file:
        sentences = [block for block in re.split(r"\n\s*\n", file.read()) if block.strip()]
    joined = ["\n".join(sentences[start : start + 8]) for start in range(0, len(sentences), 8)]
    (folder / "ner.conll").write_text("\n\n".join(sentences) + "\n", encoding="utf-8")
    (folder / "ner_256.conll").write_text("\n\n".join(joined) + "\n", encoding="utf-8")
    with gzip.open(DATA / "lm" / "wikitext-2" / "test.txt.gz", "rt", encoding="utf-8") as file:
        (folder / "corpus.txt").write_text(file.read(), encoding="utf-8")


def call(root: Path, task: str, steps: int, threads: int, folder: Path) -> dict[str, float]:
    """Seconds of the clock and of the processor of one command of a checkout, and its mean loss."""
    script, *flags = words(task, folder)
    environment = worker_environment(threads) | {"PYTHONPATH": str(root)}
    with tempfile.TemporaryDirectory() as output, Path(os.devnull).open("w") as nowhere:
        command = [sys.executable, str(root / "scripts" / script), *flags, "--max_steps", str(steps)]
        started = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--output_dir", output], env=environment, stdout=nowhere, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        log = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
    losses = re.findall(r"'train_loss': '?([0-9.]+)", log)
    if status or not losses:
        sys.exit(f"{' '.join(command)} failed:\n{log[-3000:]}")
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "loss": float(losses[-1])}


def take_turn(root: Path, task: str, threads: int, folder: Path) -> dict[str, float]:
    """What a start and what a step costs, both in seconds, and the mean loss of the longer command."""
    few, many = STEPS[task]
    short, long = (call(root, task, steps, threads, folder) for steps in (few, many))
    steps = {f"{key}_a_step": (long[key] - short[key]) / (many - few) for key in ("seconds", "cpu_seconds")}
    start = short["cpu_seconds"] - few * steps["cpu_seconds_a_step"]
    result = {**steps, "cpu_seconds_of_a_start": start, "loss": long["loss"]}
    print(f"  {task}, {root}: {json.dumps(result)}", file=sys.stderr, flush=True)
    return result


def compare(task: str, threads: int, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Both versions in turns, after one command of each, which fills caches and builds kernels."""
    roots = {OWN: HERE.parent, BEFORE: options.before.resolve()}
    for root in roots.values():
        call(root, task, STEPS[task][0], threads, folder)
    load = os.getloadavg()[0]
    runs = call_in_turns(list(roots), options.rounds, lambda name: take_turn(roots[name], task, threads, folder))
    apart = abs(medians(runs[OWN])["loss"] / medians(runs[BEFORE])["loss"] - 1)
    if apart > LOSS_TOLERANCE:
        sys.exit(f"{task}: the losses are {apart:.0%} apart, more than {LOSS_TOLERANCE:.0%}")
    return {
        "date": date.today().isoformat(), "task": task, "threads": threads, "rounds": options.rounds,
        "commit": commit_of(options.before), "load": [load, os.getloadavg()[0]], "runs": runs,
    }  # fmt: skip


def commit_of(root: Path) -> str:
    command = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def describe(tables: dict[str, dict[str, Any]]) -> list[str]:
    """One row for each task and number of threads."""
    header = ("task", "threads", "before", "ms a step before", "now", "before / now, processor time", "by the clock")
    rows = []
    for kept in tables.values():
        own, before = kept["runs"][OWN], kept["runs"][BEFORE]
        milliseconds = [1000 * medians(runs)["seconds_a_step"] for runs in (before, own)]
        ratios = [str(ratio_of(before, own, f"{key}_a_step")) for key in ("cpu_seconds", "seconds")]
        rows.append((kept["task"], kept["threads"], kept["commit"], *milliseconds, *ratios))
    lines = ["Whole commands with few and with more steps; a step is the difference. benchmarks/bench_commands.py.", ""]
    lines += [*table(header, rows), ""]
    for name, kept in tables.items():
        starts = [medians(kept["runs"][side])["cpu_seconds_of_a_start"] for side in (BEFORE, OWN)]
        losses = [medians(kept["runs"][side])["loss"] for side in (BEFORE, OWN)]
        lines.append(
            f"- {name}: {kept['date']}, {kept['rounds']} rounds, load average {kept['load'][0]:.1f} to "
            f"{kept['load'][1]:.1f}; a start takes {starts[0]:.1f} s of a processor before, {starts[1]:.1f} s now; "
            f"mean losses {losses[0]:.3f} and {losses[1]:.3f}."
        )
    return lines


def ratio_of(above: list[dict[str, float]], below: list[dict[str, float]], key: str) -> Ratio:
    return Ratio.of([run[key] for run in above], [run[key] for run in below])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--before", type=Path, required=True, metavar="CHECKOUT", help="another version of this project"
    )
    parser.add_argument("--tasks", nargs="+", choices=list(STEPS), default=["ner"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/results/commands.md")
    return parser.parse_args()


def main() -> None:
    options = parse()
    tables = read_kept("commands").get("tables", {}) if options.write else {}
    with tempfile.TemporaryDirectory() as name:
        write_inputs(Path(name))
        for threads in options.threads:
            for task in options.tasks:
                tables[f"{task}, {threads} thread(s)"] = compare(task, threads, options, Path(name))
    lines = describe(tables)
    print("\n".join(lines))
    result = {"machine": hardware_line("cpu"), "tables": tables}
    if options.write:
        write_table("commands", "Training commands now and before", [result["machine"], "", *lines], result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
