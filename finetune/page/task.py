"""`finetune report`: the page of a run made again from the files of its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune.errors import Problem, UsageError
from finetune.page.building import has_scores, write_page
from finetune.run.lock import FolderLock
from finetune.run.manifest import MANIFEST, read_manifest, write_json_atomically


def rebuild_page(path: Path) -> dict[str, Any]:
    """Write `report.html` again, and list it among the files of the run.

    Raises:
        UsageError: the run has left nothing that could be shown.
        LockedError: the run is going on.
        DataError: run.json cannot be read.
    """
    if not has_scores(path):
        raise UsageError(Problem("there are no scores and no course of a training in this folder", path=path))
    lock = FolderLock(path)
    lock.acquire()
    try:
        manifest = read_manifest(path) or {}
        written = write_page(path)
        names = {file.relative_to(path).as_posix() for file in written}
        write_json_atomically(path / MANIFEST, {**manifest, "files": sorted({*manifest.get("files", ()), *names})})
    finally:
        lock.release()
    return {"page": str(written[0]), "plots": len(written) - 1}
