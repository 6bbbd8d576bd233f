"""Exactly `max_trials` finish, whatever is killed and however many processes ask at once."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter

import optuna
import pytest
from optuna.trial import TrialState

from finetune.errors import Preempted
from finetune.run.signals import StopRequest
from finetune.search.slots import (
    HEARTBEAT,
    STALE_AFTER,
    UNOWNED_FOR,
    Heartbeat,
    Slots,
)
from finetune.search.storage import open_journal, quiet_optuna
from finetune.search.turns import OWNER, RETRIES, RETRY, SURPLUS, Turn

WORKER = """
import random, sys, time
from pathlib import Path
import optuna
from finetune.run.signals import StopRequest
from finetune.search.slots import Slots
from finetune.search.storage import open_storage, quiet_optuna
quiet_optuna()
storage, folder, total, seconds = sys.argv[1:]
study = optuna.create_study(
    storage=open_storage({"storage": storage}, Path(folder)), study_name="s", load_if_exists=True,
    sampler=optuna.samplers.RandomSampler())
slots = Slots(study, total=int(total), here=None, folder=Path(folder), stop=StopRequest())
print("ready", flush=True)
while (trial := slots.claim()) is not None:
    value = trial.suggest_float("lr", 0, 1)
    print("began", trial.number, flush=True)
    time.sleep(float(seconds))
    if trial.number % 3:
        study.tell(trial, value)
    else:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
