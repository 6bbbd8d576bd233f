"""A trained tagger as predict.py runs it: torch in bfloat16, ONNX and OpenVINO, floats and eight bits; score and speed.

    nice -n -10 python benchmarks/bench_exports.py --write                 # trains, exports, 7 rounds with 2 threads
    python benchmarks/bench_exports.py --run outputs/demo --rounds 9       # a tagger that is there

MiniLM is trained as a tagger on WNUT17 by the recipe of `make demo`, exported in all ways, and tags WNUT17's test
sentences, rows sorted by length. Every side lives in a process of its own and takes its turn once a round, every second
round backwards; ids are ready before. Eight bits are judged on the validation sentences, as `finetune export` does, but kept
whatever they lose: the table says what that is. The last line of standard output is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench_prediction import tell
from live_side import LiveSide
from measure import DATA, HERE, call_in_turns, hardware_line, minilm_folder, ratio_interval, table, write_results

WNUT = DATA / "wnut17"
# Written before any run: floats tag as torch in float32 does, and nothing loses more than this share of F1.
LARGEST_LOSS = {"torch_float32": 0.0, "onnx": 0.001, "openvino_bf16": 0.005}
EXPORTS: dict[str, tuple[str, ...]] = {
    "onnx": ("--format", "onnx"),
    "onnx_int8_dynamic": ("--format", "onnx", "--int8", "dynamic"),
    "onnx_int8_static": ("--format", "onnx", "--int8", "static"),
    "openvino_bf16": ("--format", "openvino"),
    "openvino_int8_static": ("--format", "openvino", "--int8", "static"),
}
SIDES = ("torch_float32", "torch_bf16", *EXPORTS)


def train(output: Path) -> Path:
    """The tagger of `make demo`'s recipe, on WNUT17's training sentences."""
    run_script(
        "run_ner.py", "--model_name_or_path", minilm_folder(), "--train_file", WNUT / "wnut17train.conll.gz",
        "--validation_file", WNUT / "emerging.dev.conll", "--output_dir", output, "--max_seq_length", 128,
        "--num_train_epochs", 2, "--per_device_train_batch_size", 16, "--learning_rate", "1e-4", "--seed", 1,
        "--do_train", "--do_eval",
    )  # fmt: skip
    return output


def run_script(name: str, *words: object) -> dict[str, Any]:
    command = [sys.executable, str(HERE.parent / "scripts" / name), *map(str, words)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def export(run: Path, folder: Path, name: str) -> dict[str, Any]:
    """What the last line of the export says; it is kept in the folder for the next time."""
    if not (folder / "export_report.json").is_file():
        words = (
            "--output_dir",
            folder,
            "--input_file",
            WNUT / "emerging.dev.conll",
            "--max_samples",
            1009,
            "--allow_loss",
        )
        run_script("export.py", run, *EXPORTS[name], *words)
    return json.loads((folder / "export_report.json").read_text(encoding="utf-8"))


def live(options: dict[str, Any]) -> None:
    """One side: the test sentences as ids, then a pass over them for each line of standard input."""
    from prediction_sides import answer_lines

    from finetune.arguments.model import ModelArguments
    from finetune.arguments.prediction import PredictArguments
    from finetune.prediction.task import open_predictor

    whole = options["side"] == "torch_float32"
    asked = PredictArguments(
        input_file=[str(WNUT / "emerging.test.conll.gz")], input_format="conll", device="cpu", score=True,
        bf16=False if whole else None,
    )  # fmt: skip
    predictor: Any = open_predictor(ModelArguments(model_name_or_path=options["folder"]), asked)
    prepared = predictor.prepare(list(predictor.read())[: options["sentences"]])

    def save(_: Any, path: str) -> None:
        predictor.scored.clear()
        list(predictor.tell(predictor.compute(prepared)))
        Path(path).write_text(json.dumps(predictor.score().metrics), encoding="utf-8")

    facts = {"sentences": len(prepared.texts), "tokens": sum(len(row["input_ids"]) for row in prepared.rows)}
    answer_lines(lambda: predictor.network.predict(prepared.rows, batch_size=32), save, facts)


def compare(options: argparse.Namespace, run: Path, folder: Path) -> dict[str, Any]:
    exported = {name: export(run, folder / name, name) for name in EXPORTS if name in options.sides}
    with contextlib.ExitStack() as stack:
        sides = {}
        for name in options.sides:
            words = {
                "side": name,
                "folder": str(folder / name if name in EXPORTS else run),
                "sentences": options.sentences,
            }
            sides[name] = LiveSide(__file__, words, options.threads)
            stack.callback(sides[name].end)
        scores = {name: score(side, folder / f"{name}.json") for name, side in sides.items()}
        check(scores)
        runs = call_in_turns(options.sides, options.rounds, lambda name: tell(name, sides[name].ask("go")))
    return {
        "threads": options.threads, "rounds": options.rounds, "load": os.getloadavg(), "nice": os.nice(0),
        "exported": exported, "scores": scores, "runs": runs,
    }  # fmt: skip


def score(side: LiveSide, path: Path) -> dict[str, float]:
    """The metrics of a side on the test sentences; a warmup, too."""
    side.ask(f"check {path}")
    return json.loads(path.read_text(encoding="utf-8"))


def check(scores: dict[str, dict[str, float]]) -> None:
    """End the program where a side that rounds little scores otherwise: there is nothing to compare then."""
    best = scores["torch_float32"]["f1_micro"] if "torch_float32" in scores else None
    wrong = [
        f"{name}: {scores[name]['f1_micro']:.4f}"
        for name, loss in LARGEST_LOSS.items()
        if best is not None and name in scores and abs(scores[name]["f1_micro"] - best) > loss + 1e-9
    ]
    if wrong:
        sys.exit(f"F1 is not that of torch in float32, {best:.4f}: {', '.join(wrong)}")


def describe(result: dict[str, Any], folder: Path) -> list[str]:
    runs, scores = result["runs"], result["scores"]
    ours = [run["cpu_seconds"] for run in runs["torch_bf16"]]
    rows = []
    for name, rounds in runs.items():
        seconds = [run["cpu_seconds"] for run in rounds]
        low, high = ratio_interval(seconds, ours)
        size = sum(path.stat().st_size for path in (folder / name).iterdir()) / 1e6 if name in EXPORTS else None
        told = result["exported"].get(name, {})
        lost = f"{100 * (told['original'] - told['exported']):+.2f}" if "original" in told else ""
        rows.append(
            (
                name,
                f"{100 * scores[name]['f1_micro']:.2f}",
                lost,
                rounds[0]["sentences"] / median(seconds),
                rounds[0]["sentences"] / median(run["seconds"] for run in rounds),
                f"{median(seconds) / median(ours):.2f}",
                f"{low:.2f} to {high:.2f}",
                "" if size is None else f"{size:.0f}",
            )
        )
    header = ("side", "F1 (test)", "points lost (validation)", "sentences/s of a processor", "sentences/s",
              "times the processor time of torch_bf16", "95 % interval", "MB")  # fmt: skip
    load = ", ".join(f"{value:.1f}" for value in result["load"])
    asked = f"{result['threads']} thread(s), {result['rounds']} rounds, nice {result['nice']}"
    facts = f"{asked}, load averages {load} at the end."
    return [facts, "", *table(header, rows)]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a trained tagger; without it one is trained")
    parser.add_argument("--folder", type=Path, help="where exports are kept, and taken from if they are there")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sentences", type=int, default=10**9, help="so many of the test sentences")
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/results/exports.md")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if "torch_bf16" not in options.sides and not options.worker:
        parser.error("--sides needs torch_bf16, to which the others are compared")
    return options


def main() -> None:
    options = parse()
    if options.worker:
        live(options.worker)
        return
    with tempfile.TemporaryDirectory(prefix="bench-exports-") as made:
        folder = options.folder or Path(made)
        run = options.run or train(Path(made) / "run")
        result = compare(options, run, folder)
        machine = hardware_line("cpu")
        about = "MiniLM, trained on WNUT17 as `make demo` does, tags its test sentences; ids are ready, rows sorted."
        lines = [machine, "", about, "", *describe(result, folder)]
    print("\n".join(lines))
    if options.write:
        write_results("exports", "A tagger exported", lines, {"machine": machine, **result})
    print(json.dumps({"machine": machine, **result}))


if __name__ == "__main__":
    main()
