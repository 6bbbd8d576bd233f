"""Checksums beside the weights of a finished model, and their comparison when it is loaded: a flipped bit is no model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.errors import DataError, Problem
from finetune.run.checkpoints import MARKER
from finetune.run.checksums import checksum, why_different
from finetune.run.manifest import write_json_atomically

FILE = "checksums.json"
WEIGHTS = (".safetensors", ".bin")


def record_weights(folder: Path) -> None:
    """Write the checksums of the weights that have just been saved.

    Raises:
        OSError: the disk is full, or the weights cannot be read.
    """
    weights = [path for path in sorted(folder.glob("*")) if path.is_file() and _are_weights(path.name)]
    facts = {path.name: {"bytes": path.stat().st_size, "xxh3": checksum(path)} for path in weights}
    write_json_atomically(folder / FILE, facts)


def _are_weights(name: str) -> bool:
    return name.endswith(WEIGHTS) and name.startswith(("model", "pytorch_model", "adapter_model"))


def require_whole_weights(name: str) -> None:
    """Compare the weights of a folder with what was written beside them, in a model's folder or a checkpoint's.

    Of models that another program saved nothing is known, nor of weights that are no longer there.

    Raises:
        DataError: weights are not as they were saved.
    """
    folder = Path(name)
    recorded = next((folder / file for file in (FILE, MARKER) if (folder / file).is_file()), None)
    if recorded is None:
        return
    expected = {file: value for file, value in _read(recorded).items() if (folder / file).is_file()}
    if found := why_different(folder, expected):
        remedy = f"copy the model again, or remove {recorded.name} if you changed its weights yourself"
        raise DataError(Problem(found, remedy=remedy, path=folder))


def _read(path: Path) -> dict[str, str]:
    """Checksums by name; none where the file is not ours."""
    try:
        facts: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        remedy = "copy the model again, or remove this file"
        raise DataError(Problem(f"these checksums cannot be read ({error})", remedy=remedy, path=path)) from error
    entries = facts.items() if isinstance(facts, Mapping) else ()
    found = {name: entry.get("xxh3") for name, entry in entries if isinstance(entry, Mapping) and _are_weights(name)}
    return {name: value for name, value in found.items() if isinstance(value, str)}
