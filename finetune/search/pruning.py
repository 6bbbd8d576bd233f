"""Pruning by a test that means something: validation texts are the sample, one epoch is one look.

Wilcoxon's signed-rank test (Wilcoxon 1945) compares two trials text by text. Optuna's WilcoxonPruner expects that: a step
is the number of an instance. Fed with one mean loss per epoch, as is easily done, it tests whether consecutive epochs
differ, which are neither independent nor alike. Here, after epoch e, it is given the losses of every validation text
after epoch e, of this trial and of the best one so far.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import numpy as np
import optuna
from optuna.pruners import BasePruner, WilcoxonPruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

logger = logging.getLogger(__name__)

Losses = Mapping[int, np.ndarray]  # epoch -> (validation texts,)


class TextwisePruner(BasePruner):
    """A WilcoxonPruner that compares validation texts, not epochs.

    A trial is pruned if its texts have significantly higher losses than those of the best trial after as many epochs (or
    after the last of the best trial, if that was shorter), and its validation loss is higher, too.

    Args:
        test: the pruner that tests; its `n_startup_steps` is the least number of texts.
        current: gives the losses of the trial that runs now.
        of_trial: gives the losses of a finished trial, None where they cannot be read.
    """

    def __init__(
        self, test: WilcoxonPruner, current: Callable[[], Losses], of_trial: Callable[[FrozenTrial], Losses | None]
    ) -> None:
        self.test, self.current, self.of_trial = test, current, of_trial
        self._said: set[str] = set()

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial should end now."""
        mine, best = self.current(), find_best(study)
        if not mine or best is None:
            return False
        theirs = self.of_trial(best)
        if not theirs:
            self._say_once(
                f"the texts' losses of trial {best.number} are not in reach: nothing is pruned by them. All processes of "
                "a study must see each other's output folders."
            )
            return False
        epoch = max(mine)
        if not self._is_worse_in_total(trial, best, epoch):
            return False
        return self._compare(mine[epoch], theirs[min(epoch, max(theirs))])

    @staticmethod
    def _is_worse_in_total(trial: FrozenTrial, best: FrozenTrial, epoch: int) -> bool:
        """The validation loss may hold more than the texts' own: a trial that is ahead in it goes on."""
        total = trial.intermediate_values.get(epoch, float("nan"))
        before = [value for step, value in best.intermediate_values.items() if step <= epoch]
        return bool(before) and total > before[-1]

    def _compare(self, mine: np.ndarray, theirs: np.ndarray) -> bool:
        if mine.shape != theirs.shape:
            self._say_once(
                f"validation has {len(mine)} texts, the best trial had {len(theirs)}: nothing is pruned by them."
            )
            return False
        if len(mine) < self.test._n_startup_steps:
            self._say_once(
                f"validation has {len(mine)} texts, fewer than n_startup_steps {self.test._n_startup_steps} of "
                "WilcoxonPruner: it prunes nothing. Set n_startup_steps lower if so few are to decide."
            )
        return self.test.prune(_study_of(theirs), _trial_of(mine, TrialState.RUNNING))

    def _say_once(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            logger.warning("Pruning: %s", sentence)


def find_best(study: Study) -> FrozenTrial | None:
    """The complete trial with the best value, the earliest of equals; None as long as there is none."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    sign = -1 if study.direction is StudyDirection.MAXIMIZE else 1
    return min(complete, key=lambda trial: (sign * float(trial.value or 0.0), trial.number), default=None)


def _study_of(losses: np.ndarray) -> Study:
    """A study that holds one complete trial with these losses, a step a text."""
    study = optuna.create_study(direction="minimize")
    study.add_trial(_trial_of(losses, TrialState.COMPLETE))
    return study


def _trial_of(losses: np.ndarray, state: TrialState) -> FrozenTrial:
    value = float(losses.mean()) if state is TrialState.COMPLETE else None
    return create_trial(state=state, value=value, intermediate_values=dict(enumerate(losses.tolist())))


def patience_of(pruner: BasePruner) -> int | None:
    """Epochs without improvement that a PatientPruner lets pass; None for other pruners."""
    return pruner._patience if isinstance(pruner, optuna.pruners.PatientPruner) else None


def describe_pruner(pruner: BasePruner) -> str:
    """When trials are pruned, in one sentence."""
    if isinstance(pruner, TextwisePruner):
        test = pruner.test
        return (
            f"a trial is pruned when its validation texts (at least {test._n_startup_steps}) have higher losses than those "
            f"of the best trial after as many epochs, by a signed-rank test with p < {test._p_threshold:g}"
        )
    if isinstance(pruner, optuna.pruners.PatientPruner):
        rest = f"; then {describe_pruner(pruner._wrapped_pruner)}" if pruner._wrapped_pruner else " is pruned"
        return f"a trial that has not improved for {pruner._patience} epochs{rest}"
    if isinstance(pruner, optuna.pruners.NopPruner):
        return "no trial is pruned"
    return f"{type(pruner).__name__} looks at each evaluation of a trial"
