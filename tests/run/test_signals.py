from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from finetune.errors import Preempted
from finetune.run.signals import SIGNALS, StopRequest


@pytest.mark.parametrize("number", SIGNALS)
def test_outside_of_training_a_signal_ends_the_run_where_it_stands(stop, number):
    with pytest.raises(Preempted, match=number.name):
        os.kill(os.getpid(), number)
    assert stop.requested


def test_code_that_guards_against_every_exception_lets_a_signal_pass(stop):
    def guarded():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Exception:  # as libraries do around what they do not trust
            return "swallowed"

    with pytest.raises(Preempted):
        guarded()


def test_training_goes_on_to_a_good_place_first(stop, capfd):
    steps = []
    with pytest.raises(Preempted), stop.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        steps.append("saved")
        assert stop.requested
    assert steps == ["saved"]
    assert "SIGTERM: saving the state" in capfd.readouterr().err


def test_an_error_in_training_is_not_hidden_by_a_signal(stop):
    with pytest.raises(ZeroDivisionError), stop.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        1 / 0  # noqa: B018


def test_the_end_of_a_run_is_not_disturbed(stop, capfd):
    stop.hold()
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.requested
    assert "writing how the run ended" in capfd.readouterr().err


TWICE = """
import time
from finetune.run.signals import StopRequest
stop = StopRequest()
stop.install()
with stop.deferred():
    print("ready", flush=True)
    time.sleep(30)
    time.sleep(30)
"""


def test_the_second_signal_ends_the_process_at_once(repository):
    process = subprocess.Popen(
        [sys.executable, "-c", TWICE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=repository
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    while "saving" not in process.stderr.readline():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130 and "SIGINT again: stopping at once" in err


AMONG_SEVERAL = """
import os, signal
from finetune.errors import Preempted
from finetune.run.signals import StopRequest
stop = StopRequest()
stop.install()
try:
    with stop.deferred():
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        print("saved", flush=True)
except Preempted as stopped:
    print(stopped)
"""


@pytest.mark.parametrize(("processes", "code"), [("2", 0), ("1", 130), ("", 130)])
def test_a_process_among_several_gets_the_same_signal_more_than_once(repository, processes, code):
    """From the batch system and from the launcher."""
    done = subprocess.run(
        [sys.executable, "-c", AMONG_SEVERAL], env={**os.environ, "WORLD_SIZE": processes}, capture_output=True,
        text=True, cwd=repository, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert done.stdout.partition(";")[0] == ("saved\nstopped by SIGTERM" if code == 0 else "")
    assert done.stderr.count("saving the state") == 1


ANNOUNCED = """
import os, signal
from finetune.errors import Preempted
from finetune.run.signals import StopRequest
stop = StopRequest()
stop.install()
try:
    with stop.deferred():
        for name in {names}:
            os.kill(os.getpid(), getattr(signal, name))
        print("saved", flush=True)
except Preempted as stopped:
    print(stopped)
"""


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["SIGUSR1"], 0),
        (["SIGUSR1", "SIGUSR1", "SIGUSR1"], 0),
        (["SIGUSR1", "SIGTERM"], 0),  # Slurm: the warning, then the end of the time
        (["SIGTERM", "SIGUSR1"], 0),
        (["SIGUSR1", "SIGUSR1", "SIGTERM", "SIGUSR1"], 0),
        (["SIGUSR1", "SIGTERM", "SIGTERM"], 130),
        (["SIGTERM", "SIGUSR1", "SIGINT"], 130),
    ],
)
def test_an_announcement_is_never_the_second_signal(repository, names, code):
    done = subprocess.run(
        [sys.executable, "-c", ANNOUNCED.format(names=names)], capture_output=True, text=True, cwd=repository,
        timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert done.stdout.partition(";")[0] == (f"saved\nstopped by {names[0]}" if code == 0 else "")
    assert done.stderr.count("saving the state") == 1


def test_one_process_joins_another_that_was_asked_to_stop(stop):
    stop.join()
    assert stop.requested
    with pytest.raises(Preempted, match="a signal to another process"):
        stop.raise_preempted()


CHILD = """
import os, signal, sys, time
from finetune.run.signals import StopRequest
stop = StopRequest()
stop.install()
child = os.fork()
if child == 0:
    time.sleep(30)
    os._exit(0)
time.sleep(0.2)
os.kill(child, signal.SIGINT)   # Ctrl-C reaches the whole group: workers leave it to their parent
os.kill(child, signal.SIGUSR1)  # and so does what Slurm sends to a step
time.sleep(0.2)
assert os.waitpid(child, os.WNOHANG) == (0, 0)
os.kill(child, signal.SIGTERM)  # how pools end their workers
assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
assert not stop.requested
"""


def test_forked_workers_leave_ctrl_c_to_their_parent_and_can_be_terminated(repository):
    done = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, cwd=repository, timeout=20, check=False
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr


IMPORTING = """
import os, signal, sys, time
from pathlib import Path
from finetune.errors import Preempted
from finetune.run.signals import StopRequest
sys.path.insert(0, sys.argv[1])
stop = StopRequest()
stop.install()
try:
    import slow
    time.sleep(20)
except Preempted:
    print("imported", slow.DONE)
"""


def test_a_signal_waits_for_the_end_of_an_import(repository, tmp_path):
    """An exception in the middle of `import torch` makes its C++ abort."""
    lines = "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(0.3)\nDONE = True\n"
    (tmp_path / "slow.py").write_text(lines)
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING, str(tmp_path)], capture_output=True, text=True, cwd=repository, timeout=15,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "imported True\n"), done.stderr


def test_once_the_state_is_saved_further_signals_change_nothing(stop):
    with pytest.raises(Preempted), stop.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        stop.hold()  # saved
        for number in SIGNALS:
            os.kill(os.getpid(), number)


def test_nohup_is_heeded():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    StopRequest().install()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
