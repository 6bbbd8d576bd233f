"""What a run came to, in sentences, by rules: scores with their uncertainty, what is weakest, what the curves say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from finetune.page.curves import find_curve
from finetune.page.folder import RunFolder, judged_split
from finetune.page.parts import Sentences
from finetune.page.tagged import read_classes

Z = 1.96  # a 95 % interval
FEW, RISE, GAP = 30, 1.05, 0.03
NAMES = {
    "f1_micro": "F1 (micro average)",
    "f1_macro": "F1 (macro average)",
    "perplexity": "perplexity",
    "mcc": "Matthews correlation",
}


def judge(folder: RunFolder) -> list[Sentences]:
    """The verdict, then what should be looked at."""
    result = folder.manifest.get("result") or {}
    splits = {name: values for name, values in result.items() if isinstance(values, dict) and values}
    split = judged_split(splits)
    good, bad = [], []
    if split is not None:
        good += [*_headline(folder, split, splits[split]), *_accuracy(folder, split)]
        bad += [*_gap(splits, split), *_majority(folder, split), *_weakest(folder, split)]
    else:
        good += _plain(result)
    good += _course(folder)
    bad += _overfitted(folder)
    return [Sentences(items, kind) for items, kind in ((good, "verdict"), (bad, "warning")) if items]  # type: ignore[arg-type]


def name_metric(name: str) -> str:
    return NAMES.get(name, name.replace("_", " "))


def _headline(folder: RunFolder, split: str, values: Mapping[str, Any]) -> list[str]:
    number = folder.metrics.get(split, {}).get("nb_samples")
    of = f" over {number:,} examples" if number else ""
    shown = ", ".join(f"{name_metric(name)} {value:.4f}" for name, value in values.items() if isinstance(value, float))
    return [f"On {split}{of}: {shown}."] if shown else []


def wilson(share: float, number: float) -> tuple[float, float]:
    """The interval (95 %) of a share of independent examples (Wilson 1927)."""
    centre = (share + Z**2 / (2 * number)) / (1 + Z**2 / number)
    half = Z / (1 + Z**2 / number) * math.sqrt(share * (1 - share) / number + Z**2 / (4 * number**2))
    return centre - half, centre + half


def _accuracy(folder: RunFolder, split: str) -> list[str]:
    metrics = folder.metrics.get(split, {})
    number, accuracy = metrics.get("nb_samples"), metrics.get("accuracy")
    if not number or accuracy is None or "confusions" in metrics or not 0 <= accuracy <= 1:
        return []  # words of a sentence are not independent
    low, high = wilson(accuracy, number)
    return [
        f"With so many examples, the accuracy of {accuracy:.4f} stands for {low:.4f} to {high:.4f} (95 % interval)."
    ]


def _gap(splits: Mapping[str, Mapping[str, Any]], split: str) -> list[str]:
    other = splits.get("validation", {})
    name = next(iter(splits[split]), "")
    here, there = splits[split].get(name), other.get(name)
    if split == "validation" or not isinstance(here, float) or not isinstance(there, float) or abs(here - there) < GAP:
        return []
    how = "lower" if here < there else "higher"
    return [f"{name_metric(name)} of {split} is {abs(here - there):.3f} {how} than that of validation ({there:.4f})."]


def _majority(folder: RunFolder, split: str) -> list[str]:
    """What always saying the most frequent label would score; only where labels are those of whole texts."""
    counts, metrics = folder.data.get(split, {}).get("labels", {}), folder.metrics.get(split, {})
    accuracy, total = metrics.get("accuracy"), sum(counts.values())
    if accuracy is None or not total or "confusions" in metrics or total != metrics.get("nb_samples"):
        return []
    label, number = next(iter(counts.items()))
    share = number / total
    if accuracy > share:
        return []
    return [f"Always saying {label} would score an accuracy of {share:.4f}: this model is no better than that."]


def _weakest(folder: RunFolder, split: str) -> list[str]:
    classes = [row for row in read_classes(folder.metrics.get(split, {})) if row.support]
    if not classes:
        return []
    zero = [row.label for row in classes if row.f1 == 0]
    few = [row.label for row in classes if row.support < FEW]
    found = [f"Never right: {list_names(zero)}."] if zero else []
    worst = min(classes, key=lambda row: row.f1)
    if not zero and len(classes) > 1:
        found.append(f"The weakest class is {worst.label}: F1 {worst.f1:.4f} over {worst.support:,}.")
    return [*found, *([f"Fewer than {FEW} examples judge {list_names(few)}."] if few else [])]


def list_names(names: Sequence[str], limit: int = 8) -> str:
    """Names with commas between them; of many the first, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _plain(result: Mapping[str, Any]) -> list[str]:
    numbers = {name: value for name, value in result.items() if isinstance(value, int | float) and value is not True}
    shown = ", ".join(f"{name_metric(name)} {value:,.6g}" for name, value in numbers.items())
    return [f"Result: {shown}."] if shown else []


def _course(folder: RunFolder) -> list[str]:
    steps, losses = find_curve(folder.history, "loss")
    chosen = folder.manifest.get("chosen_checkpoint") or {}
    found = []
    if len(losses) > 1:
        first, last = (f"{losses[place]:.4g}" for place in (0, -1))
        found.append(f"The training loss went from {first} at step {steps[0]:,.0f} to {last} at step {steps[-1]:,.0f}.")
    if chosen.get("metric") and chosen.get("value") is not None:
        found.append(f"Validation chose {chosen['name']} by {chosen['metric']} ({chosen['value']:.4f}).")
    return found


def _overfitted(folder: RunFolder) -> list[str]:
    steps, losses = find_curve(folder.history, "eval_loss")
    if len(losses) < 2:
        return []
    best = min(range(len(losses)), key=losses.__getitem__)
    if losses[-1] > losses[best] * RISE:
        rise = losses[-1] / losses[best] - 1 if losses[best] > 0 else math.inf
        return [
            f"The validation loss was lowest at step {steps[best]:,.0f} and {rise:.0%} higher at the end (overfitting)."
        ]
    if best == len(losses) - 1:
        return ["The validation loss was still falling at the end: more training may help."]
    return []
