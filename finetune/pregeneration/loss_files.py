"""Files of mean losses, one number a line, as the LM fine-tuning scripts wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from finetune.report.files import write_text


def write_losses(path: Path, losses: Sequence[float]) -> Path:
    """Write the file anew, whole or not at all."""
    return write_text(path, "".join(f"{loss}\n" for loss in losses))
