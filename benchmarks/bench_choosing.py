"""Learning rates, epochs and batches by sweeps scored on validation: the tables of docs/choosing.md.

    python benchmarks/bench_choosing.py --work sweeps --write               # two hours on one core
    python benchmarks/bench_choosing.py --work sweeps --tasks wnut17 cola   # some of them
    python benchmarks/bench_choosing.py --work sweeps --collect --write     # tables of what is there

Each task is one `finetune sweep` over learning rates and three seeds, in a folder of its own in --work; runs that are
finished there are not run again. Scores are those of validation sets; test sets are not read (WNUT17's and MAMS's are not
even given). A cell is a mean over seeds with its 95 % interval (Student's t, two degrees of freedom: wide). The Thai tasks
need a Thai encoder, which is pretrained first (`examples/thai_from_scratch.sh`, ten minutes). "context_names" takes EWT's
runs of proper nouns (UPOS PROPN) for entities of one kind, because no named entities with documents are at hand. The last
line of standard output is JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from kept_parts import read_kept
from measure import DATA, HERE, PairedDifference, hardware_line, minilm_folder, table, tell_results, worker_environment

ROOT = HERE.parent
SEEDS = "seed=1,2,3"
RATES = "learning_rate=5e-5,1e-4,2e-4"
WIDE_RATES = f"{RATES},1e-3"
ALWAYS = (
    *("--per_device_eval_batch_size", "64", "--save_strategy", "no", "--eval_strategy", "epoch"),
    *("--load_best_model_at_end", "False", "--no_html_report", "--do_train", "--do_eval"),
)
PLAIN = ("--per_device_train_batch_size", "16", "--num_train_epochs", "3")


@dataclass(frozen=True)
class Sweep:
    """One sweep: the command, what is varied, and its flags. score: as the log of evaluations and metrics.json name it."""

    command: str
    grid: tuple[str, ...]
    flags: tuple[str, ...]
    score: tuple[str, str]
    thai: bool = False

    def words(self, work: Path) -> list[str]:
        model = work / "thai" / "language-model" if self.thai else minilm_folder()
        flags = [flag.replace("DATA", str(DATA)).replace("WORK", str(work)) for flag in (*self.flags, *ALWAYS)]
        return ["--grid", *self.grid, SEEDS, "--", "--model_name_or_path", str(model), *flags]


TAGGED, CORRECT = ("eval_f1", "f1_micro"), ("eval_accuracy", "accuracy")
WNUT17 = (
    *("--train_file", "DATA/wnut17/wnut17train.conll.gz"),
    *("--validation_file", "DATA/wnut17/emerging.dev.conll"),
)
SST2 = (
    *("--train_file", "DATA/glue/SST-2/train.first20000.tsv.gz", "--validation_file", "DATA/glue/SST-2/dev.tsv"),
    *("--per_device_train_batch_size", "16", "--num_train_epochs", "2"),
)
EWT = (
    *("--train_file", "DATA/ud/en_ewt-ud-dev.conllu.gz", "--validation_file", "DATA/ud/en_ewt-ud-test.conllu.gz"),
    *("--learning_rate", "1e-4", "--per_device_train_batch_size", "16"),
)
NAMES = ("--train_file", "WORK/names/dev.jsonl", "--validation_file", "WORK/names/test.jsonl", *EWT[4:])
MAMS = ("--task_name", "mams", "--data_dir", "DATA/mams_atsa", "--max_train_samples", "2000")
THAINER = ("--dataset_name", "thainer", "--data_dir", "DATA/thainer", "--label_name", "ner_tags")
WISESIGHT = ("--dataset_name", "wisesight_sentiment", "--data_dir", "DATA/wisesight_sentiment")
SWEEPS = {
    "wnut17": Sweep("run_ner", (RATES,), (*WNUT17, *PLAIN), TAGGED),
    "mrpc": Sweep("run_glue", (RATES,), ("--task_name", "mrpc", "--data_dir", "DATA/glue/MRPC", *PLAIN), CORRECT),
    "cola": Sweep(
        "run_glue", (RATES,), ("--task_name", "cola", "--data_dir", "DATA/glue/CoLA", *PLAIN),
        ("eval_matthews_correlation", "matthews_correlation"),
    ),
    "mams": Sweep("run_glue", (RATES,), (*MAMS, *PLAIN), CORRECT),
    "thainer": Sweep("run_ner", (WIDE_RATES,), (*THAINER, *PLAIN), TAGGED, thai=True),
    "wisesight": Sweep("run_glue", (WIDE_RATES,), (*WISESIGHT, *PLAIN), CORRECT, thai=True),
    "batches": Sweep(
        "run_ner", ("per_device_train_batch_size=8,16,32",), (*WNUT17, "--num_train_epochs", "3", "--learning_rate", "1e-4"),
        TAGGED,
    ),
    "epochs": Sweep(
        "run_ner", ("num_train_epochs=1,3,6",), (*WNUT17, "--per_device_train_batch_size", "16", "--learning_rate", "1e-4"),
        TAGGED,
    ),
    "context": Sweep(
        "run_ner", ("document_context=0,64",), (*EWT, "--num_train_epochs", "3", "--context_separator", "False"), CORRECT
    ),
    "context_separated": Sweep("run_ner", ("document_context=64",), (*EWT, "--num_train_epochs", "3"), CORRECT),
    "context_long": Sweep(
        "run_ner", ("document_context=0,16",), (*EWT, "--num_train_epochs", "6", "--context_separator", "False"), CORRECT
    ),
    "context_long_separated": Sweep("run_ner", ("document_context=16",), (*EWT, "--num_train_epochs", "6"), CORRECT),
    "context_names": Sweep("run_ner", ("document_context=0,64",), (*NAMES, "--num_train_epochs", "3"), TAGGED),
    "context_names_bare": Sweep(
        "run_ner", ("document_context=64",), (*NAMES, "--num_train_epochs", "3", "--context_separator", "False"), TAGGED
    ),
    "sst2_full": Sweep("run_glue", (), (*SST2, "--learning_rate", "5e-5"), CORRECT),
    "sst2_lora": Sweep("run_glue", (), (*SST2, "--peft", "lora", "--learning_rate", "1e-3"), CORRECT),
}  # fmt: skip
PAIRS = {"LoRA beside full fine-tuning, SST-2": ("sst2_lora", "sst2_full")}


def write_names(folder: Path) -> None:
    """EWT's sentences with runs of proper nouns tagged as names, and the document of each."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("dev", "test"):
        text = gzip.decompress((DATA / f"ud/en_ewt-ud-{part}.conllu.gz").read_bytes()).decode("utf-8")
        document, records = 0, []
        for block in text.strip().split("\n\n"):
            document += "# newdoc" in block
            cells = [line.split("\t") for line in block.split("\n") if not line.startswith("#")]
            words = [row for row in cells if row[0].isdigit()]
            is_name = [row[3] == "PROPN" for row in words]
            tags = [
                ("I-NAME" if place and is_name[place - 1] else "B-NAME") if named else "O"
                for place, named in enumerate(is_name)
            ]
            records.append({"tokens": [row[1] for row in words], "tags": tags, "document_id": document})
        lines = [json.dumps(record) + "\n" for record in records]
        (folder / f"{part}.jsonl").write_text("".join(lines), encoding="utf-8")


