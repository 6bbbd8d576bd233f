"""Files that a person opens, each whole or not there."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.run.atomic_files import atomic_text_file
from finetune.run.manifest import write_json_atomically

logger = logging.getLogger(__name__)

METRICS = "metrics.json"
REPORT = "report.txt"
CALIBRATION = "calibration.json"
DATA_SUMMARY = "data_summary.json"


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 text with `\\n` line ends, whole or not at all; the folder is made where it is missing."""
    with atomic_text_file(path) as file:
        file.write(text)
    return path


def write_metrics(folder: Path, splits: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write metrics.json: one object per split; a metric that is not a finite number becomes null."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json_atomically(folder / METRICS, splits)
    return folder / METRICS


def write_results(path: Path, values: Mapping[str, Any], *, title: str) -> Path:
    """Write `key = value` lines as the examples of transformers 2 to 4 did (`eval_results.txt`), and log the same."""
    logger.info("***** %s *****", title)
    for key, value in values.items():
        logger.info("  %s = %s", key, value)
    return write_text(path, "".join(f"{key} = {value}\n" for key, value in values.items()))
