"""Where the trials of a search are kept: a journal file, which any number of processes may share, or a database.

Optuna's journal is a text file with one operation a line. A process that a full disk or a power cut stops in the middle of
a line leaves half of one, and everybody else would join theirs to it; that half is cut off when the file is opened.

Optuna locks a journal by a link or a file, which a killed process leaves behind: others wait half a minute for it, or for
ever (the link, if the path is relative). The lock here is the kernel's, which frees it when its owner dies.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

from finetune.arguments.nearest import allowed_values
from finetune.errors import DataError, Problem, RunError, UsageError
from finetune.run.failures import first_line, is_of_its_files
from finetune.run.record_lock import RecordLock

logger = logging.getLogger(__name__)

JOURNAL = "journal.log"
KINDS = ("JournalStorage", "RDBStorage")
LOCKS = ("JournalFileSymlinkLock", "JournalFileOpenLock")
FROM_ENVIRONMENT = "env:"
FLAG = "--study_kwargs.storage"
TAIL_READ = 1 << 20
SECONDS_FOR_SQLITE = 60.0  # that a process waits for another one's writing
ATTEMPTS, SECONDS_BETWEEN_ATTEMPTS = 6, 0.5
MADE_BY_OTHERS = ("already exists", "unique", "duplicate", "locked")


def open_storage(study_kwargs: Mapping[str, Any], folder: Path) -> BaseStorage:
    """The storage that `study_kwargs` name: a journal file in `folder`, another one, or a database.

    `storage` is a path, a database URL of SQLAlchemy (`postgresql://...`), `env:NAME` for a URL in a variable, or the
    name of a class, `JournalStorage` or `RDBStorage`, with `storage_kwargs`.

    Raises:
        UsageError: it names none of these, or keywords that the class does not have.
        RunError: the database cannot be reached, or its driver is not installed.
    """
    asked, keywords = study_kwargs.get("storage"), dict(study_kwargs.get("storage_kwargs") or {})
    if asked is None and not keywords:
        return open_journal(folder / JOURNAL)
    name = str(asked or KINDS[0]).rpartition(".")[2]
    if name == "JournalStorage":
        return _journal_by_keywords(keywords, folder)
    if name == "RDBStorage":
        return _database(str(keywords.pop("url", "")), keywords)
    text = str(asked)
    if text.startswith(FROM_ENVIRONMENT):
        text = _from_environment(text.removeprefix(FROM_ENVIRONMENT))
    if "://" in text:
        return _database(text, keywords)
    if "/" in text or Path(text).suffix in (".log", ".journal") or Path(text).is_file():
        _refuse(keywords, ())
        return open_journal(Path(text))
    allowed = f"a file (with a slash or .log), a URL such as sqlite:///study.db, or {' or '.join(KINDS)}"
    raise UsageError(Problem(f"{FLAG} is {text!r}", allowed))


class JournalLock(BaseJournalFileLock):
    """The lock of a journal between processes, as Optuna asks for it; `JournalStorage` has one between threads."""

    def __init__(self, journal: Path) -> None:
        self._lock = RecordLock(journal.with_name(f".{journal.name}.lock"))

    def acquire(self) -> bool:
        return self._lock.acquire(wait=True)

    def release(self) -> None:
        self._lock.release()


def open_journal(path: Path) -> BaseStorage:
    """A journal file, made with its folder where it is missing; half a line at its end is cut off, and said.

    Raises:
        DataError: its lines are no operations of a study.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalLock(path)
    if path.is_file():
        lock.acquire()
        try:
            _cut_half_line(path)
        finally:
            lock.release()
    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    except Exception as error:
        if not is_of_its_files(error):
            raise
        found, remedy = f"this journal of a search is damaged ({first_line(error)})", f"choose another {FLAG}"
        raise DataError(Problem(found, "", remedy, path)) from error


