"""README.md of an output folder: a model card with the real metrics, readable by people and by the Hugging Face hub."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from finetune.report.files import write_text
from finetune.report.markdown import code_block, code_span, one_line, table_cell

CARD = "README.md"


@dataclass(frozen=True)
class ModelCard:
    """What a card says. Nothing here is invented: what is empty is left out.

    `metrics` are per split, name -> number, the ones to show; `headline` names that of them which the hub shows.
    `hub_dataset` is the data set's name on the hub, empty where it is not there.
    `sizes` are examples per split, `facts` further rows of the training table (seed, epochs, learning rate, device).
    """

    name: str
    task: str  # the hub's name: token-classification, text-classification, fill-mask
    base_model: str
    dataset: str
    metrics: Mapping[str, Mapping[str, float]]
    headline: Sequence[str]
    labels: Sequence[str] = ()
    hub_dataset: str = ""
    language: str | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    command: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    usage: str = ""
    origin: str = "Fine-tuned"  # what was done to the base model


def write_model_card(folder: Path, card: ModelCard) -> Path:
    """Write README.md."""
    front = yaml.safe_dump(front_matter(card), sort_keys=False, allow_unicode=True)
    sections = [_training(card), _metrics(card), _usage(card), _labels(card), _command(card), _versions(card)]
    body = "\n".join(section for section in sections if section)
    return write_text(folder / CARD, f"---\n{front}---\n\n# {one_line(card.name)}\n\n{_summary(card)}\n{body}")


def front_matter(card: ModelCard) -> dict[str, Any]:
    """The hub's metadata. A base model or data set that is a local path is named in the text only: the hub asks for ids."""
    front: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": card.task, "tags": ["finetune"]}
    if card.language:
        front["language"] = card.language
    if not _is_local(card.base_model):
        front["base_model"] = card.base_model
    if not _is_local(card.hub_dataset):
        front["datasets"] = [card.hub_dataset]
    results = [_hub_result(card, split) for split, metrics in card.metrics.items() if set(metrics) & set(card.headline)]
    if results:
        front["model-index"] = [{"name": card.name, "results": results}]
    return front


def _hub_result(card: ModelCard, split: str) -> dict[str, Any]:
    name = Path(card.dataset).name
    metrics = card.metrics[split]
    shown = [key for key in dict.fromkeys(card.headline) if key in metrics]
    return {
        "task": {"type": card.task},
        "dataset": {"name": name, "type": name, "split": split},
        "metrics": [{"type": key.split("_")[0], "name": key, "value": metrics[key]} for key in shown],
    }


def _is_local(name: str) -> bool:
    return not name or name.startswith((".", "/", "~")) or name.count("/") > 1 or Path(name).exists()


def _summary(card: ModelCard) -> str:
    how = f"{card.origin} from {code_span(card.base_model)}" if card.base_model else "Trained from scratch"
    return f"{how} for {card.task} on {code_span(card.dataset)}.\n"


def _training(card: ModelCard) -> str:
    rows = [f"| examples in {split} | {size:,} |" for split, size in card.sizes.items()]
    rows += [f"| {key.replace('_', ' ')} | {table_cell(str(value))} |" for key, value in card.facts.items()]
    table = "\n".join(["| | |", "|---|---|", *rows, ""]) if rows else ""
    notes = "".join(f"- {one_line(note)}\n" for note in card.notes)
    return "\n".join(part for part in ("## Training\n", table, notes) if part) if table or notes else ""


def _metrics(card: ModelCard) -> str:
    if not card.metrics:
        return ""
    splits = list(card.metrics)
    keys = list(dict.fromkeys(key for metrics in card.metrics.values() for key in metrics))
    rows = [
        f"| {table_cell(key)} | {' | '.join(_number(card.metrics[split].get(key)) for split in splits)} |"
        for key in keys
    ]
    head = ["| | " + " | ".join(splits) + " |", "|---|" + "---|" * len(splits)]
    return "\n".join(["## Scores\n", *head, *rows, ""])


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"


def _usage(card: ModelCard) -> str:
    return f"## Use\n\n{card.usage.rstrip()}\n" if card.usage else ""


def _labels(card: ModelCard) -> str:
    return "## Labels\n\n" + ", ".join(map(code_span, card.labels)) + "\n" if card.labels else ""


def _command(card: ModelCard) -> str:
    return f"## Command\n\n{code_block(shlex.join(card.command))}" if card.command else ""


def _versions(card: ModelCard) -> str:
    names = ", ".join(f"{name} {version}" for name, version in card.versions.items())
    return f"## Versions\n\n{names}\n" if names else ""


def predict_usage(folder: Path) -> str:
    """How the model of a folder is used, as Markdown."""
    return code_block(
        shlex.join(["python", "scripts/predict.py", "--model_name_or_path", str(folder), "--input_file", "texts.txt"])
    )