def run_sweep(name: str, work: Path) -> None:
    """The sweep's command; what is finished already is left as it is."""
    sweep = SWEEPS[name]
    if "WORK" in "".join(sweep.flags):
        write_names(work / "names")
    if sweep.thai and not (work / "thai" / "language-model" / "config.json").is_file():
        settings = {"OUTPUT_DIR": str(work / "thai"), "DATA_DIR": str(DATA), "SEEDS": " ", "PYTHON": sys.executable}
        subprocess.run(["bash", ROOT / "examples/thai_from_scratch.sh"], check=False, env={**os.environ, **settings})
    command = [sys.executable, ROOT / "scripts/sweep.py", sweep.command, "--output_dir", work / name]
    command += ["--sort_by", f"validation.{sweep.score[1]}", *sweep.words(work)]
    subprocess.run([str(word) for word in command], check=True, env=worker_environment(1))


def read_runs(name: str, work: Path) -> list[dict[str, Any]]:
    """What each finished run of a sweep was and gave, in the order of its folders."""
    runs = []
    for folder in sorted((work / name).glob("*seed=*")):
        if not (folder / "metrics.json").is_file():
            continue
        of_folder = dict(part.split("=", 1) for part in folder.name.split(","))
        log = json.loads((folder / "training_history.json").read_text(encoding="utf-8"))["log"]
        evaluated = [line[SWEEPS[name].score[0]] for line in log if SWEEPS[name].score[0] in line]
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        score = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["validation"][SWEEPS[name].score[1]]
        parameters = [
            line for line in (folder / "run.log").read_text(encoding="utf-8").splitlines() if "trainable" in line
        ]
        runs.append({
            "varied": {key: value for key, value in of_folder.items() if key != "seed"}, "seed": of_folder["seed"],
            "score": score, "by_epoch": evaluated, "tokens_per_second": record.get("tokens_per_second"),
            "trained": int(parameters[-1].split("=")[-1].replace(",", "")) if parameters else None,
        })  # fmt: skip
    return runs


