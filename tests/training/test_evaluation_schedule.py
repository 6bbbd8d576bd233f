"""What follows from what was typed: saving follows evaluation, the best checkpoint is loaded where it can be."""

from __future__ import annotations

import pytest

from finetune.errors import UsageError
from finetune.training.evaluation_schedule import resolve_schedule


def resolve(**values):
    return resolve_schedule({"do_train": True, **values}, has_validation=True)


def test_the_documents_command_saves_every_250_steps_and_takes_the_best_by_loss():
    settled = resolve(eval_strategy="steps", eval_steps=250, logging_steps=50)
    assert settled["save_strategy"] == "steps"
    assert settled["save_steps"] == 250
    assert settled["load_best_model_at_end"] is True
    assert settled["metric_for_best_model"] == "loss"


def test_by_default_each_epoch_is_scored_and_saved():
    settled = resolve()
    assert (settled["eval_strategy"], settled["save_strategy"]) == ("epoch", "epoch")


def test_eval_steps_alone_mean_evaluation_by_steps():
    assert resolve(eval_steps=10)["eval_strategy"] == "steps"


def test_evaluation_steps_follow_logging_steps_as_in_transformers_3():
    settled = resolve(eval_strategy="steps", logging_steps=50, save_steps=100)
    assert (settled["eval_steps"], settled["save_steps"], settled["load_best_model_at_end"]) == (50, 100, True)


def test_saves_without_scores_keep_the_last_checkpoint():
    settled = resolve(eval_strategy="steps", eval_steps=30, save_steps=50)
    assert settled["load_best_model_at_end"] is False
    with pytest.raises(UsageError, match="every 50 steps and scored every 30"):
        resolve(eval_strategy="steps", eval_steps=30, save_steps=50, load_best_model_at_end=True)


def test_without_validation_evaluation_is_refused_by_name():
    with pytest.raises(UsageError, match="--eval_strategy steps needs evaluation during training"):
        resolve_schedule({"do_train": True, "eval_strategy": "steps"}, has_validation=False)
    with pytest.raises(UsageError, match="--eval_on_start True needs evaluation during training"):
        resolve_schedule({"do_train": True, "eval_on_start": True}, has_validation=False)
    settled = resolve_schedule({"do_train": True}, has_validation=False)
    assert (settled["eval_strategy"], settled["save_strategy"]) == ("no", "epoch")


def test_evaluation_switched_off_still_saves():
    settled = resolve(eval_strategy="no")
    assert (settled["save_strategy"], settled["load_best_model_at_end"]) == ("epoch", False)
    with pytest.raises(UsageError, match="load_best_model_at_end True needs evaluation"):
        resolve(eval_strategy="no", load_best_model_at_end=True)


def test_shares_of_all_steps_are_compared_as_shares():
    assert resolve(eval_strategy="steps", eval_steps=0.1, save_steps=0.3)["load_best_model_at_end"] is True
    assert resolve(eval_strategy="steps", eval_steps=0.1, save_steps=100)["load_best_model_at_end"] is False


def test_without_training_nothing_is_saved_or_chosen():
    settled = resolve_schedule({"do_eval": True}, has_validation=True)
    assert (settled["save_strategy"], settled["load_best_model_at_end"]) == ("no", False)
