"""spaCy and flair beside this project in one run: the same MiniLM, the same sentences, training, prediction and scores.

    benchmarks/peers/environments.sh /tmp/peers                                   # an environment for each, from PyPI
    python benchmarks/peers/bench_peers.py --environments /tmp/peers --write
    python benchmarks/peers/bench_peers.py --environments /tmp/peers --parts train predict --threads 1

All fine-tune the pretrained MiniLM on WNUT17's training sentences as they are given (words, one sentence a text), batches
of 16, a learning rate of 5e-5, and tag the test sentences. spaCy has its own recognizer (a parser of transitions) on
spacy-curated-transformers, flair its SequenceTagger with a linear layer, stock is `run_ner.py` of transformers in float32.
On CPUs the peers compute in float32; `ours_float32` does so, too. Each side lives in a process of its own and takes its turn
once a round, every second round backwards. Time is taken from words (the peers), or from ready ids (ours and stock, whose
tokenizers take 0.02 and 0.06 ms a sentence), to updated weights or to tags. Scores are entity F1 by seqeval after the same
number of epochs, one seed: they show that all learn the same task, and are no contest. The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kept_parts import read_kept
from live_side import LiveSide
from measure import (
    Ratio,
    call_in_turns,
    call_worker,
    hardware_line,
    minilm_folder,
    table,
    worker_environment,
    write_results,
)
from workloads import read_wnut17

HERE = Path(__file__).resolve().parent
PEERS = ("spacy", "flair")
OWN = ("stock_float32", "ours_float32", "ours")
BATCH = 16


def python_of(peer: str, options: argparse.Namespace) -> str:
    return str(options.environments / peer / "bin" / "python")


def words_of(mode: str, sentences: Path, options: argparse.Namespace) -> dict[str, Any]:
    common = {"mode": mode, "threads": options.threads, "seed": 1, "epochs": options.epochs, "batch": BATCH}
    where = {"model": minilm_folder(), "sentences": str(sentences), "predicted": options.sentences}
    return common | where | {"warmup": 2, "steps": options.steps}


def start_side(name: str, mode: str, sentences: Path, options: argparse.Namespace) -> LiveSide:
    if name in PEERS:
        words = words_of(mode, sentences, options)
        return LiveSide(str(HERE / f"{name}_side.py"), words, options.threads, python=python_of(name, options))
    common = {"batch": BATCH, "threads": options.threads}
    if mode == "predict":
        words = common | {"side": name, "sentences": options.sentences, "length": None}
        return LiveSide(str(HERE.parent / "bench_prediction.py"), words, options.threads)
    words = common | {"task": "ner", "device": "cpu", "warmup": 2, "steps": options.steps, "recipe": name}
    return LiveSide(str(HERE.parent / "bench_training.py"), words, options.threads)


def compare_speed(mode: str, sentences: Path, options: argparse.Namespace) -> dict[str, Any]:
    names = [*options.peers, *OWN]
    test = min(options.sentences, len(json.loads(sentences.read_text(encoding="utf-8"))["test"]))
    with contextlib.ExitStack() as stack:
        sides = {}
        for name in names:
            sides[name] = start_side(name, mode, sentences, options)
            stack.callback(sides[name].end)
        for side in sides.values():
            side.ask("warmup" if mode == "train" else "go")
        loads = [os.getloadavg()[0]]
        runs = call_in_turns(names, options.rounds, lambda name: tell(name, {"rows": test} | sides[name].ask("go")))
    return {"rounds": options.rounds, "load": [*loads, os.getloadavg()[0]], "runs": runs}


def tell(name: str, answer: dict[str, Any]) -> dict[str, Any]:
    print(f"  {name}: {json.dumps(answer)}", file=sys.stderr, flush=True)
    return answer


def compare_scores(sentences: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Whole trainings with one seed, one after the other: F1 by seqeval, and what training took."""
    gold = [tags for _, tags in json.loads(sentences.read_text(encoding="utf-8"))["test"]]
    found = {name: score_peer(name, gold, sentences, options) for name in options.peers}
    script = str(HERE.parent / "bench_token_classification.py")
    common = {"data": "wnut17", "thai_folder": "", "epochs": options.epochs, "score": True, "seed": 1, "side": "ours"}
    common["threads"] = options.threads
    found["ours"] = {"f1": call_worker(script, common)["f1"]}
    found["stock_float32"] = {"f1": call_worker(script, common | {"side": "stock", "bf16": False})["f1"]}
    return {"epochs": options.epochs, "f1": {name: one["f1"] for name, one in found.items()}, "found": found}


