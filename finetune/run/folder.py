"""One run of one command in its output folder: start, go on, already done, or refuse."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from finetune.arguments.groups import Adapting
from finetune.arguments.secrets import hide_in
from finetune.arguments.unattended import UnattendedArguments
from finetune.errors import Problem, RunError, UsageError
from finetune.run.atomic_files import remove_leftovers
from finetune.run.attempts import describe_attempt
from finetune.run.changes import basis_differences, record_basis
from finetune.run.checkpoints import (
    MARKER,
    TRAINER_STATE,
    newest_whole,
    remove_outlived,
    restore_replaced,
    set_broken_aside,
    step_of,
    why_broken,
)
from finetune.run.comparing import argument_differences, fingerprints, input_differences
from finetune.run.failures import OF_THE_MACHINE
from finetune.run.launcher import count_processes
from finetune.run.leftovers import list_files, remove_files, written_by_run
from finetune.run.lock import FolderLock
from finetune.run.manifest import (
    MANIFEST,
    new_manifest,
    now,
    plain,
    read_manifest,
    version_changes,
    write_json_atomically,
)
from finetune.run.signals import StopRequest

logger = logging.getLogger(__name__)

NAMED_AT_MOST = 5
# What may differ where an unfinished run goes on with another number of processes: `training/global_batch.py` compares the
# rows of a step.
OF_THE_BATCH = ("--per_device_train_batch_size ", "--gradient_accumulation_steps ")


class Action(StrEnum):
    """What to do with an output folder."""

    START = "start"  # nothing of a run is there
    DISCARD = "discard"  # remove what an earlier run left, then start
    RESUME = "resume"
    ALREADY_DONE = "already_done"


@dataclass(frozen=True)
class Request:
    """What a command asks of its output folder."""

    program: str
    arguments: Mapping[str, Any]
    typed: Collection[str] = ()
    command: Sequence[str] = ()
    checkpoint: str | None = None  # asked for by --resume_from_checkpoint
    overwrite: bool = False
    restart: bool = False
    if_changed: bool = False
    script: Path = Path()


def decide(folder: Path, request: Request) -> Action:
    """What to do with a folder; nothing on disk is touched.

    Raises:
        UsageError: it holds another run, with the differences, or files that no run wrote.
        DataError: its run.json cannot be read.
    """
    before = read_manifest(folder)
    if before is None:
        return _decide_without_run(folder, request)
    if request.restart:
        return Action.DISCARD
    finished = before["status"] == "done"
    differences = _differences(before, request, folder if finished else None)
    if not differences and not finished:
        return Action.RESUME
    if not differences and (request.if_changed or not request.overwrite):
        return Action.ALREADY_DONE
    if request.overwrite or request.if_changed or not (finished or _holds_work(folder)):
        return Action.DISCARD
    raise UsageError(_holds_another_run(folder, finished), *(Problem(difference) for difference in differences))


def _decide_without_run(folder: Path, request: Request) -> Action:
    names = list_files(folder)
    if names and not request.overwrite:
        more = f" and {len(names) - NAMED_AT_MOST:,} more" if len(names) > NAMED_AT_MOST else ""
        found = f"the folder holds files that no run of finetune wrote: {', '.join(names[:NAMED_AT_MOST])}{more}"
        remedy = "choose another --output_dir, or add --overwrite_output_dir to write beside and over them"
        raise UsageError(Problem(found, remedy=remedy, path=folder))
    return Action.START


def _differences(before: Mapping[str, Any], request: Request, finished: Path | None) -> list[str]:
    """What is not as it was; of a `finished` run (its folder) code and named files, too, where that was asked for."""
    program = before.get("program", request.program)
    other = [f"the command was {program}, is now {request.program}"] if program != request.program else []
    asked = before.get("asked", before["arguments"])  # what was asked for; `arguments` is what came of it
    differences = argument_differences(asked, request.arguments, request.typed)
    if finished is None and before.get("processes", 1) != count_processes():
        differences = [item for item in differences if not item.startswith(OF_THE_BATCH)]
    differences += input_differences(before.get("inputs", {}))
    if request.if_changed and finished is not None:
        differences += basis_differences(before, plain(request.arguments), finished, request.script)
    return other + differences


def _holds_work(folder: Path) -> bool:
    """Whether an unfinished run left something worth keeping: a whole checkpoint or a model."""
    return newest_whole(folder) is not None or any(folder.glob("*.safetensors"))


def _holds_another_run(folder: Path, finished: bool) -> Problem:
    state = "a finished" if finished else "an unfinished"
    remedy = "choose another --output_dir, or add --overwrite_output_dir to discard that run; the differences follow"
    return Problem(f"the folder holds {state} run with other arguments", remedy=remedy, path=folder)


@dataclass
class Run:
    """A run as scripts see it.

    `folder` is None for commands without one and for dry runs. `checkpoint` is the newest whole checkpoint of an
    interrupted run, or None; `resumed` says that the run goes on. Nothing is written before `start()`, so bad input
    costs nothing that was there.
    """

    folder: Path | None = None
    checkpoint: Path | None = None
    resumed: bool = False
    stop: StopRequest = field(default_factory=StopRequest)
    unattended: UnattendedArguments = field(default_factory=UnattendedArguments)
    adapting: Adapting = field(default_factory=Adapting)
    already_done: bool = False
    _action: Action = Action.START
    _manifest: dict[str, Any] = field(default_factory=dict)
    _lock: FolderLock | None = None
    _made: list[Path] = field(default_factory=list)
    _started: bool = False
    _request: Request | None = None
    _on_start: list[Any] = field(default_factory=list)

    @classmethod
    def open(cls, folder: Path, request: Request, stop: StopRequest, *, owner: bool = True) -> Run:
        """Take the folder and decide what to do with it. Only the `owner` process (rank 0) locks it and writes.

        Raises:
            LockedError: another live process holds it.
            UsageError: it cannot be used for this command.
        """
        run = cls(folder=folder, stop=stop)
        run._made = _make_folder(folder) if owner else []
        run._lock = FolderLock(folder) if owner else None
        try:
            run._take(request)
        except BaseException:
            run.close()
            raise
        return run

    def _take(self, request: Request) -> None:
        assert self.folder is not None
        if self._lock:
            _acquire(self._lock)
        self._request = request
        self._action = decide(self.folder, request)
        self.already_done = self._action is Action.ALREADY_DONE
        self.resumed = self._action is Action.RESUME
        before = read_manifest(self.folder) or {}
        if self._action is Action.DISCARD and request.if_changed and not request.restart:
            for difference in _differences(before, request, self.folder if before["status"] == "done" else None):
                logger.info("Changed since the run in %s: %s.", self.folder, difference)
        if self.already_done or self.resumed:
            self._manifest = before
        else:
            self._manifest = {
                "program": request.program,
                "processes": count_processes(),
                **new_manifest(request.arguments, request.command),
            }
            self._manifest["foreign"] = self._foreign_files(before)
        self.checkpoint = _asked_checkpoint(request) or (newest_whole(self.folder) if self.resumed else None)
        if (
            self._action is Action.DISCARD
            and self.checkpoint
            and self.folder.resolve() in self.checkpoint.resolve().parents
        ):
            found = f"--resume_from_checkpoint {self.checkpoint} belongs to the run that would be discarded"
            raise UsageError(Problem(found, remedy="choose another --output_dir"))

    def _foreign_files(self, before: Mapping[str, Any]) -> list[str]:
        assert self.folder is not None
        own = set(self._left_by(before)) if before else set()
        return [name for name in list_files(self.folder) if name not in own]

    def _left_by(self, manifest: Mapping[str, Any]) -> list[str]:
        assert self.folder is not None
        return written_by_run(self.folder, manifest.get("files", ()), manifest.get("foreign", ()))

    @property
    def result(self) -> dict[str, Any]:
        """The metrics of a run that is already done."""
        return dict(self._manifest.get("result", {}))

    @property
    def writes(self) -> bool:
        """Whether this process writes results into the folder: the first of those that share a run."""
        return self._lock is not None

    @property
    def started(self) -> bool:
        """Whether it has begun to write."""
        return self._started

    def header(self) -> list[str]:
        """The first lines of this attempt in the log."""
        command = self._request.command if self._request else ()
        return describe_attempt(1 + len(self._manifest.get("resumed", ())), command)

    def when_started(self, action: Any) -> None:
        """Call `action(folder)` once the run writes to its folder, at once if it does already."""
        self._on_start.append(action)
        if self._started and self.folder:
            action(self.folder)

    def start(self) -> None:
        """The input is good: discard what is to be discarded, and begin to write. Later calls do nothing.

        A signal waits until the record is complete.

        Raises:
            OSError: the disk is full or the folder cannot be written.
        """
        if self._started or self._lock is None or self.folder is None:
            return
        with self.stop.deferred():
            self._begin(self.folder)

    def _begin(self, folder: Path) -> None:
        self._started = True
        remove_leftovers(folder)
        if self._action is Action.DISCARD:
            self._discard()
        if self.resumed:
            set_broken_aside(folder)
            restore_replaced(folder)
            remove_outlived(folder)
            self._manifest.setdefault("resumed", []).append(now())
        elif self._request is not None:
            self._manifest |= self._basis(self._request)
        self._manifest["status"] = "running"
        self._write()
        for action in self._on_start:
            action(folder)
        self._log_how()

    def _basis(self, request: Request) -> dict[str, Any]:
        assert self.folder is not None
        inputs = self._manifest.get("inputs", {})
        return record_basis(plain(request.arguments), self.folder, request.script, inputs)

    def _discard(self) -> None:
        assert self.folder is not None
        before = read_manifest(self.folder) or {}
        count = remove_files(self.folder, [name for name in self._left_by(before) if name != MANIFEST])
        logger.warning("%s: the earlier run there is discarded (%d files).", self.folder, count)

    def _log_how(self) -> None:
        if self.checkpoint is not None:
            logger.info("Going on from %s, at step %s.", self.checkpoint, f"{step_of(self.checkpoint):,}")
        elif self.resumed:
            logger.info("An interrupted run without a whole checkpoint is begun again.")
        changes = version_changes(self._manifest.get("versions", {})) if self.resumed else []
        if changes:
            logger.warning("The run goes on with other versions than it began with: %s.", ", ".join(changes))

    def record(self, **facts: object) -> None:
        """Add facts to run.json, at once if the run has started, else when it starts."""
        for name, value in facts.items():
            self._manifest[name] = plain(value)
        if self._started:
            self._write()

    def record_effective(self, arguments: Mapping[str, Any]) -> None:
        """Record what the run works with once everything is resolved; what was asked for stays beside it."""
        self.record(asked=self._manifest.get("asked", self._manifest.get("arguments", {})), arguments=arguments)

    def recall(self, name: str) -> Any:
        """A fact that `record` wrote, in this run or before it was interrupted; None where there is none."""
        return self._manifest.get(name)

    def record_inputs(self, files: Mapping[str, Iterable[Path]] | Iterable[Path]) -> None:
        """Record sha256, size and time of input files, e.g. `corpus.files`; a change makes a later run another one."""
        groups = files.values() if isinstance(files, Mapping) else [files]
        paths = [path for group in groups for path in group]
        self.record(inputs={**self._manifest.get("inputs", {}), **fingerprints(paths)})

    def finish(
        self, status: str, result: Mapping[str, Any] | None = None, reason: str = "", *, ended: str | None = None
    ) -> None:
        """Record how the run ended, and when: now, if `ended` does not say.

        A start that never began to write leaves no trace, but for one that is done. One that was to go on and was
        interrupted is recorded, too: a launcher's exit code does not tell that.
        """
        if status == "preempted" and self.resumed and not self._started and self.writes:
            self._started = True
        if status == "done":
            self._action = Action.START if not self._started else self._action
            self.start()
        if not self._started:
            return
        if self._lock is not None and not self._lock.is_there():
            self._started = False  # nothing is written into a folder that is not ours any more
            raise RunError(f"{self.folder} was removed or replaced while the run went on: what it has saved is lost")
        ending = {"status": status, "finished": ended or now(), "reason": reason or None}
        self.record(**ending, result=dict(result or {}))

    def _write(self) -> None:
        assert self.folder is not None
        foreign = set(self._manifest.get("foreign", ()))
        self._manifest["files"] = [name for name in list_files(self.folder) if name not in foreign]
        write_json_atomically(self.folder / MANIFEST, hide_in(plain(self._manifest)))

    def close(self) -> None:
        """Give the folder free; folders that were made for a run that never started go again."""
        if self._lock is not None:
            self._lock.release()
        for folder in self._made if not self._started else ():
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _asked_checkpoint(request: Request) -> Path | None:
    """The folder after --resume_from_checkpoint; `True`, as the Trainer takes it, asks for what happens anyway."""
    if request.checkpoint in (None, "True", "False"):
        return None
    folder = Path(str(request.checkpoint))
    if not (folder / TRAINER_STATE).is_file():
        found = f"--resume_from_checkpoint: there is no {TRAINER_STATE} in this folder"
        raise UsageError(Problem(found, remedy="name a checkpoint-N folder of an earlier run", path=folder))
    if (folder / MARKER).exists() and (reason := why_broken(folder)):
        found = f"--resume_from_checkpoint: the checkpoint is not whole ({reason})"
        raise UsageError(Problem(found, remedy="name another checkpoint-N folder", path=folder))
    return folder


def _acquire(lock: FolderLock) -> None:
    try:
        lock.acquire()
    except OSError as error:
        raise _cannot_write(lock.folder, error) from error


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder with its parents; returns those that were missing, the deepest first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    return missing


def _cannot_write(folder: Path, error: OSError) -> UsageError:
    if error.errno in OF_THE_MACHINE:
        raise error
    reason = (
        "is a file"
        if isinstance(error, FileExistsError | NotADirectoryError)
        else f"cannot be written ({error.strerror})"
    )
    return UsageError(Problem(f"the output folder {reason}", remedy="choose another --output_dir", path=folder))