def _cut_half_line(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb+") as file:
        file.seek(max(0, size - TAIL_READ))
        tail = file.read()
        if not tail or tail.endswith(b"\n"):
            return
        lost = len(tail) - (tail.rfind(b"\n") + 1)
        file.truncate(size - lost)
        file.flush()
        os.fsync(file.fileno())
    logger.warning("%s: half a line at its end (%d bytes), left by a process that was stopped, is cut off.", path, lost)


def _journal_by_keywords(keywords: dict[str, Any], folder: Path) -> BaseStorage:
    """As the class takes them: `log_storage`, its `log_storage_kwargs` with `file_path` and `lock_obj`."""
    _refuse(keywords, ("log_storage", "log_storage_kwargs"))
    if str(keywords.get("log_storage", "JournalFileBackend")).rpartition(".")[2] != "JournalFileBackend":
        raise UsageError(Problem(f"{FLAG}_kwargs.log_storage is {keywords['log_storage']!r}", "JournalFileBackend"))
    inner = dict(keywords.get("log_storage_kwargs") or {})
    _refuse(inner, ("file_path", "lock_obj", "lock_obj_kwargs"), ".log_storage_kwargs")
    lock = str(inner.get("lock_obj") or "JournalFileSymlinkLock").rpartition(".")[2]
    if lock not in LOCKS:
        found = f"{FLAG}_kwargs.log_storage_kwargs.lock_obj is {inner['lock_obj']!r}"
        raise UsageError(Problem(found, allowed_values(lock, LOCKS)))
    if inner.get("lock_obj"):
        logger.info("%s is not used: journals are locked by the kernel here, whoever writes to them.", lock)
    return open_journal(Path(str(inner.get("file_path", folder / JOURNAL))))


def _refuse(keywords: Mapping[str, Any], known: tuple[str, ...], below: str = "") -> None:
    problems = [
        Problem(
            f"{FLAG}_kwargs{below} has no key {key!r}", allowed_values(key, known) if known else "it takes none here"
        )
        for key in keywords
        if key not in known
    ]
    if problems:
        raise UsageError(*problems)


def _from_environment(name: str) -> str:
    if url := os.environ.get(name):
        return url
    raise UsageError(Problem(f"{FLAG} is {FROM_ENVIRONMENT}{name}, but ${name} is not set"))


def _database(url: str, keywords: Mapping[str, Any]) -> BaseStorage:
    _refuse(keywords, ("engine_kwargs", "skip_compatibility_check", "skip_table_creation"))
    if not url:
        raise UsageError(Problem(f"{FLAG} is RDBStorage without a URL", f"give {FLAG}_kwargs.url"))
    try:
        return _connect(url, dict(keywords))
    except ImportError as error:
        found = f"{FLAG} is {hide_password(url)}, but its driver is not installed ({error.__cause__ or error})"
        remedy = "pip install 'finetune[postgresql]', or the driver of that database"
        raise UsageError(Problem(found, remedy=remedy)) from error
    except Exception as error:
        if not _is_of_database(error):
            raise
        reason = str(error.__cause__ or error).splitlines()[0].replace(url, hide_password(url))
        raise RunError(f"the database {hide_password(url)} cannot be used: {reason}") from error


def _connect(url: str, keywords: dict[str, Any]) -> BaseStorage:
    """Processes that begin a study together all make its tables; who comes second finds them there the next time."""
    if url.startswith("sqlite"):
        engine = {"connect_args": {"timeout": SECONDS_FOR_SQLITE}, **keywords.get("engine_kwargs", {})}
        keywords = {**keywords, "engine_kwargs": engine}
    for _ in range(ATTEMPTS - 1):
        try:
            return RDBStorage(url, **keywords)
        except Exception as error:
            if not (_is_of_database(error) and any(word in str(error).casefold() for word in MADE_BY_OTHERS)):
                raise
            time.sleep(SECONDS_BETWEEN_ATTEMPTS)
    return RDBStorage(url, **keywords)


def _is_of_database(error: Exception) -> bool:
    return type(error).__module__.split(".")[0] in ("sqlalchemy", "optuna", "alembic")


def hide_password(url: str) -> str:
    """A database URL that may be shown."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)


def holds_password(study_kwargs: Mapping[str, Any]) -> bool:
    """Whether a URL with a password stands in the arguments, and so in run.json."""
    keywords = study_kwargs.get("storage_kwargs") or {}
    return any(hide_password(str(url)) != str(url) for url in (study_kwargs.get("storage"), keywords.get("url")))


def quiet_optuna() -> None:
    """Optuna's messages go where ours go, and only its warnings; its notes on experimental classes go nowhere."""
    import warnings

    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
