"""`--notify_command`: a program that is told how a run ended, started without a shell."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess

logger = logging.getLogger(__name__)

SECONDS = 60.0
NOT_TOLD = ("already_done", "locked")  # a cron line would tell it again at every start


def notify(command: str, last_line: str) -> None:
    """Start a command with the last line of the run (one JSON object) as its standard input, and wait for it.

    What it prints goes to standard error. How it ends changes nothing for the run: a failure is a warning.
    """
    try:
        done = subprocess.run(
            shlex.split(command),
            input=f"{last_line}\n".encode(),
            stdout=_error_output(),
            timeout=SECONDS,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        logger.warning("--notify_command could not tell how the run ended (%s).", _first_words(error))
        return
    if done.returncode:
        logger.warning("--notify_command ended with exit code %d.", done.returncode)


def _error_output() -> int:
    """The descriptor of standard error; nothing where the run was started without one."""
    try:
        os.fstat(2)
        return 2
    except OSError:
        return subprocess.DEVNULL


def _first_words(error: Exception) -> str:
    """Without the command itself, whose words may be secret."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it took more than {SECONDS:.0f} seconds"
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else type(error).__name__
