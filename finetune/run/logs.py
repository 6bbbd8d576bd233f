"""Logging: progress to stderr and to `<output_dir>/run.log`, results to stdout."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from logging.handlers import MemoryHandler
from pathlib import Path

from finetune.arguments.secrets import hide

FORMAT = "%(asctime)s - %(levelname)s - %(name)s -   %(message)s"
DATE_FORMAT = "%m/%d/%Y %H:%M:%S"
LOG_FILE = "run.log"
OWN = ("finetune", "__main__")
# Libraries with handlers of their own, some of which do not propagate: the log file has to be attached to each.
SEPARATE = ("transformers", "datasets", "huggingface_hub")
KEPT_AT_MOST = 100_000


class WithoutSecrets(logging.Formatter):
    """Every line of every log, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        return hide(super().format(record))


class ForReaders(logging.Filter):
    """What stderr shows: our own messages, and of others warnings (everything where `verbose`).

    Python warnings go to the log file alone, and what a library prints by a handler of its own is not shown twice.
    """

    def __init__(self, *, verbose: bool, only_warnings: bool) -> None:
        super().__init__()
        self.verbose, self.only_warnings = verbose, only_warnings

    def filter(self, record: logging.LogRecord) -> bool:
        family = record.name.split(".")[0]
        if _prints_itself(family):
            return False
        warns = record.levelno >= logging.WARNING and record.name != "py.warnings"
        return warns or (not self.only_warnings and (self.verbose or family in OWN))


def _prints_itself(family: str) -> bool:
    handlers = logging.getLogger(family).handlers
    return any(type(handler) is logging.StreamHandler for handler in handlers)


class CarefulFileHandler(logging.FileHandler):
    """A disk that is full stops the log, said once, and not the run."""

    failed = False

    def handleError(self, record: logging.LogRecord) -> None:
        if not self.failed:
            self.failed = True
            sys.stderr.write(f"{self.baseFilename} cannot be written ({sys.exc_info()[1]}); the log there has gaps.\n")


class LogFile:
    """Keeps what is logged until the run begins to write; `open_in` then puts it all into `<folder>/run.log`.

    A run that fails on bad input never opens it, so that nothing changes in the folder.
    """

    def __init__(self) -> None:
        self._kept = MemoryHandler(capacity=KEPT_AT_MOST, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
        self._current: logging.Handler = self._kept
        _attach(self._kept)

    def open_in(self, folder: Path, header: Sequence[str] = ()) -> None:
        """Write to `<folder>/run.log` from now on, after what is there: the header, what was kept, what is to come."""
        file = CarefulFileHandler(folder / LOG_FILE, encoding="utf-8", errors="backslashreplace")
        file.setFormatter(WithoutSecrets(FORMAT, DATE_FORMAT))
        for line in header:
            file.handle(logging.LogRecord(__name__, logging.INFO, __file__, 0, "%s", (line,), None))
        self._kept.setTarget(file)
        self._kept.flush()
        self.close()
        _attach(file)
        self._current = file

    def close(self) -> None:
        for name in (None, *SEPARATE):
            logging.getLogger(name).removeHandler(self._current)
        self._current.close()


class Once(logging.Filter):
    """Drops a record that reached the same log by another logger already."""

    def filter(self, record: logging.LogRecord) -> bool:
        seen = getattr(record, "seen_by_run_log", False)
        record.seen_by_run_log = True
        return not seen


def _attach(handler: logging.Handler) -> None:
    handler.addFilter(Once())
    for name in (None, *SEPARATE):
        logging.getLogger(name).addHandler(handler)


def set_up_logging(*, verbose: bool = False, only_warnings: bool = False) -> LogFile:
    """Log to stderr; quiet libraries unless `verbose`; no progress bars where nobody watches.

    `only_warnings` is for the further processes of one run, which would say everything again.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(WithoutSecrets(FORMAT, DATE_FORMAT))
    handler.addFilter(ForReaders(verbose=verbose, only_warnings=only_warnings))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    _keep_stdout_for_results()
    if only_warnings or not sys.stderr.isatty():
        _switch_off_progress_bars()
    return LogFile()


def _keep_stdout_for_results() -> None:
    """With WANDB_MODE=offline transformers prints a line when it is imported; to wandb its synonym means the same."""
    if os.environ.get("WANDB_MODE") == "offline":
        os.environ["WANDB_MODE"] = "dryrun"


def _switch_off_progress_bars() -> None:
    """Every library reads its own variable, at import."""
    for name in ("TQDM_DISABLE", "HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(name, "1")
