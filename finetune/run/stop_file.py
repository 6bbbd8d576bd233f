"""A file named STOP in the output folder stops a run as SIGUSR1 does: for whoever reaches the disk but not the process."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from finetune.errors import Preempted
from finetune.run.signals import StopRequest

logger = logging.getLogger(__name__)

STOP = "STOP"
SECONDS_BETWEEN = 1.0


class StopFile:
    """Looks for `<folder>/STOP` once a second, from `watch()` to `close()`; the file goes as it is obeyed.

    One that is there before the run begins is obeyed, too: whoever asks a waiting job to stop need not hit its lifetime.
    """

    def __init__(self, folder: Path, stop: StopRequest) -> None:
        self.path, self.stop = folder / STOP, stop
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self) -> None:
        """Begin to look, in a thread of its own; the signals of this process are handled by then.

        Raises:
            Preempted: the file is there already.
        """
        if self._taken():
            raise Preempted(f"stopped by the file {self.path}, which is removed; run the same command again to go on")
        self._thread = threading.Thread(target=self._look, name="stop-file", daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._closed.wait(SECONDS_BETWEEN):
            if self._taken():
                self.stop.ask(f"the file {self.path}")
                return

    def _taken(self) -> bool:
        """Whether the file was there; it is removed. One that cannot be removed counts again at the next start."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            if not self.path.is_file():
                return False
            logger.warning("%s cannot be removed (%s): do that before you run the command again.", self.path, error)
        return True

    def close(self) -> None:
        """Look no more. A file that came too late to stop anything is removed, or the next run would obey it."""
        if self._thread is None:
            return
        self._closed.set()
        self._thread.join()
        if self._taken():
            logger.warning("%s came when the run had ended; it is removed.", self.path)
