"""The files that GLUE and the examples of transformers 2 to 5 know: results, predictions, submissions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from finetune.classification.glue.tasks import GlueTask
from finetune.report.files import write_text

HEADER = "index\tprediction\n"


def write_glue_predictions(path: Path, predicted: Sequence[str] | Sequence[float]) -> Path:
    """Write `test_results_<task>.txt`: index and predicted label, or a value with three decimals."""
    rows = (f"{value:.3f}" if isinstance(value, float) else value for value in predicted)
    return write_text(path, HEADER + "".join(f"{index}\t{value}\n" for index, value in enumerate(rows)))


def write_submission(folder: Path, task: GlueTask, predicted: Sequence[str] | Sequence[float]) -> Path:
    """Write the file of one task as gluebenchmark.com takes it: labels as the task spells them, values from 0 to 5."""
    if task.is_regression:
        values = [f"{min(max(float(value), 0.0), 5.0):.3f}" for value in predicted]
    else:
        spelling = dict(zip(task.labels, task.values, strict=True))
        values = [spelling[str(label)] for label in predicted]
    rows = "".join(f"{index}\t{value}\n" for index, value in enumerate(values))
    return write_text(folder / task.submission_file, HEADER + rows)