"""


@pytest.fixture(autouse=True)
def quiet():
    quiet_optuna()


def make_slots(tmp_path, study, *, total=None, here=None, name="a"):
    return Slots(study, total=total, here=here, folder=tmp_path / name, stop=StopRequest())


@pytest.fixture
def study():
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))


def states(study):
    return Counter(trial.state.name for trial in study.get_trials(deepcopy=False))


def start(tmp_path, storage, name, total, seconds):
    command = [sys.executable, "-c", WORKER, str(storage), str(tmp_path / name), str(total), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_for(process, word):
    for line in process.stdout:
        if line.startswith(word):
            return
    raise AssertionError(f"the worker ended before it said {word}")


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["journal.log", "sqlite:///study.db"])
def test_killed_and_restarted_with_two_processes_ends_with_the_exact_total(tmp_path, storage, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = [start(tmp_path, storage, name, 9, 60) for name in "ab"]
    for process in first:
        wait_for(process, "began")
        process.send_signal(signal.SIGKILL)
        process.wait()
    again = [start(tmp_path, storage, name, 9, 0.05) for name in "ab"]
    assert [process.wait(timeout=60) for process in again] == [0, 0]
    found = optuna.load_study(
        study_name="s", storage=storage if "://" in storage else open_journal(tmp_path / storage)
    ).get_trials()
    counted = Counter(trial.state.name for trial in found)
    assert counted["COMPLETE"] + counted["PRUNED"] == 9
    assert counted["RUNNING"] == counted["WAITING"] == 0
    killed = [trial for trial in found if trial.state is TrialState.FAIL and SURPLUS not in trial.user_attrs]
    continued = [trial for trial in found if RETRY in trial.user_attrs and SURPLUS not in trial.user_attrs]
    assert len(killed) == len(continued) == 2  # what the killed processes had begun is done by others, same values
    assert sorted(trial.params["lr"] for trial in killed) == sorted(trial.params["lr"] for trial in continued)


def test_the_last_place_is_given_once(study, tmp_path):
    """Two processes that looked before either asked: the second number is given back at once."""
    one, other = make_slots(tmp_path, study, total=1), make_slots(tmp_path, study, total=1, name="b")
    first = one._ask([], None)
    assert first is not None
    assert other._ask([], None) is None
    surplus = study.get_trials()[1]
    assert surplus.state is TrialState.FAIL and surplus.user_attrs[SURPLUS]
    study.tell(first, 0.5)
    assert one.claim() is None and other.claim() is None
    assert states(study) == {"COMPLETE": 1, "FAIL": 1}


def test_a_place_that_is_given_up_is_taken_again(study, tmp_path):
    slots = make_slots(tmp_path, study, total=2)
    first = slots.claim()
    lr = first.suggest_float("lr", 0, 1)
    slots.release(first)
    assert states(study) == {"FAIL": 1}
    second = slots.claim()
    assert second.suggest_float("lr", 0, 1) == lr
    assert second.user_attrs[RETRY] == {"first": 0, "retries": 1}
    study.tell(second, 1.0)
    study.tell(slots.claim(), 2.0)
    assert slots.claim() is None
    assert states(study) == {"FAIL": 1, "COMPLETE": 2}


def test_values_that_two_processes_try_again_at_once_are_tried_once(study, tmp_path):
    """Both looked before either began."""
    one, other = make_slots(tmp_path, study, total=2), make_slots(tmp_path, study, total=2, name="b")
    first = one.claim()
    lr = first.suggest_float("lr", 0, 1)
    one.release(first)
    turn = Turn({"lr": lr}, {RETRY: {"first": 0, "retries": 1}})
    second = one._ask([], turn)
    assert second.suggest_float("lr", 0, 1) == lr and other._ask([], turn) is None
    study.tell(second, 1.0)
    third = one.claim()
    assert RETRY not in third.user_attrs
    study.tell(third, 2.0)
    assert one.claim() is None
    assert states(study) == {"FAIL": 2, "COMPLETE": 2}


def test_values_that_kill_every_process_are_not_tried_forever(study, tmp_path):
    slots = make_slots(tmp_path, study, total=1)
    for _ in range(RETRIES + 1):
        trial = slots.claim()
        trial.suggest_float("lr", 0, 1)
        trial.set_user_attr(OWNER, {**slots.me, "started": "1"})
        assert slots.repair() == 1
    assert states(study) == {"FAIL": RETRIES + 1}
    assert RETRY not in slots.claim().user_attrs


def test_stops_by_a_signal_are_not_counted_against_values(study, tmp_path):
    slots, drawn = make_slots(tmp_path, study, total=1), set()
    for _ in range(2 * RETRIES):
        trial = slots.claim()
        drawn.add(trial.suggest_float("lr", 0, 1))
        slots.release(trial)
    assert len(drawn) == 1 and slots.claim().suggest_float("lr", 0, 1) in drawn


def test_trials_of_this_folder_are_counted_over_its_starts(study, tmp_path):
    for _ in range(2):
        study.tell(make_slots(tmp_path, study, here=2).claim(), 1.0)
    assert make_slots(tmp_path, study, here=2).claim() is None
    assert make_slots(tmp_path, study, here=2, name="b").claim() is not None


def test_a_trial_of_a_living_process_stays_and_of_a_dead_one_does_not(study, tmp_path):
    slots = make_slots(tmp_path, study, total=2)
    trial = slots.claim()
    assert slots.repair() == 0
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    trial.set_user_attr(OWNER, {**slots.me, "pid": ended.pid})
    assert slots.repair() == 1
    assert states(study) == {"FAIL": 1}


def test_an_id_that_another_process_has_now_is_no_owner(study, tmp_path):
    slots = make_slots(tmp_path, study, total=2)
    slots.claim().set_user_attr(OWNER, {**slots.me, "started": "1"})
    assert slots.repair() == 1


def test_a_trial_elsewhere_lives_by_its_heartbeat(study, tmp_path, monkeypatch):
    slots = make_slots(tmp_path, study, total=2)
    trial = slots.claim()
    trial.set_user_attr(OWNER, {**slots.me, "host": "elsewhere"})
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    assert slots.repair() == 0
    clock[0] = STALE_AFTER - 1
    trial.set_user_attr(HEARTBEAT, 1)
    assert slots.repair() == 0
    clock[0] += STALE_AFTER - 1
    assert slots.repair() == 0  # it beat meanwhile
    clock[0] += 2
    assert slots.repair() == 1


def test_a_trial_without_owner_has_a_while_to_get_one(study, tmp_path, monkeypatch):
    slots, clock = make_slots(tmp_path, study, total=2), [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    study.ask()
    assert slots.repair() == 0
    clock[0] = UNOWNED_FOR + 1
    assert slots.repair() == 1


def test_who_is_given_up_learns_it_by_the_heartbeat(study):
    trial = study.ask()
    with Heartbeat(trial, seconds=0.01) as beat:
        while not study.get_trials()[0].user_attrs.get(HEARTBEAT):
            time.sleep(0.01)
        assert not beat.lost
        study.tell(0, state=TrialState.FAIL)
        deadline = time.monotonic() + 5
        while not beat.lost and time.monotonic() < deadline:
            time.sleep(0.01)
    assert beat.lost


def test_a_signal_ends_the_waiting(study, tmp_path):
    slots = make_slots(tmp_path, study, total=1)
    slots.claim()
    waiting = make_slots(tmp_path, study, total=1, name="b")
    waiting.stop.requested = True
    with pytest.raises(Preempted):
        waiting.claim()


def test_this_process_is_alive_to_itself():
    from finetune.search.slots import _start_of

    assert _start_of(os.getpid()) is not None
    assert _start_of(2**22 + 1) is None
