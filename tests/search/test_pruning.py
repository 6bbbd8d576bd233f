"""Pruning compares validation texts, one look an epoch; its decisions are checked against scipy on the same numbers."""

import logging

import numpy as np
import optuna
import pytest
from optuna.pruners import MedianPruner, PatientPruner, WilcoxonPruner
from optuna.trial import TrialState, create_trial
from scipy.stats import wilcoxon

from finetune.search.pruning import TextwisePruner, describe_pruner, find_best, patience_of

TEXTS, EPOCHS = 40, 4


@pytest.fixture(autouse=True)
def quiet():
    from finetune.search.storage import quiet_optuna

    quiet_optuna()


def make_losses(seed, shift, epochs=EPOCHS, texts=TEXTS):
    """Losses that fall with the epochs; texts differ a lot from each other, and little between trials."""
    easy = np.random.default_rng(0).normal(4, 1.5, texts)
    noise = np.random.default_rng(seed).normal(0, 0.1, (epochs, texts))
    return {epoch: easy + shift + 1 / epoch + noise[epoch - 1] for epoch in range(1, epochs + 1)}


def means(losses):
    return {epoch: float(found.mean()) for epoch, found in losses.items()}


def complete(losses):
    return create_trial(value=min(means(losses).values()), intermediate_values=means(losses))


def running(losses):
    return create_trial(state=TrialState.RUNNING, intermediate_values=means(losses))


def judge(mine, best, **keywords):
    study = optuna.create_study()
    study.add_trial(complete(best))
    pruner = TextwisePruner(WilcoxonPruner(**keywords), lambda: mine, lambda _trial: best)
    return pruner.prune(study, running(mine))


@pytest.mark.parametrize("shift", [-0.1, 0.0, 0.02, 0.05, 0.1, 0.3])
def test_decisions_are_those_of_scipy_on_the_texts_after_the_last_epoch(shift):
    mine, best = make_losses(1, shift), make_losses(2, 0.0)
    mine = {epoch: mine[epoch] for epoch in (1, 2)}
    worse = wilcoxon(mine[2] - best[2], alternative="greater").pvalue < 0.1 and mine[2].mean() > best[2].mean()
    assert judge(mine, best) is bool(worse)
    assert worse == (shift >= 0.1)


def test_the_decision_is_that_of_the_last_epoch_alone():
    """Pooled over epochs these losses are worse; after the last one they are better, and the trial goes on."""
    best = make_losses(2, 0.0)
    mine = {1: best[1] + 2, 2: best[2] + 1, 3: best[3] - 0.1}
    assert not judge(mine, best)


def test_a_longer_trial_is_compared_with_the_last_epoch_of_the_best():
    best = make_losses(2, 0.0, epochs=2)
    assert judge({5: best[2] + 0.3}, best)
    assert not judge({5: best[2] - 0.3}, best)


def test_false_alarms_are_as_frequent_as_p_threshold_says():
    """Two trainings that differ by chance alone: of 200 single looks about a tenth prune, half of those at most are seen."""
    pruned = sum(judge({1: make_losses(seed, 0.0)[1]}, make_losses(1000 + seed, 0.0)) for seed in range(200))
    assert 4 <= pruned <= 36


def test_too_few_texts_prune_nothing_and_that_is_said_once(caplog):
    mine, best = make_losses(1, 5.0, texts=10), make_losses(2, 0.0, texts=10)
    study = optuna.create_study()
    study.add_trial(complete(best))
    pruner = TextwisePruner(WilcoxonPruner(n_startup_steps=100), lambda: mine, lambda _trial: best)
    with caplog.at_level(logging.WARNING):
        assert not any(pruner.prune(study, running(mine)) for _ in range(3))
    assert len(caplog.records) == 1 and "10 texts, fewer than n_startup_steps 100" in caplog.text


def test_a_trial_ahead_in_the_whole_validation_loss_goes_on():
    """The validation loss may hold a divergence beside the texts' own losses."""
    mine, best = make_losses(1, 1.0), make_losses(2, 0.0)
    study = optuna.create_study()
    study.add_trial(complete(best))
    ahead = create_trial(state=TrialState.RUNNING, intermediate_values={EPOCHS: min(means(best).values()) - 1})
    assert not TextwisePruner(WilcoxonPruner(), lambda: mine, lambda _trial: best).prune(study, ahead)


@pytest.mark.parametrize("theirs", [None, make_losses(2, 0.0, texts=7)])
def test_losses_out_of_reach_or_of_other_texts_prune_nothing(theirs, caplog):
    mine, best = make_losses(1, 1.0), make_losses(2, 0.0)
    study = optuna.create_study()
    study.add_trial(complete(best))
    with caplog.at_level(logging.WARNING):
        assert not TextwisePruner(WilcoxonPruner(), lambda: mine, lambda _trial: theirs).prune(study, running(mine))
    assert "Pruning:" in caplog.text


def test_the_first_trial_is_never_pruned():
    mine = make_losses(1, 1.0)
    pruner = TextwisePruner(WilcoxonPruner(), lambda: mine, lambda _trial: None)
    assert not pruner.prune(optuna.create_study(), running(mine))


def test_patience_counts_epochs_before_texts_are_compared():
    best = make_losses(2, 0.0, epochs=6)
    study = optuna.create_study()
    study.add_trial(complete(best))
    mine = {epoch: best[1] + 2 + 0.1 * epoch for epoch in range(1, 6)}
    for patience, expected in ((2, True), (10, False)):
        pruner = PatientPruner(TextwisePruner(WilcoxonPruner(), lambda: mine, lambda _trial: best), patience)
        assert pruner.prune(study, running(mine)) is expected


def test_the_best_is_the_earliest_of_equals():
    study = optuna.create_study()
    assert find_best(study) is None
    for value in (2.0, 1.0, 1.0):
        study.add_trial(create_trial(value=value))
    study.add_trial(create_trial(state=TrialState.PRUNED, value=0.5))
    assert find_best(study).number == 1


def test_pruners_are_described():
    textwise = TextwisePruner(WilcoxonPruner(p_threshold=0.1, n_startup_steps=100), dict, lambda _trial: None)
    text = describe_pruner(PatientPruner(textwise, 30))
    assert "30 epochs" in text and "at least 100" in text and "p < 0.1" in text
    assert patience_of(PatientPruner(textwise, 30)) == 30 and patience_of(textwise) is None
    assert "MedianPruner" in describe_pruner(MedianPruner())
