"""The table at the end of distill.sh: F1, parameters and speed of the taggers, and whether distillation paid.

python examples/distillation_table.py outputs/distill --seeds 1 2 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STUDENTS = ("shallow", "narrow")
DESCRIPTIONS = {
    "teacher": "teacher: 6 layers, 384 wide",
    "shallow-twin": "3 layers, 384 wide, undistilled",
    "shallow": "3 layers, 384 wide, distilled",
    "narrow-twin": "6 layers, 192 wide, undistilled",
    "narrow": "6 layers, 192 wide, distilled",
}
ROUNDS = 3  # every model tags the test sentences once a round, in turns


def read_f1(folder: Path) -> float:
    """Micro-averaged F1 of entities in the test split."""
    return float(json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["test"]["f1_micro"])


def read_words(folder: Path) -> list[list[str]]:
    """The test sentences that a tagger was scored on."""
    text = (folder / "predictions.test.conll").read_text(encoding="utf-8")
    blocks = [block.split("\n") for block in text.split("\n\n") if block.strip()]
    return [[line.split("\t")[0] for line in block if line] for block in blocks]


def measure_speeds(folders: dict[str, Path], sentences: Sequence[Sequence[str]]) -> tuple[dict[str, Any], ...]:
    """Parameters, and sentences a second as predict.py tags them (encoding included), by name."""
    from finetune.arguments.model import ModelArguments
    from finetune.arguments.prediction import PredictArguments
    from finetune.tagging.opening import open_tagger

    taggers = {
        name: open_tagger(ModelArguments(model_name_or_path=str(folder)), PredictArguments())
        for name, folder in folders.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in taggers}
    for number in range(ROUNDS + 1):
        for name, tagger in taggers.items():
            start = time.perf_counter()
            encoded = tagger.encode_words(sentences)
            tagger.find_probabilities(encoded, encoded.rows())
            seconds[name] += [time.perf_counter() - start] if number else []  # the first round warms up
    speeds = {name: len(sentences) / statistics.median(times) for name, times in seconds.items()}
    return {name: tagger.network.model.num_parameters() for name, tagger in taggers.items()}, speeds


def judge(student: str, seeds: Sequence[int], distilled: Sequence[float], twin: Sequence[float]) -> str:
    """One sentence on what distillation did to a student, seed by seed."""
    differences = [own - other for own, other in zip(distilled, twin, strict=True)]
    better, mean = sum(difference > 0 for difference in differences), statistics.mean(differences)
    said = f"{mean:+.4f} F1 on average ({', '.join(f'{value:+.4f}' for value in differences)})"
    if len(seeds) == 1:
        return (
            f"The {student} student beside its undistilled twin: {said}; one seed does not tell whether that is chance."
        )
    if better == len(seeds):
        return f"The {student} student beats its undistilled twin with every seed: {said}."
    if better == 0:
        return f"The {student} student does not beat its undistilled twin with any seed: {said}."
    return f"The {student} student is better than its undistilled twin with {better} of {len(seeds)} seeds: {said}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="OUTPUT_DIR of distill.sh")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    runs = {name: [options.folder / f"ner-{name}-{seed}" for seed in options.seeds] for name in DESCRIPTIONS}
    scores = {name: [read_f1(folder) for folder in folders] for name, folders in runs.items()}
    measured = {name: runs[name][0] for name in ("teacher", *STUDENTS)}
    parameters, speeds = measure_speeds(measured, read_words(runs["teacher"][0]))
    lines = ["| tagger of WNUT17 | test F1 | by seed | parameters | sentences/s |", "|---|---|---|---|---|"]
    for name, values in scores.items():
        same = name.removesuffix("-twin")  # a twin has its student's shape
        each = ", ".join(f"{value:.4f}" for value in values)
        cells = (f"{statistics.mean(values):.4f}", each, f"{parameters[same]:,}", f"{speeds[same]:.0f}")
        lines.append(f"| {DESCRIPTIONS[name]} | {' | '.join(cells)} |")
    lines += ["", *(judge(name, options.seeds, scores[name], scores[f"{name}-twin"]) for name in STUDENTS)]
    print("\n".join(lines))
    (options.folder / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
