"""What the next trial of a study tries: the values of one that was given up, or a point of a grid that nobody has.

Two processes that ask at once may both be told the same. Both begin a trial with it, and the one with the higher number
sees the other and gives its own back (`has_twin`): numbers are all that every storage gives out one by one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from finetune.search.points import Points, values_held

# Attributes of a trial: whose it is; given back unused; (first trial, how often begun before); why it was given up.
OWNER, SURPLUS, RETRY, GIVEN_UP = "owner", "surplus", "retry", "given_up"
STOPPED = "stopped by a signal"
RETRIES = 3  # of values whose process is gone; a stop by a signal is nobody's fault


@dataclass(frozen=True)
class Turn:
    """Values to try (some may be left to the sampler), and the attributes of their trial."""

    values: dict[str, Any]
    attributes: dict[str, Any]


def next_turn(trials: Iterable[FrozenTrial], points: Points | None) -> Turn | None:
    """What to try next, None where it is for the sampler to say, or, with points, where none is open."""
    groups = _grouped(trials, points)
    if points is not None:
        found = (point for point in points if _is_open(groups.get(tuple(point.values()), [])))
        point = next(found, None)
        return None if point is None else Turn(point, {})
    return next((_again(members) for members in groups.values() if _may_go_on(members)), None)


def count_given_up(trials: Iterable[FrozenTrial], points: Points) -> int:
    """Points that ended every process which tried them."""
    groups = _grouped(trials, points)
    tried = (groups.get(tuple(point.values()), []) for point in points)
    return sum(_all_failed(members) and not _is_open(members) for members in tried)


def has_twin(trial: FrozenTrial, before: Iterable[FrozenTrial], points: Points | None) -> bool:
    """Whether a trial with a lower number has the same values, or none of the points was given to this one."""
    key = _key_of(trial, points)
    return key is None or any(_key_of(other, points) == key and other.state is not TrialState.FAIL for other in before)


def _grouped(trials: Iterable[FrozenTrial], points: Points | None) -> dict[Hashable, list[FrozenTrial]]:
    groups = defaultdict(list)
    for trial in trials:
        if SURPLUS not in trial.user_attrs:
            groups[_key_of(trial, points)].append(trial)
    return groups


def _key_of(trial: FrozenTrial, points: Points | None) -> Hashable:
    """What trials of the same values share."""
    if points is not None:
        return points.of_trial(trial)
    return trial.user_attrs.get(RETRY, {}).get("first", trial.number)


def _all_failed(members: list[FrozenTrial]) -> bool:
    return bool(members) and all(trial.state is TrialState.FAIL for trial in members)


def _is_open(members: list[FrozenTrial]) -> bool:
    blamed = [trial for trial in members if trial.user_attrs.get(GIVEN_UP) != STOPPED]
    return not members or (_all_failed(members) and len(blamed) <= RETRIES)


def _may_go_on(members: list[FrozenTrial]) -> bool:
    """What a process that is gone or was stopped had begun; a trial that failed by itself is not tried again."""
    last = members[-1]
    return _is_open(members) and GIVEN_UP in last.user_attrs and bool(values_held(last))


def _again(members: list[FrozenTrial]) -> Turn:
    retry = {"first": _key_of(members[0], None), "retries": len(members)}
    return Turn(values_held(members[-1]), {RETRY: retry})
