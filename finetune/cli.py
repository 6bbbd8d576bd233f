"""The template of every command, and `finetune NAME`, which starts one.

`launch` parses, takes the output folder, sets up logging, calls the script's `main`, and is the one place that turns
exceptions into sentences and exit codes. Whatever happens, the last line of stdout is one JSON object.
"""

from __future__ import annotations

import json
import logging
import os
import runpy
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from finetune.arguments.engine import LOCAL, EngineArguments
from finetune.arguments.groups import find_adapting
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.processes import ProcessArguments
from finetune.arguments.run import RunArguments
from finetune.arguments.secrets import VARIABLES, hide, hide_in, remember_secrets
from finetune.arguments.unattended import UnattendedArguments
from finetune.commands import find_commands, find_scripts, format_commands, require_command
from finetune.engine.asking import SHARED_OUT, working_as_asked
from finetune.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    FinetuneError,
    Preempted,
    Problem,
    ProblemError,
    RunError,
    UsageError,
)
from finetune.run.failures import explain
from finetune.run.folder import Request, Run
from finetune.run.garbage import collect_rarely
from finetune.run.hub import push_run
from finetune.run.launcher import check_launcher, is_main_process
from finetune.run.launching import launch_processes, resolve_processes
from finetune.run.logs import LogFile, set_up_logging
from finetune.run.manifest import now, plain
from finetune.run.notification import NOT_TOLD, notify
from finetune.run.parent import follow_parent
from finetune.run.process_exit import give_up, leave, lose_output, open_missing_streams, say_error, write_result
from finetune.run.remote_files import RemoteFiles
from finetune.run.siblings import Siblings
from finetune.run.signals import StopRequest
from finetune.run.stop_file import StopFile
from finetune.run.trackers import finish_wandb

logger = logging.getLogger(__name__)

BUG = "this is a bug in finetune; please report it with the traceback above"

ONLY_FLAGS = "FINETUNE_ONLY_JUDGE_FLAGS"  # set by chains of commands, which judge every step before the first runs

MakeParser = Callable[[], CommandParser]
Main = Callable[[Arguments, Run], Mapping[str, Any] | None]


@dataclass(frozen=True)
class Outcome:
    """How a command ended; `result` is what its last line says beside the status."""

    code: int = EXIT_DONE
    status: str = "done"
    result: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""

    def last_line(self, output_dir: str | None) -> str:
        facts: dict[str, Any] = {"status": self.status, "output_dir": output_dir, **self.result}
        if self.reason:
            facts["reason"] = self.reason
        narrow = "utf" not in (sys.stdout.encoding or "").lower()
        text = json.dumps(hide_in(plain(facts)), ensure_ascii=narrow, separators=(",", ":"), allow_nan=False)
        return text.encode("utf-8", "backslashreplace").decode()  # a path that is no UTF-8 becomes a JSON escape


def launch(make_parser: MakeParser, main: Main, *, needs_folder: bool = True, streams: bool = False) -> NoReturn:
    """Run a script's `main` and exit; `needs_folder=False` is for commands that keep no run in an output folder.

    With `streams` results go to standard output where no `--output_file` takes them, and nothing else does: the last
    line, which says how the command ended, goes to standard error then.

    Exit codes: 0 done, 1 the machine or a bug, 2 arguments or data, 3 non-finite training, 4 locked, 75 interrupted
    with the state saved, 130 interrupted twice. `docs/errors.md` explains each.
    """
    collect_rarely()
    open_missing_streams()
    command = Command(make_parser, main, needs_folder=needs_folder)
    outcome = command.run()
    finish_wandb(outcome.code if outcome else EXIT_DONE)
    if outcome is not None and not command.is_left_to_launcher(outcome) and is_main_process():
        line = outcome.last_line(command.remote.addresses.get(command.output_dir or "", command.output_dir))
        say = say_error if streams and not command.output_file else write_result
        say(line)
        command.stop.ignore_all()  # the state is saved: the code stays what the last line says
        command.notify(outcome, line)
    command.stop.ignore_all()
    leave(outcome.code if outcome else EXIT_DONE)


