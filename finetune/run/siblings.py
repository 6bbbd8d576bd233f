"""What processes that `launching.py` started for one run tell each other and it: by small files in a folder of its own.

One says that it is there, and how it ended; the launcher, which waits for all of them, has the last word.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.errors import Preempted
from finetune.run.launcher import find_rank
from finetune.run.manifest import write_json_atomically
from finetune.run.parent import get_signal_with_parent

VARIABLE = "FINETUNE_LAUNCHED"  # "<process id of the launcher>:<its folder>"
SECONDS_BETWEEN_LOOKS = 0.05


@dataclass(frozen=True)
class Siblings:
    """The folder in which the processes of one launch leave word, and the process that started them."""

    launcher: int
    folder: Path

    @classmethod
    def from_environment(cls) -> Siblings | None:
        """None where this process was not started by a launcher of ours."""
        launcher, _, folder = os.environ.get(VARIABLE, "").partition(":")
        found = cls(int(launcher), Path(folder)) if launcher.isdecimal() and folder else None
        return found if found is not None and found.folder.is_dir() else None

    def spell(self) -> str:
        return f"{self.launcher}:{self.folder}"

    def join(self) -> None:
        """Say that this process is there and handles signals; SIGTERM comes, too, when the launcher dies (on Linux).

        Raises:
            Preempted: it is dead already.
        """
        get_signal_with_parent()
        write_json_atomically(self.folder / f"{find_rank()}.process", os.getpid())
        if self.is_orphan():
            raise Preempted("the process that started this one has ended; run the same command again to go on")

    def is_orphan(self) -> bool:
        return os.getppid() != self.launcher

    def tell_end(self, outcome: Mapping[str, Any]) -> bool:
        """Leave word of how this process ended; False where the launcher is no more, and nobody will read it."""
        if self.is_orphan():
            if find_rank() == 0:
                shutil.rmtree(self.folder, ignore_errors=True)
            return False
        write_json_atomically(self.folder / f"{find_rank()}.end", {**outcome, "at": time.time()})
        return True

    def wait_for_first(self) -> None:
        """Until the first process has ended: it still writes what all have saved, and whoever leaves early ends it."""
        process = self.processes().get(0)
        while process and _is_alive(process) and 0 not in self.ends() and not self.is_orphan():
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def processes(self) -> dict[int, int]:
        """Rank -> process id, of those that are there or were."""
        return self._read("process")

    def ends(self) -> dict[int, dict[str, Any]]:
        """Rank -> how it ended, of those that have."""
        return self._read("end")

    def _read(self, kind: str) -> dict[int, Any]:
        found = {int(path.stem): path for path in self.folder.glob(f"*.{kind}") if path.stem.isdecimal()}
        return {rank: json.loads(path.read_bytes()) for rank, path in sorted(found.items())}


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
