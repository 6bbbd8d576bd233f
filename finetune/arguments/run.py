"""Arguments of every command: how a run behaves, whatever it trains."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass

from finetune.arguments.fields import argument
from finetune.arguments.training_table import TrainingValues
from finetune.errors import Problem

SHOW_TRACEBACKS = "tracebacks"


@dataclass
class RunArguments:
    """How the run behaves."""

    config_file: str | None = argument(None, metavar="FILE", help="YAML or JSON file of arguments; flags override it")
    print_config: bool = argument(False, help="print every effective argument as YAML for --config_file, and stop")
    dry_run: bool = argument(False, help="read and encode the data, show examples, steps, memory and time, and stop")
    overwrite_output_dir: bool = argument(
        False,
        help="discard a finished or different run in --output_dir; an unfinished run of the same arguments goes on",
    )
    restart: bool = argument(False, help="start anew, whatever run --output_dir holds")
    if_changed: bool = argument(
        False,
        help="exit 0 without work if data, arguments and code are those of the finished run in --output_dir; "
        "if not, discard that run and do it again",
    )
    notify_command: str | None = argument(
        None,
        metavar="'PROGRAM WORDS'",
        secret=True,
        typed_only=True,
        help="program to start, without a shell, when the run has ended, with its last line as input",
    )
    no_html_report: bool = argument(False, help="write no report.html with the scores, curves and errors of the run")
    verbose: bool = argument(False, help="log what libraries say, too")
    debug: bool | str = argument(
        False,
        choices=(SHOW_TRACEBACKS, "underflow_overflow", "tpu_metrics_debug"),
        help="alone: show the traceback of every error; with a value: TrainingArguments.debug",
    )

    @property
    def show_tracebacks(self) -> bool:
        return self.debug in (True, SHOW_TRACEBACKS)

    def training_values(self) -> TrainingValues:
        """`--debug underflow_overflow` is a field of TrainingArguments with the same name."""
        return {} if isinstance(self.debug, bool) or self.show_tracebacks else {"debug": self.debug}

    def problems(self) -> list[Problem]:
        contradictions = {
            "--restart and --dry_run": (self.restart and self.dry_run, "a dry run starts nothing"),
            "--restart and --if_changed": (self.restart and self.if_changed, "drop one of them"),
        }
        problems = [
            Problem(f"{flags} contradict each other", remedy=remedy)
            for flags, (both, remedy) in contradictions.items()
            if both
        ]
        reason = None if self.notify_command is None else _why_not_startable(self.notify_command)
        if reason:
            problems.append(Problem(f"--notify_command {reason}", remedy="name an installed program or its full path"))
        return problems


def _why_not_startable(command: str) -> str | None:
    """What keeps a command from being started, as part of a sentence; None where nothing does."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        return f"cannot be split into words ({error})"
    if not words:
        return "names no program"
    return None if shutil.which(words[0]) else f"names a program that is not there or may not be run: {words[0]}"
