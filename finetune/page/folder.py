"""The files of an output folder, read for its page; one that cannot be read is told on the page instead of ending it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from finetune.data.json_values import parse_json
from finetune.errors import DataError, FinetuneError, Problem
from finetune.report.files import CALIBRATION, DATA_SUMMARY, METRICS, REPORT
from finetune.run.checkpoints import TRAINER_STATE
from finetune.run.course import HISTORY, PROGRESS
from finetune.run.manifest import read_manifest

IMPORTANCES, TEACHER = "optimization_importances.json", "teacher.json"


class RunFolder:
    """What a run left; `unread` are sentences about files that cannot be read."""

    def __init__(self, path: Path, ending: Mapping[str, Any] | None = None) -> None:
        self.path, self.ending = path, dict(ending or {})
        self.unread: list[str] = []

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """run.json, with how the run ends where that is not written yet."""
        try:
            return {**(read_manifest(self.path) or {}), **self.ending}
        except FinetuneError as error:
            self.unread.append(f"{error}.")
            return dict(self.ending)

    @cached_property
    def metrics(self) -> dict[str, dict[str, Any]]:
        found = self._read_json(METRICS)
        return {name: values for name, values in found.items() if isinstance(values, dict)}

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """What the Trainer logged; from the newest checkpoint where no file of its own is there."""
        found = self._read_json(HISTORY).get("log")
        if found is None:
            states = sorted(self.path.glob(f"checkpoint-*/{TRAINER_STATE}"), key=lambda path: path.stat().st_mtime)
            found = self._read_json(str(states[-1].relative_to(self.path))).get("log_history") if states else None
        return _entries(found)

    @cached_property
    def progress(self) -> list[dict[str, Any]]:
        """The pace of training, and the parts of its loss, by step."""
        return _entries(self._read_json(PROGRESS).get("log"))

    @cached_property
    def data(self) -> dict[str, dict[str, Any]]:
        return self._read_json(DATA_SUMMARY)

    @cached_property
    def importances(self) -> dict[str, Any]:
        """Of the hyperparameters of a search, by evaluator."""
        found = self._read_json(IMPORTANCES)
        return {name: shares for name, shares in found.items() if isinstance(shares, dict)}

    @cached_property
    def teacher(self) -> dict[str, Any]:
        """Of a distillation: the teacher's name, scores and size."""
        return self._read_json(TEACHER)

    @cached_property
    def calibration(self) -> dict[str, Any]:
        """Of a tagger's words, by split: the bins of their probabilities."""
        return self._read_json(CALIBRATION)

    @cached_property
    def settings(self) -> dict[str, Any]:
        return self._read_json("finetune_settings.json")

    @cached_property
    def labels(self) -> list[str]:
        """The labels of the model, in the order of their ids."""
        names = self._read_json("config.json").get("id2label")
        if not isinstance(names, dict) or not all(map(str.isdecimal, names)):
            return []
        return [str(names[key]) for key in sorted(names, key=lambda key: (len(key.lstrip("0")), key.lstrip("0")))]

    @cached_property
    def notes(self) -> list[str]:
        """The notes of report.txt."""
        path = self.path / REPORT
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        _, _, notes = text.rpartition("\nNotes:\n")
        return [line[2:] for line in notes.splitlines() if line.startswith("- ")] if "\nNotes:\n" in text else []

    def predictions(self, suffix: str) -> dict[str, Path]:
        """The predictions files of each split, by the kind of file."""
        paths = sorted(self.path.glob(f"predictions.*.{suffix}"))
        return {path.name.removeprefix("predictions.").removesuffix(f".{suffix}"): path for path in paths}

    def _read_json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            found = parse_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            self.unread.append(f"{name} cannot be read: {error}.")
            return {}
        return found if isinstance(found, dict) else {}


def _numbers(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What was logged at a step, which is numbers."""
    return {
        name: value for name, value in entry.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _entries(found: object) -> list[dict[str, Any]]:
    """What was logged, by step; whatever is none is left out."""
    numbers = [_numbers(entry) for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
    return [entry for entry in numbers if "step" in entry]


def judged_split(names: Mapping[str, Any]) -> str | None:
    """The split that says most about a model: a test, else a validation split, else any."""
    return next(iter(sorted(names, key=_rank)), None)


def _rank(name: str) -> int:
    return next((n for n, word in enumerate(("test", "validation", "dev", "train")) if name.startswith(word)), 2)


def read_lines(path: Path) -> Iterator[str]:
    """Lines cut at \\n alone, without it.

    Raises:
        DataError: the file cannot be opened, or is not UTF-8.
    """
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                yield line.removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(Problem(f"the file cannot be read: {error}", path=path)) from error
