"""`--params` as the document describes it: names, types, bounds; every mistake at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.errors import UsageError
from finetune.lm_experiments.arguments import ExperimentArguments, ExperimentModelArguments, ExperimentTextArguments
from finetune.lm_experiments.dotted import DottedParser
from finetune.search.arguments import OptimizationArguments
from finetune.search.space import (
    BASELINE_DEFAULTS,
    BASELINE_KEYWORDS,
    apply_values,
    build_search_space,
    check_search,
)

BASE = ["--train_file", "a.txt", "--validation_file", "b.txt", "--do_optimize", "--model_name_or_path", "gpt2"]
KL = [
    *("--loss_classes.train", "OutputsDefaultLoss", "KLBaselineLoss"),
    *("--loss_classes_kwargs.train.KLBaselineLoss.dataset", "x.txt", "y.txt"),
]


@dataclass
class Recorder:
    """A trial that answers with the lower bound or the first choice, and remembers what it was asked."""

    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def suggest_float(self, name: str, low: float, high: float, **options: Any) -> float:
        self.asked.append(("float", name, low, high, options))
        return low

    def suggest_int(self, name: str, low: int, high: int, **options: Any) -> int:
        self.asked.append(("int", name, low, high, options))
        return low

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        self.asked.append(("categorical", name, choices))
        return choices[0]


def parse(*words):
    groups = (ExperimentModelArguments, ExperimentTextArguments, ExperimentArguments, OptimizationArguments)
    return DottedParser("test", groups, checks=(check_search,)).parse([*BASE, *words])


def space(*words):
    arguments = parse(*words)
    groups = [arguments[ExperimentTextArguments], arguments[ExperimentArguments]]
    return build_search_space(arguments[OptimizationArguments].params, groups), groups


def asked(*words):
    dimensions, groups = space(*words)
    trial = Recorder()
    values = {item.name: item.suggest(trial) for item in dimensions}
    return trial.asked, apply_values(groups, dimensions, values)


def problems(*words):
    with pytest.raises(UsageError) as error:
        parse(*words)
    return str(error.value)


def test_the_default_searches_the_learning_rate():
    suggested, (_, experiment) = asked()
    assert suggested == [("float", "lr", 2e-6, 2e-5, {})]
    assert experiment.train_optimizer_kwargs == {"lr": 2e-6, "weight_decay": 0}


def test_values_and_suggest_kwargs_of_the_document():
    suggested, (_, experiment) = asked("--params.lr.values", "1e-9", "1e-3", "--params.lr.suggest_kwargs.log")
    assert suggested == [("float", "lr", 1e-9, 1e-3, {"log": True})]
    assert experiment.train_optimizer_kwargs["lr"] == 1e-9


def test_a_number_is_searched_as_the_type_it_has_now():
    suggested, _ = asked("--train_optimizer_kwargs.lr", "1", "--params.lr.values", "1", "5")
    assert suggested == [("int", "lr", 1, 5, {})]
    suggested, _ = asked(
        "--train_optimizer_kwargs.lr", "1", "--params.lr.values", "1", "5", "--params.lr.type", "float"
    )
    assert suggested == [("float", "lr", 1, 5, {})]


def test_arguments_themselves():
    suggested, (texts, experiment) = asked(
        *("--params", "{}", "--params.lr", "__delete_field__", "--params.epochs.values", "3", "1"),
        *("--params.per_device_train_batch_size.values", "8", "16", "32"),
        *("--params.per_device_train_batch_size.type", "categorical"),
        *("--params.train_optimizer.values", "SGD", "AdamW", "--params.patience.values", "5", "9"),
    )
    assert suggested == [
        ("int", "epochs", 1, 3, {}),
        ("categorical", "per_device_train_batch_size", [8, 16, 32]),
        ("categorical", "train_optimizer", ["torch.optim.SGD", "torch.optim.AdamW"]),
        ("int", "patience", 5, 9, {}),
    ]
    assert (experiment.epochs, texts.per_device_train_batch_size, experiment.train_optimizer) == (
        1,
        8,
        "torch.optim.SGD",
    )


def test_kl_scale_of_one_value_is_one_dimension():
    suggested, (_, experiment) = asked(*KL, "--params.train_KLBaselineLoss_scaleby.values", "1", "5000")
    assert suggested[1] == ("float", "train_KLBaselineLoss_scaleby", 1, 5000, {})
    assert experiment.loss_classes_kwargs["train"]["KLBaselineLoss"]["scaleby"] == 1
    whole = [
        *KL,
        "--params.train_KLBaselineLoss_scaleby.values",
        "1",
        "9",
        "--params.train_KLBaselineLoss_scaleby.type",
    ]
    assert asked(*whole, "int")[0][1] == ("int", "train_KLBaselineLoss_scaleby", 1, 9, {})


def test_kl_scales_differ_by_data_set_where_a_list_is_given():
    given = [*KL, "--loss_classes_kwargs.train.KLBaselineLoss.scaleby", "1.0", "1.0"]
    suggested, (_, experiment) = asked(*given, "--params.train_KLBaselineLoss_scaleby.values", "0.5", "2")
    assert [entry[1] for entry in suggested[1:]] == ["train_KLBaselineLoss_scaleby_0", "train_KLBaselineLoss_scaleby_1"]
    assert experiment.loss_classes_kwargs["train"]["KLBaselineLoss"]["scaleby"] == [0.5, 0.5]
    suggested, (_, experiment) = asked(*given, "--params.train_KLBaselineLoss_scaleby_1.values", "3", "4")
    assert suggested[1][1:4] == ("train_KLBaselineLoss_scaleby_1", 3, 4)
    assert experiment.loss_classes_kwargs["train"]["KLBaselineLoss"]["scaleby"] == [1.0, 3]


def test_paths_reach_keywords_that_are_not_there_yet():
    suggested, (texts, experiment) = asked(
        *("--data_preprocessing_fn.train", "mask_random_tokens"),
        *("--params.data_preprocessing_fn_kwargs.train.mask_prop.values", "0.1", "0.4"),
        *("--train_optimizer", "SGD", "--params.train_optimizer_kwargs.momentum.values", "0.0", "0.9"),
    )
    assert ("float", "data_preprocessing_fn_kwargs.train.mask_prop", 0.1, 0.4, {}) in suggested
    assert texts.data_preprocessing_fn_kwargs == {"train": {"mask_prop": 0.1}}
    assert experiment.train_optimizer_kwargs == {"lr": 2e-6, "weight_decay": 0, "momentum": 0.0}


def test_choices_that_are_lists():
    pairs = "json:[[0.9, 0.99], [0.9, 0.999]]"
    suggested, (_, experiment) = asked("--params.train_optimizer_kwargs.betas.values", pairs)
    assert suggested[1] == ("categorical", "train_optimizer_kwargs.betas", ["[0.9, 0.99]", "[0.9, 0.999]"])
    assert experiment.train_optimizer_kwargs["betas"] == [0.9, 0.99]


def test_groups_are_copied():
    dimensions, groups = space(*KL)
    apply_values(groups, dimensions, {"lr": 1.0})
    assert groups[1].train_optimizer_kwargs["lr"] == 2e-6


def test_every_mistake_is_named_at_once():
    text = problems(
        *("--params.lrr.values", "1", "2", "--params.lr.values", "1e-5", "--params.epochs.values", "0", "5"),
        *("--params.weight_decay.values", "-1.0", "1.0", "--params.weight_decay.suggest_kwargs.log"),
        *("--params.weight_decay.type", "float", "--params.max_test_samples.values", "1", "2"),
        *("--params.delta.valeus", "1", "--params.train_optimizer.values", "SGDD"),
    )
    for sentence in (
        "--params.lrr is no argument of texts or training",
        "--params.lr.values is 1e-05; a lower and an upper bound",
        "epochs must be at least 1",
        "it must be above 0",
        "--params.max_test_samples would change what trials are judged by",
        "--params.train_optimizer.values is 'SGDD'",
    ):
        assert sentence in text, text


def test_the_typo_of_a_published_script_is_named():
    text = problems(
        *KL,
        *("--params.train_KLBaselineLoss_scaleby.values", "1", "5000"),
        *("--params.train_KLBaselineloss_scaleby.suggest_kwargs.log",),
    )
    assert "train_KLBaselineloss_scaleby" in text and "has no values" in text


@pytest.mark.parametrize("name", ["validation_file", "max_validation_samples", "per_device_validation_batch_size"])
def test_what_trials_are_judged_by_is_not_searched(name):
    assert "judged by" in problems(f"--params.{name}.values", "1", "2")


def test_numbers_only_for_numbers():
    text = problems("--params.train_optimizer.values", "SGD", "AdamW", "--params.train_optimizer.type", "float")
    assert "train_optimizer is no number" in text


def test_without_do_optimize_nothing_is_judged():
    groups = (ExperimentModelArguments, ExperimentTextArguments, ExperimentArguments, OptimizationArguments)
    words = [word for word in BASE if word != "--do_optimize"]
    DottedParser("test", groups, checks=(check_search,)).parse([*words, "--params.nonsense.values", "1"])


def test_study_and_optimize_keywords_are_judged():
    text = problems(
        *("--study_kwargs.direction", "maximize", "--study_kwargs.sampelr", "TPESampler"),
        *("--optimize_kwargs.n_jobs", "4", "--optimize_kwargs.n_trials", "0", "--optimize_kwargs.timeoot", "5"),
    )
    for part in ("which is minimized", "'sampler'", "one model at a time", "n_trials is 0", "'timeout'"):
        assert part in text, text


def test_trials_of_a_folder():
    assert parse()[OptimizationArguments].trials_here == 2
    assert parse("--max_trials", "9")[OptimizationArguments].trials_here is None
    both = parse("--max_trials", "9", "--optimize_kwargs.n_trials", "3")
    assert both[OptimizationArguments].trials_here == 3


def test_defaults_of_the_baseline_loss_are_its_own():
    import inspect

    from finetune.lm_experiments.baseline_losses import KLBaselineLoss

    signature: Mapping[str, inspect.Parameter] = inspect.signature(KLBaselineLoss).parameters
    assert {name: signature[name].default for name in BASELINE_DEFAULTS} == BASELINE_DEFAULTS
    assert set(BASELINE_DEFAULTS) <= set(BASELINE_KEYWORDS)


@given(low=st.floats(1e-9, 1.0), high=st.floats(1e-9, 1.0))
def test_bounds_in_either_order(low, high):
    (dimension,) = build_search_space(
        {"lr": {"values": [high, low]}}, [ExperimentTextArguments(), ExperimentArguments()]
    )
    assert dimension.values == (min(low, high), max(low, high))