def score_peer(name: str, gold: list[list[str]], sentences: Path, options: argparse.Namespace) -> dict[str, Any]:
    from seqeval.metrics import f1_score

    words = json.dumps(words_of("score", sentences, options))
    command = [python_of(name, options), str(HERE / f"{name}_side.py"), "--worker", words]
    environment = worker_environment(options.threads)
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
    result = json.loads(done.stdout.strip().splitlines()[-1])
    return tell(name, {"f1": float(f1_score(gold, result.pop("tags"))), **result})


def describe(result: dict[str, Any]) -> list[str]:
    lines = [result["machine"], "", result["versions"], ""]
    for mode, title in (("train", "Training steps"), ("predict", "Prediction")):
        if mode in result:
            lines += describe_speed(title, result[mode], result["threads"])
    if "score" in result:
        score = result["score"]
        told = ", ".join(f"{name} {value:.3f}" for name, value in score["f1"].items())
        lines += [f"Test F1 after {score['epochs']} epoch(s), one seed (no contest): {told}."]
    return lines


def describe_speed(title: str, part: dict[str, Any], threads: int) -> list[str]:
    cost = {name: [run["cpu_seconds"] / run["rows"] for run in runs] for name, runs in part["runs"].items()}
    header = ("side", "sentences/s of a processor", "sentences/s", "times the processor time of ours_float32", "of ours",
              "peak GB")  # fmt: skip
    rows = [
        (
            name,
            1 / median(cost[name]),
            median(run["rows"] / run["seconds"] for run in runs),
            str(Ratio.of(cost[name], cost["ours_float32"])),
            str(Ratio.of(cost[name], cost["ours"])),
            max(run["peak_gigabytes"] for run in runs) if "peak_gigabytes" in runs[0] else "",
        )
        for name, runs in part["runs"].items()
    ]
    load = " to ".join(f"{value:.1f}" for value in part["load"])
    facts = (
        f"{threads} thread(s), {part['rounds']} rounds, load average {load}; 95 % intervals by bootstrap over rounds."
    )
    return [f"## {title}", "", facts, "", *table(header, rows), ""]


def versions_line(options: argparse.Namespace) -> str:
    script = "import importlib.metadata as m, sys; print(', '.join(f'{n} {m.version(n)}' for n in sys.argv[1:]))"
    names = {"spacy": ("spacy", "spacy-curated-transformers", "torch"), "flair": ("flair", "transformers", "torch")}
    told = [
        subprocess.run(
            [python_of(p, options), "-c", script, *names[p]], check=True, capture_output=True, text=True
        ).stdout
        for p in options.peers
    ]
    return "Peers: " + "; ".join(text.strip() for text in told) + "."


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=Path, required=True, help="the folder given to environments.sh")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument(
        "--parts", nargs="+", choices=("train", "predict", "score"), default=["train", "predict", "score"]
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=4, help="training steps of a turn")
    parser.add_argument("--sentences", type=int, default=320, help="so many test sentences are tagged in a turn")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of the scored trainings")
    parser.add_argument("--write", action="store_true", help="keep the tables in benchmarks/results/peers.md")
    return parser.parse_args()


def main() -> None:
    options = parse()
    base = {"machine": hardware_line("cpu"), "versions": versions_line(options), "threads": options.threads}
    kept = read_kept("peers") if options.write else {}
    same = all(kept.get(name) == value for name, value in base.items())
    result = (kept if same else {}) | base | {"date": date.today().isoformat()}
    with tempfile.TemporaryDirectory() as folder:
        sentences = Path(folder) / "sentences.json"
        splits = {"train": read_wnut17("wnut17train.conll.gz"), "test": read_wnut17("emerging.test.annotated.gz")}
        sentences.write_text(json.dumps(splits), encoding="utf-8")
        for part in options.parts:
            done = compare_scores(sentences, options) if part == "score" else compare_speed(part, sentences, options)
            result[part] = done
            if options.write:  # at once: a run that is cut off leaves whole tables
                write_results("peers", "spaCy and flair beside this project", describe(result), result)
    print("\n".join(describe(result)))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