def describe(name: str, runs: Sequence[dict[str, Any]]) -> list[str]:
    """One row for each point of the grid."""
    points = sorted(
        {json.dumps(run["varied"]) for run in runs}, key=lambda point: [*map(float, json.loads(point).values())]
    )
    rows = []
    for point in points:
        own = [run for run in runs if json.dumps(run["varied"]) == point]
        epochs = range(len(own[0]["by_epoch"]))
        by_epoch = [f"{sum(run['by_epoch'][epoch] for run in own) / len(own):.3f}" for epoch in epochs]
        shown = ", ".join(f"{key} {value}" for key, value in json.loads(point).items()) or "all alike"
        rows.append((shown, len(own), over_seeds([run["score"] for run in own]), " ".join(by_epoch)))
    title = f"### {name}: {SWEEPS[name].score[1]} of validation"
    return [title, "", *table(("varied", "seeds", "mean and 95 % interval", "after each epoch"), rows), ""]


def over_seeds(scores: Sequence[float]) -> str:
    """The mean, with the 95 % interval of Student's t where there are several."""
    mean = PairedDifference.of(scores, [0.0] * len(scores))
    return f"{mean.mean:.3f} ({mean.low:.3f} to {mean.high:.3f})" if len(scores) > 1 else f"{mean.mean:.3f}"


def describe_pair(title: str, found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Two sweeps of the same seeds: the difference, and how many parameters each trains."""
    own, other = ({run["seed"]: run for run in found.get(name, [])} for name in PAIRS[title])
    seeds = sorted(own.keys() & other.keys())
    if not seeds:
        return []
    apart = PairedDifference.of([own[seed]["score"] for seed in seeds], [other[seed]["score"] for seed in seeds])
    trained = [side[seeds[0]]["trained"] for side in (own, other)]
    share = trained[0] / trained[1]
    return [
        f"- {title}, {len(seeds)} paired seeds: {apart}; trained are {trained[0]:,} and {trained[1]:,} ({share:.1%})."
    ]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the sweeps")
    parser.add_argument("--tasks", nargs="+", choices=list(SWEEPS), default=list(SWEEPS))
    parser.add_argument("--collect", action="store_true", help="run nothing, read what is there")
    parser.add_argument("--write", action="store_true", help="keep the tables in benchmarks/results/choosing.md")
    return parser.parse_args()


def main() -> None:
    options = parse()
    work = options.work.resolve()
    for name in () if options.collect else options.tasks:
        run_sweep(name, work)
    kept = read_kept("choosing").get("runs", {}) if options.write else {}
    found = kept | {name: runs for name in options.tasks if (runs := read_runs(name, work))}
    lines = [line for name in SWEEPS if name in found for line in describe(name, found[name])]
    lines += [line for title in PAIRS for line in describe_pair(title, found)]
    result = {"machine": hardware_line("cpu"), "runs": found}
    tell_results("choosing", "Rates, epochs and batches on validation", lines, result, write=options.write)


if __name__ == "__main__":
    main()
