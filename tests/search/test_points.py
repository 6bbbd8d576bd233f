"""Samplers that visit every point: each exactly once, whatever is stopped, killed or started at the same moment."""

import itertools
import json
import random
import subprocess
import sys
from collections import Counter

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from finetune.errors import UsageError
from finetune.run.signals import StopRequest
from finetune.search.points import build_points
from finetune.search.slots import Slots
from finetune.search.space import Dimension
from finetune.search.storage import open_storage, quiet_optuna
from finetune.search.study import SamplerMaker
from finetune.search.turns import OWNER, RETRIES, SURPLUS

KINDS = {"GridSampler": optuna.samplers.GridSampler, "BruteForceSampler": optuna.samplers.BruteForceSampler}
SAMPLERS = sorted(KINDS)

WORKER = """
import json, random, sys
from pathlib import Path
import optuna
from finetune.run.signals import StopRequest
from finetune.search import slots as places
from finetune.search.space import Dimension
from finetune.search.storage import open_storage, quiet_optuna
from finetune.search.study import SamplerMaker, open_study
quiet_optuna()
places.POLL = 0.02
for line in sys.stdin:  # one study a line, so that the imports are paid once
    storage, name, folder, sampler, seed, values, leaves = json.loads(line)
    chance = random.Random(f"{folder} {seed}")
    dimension = Dimension("x", ("x",), "categorical", tuple(values))
    maker = SamplerMaker({"sampler": f"optuna.samplers.{sampler}"}, [dimension], seed)
    study = open_study(open_storage({"storage": storage}, Path(folder)), name, {}, maker(0), optuna.pruners.NopPruner())
    slots = places.Slots(study, total=None, here=None, folder=Path(folder), stop=StopRequest(), points=maker.points)
    while (trial := slots.claim()) is not None:
        study.sampler = maker(trial.number)
        drawn = chance.random() > 0.3 and dimension.suggest(trial)
        if leaves and chance.random() < 0.4:
            slots.release(trial)
        elif drawn is not False or dimension.suggest(trial):
            study.tell(trial, 1.0)
    print("done", flush=True)
"""


@pytest.fixture(autouse=True)
def quiet():
    quiet_optuna()


def dimension(values, name="x"):
    return Dimension(name, (name,), "categorical", tuple(values))


def visited(storage, name, folder):
    trials = optuna.load_study(study_name=name, storage=open_storage({"storage": storage}, folder)).get_trials()
    assert not [trial for trial in trials if trial.state in (TrialState.RUNNING, TrialState.WAITING)]
    return Counter(trial.params["x"] for trial in trials if trial.state is TrialState.COMPLETE)


@pytest.fixture(scope="module")
def workers():
    """Two processes that walk the studies of lines written to them."""
    command = [sys.executable, "-c", WORKER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, **pipes) for _ in range(2)]
    yield started
    for worker in started:
        worker.stdin.close()
        assert worker.wait(timeout=60) == 0


@pytest.mark.parametrize("storage", ["journal", pytest.param("sqlite", marks=pytest.mark.slow)])
def test_two_processes_visit_every_point_once(workers, tmp_path, storage):
    """40 seeds, 2 to 7 values; every other study has processes that give trials up in the middle."""
    for seed in range(40):
        values, folder = [f"v{number}" for number in range(2 + seed % 6)], tmp_path / str(seed)
        where = str(folder / "journal.log") if storage == "journal" else f"sqlite:///{tmp_path}/study.db"
        for name, worker in zip("ab", workers, strict=True):
            task = [where, str(seed), str(folder / name), SAMPLERS[seed % 2], seed, values, seed % 4 > 1]
            print(json.dumps(task), file=worker.stdin, flush=True)
        assert [worker.stdout.readline() for worker in workers] == ["done\n"] * 2
        assert visited(where, str(seed), folder) == dict.fromkeys(values, 1), seed


def make_slots(study, folder, points, **bounds):
    return Slots(study, **{"total": None, "here": None, **bounds}, folder=folder, stop=StopRequest(), points=points)


def walk(study, slots, dimensions, chance=None):
    """Trials one after another until none is left; by chance one ends as a killed or a failing process leaves it."""
    while (trial := slots.claim()) is not None:
        fate = chance.random() if chance else 1.0
        if fate < 0.2:  # killed before it drew its values
            trial.set_user_attr(OWNER, {**slots.me, "started": "1"})
            continue
        for item in dimensions:
            item.suggest(trial)
        if fate < 0.3:
            trial.set_user_attr(OWNER, {**slots.me, "started": "1"})
        elif fate < 0.4:
            slots.release(trial)
        elif fate < 0.5:
            study.tell(trial, state=TrialState.FAIL)  # the disk was full
        elif fate < 0.6:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, fate)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_whatever_befalls_trials_each_point_is_finished_once(sampler, tmp_path):
    for seed in range(40):
        dimensions = [dimension(range(1 + seed % 3), "x"), dimension(range(1 + seed % 5), "y")]
        points = build_points(KINDS[sampler], {}, dimensions, seed)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler())
        for _start in range(1 + seed % 3):
            walk(study, make_slots(study, tmp_path, points), dimensions, random.Random(seed))
        ended = [trial for trial in study.get_trials() if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        found = Counter((trial.params["x"], trial.params["y"]) for trial in ended)
        failed = Counter(points.of_trial(trial) for trial in study.get_trials() if trial.state is TrialState.FAIL)
        expected = set(itertools.product(range(1 + seed % 3), range(1 + seed % 5)))
        assert set(found.values()) <= {1}, seed
        assert all(failed[point] > RETRIES for point in expected - set(found)), seed


def test_a_point_that_ends_every_process_is_left_out_and_said(tmp_path, caplog):
    points = build_points(optuna.samplers.GridSampler, {}, [dimension("ab")], 0)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler())
    slots, begun = make_slots(study, tmp_path, points), Counter()
    while (trial := slots.claim()) is not None:
        value = trial.suggest_categorical("x", ["a", "b"])
        begun[value] += 1
        if value == "a":
            trial.set_user_attr(OWNER, {**slots.me, "started": "1"})
        else:
            study.tell(trial, 1.0)
    assert begun == {"a": RETRIES + 1, "b": 1}
    assert "1 of 2 points are left out" in caplog.text


