"""What a run did, on one screen, from the files of its folder: command, data, model, schedule, result, what was left out."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from finetune.arguments.secrets import hide, hide_words
from finetune.errors import DataError, Problem
from finetune.page.folder import RunFolder, judged_split
from finetune.run.checkpoints import newest_whole

WIDTH, MOST_LINES = 108, 4
MOST_NOTES, MOST_LABELS, MOST_SCORES, MOST_FILES = 6, 6, 6, 12
SCHEDULE = (
    *("num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate"),
    *("lr_scheduler_type", "warmup_steps", "optim", "weight_decay", "bf16", "fp16", "seed"),
)
ADDED = ("peft", "freeze", "ema", "average_last", "silver_file", "weight_column", "r_drop", "fgm", "document_context")
LEFT_OUT = (
    "drop",
    "cut",
    "truncat",
    "skip",
    "left out",
    "repeat",
    "also in",
    "lost",
    "longer",
    "empty",
    "only the first",
)


def explain_run(path: Path) -> list[str]:
    """The lines of the screen; nothing is loaded, and nothing changed.

    Raises:
        DataError: the folder's run.json cannot be read.
    """
    folder = RunFolder(path)
    manifest = folder.manifest
    if not manifest:
        raise DataError(Problem("; ".join(folder.unread) or "run.json is empty", path=path))
    arguments = {**(manifest.get("arguments") or {}), **(manifest.get("training_arguments") or {})}
    parts = {
        "run": _describe_run(manifest),
        "command": [shlex.join(hide_words(list(map(str, manifest.get("command") or ()))))],
        "data": list(_describe_data(folder)),
        "model": [_describe_model(arguments)],
        "schedule": [_values(arguments, SCHEDULE)],
        "besides": [_values(arguments, ADDED)],
        "attempts": list(_describe_attempts(path, manifest)),
        "chosen": [_describe_choice(manifest)],
        "scores": list(_describe_scores(folder)),
        "noted": _describe_notes(folder),
        "files": [_describe_files(manifest)],
    }
    lines = [line for title, texts in parts.items() for line in _block(title, [text for text in texts if text])]
    return [hide(line) for line in [*lines, *(f"unread    {text}" for text in folder.unread)]]


def _block(title: str, texts: list[str]) -> Iterator[str]:
    wrapped = (line for text in texts for line in textwrap.wrap(text, WIDTH, max_lines=MOST_LINES, placeholder=" ..."))
    for number, line in enumerate(wrapped):
        yield f"{title if number == 0 else '':<10}{line}"


def _describe_run(manifest: Mapping[str, Any]) -> list[str]:
    times = " to ".join(str(manifest[name]) for name in ("started", "finished") if manifest.get(name))
    reason = f": {manifest['reason']}" if manifest.get("reason") else ""
    versions = manifest.get("versions") or {}
    shown = ", ".join(f"{name} {versions[name]}" for name in ("finetune", "torch", "transformers") if name in versions)
    return [f"{manifest.get('program')}, {manifest.get('status')}{reason}", f"{times}; {shown}"]


def _describe_data(folder: RunFolder) -> Iterator[str]:
    for split, facts in folder.data.items():
        labels = facts.get("labels") or {}
        some = ", ".join(f"{label} {count:,}" for label, count in list(labels.items())[:MOST_LABELS])
        rest = f", and {len(labels) - MOST_LABELS} more" if len(labels) > MOST_LABELS else ""
        yield f"{split}: {facts.get('examples', 0):,} examples" + (f"; labels {some}{rest}" if some else "")
    if not folder.data:
        yield from (f"read: {name}" for name in list(folder.manifest.get("inputs") or {})[:MOST_LABELS])


def _describe_model(arguments: Mapping[str, Any]) -> str:
    name = arguments.get("model_name_or_path") or arguments.get("teacher_name") or ""
    length = arguments.get("max_length") or arguments.get("max_seq_length")
    return f"{name}" + (f", up to {length} subwords" if length else "")


def _values(arguments: Mapping[str, Any], names: tuple[str, ...]) -> str:
    typed = {name: arguments.get(name) for name in names}
    said = {name: value for name, value in typed.items() if value not in (None, False, 0, "", -1)}
    return ", ".join(f"{name} {' '.join(map(str, v)) if isinstance(v, list) else v}" for name, v in said.items())


def _describe_attempts(path: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    resumed = manifest.get("resumed") or []
    if resumed:
        yield f"interrupted {len(resumed)} time{'s' * (len(resumed) > 1)}; gone on at {', '.join(map(str, resumed[-3:]))}"
    if manifest.get("status") != "done":
        whole = newest_whole(path)
        yield f"not done; the same command goes on from {whole.name}" if whole else "not done; no checkpoint yet"


def _describe_choice(manifest: Mapping[str, Any]) -> str:
    chosen = manifest.get("chosen_checkpoint") or {}
    if not chosen:
        return ""
    by = f", the best of validation by {chosen['metric']} ({chosen['value']:.6g})" if "metric" in chosen else ""
    weights = {"ema": "; its moving average", "last": "; the mean of the last"}.get(str(chosen.get("weights")), "")
    return f"{chosen.get('name')}{by}{weights}"


def _describe_scores(folder: RunFolder) -> Iterator[str]:
    first = judged_split(folder.metrics)
    for split in sorted(folder.metrics, key=lambda name: name != first):
        main = (folder.manifest.get("result") or {}).get(split)
        found = {**(main if isinstance(main, dict) else {}), **folder.metrics[split]}  # the main scores come first
        numbers = {name: value for name, value in found.items() if isinstance(value, int | float)}
        shown = [f"{name} {value:.4g}" for name, value in list(numbers.items())[:MOST_SCORES]]
        yield f"{split}: {', '.join(shown)}"


def _describe_notes(folder: RunFolder) -> list[str]:
    """What was dropped, cut or found twice comes first."""
    notes = sorted(folder.notes, key=lambda note: not any(word in note.lower() for word in LEFT_OUT))
    more = [f"and {len(notes) - MOST_NOTES} more notes in report.txt"] if len(notes) > MOST_NOTES else []
    return [*notes[:MOST_NOTES], *more]


def _describe_files(manifest: Mapping[str, Any]) -> str:
    names = [name for name in manifest.get("files") or () if "/" not in str(name)]
    inner = len(manifest.get("files") or ()) - len(names)
    rest = len(names) - MOST_FILES
    shown = ", ".join(names[:MOST_FILES]) + (f", and {rest} more" if rest > 0 else "")
    return shown + (f"; {inner} in folders" if inner else "")
