"""SIGTERM, SIGINT, SIGHUP and SIGUSR1: the first asks for an orderly stop, a second ends at once, but for SIGUSR1."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from finetune.errors import EXIT_INTERRUPTED, Preempted
from finetune.run.launcher import count_processes

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
ANNOUNCES = signal.SIGUSR1  # batch systems send it ahead of the SIGTERM at the end of the time: no second of the two
LEFT_TO_PARENT = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)  # they reach a whole group of processes
SECONDS_BETWEEN_LOOKS = 0.05
SAVING = "saving the state"
_IMPORTING = "<frozen importlib"


class StopRequest:
    """Knows whether a signal asked this process to stop.

    While a library is being imported a signal waits (torch aborts when an exception comes in between). Inside
    `with stop.deferred():` (training, which saves its state first) the first signal only sets `requested`; outside, it
    raises `Preempted` where the program stands. The second signal ends the process with code 130, unless the state is
    saved by then, or it trains with others: there a batch system signals every process, torchrun hands the same signal
    on to each, and does so again as soon as one of them has ended. SIGUSR1 (and a `STOP` file, see `stop_file.py`) only
    announces: it is never the second, and the SIGTERM that follows it is the first.
    """

    def __init__(self) -> None:
        self.requested = False
        self._among_several = count_processes() > 1
        self.signal_name = ""
        self._announced = False  # by SIGUSR1, and nothing else so far
        self._asked_by = ""
        self._deferring = 0
        self._doing = SAVING
        self._ending = False
        self._saved = False
        self._owner = os.getpid()

    def install(self) -> None:
        """Handle the signals of this process. Only the main thread may call this."""
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup means it
                signal.signal(number, self._handle)

    @contextmanager
    def deferred(self, doing: str = SAVING) -> Iterator[StopRequest]:
        """Let the first signal wait until the block is left or `requested` is asked for; `doing` is what is said then.

        Raises:
            Preempted: at the end of the block, if a signal came and the block did not raise it itself.
        """
        self._deferring += 1
        before, self._doing = self._doing, doing
        try:
            yield self
        finally:
            self._deferring -= 1
            self._doing = before
        if self.requested:
            self.raise_preempted()

    def join(self) -> None:
        """Stop as well: another process of this run was asked to."""
        if not self.requested:
            self.requested, self.signal_name = True, "a signal to another process"

    def ask(self, asked_by: str) -> None:
        """Act as if SIGUSR1 came, from any thread of a process that has called `install`; `asked_by` is what is said."""
        self._asked_by = asked_by
        os.kill(os.getpid(), ANNOUNCES)

    def hold(self) -> None:
        """From now on let the first signal change nothing: the work is done or has failed, only its end is written.

        After a signal that was heeded no further one changes anything: the state is saved.
        """
        self._deferring += 1
        self._ending = True
        self._saved = self._saved or self.requested

    @staticmethod
    def ignore_all() -> None:
        """The outcome is settled and written: nothing that comes while Python takes itself down changes the exit code."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    @property
    def saved(self) -> bool:
        """Whether a signal was heeded and the state is saved."""
        return self._saved

    def raise_preempted(self) -> None:
        raise Preempted(f"stopped by {self.signal_name}; run the same command again to go on")

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            self._handle_in_child(number)
            return
        name = (self._asked_by if number == ANNOUNCES else "") or signal.Signals(number).name
        if self.requested and (self._among_several or self._saved or number == ANNOUNCES):
            return
        if not self._deferring and not self.requested and _is_importing(frame):
            self._come_again(number)
            return
        if self._announced:
            self._announced = False
            return
        if self.requested:
            _say(f"{name} again: stopping at once.\n")
            os._exit(EXIT_INTERRUPTED)
        self.requested, self.signal_name, self._announced = True, name, number == ANNOUNCES
        if not self._deferring:
            self.raise_preempted()
        doing = "writing how the run ended" if self._ending else self._doing
        hint = "SIGKILL" if self._among_several else "once more"
        _say(f"{name}: {doing}, then stopping; {hint} stops at once.\n")

    def _come_again(self, number: int) -> None:
        """Send the signal once more in a moment; meanwhile the import goes on."""
        timer = threading.Timer(SECONDS_BETWEEN_LOOKS, os.kill, (self._owner, number))
        timer.daemon = True
        timer.start()

    @staticmethod
    def _handle_in_child(number: int) -> None:
        """A forked worker inherits this handler. Ctrl-C reaches it too, but its parent decides when it ends."""
        if number not in LEFT_TO_PARENT:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORTING):
            return True
        frame = frame.f_back
    return False


def _say(text: str) -> None:
    with suppress(OSError):  # after a SIGHUP there may be no terminal to say it to
        os.write(2, text.encode())  # logging may hold its lock at this very moment