class Command:
    """One start of one script."""

    def __init__(self, make_parser: MakeParser, main: Main, *, needs_folder: bool) -> None:
        self.make_parser, self.main, self.needs_folder = make_parser, main, needs_folder
        self.stop = StopRequest()
        self.arguments: Arguments | None = None
        self.run_of_folder: Run | None = None
        self.log: LogFile | None = None
        self.stop_file: StopFile | None = None
        self.siblings = Siblings.from_environment()
        self.remote = RemoteFiles()

    @property
    def output_dir(self) -> str | None:
        return None if self.arguments is None else self.arguments.get("output_dir")

    @property
    def output_file(self) -> str | None:
        return None if self.arguments is None else self.arguments.get("output_file")

    def run(self) -> Outcome | None:
        """Everything inside the one error boundary; None where stdout holds a text that was asked for, and no run."""
        try:
            self.stop.install()
            follow_parent()
            if self.siblings:
                self.siblings.join()
            remember_secrets(map(os.environ.get, VARIABLES))
            if not is_main_process():
                give_up(sys.stdout)  # results and help come once
            if problems := check_launcher():
                raise UsageError(*problems)
            self.arguments = self._parse()
            return None if self.arguments is None else self._send(self._run(self.arguments))
        except BaseException as error:
            self.stop.hold()
            return self._end(outcome_of(error, show_traceback=self._shows_tracebacks()))
        finally:
            self._close()

    def _parse(self) -> Arguments | None:
        try:
            CommandParser.localize = staticmethod(self.remote.localize)  # also of the commands that this one starts
            arguments = self.make_parser().parse(sys.argv[1:])
            arguments.addresses = self.remote.addresses
            if os.environ.get(ONLY_FLAGS):
                return None
            if _run_arguments(arguments).print_config:
                write_result(arguments.as_yaml())
                return None
            return arguments
        except SystemExit:
            return None  # --help has been printed
        except OSError as error:
            if error.filename is not None:
                raise
            lose_output(error)
            return None

    def _run(self, arguments: Arguments) -> Outcome:
        os.environ.update(arguments.environment)
        if (processes := _count_to_start(arguments)) > 1:
            ended = launch_processes(processes)
            return Outcome(**ended)
        self.log = set_up_logging(verbose=_run_arguments(arguments).verbose, only_warnings=not is_main_process())
        for line in arguments.translated:
            logger.warning("%s", line)
        run = self.run_of_folder = self._open_run(arguments)
        run.unattended = arguments.find(UnattendedArguments) or run.unattended
        run.adapting = find_adapting(arguments)
        if run.already_done:
            logger.info("%s holds this run, finished; nothing is left to do (--restart does it again).", run.folder)
            return Outcome(status="already_done", result=run.result)
        self._watch_stop_file(arguments)
        log = self.log
        run.when_started(lambda folder: log.open_in(folder, run.header()))
        _log_parameters(arguments)
        why_here, on_processor = _why_one_process(arguments), _is_on_processor(arguments)
        with working_as_asked(arguments, why_here, on_processor=on_processor):
            result = self.main(arguments, run) or {}
        rates = {name: run.recall(name) for name in ("tokens_per_second", "mfu")}
        result = {**result, **{name: rate for name, rate in rates.items() if rate is not None}}
        return self._end(Outcome(status="already_done" if run.already_done else "done", result=result))

    def _send(self, outcome: Outcome) -> Outcome:
        """What was made goes to its address; where that fails, it is still here, done, and the next start sends it."""
        if outcome.code != EXIT_DONE or self.arguments is None or not is_main_process():
            return outcome
        try:
            self.remote.send()
            pushed = push_run(self.arguments, Path(self.output_dir)) if self.output_dir else None
        except (RunError, Preempted) as error:
            _complain([str(error)])
            return Outcome(error.exit_code, error.status, outcome.result, str(error))
        return replace(outcome, result={**outcome.result, "hub": pushed}) if pushed else outcome

    def _open_run(self, arguments: Arguments) -> Run:
        asked = _run_arguments(arguments)
        if not self.needs_folder and asked.if_changed:
            found = "--if_changed: this command keeps no record of its runs to compare with"
            raise UsageError(Problem(found, remedy="drop it"))
        if not self.needs_folder or asked.dry_run:
            return Run(stop=self.stop)
        if not self.output_dir:
            raise UsageError(Problem("--output_dir is missing", remedy="name the folder for the results"))
        request = Request(
            program=Path(sys.argv[0]).name,
            arguments=arguments.effective(),
            typed=arguments.typed,
            command=arguments.command_line(),
            checkpoint=arguments.get("resume_from_checkpoint"),
            overwrite=asked.overwrite_output_dir,
            restart=asked.restart,
            if_changed=asked.if_changed,
            script=Path(sys.argv[0]),
        )
        return Run.open(Path(self.output_dir), request, self.stop, owner=is_main_process())

    def is_left_to_launcher(self, outcome: Outcome) -> bool:
        """Whether the process that started this one and others tells how the run ended; it learns of it here."""
        if self.siblings is None:
            return False
        if self.stop.saved and not is_main_process():
            self.siblings.wait_for_first()
        facts = {name: getattr(outcome, name) for name in ("code", "status", "result", "reason")}
        return self.siblings.tell_end(facts)

    def _watch_stop_file(self, arguments: Arguments) -> None:
        if self.output_dir and is_main_process() and not _run_arguments(arguments).dry_run:
            self.stop_file = StopFile(Path(self.output_dir), self.stop)
            self.stop_file.watch()

    def _end(self, outcome: Outcome) -> Outcome:
        """Record the outcome, undisturbed by signals; a disk too full even for that is one more reason, no new error."""
        self.stop.hold()
        if self.run_of_folder is None:
            return outcome
        ended = now()
        try:
            self._write_page(outcome, ended)
        except OSError as error:
            sentence = f"{explain(error) or error}."
            _complain([f"The page of the run could not be written: {sentence}"])
            outcome = Outcome(EXIT_FAILED, "failed", outcome.result, sentence)
        try:
            self.run_of_folder.finish(outcome.status, outcome.result, outcome.reason, ended=ended)
        except OSError as error:
            further = explain(error) or str(error)
            reason = outcome.reason if further in outcome.reason else f"{outcome.reason} {further}".strip()
            logger.error("The end of the run could not be recorded: %s", further)
            return Outcome(outcome.code or EXIT_FAILED, "failed", outcome.result, reason)
        return outcome

    def _write_page(self, outcome: Outcome, ended: str) -> None:
        """`report.html`, before run.json lists the files; it changes nothing of how the run ended."""
        run = self.run_of_folder
        asked = _run_arguments(self.arguments) if self.arguments else RunArguments()
        if outcome.status != "done" or asked.no_html_report or run is None or not run.writes or run.already_done:
            return
        if run.folder is not None and run.started:
            from finetune.page.building import try_page

            try_page(run.folder, {"status": outcome.status, "result": plain(outcome.result), "finished": ended})

    def notify(self, outcome: Outcome, line: str) -> None:
        """Tell the user's own program how the run ended, once the last line is out."""
        asked = _run_arguments(self.arguments) if self.arguments else RunArguments()
        if asked.notify_command and outcome.status not in NOT_TOLD and not asked.dry_run:
            notify(asked.notify_command, line)

    def _shows_tracebacks(self) -> bool:
        return "--debug" in sys.argv if self.arguments is None else _run_arguments(self.arguments).show_tracebacks

    def _close(self) -> None:
        """The outcome stands: what cannot be closed any more on a failing disk is said, and changes nothing."""
        for part in (self.stop_file, self.run_of_folder, self.log):
            try:
                if part is not None:
                    part.close()
            except OSError as error:
                say_error(f"warning: {explain(error) or error}.")