def test_bounds_of_trials_hold_for_points(tmp_path):
    points = build_points(optuna.samplers.GridSampler, {}, [dimension(range(7))], 0)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler())
    walk(study, make_slots(study, tmp_path, points, here=2), [dimension(range(7))])
    assert len(study.trials) == 2
    walk(study, make_slots(study, tmp_path / "b", points, total=5), [dimension(range(7))])
    assert len(study.trials) == 5
    walk(study, make_slots(study, tmp_path / "c", points), [dimension(range(7))])
    assert sorted(trial.params["x"] for trial in study.trials) == list(range(7))


def test_points_of_trials_of_another_sampler_are_not_repeated(tmp_path):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler())
    study.enqueue_trial({"x": 3})
    study.tell(study.ask({"x": optuna.distributions.CategoricalDistribution(range(5))}), 1.0)
    points = build_points(optuna.samplers.BruteForceSampler, {}, [dimension(range(5))], 1)
    walk(study, make_slots(study, tmp_path, points), [dimension(range(5))])
    assert sorted(trial.params["x"] for trial in study.trials) == list(range(5))


def test_two_that_looked_at_the_same_moment_share_no_point(tmp_path):
    points = build_points(optuna.samplers.GridSampler, {}, [dimension("ab")], 0)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler())
    from finetune.search.turns import next_turn

    one, other = make_slots(study, tmp_path / "a", points), make_slots(study, tmp_path / "b", points)
    turn = next_turn([], points)
    assert one._ask([], turn) is not None and other._ask([], turn) is None
    assert [SURPLUS in trial.user_attrs for trial in study.trials] == [False, True]
    assert other.claim() is not None


def test_what_each_kind_of_dimension_has_for_points():
    epochs = Dimension("epochs", ("epochs",), "int", (2, 5))
    even = Dimension("even", ("even",), "int", (2, 7), {"step": 2})
    mask = Dimension("mask", ("mask",), "float", (0.1, 0.5), {"step": 0.2})
    lr = Dimension("lr", ("lr",), "float", (1e-6, 1e-4), {"log": True})
    values = build_points(optuna.samplers.GridSampler, {}, [epochs, even, mask, lr], 0).values
    assert values == {"epochs": [2, 3, 4, 5], "even": [2, 4, 6], "mask": [0.1, 0.3, 0.5], "lr": [1e-6, 1e-4]}
    with pytest.raises(UsageError, match="cannot visit all of lr"):
        build_points(optuna.samplers.BruteForceSampler, {}, [epochs, lr], 0)


def test_a_search_space_of_its_own():
    lr, kind = Dimension("lr", ("lr",), "float", (1e-6, 1e-4)), dimension("ab", "kind")
    kwargs = {"search_space": {"lr": [1e-5, 1e-6, 1e-5], "kind": "b"}}
    maker = SamplerMaker({"sampler": "GridSampler", "sampler_kwargs": kwargs}, [lr, kind], 0)
    assert maker.points.values == {"lr": [1e-5, 1e-6], "kind": ["b"]}
    kwargs = {"search_space": {"lr": [1e-3, "1e-5"], "knd": ["a"]}}
    with pytest.raises(UsageError) as told:
        SamplerMaker({"sampler": "GridSampler", "sampler_kwargs": kwargs}, [lr, kind], 0)
    for part in ("names 'knd'", "no values for kind", "the value 0.001", "the value '1e-5'"):
        assert part in str(told.value)


def test_more_points_than_anybody_visits_are_refused():
    dimensions = [dimension(range(10), name) for name in "abcdefg"]
    with pytest.raises(UsageError, match="would visit 10,000,000 points"):
        build_points(optuna.samplers.GridSampler, {}, dimensions, 0)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 2**40))
def test_the_order_follows_the_seed_and_misses_nothing(sizes, seed):
    dimensions = [dimension(range(size), f"d{number}") for number, size in enumerate(sizes)]
    points = build_points(optuna.samplers.GridSampler, {}, dimensions, seed)
    found = [tuple(point.values()) for point in points]
    assert found == [tuple(point.values()) for point in points]
    assert sorted(found) == list(itertools.product(*map(range, sizes))) and len(points) == len(found)