def _run_arguments(arguments: Arguments) -> RunArguments:
    """The group that says how a run behaves; a command without it gets its defaults."""
    return arguments.find(RunArguments) or RunArguments()


def _count_to_start(arguments: Arguments) -> int:
    """How many processes do the work in place of this one; 1 where it does it itself."""
    asked, engine = arguments.find(ProcessArguments), arguments.find(EngineArguments)
    shares_all = any(hasattr(group, SHARED_OUT) for group in arguments.groups.values())
    if asked is None or (shares_all and engine is not None and engine.engine != LOCAL):
        return 1
    return resolve_processes(asked, on_processor=_is_on_processor(arguments), why_one=_why_one_process(arguments))


def _is_on_processor(arguments: Arguments) -> bool:
    if any(getattr(group, "ON_PROCESSOR", False) for group in arguments.groups.values()):
        return True
    return bool(arguments.get("use_cpu")) or arguments.get("use_gpu") is False or arguments.get("device") == "cpu"


def _why_one_process(arguments: Arguments) -> str | None:
    """What keeps this command from sharing its work out, in words."""
    reasons = [reason() for group in arguments.groups.values() if (reason := getattr(group, "why_one_process", None))]
    return next(filter(None, reasons), None)


def _log_parameters(arguments: Arguments) -> None:
    for group in arguments.groups.values():
        if not isinstance(group, RunArguments):
            logger.info("%s %r", getattr(group, "LOGGED_AS", "Custom args"), group)


def outcome_of(error: BaseException, *, show_traceback: bool = False) -> Outcome:
    """What an exception means: said on stderr in sentences, with the traceback only for bugs or where asked for."""
    if show_traceback and not isinstance(error, SystemExit):
        _show_traceback(error)
    if isinstance(error, SystemExit):
        return _outcome_of_exit(error)
    if isinstance(error, FinetuneError | Preempted):
        sentences = [str(item) for item in error.problems] if isinstance(error, ProblemError) else [str(error)]
        _complain(sentences)
        return Outcome(error.exit_code, error.status, reason=" ".join(sentences))
    if isinstance(error, KeyboardInterrupt):
        return Outcome(EXIT_INTERRUPTED, "failed", reason="interrupted")
    return _outcome_of_unexpected(error, shown_already=show_traceback)


def _outcome_of_exit(error: SystemExit) -> Outcome:
    if error.code is None or isinstance(error.code, int):
        code = error.code or EXIT_DONE
        return Outcome(code, "failed" if code else "done")
    _complain([str(error.code)])
    return Outcome(EXIT_FAILED, "failed", reason=str(error.code))


def _outcome_of_unexpected(error: BaseException, *, shown_already: bool) -> Outcome:
    sentence = explain(error)
    if sentence is None:
        if not shown_already:
            _show_traceback(error)
        sentence = f"{type(error).__name__}: {error}; {BUG}"
    _complain([sentence + "."])
    return Outcome(EXIT_FAILED, "failed", reason=sentence + ".")


def _show_traceback(error: BaseException) -> None:
    """On stderr before there is a log, then in the log, which goes there too."""
    if logging.getLogger().handlers:
        logger.error("traceback:", exc_info=error)
    else:
        say_error(hide("".join(traceback.format_exception(error))))


def _complain(sentences: list[str]) -> None:
    """Errors go to the log once there is one, before that to bare stderr."""
    for sentence in sentences:
        if logging.getLogger().handlers:
            logger.error("%s", sentence)
        else:
            say_error(hide(f"error: {sentence}"))


def main() -> NoReturn:
    """`finetune NAME ...`: run the script of that name as if it were started by its path."""
    open_missing_streams()
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help", "help"):
        write_result(format_commands(find_commands(find_scripts())))
        leave(EXIT_DONE)
    try:
        path = require_command(name)
    except UsageError as error:
        outcome = outcome_of(error)
        write_result(outcome.last_line(None))
        leave(outcome.code)
    sys.argv = [str(path), *rest]
    runpy.run_path(str(path), run_name="__main__")
    sys.exit(EXIT_DONE)
