"""Arguments of fine-tuning for surprisals: the document's command lines, and every typo in them."""

from __future__ import annotations

import inspect

import pytest
import torch

from finetune.arguments.run import RunArguments
from finetune.errors import UsageError
from finetune.lm_experiments import arguments as finetune_lm
from finetune.lm_experiments.arguments import (
    BASELINE_KEYWORDS,
    OPTIMIZER_NUMBERS,
    ExperimentArguments,
    ExperimentModelArguments,
    ExperimentTextArguments,
    per_split,
)
from finetune.lm_experiments.dotted import DottedParser
from finetune.lm_experiments.object_names import find_object

GROUPS = (ExperimentModelArguments, ExperimentTextArguments, ExperimentArguments, RunArguments)
FILES = ("--train_file", "data/x.txt.gz", "--validation_file", "'data/y.json.gz'")


def parse(*words: str):
    return DottedParser("fine-tune", GROUPS).parse(["--model_name_or_path", "gpt2", *words])


def complaints(*words: str) -> str:
    with pytest.raises(UsageError) as raised:
        parse(*FILES, *words)
    return "\n".join(map(str, raised.value.problems))


def test_defaults_are_those_of_the_document():
    arguments = parse(*FILES)
    experiment, texts = arguments[ExperimentArguments], arguments[ExperimentTextArguments]
    assert (experiment.epochs, experiment.min_epochs, experiment.patience, experiment.delta) == (250, 0, None, 0)
    assert experiment.train_optimizer_kwargs == {"lr": 2e-6, "weight_decay": 0}
    assert list(experiment.losses("train")) == ["finetune.lm_experiments.baseline_losses.OutputsDefaultLoss"]
    assert (texts.validation_file, texts.max_length) == ("data/y.json.gz", 1024)


def test_numbers_of_optimizers_are_those_of_torch():
    optimizers = [item for item in vars(torch.optim).values() if isinstance(item, type)]
    parameters = [item for optimizer in optimizers for item in inspect.signature(optimizer).parameters.values()]
    assert {item.name for item in parameters if type(item.default) in (int, float)} == set(OPTIMIZER_NUMBERS)


@pytest.mark.parametrize("word", ["2,5e-5", "“2e-5”", "๒", "1_000", "nan"])
@pytest.mark.parametrize(
    ("optimizer", "name"), [("AdamW", "lr"), ("torch.optim.SGD", "momentum"), ("RMSprop", "alpha")]
)
def test_a_word_for_a_number_is_named(word, optimizer, name):
    found = complaints("--train_optimizer", optimizer, f"--train_optimizer_kwargs.{name}", word)
    assert f"--train_optimizer_kwargs.{name} {word!r} is no number" in found


def test_words_of_optimizers_and_numbers_of_any_sign_are_taken():
    words = ("--train_optimizer", "LBFGS", "--train_optimizer_kwargs.line_search_fn", "strong_wolfe")
    numbers = (
        "--train_optimizer_kwargs.lr",
        "2e-5",
        "--train_optimizer_kwargs.weight_decay",
        "-1e-5",
        "--delta",
        "-0.5",
    )
    experiment = parse(*FILES, *words, *numbers)[ExperimentArguments]
    assert experiment.train_optimizer_kwargs == {"lr": 2e-5, "weight_decay": -1e-5, "line_search_fn": "strong_wolfe"}
    assert experiment.delta == -0.5


def test_a_command_line_with_divergence_and_frozen_words():
    arguments = parse(
        *FILES,
        *["--model_pre_train_step_callbacks", "UnfreezeWordTokensCallback", "--model_modifier_fns", "add_new_tokens"],
        *["--model_modifier_fn_kwargs.add_new_tokens.added_tokens", "blick", "dax"],
        *["--model_pre_train_step_callbacks_kwargs.UnfreezeWordTokensCallback.words_to_unfreeze", "blick", "dax"],
        *["--loss_classes.train", "OutputsDefaultLoss", "KLBaselineLoss", "--loss_reduction_fns.train", "torch.mean"],
        *["--loss_classes_kwargs.train.KLBaselineLoss.dataset", "data/a.txt.gz", "data/b.txt.gz"],
        *["--loss_classes_kwargs.train.KLBaselineLoss.scaleby", "2.5", "1"],
        *["--data_preprocessing_fn", "data_preprocessing.mask_random_tokens"],
        *["--data_preprocessing_fn_strategy.train", "per_batch", "--train_optimizer", "torch.optim.SGD"],
    )
    experiment, texts, model = (
        arguments[group] for group in (ExperimentArguments, ExperimentTextArguments, ExperimentModelArguments)
    )
    keywords = experiment.losses("train")["finetune.lm_experiments.baseline_losses.KLBaselineLoss"]
    assert keywords == {"dataset": ["data/a.txt.gz", "data/b.txt.gz"], "scaleby": [2.5, 1]}
    assert experiment.loss_reduction_fns == {"train": "torch.mean", "validation": "torch.sum"}
    assert per_split(texts.data_preprocessing_fn)["test"] == "finetune.lm_experiments.preprocessing.mask_random_tokens"
    assert texts.data_preprocessing_fn_strategy["train"] == "per_batch"
    assert model.model_modifier_fn_kwargs == {"add_new_tokens": {"added_tokens": ["blick", "dax"]}}


def test_every_typo_at_once():
    text = complaints(
        *["--data_preprocessing_fn.trian", "identity", "--data_preprocessing_fn_strategy.test", "onec"],
        *["--loss_classes.train", "KLBaselineLoss", "--loss_classes_kwargs.train.KLBaselineLoss.scalby", "1"],
        *["--loss_classes_kwargs.validation.KLBaselineLoss.scaleby", "1", "--train_optimizer", "AdmW"],
        *["--model_callbacks.pre_train_stpe", "PartiallyFrozenModelCallback", "--pateince", "3"],
    )
    for part in (
        "did you mean 'train'",
        "did you mean 'once'",
        "did you mean 'scaleby'",
        "KLBaselineLoss needs --loss_classes_kwargs.train.KLBaselineLoss.dataset",
        "--loss_classes_kwargs.validation has no key 'KLBaselineLoss'",
        "did you mean AdamW",
        "did you mean 'pre_train_step'",
        "did you mean --patience",
    ):
        assert part in text


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "torch.load", "torch.hub.load"])
@pytest.mark.parametrize(
    "flag",
    [
        "train_optimizer",
        "loss_classes.train",
        "loss_reduction_fns",
        "data_preprocessing_fn",
        "model_callbacks.pre_test",
    ],
)
def test_refused_names_stay_refused_everywhere(flag, name):
    assert f"is {name!r}, which stays refused" in complaints(f"--{flag}", name)


def test_what_is_missing():
    with pytest.raises(UsageError, match="there are no texts"):
        parse()
    with pytest.raises(UsageError, match="--train_file needs --validation_file"):
        parse("--train_file", "x.txt")
    assert "--min_epochs is 9, more than --epochs 3" in complaints("--min_epochs", "9", "--epochs", "3")


def test_every_name_that_is_offered_exists():
    for kind in (value for value in vars(finetune_lm).values() if isinstance(value, finetune_lm.ObjectKind)):
        for name in kind.names:
            assert find_object(name, kind, "--x")[0] == name


def test_the_keywords_of_the_divergence_are_those_of_its_class():
    from finetune.lm_experiments.baseline_losses import KLBaselineLoss

    assert set(BASELINE_KEYWORDS) == set(inspect.signature(KLBaselineLoss).parameters) - {"model", "tokenizer"}


def test_names_on_the_list_import_nothing(monkeypatch):
    monkeypatch.setattr("finetune.lm_experiments.object_names._import", lambda name: pytest.fail(f"imported {name}"))
    words = "--loss_reduction_fns.train mean --data_preprocessing_fn mask_words --loss_classes.train OutputsDefaultLoss"
    arguments = parse(*FILES, *words.split(), "--model_callbacks.pre_test", "FreezeWordTokensCallback")
    assert arguments[ExperimentArguments].loss_reduction_fns["train"] == "torch.mean"


def test_losses_of_another_shape_are_told():
    assert "--loss_classes.train holds {'': []}; names of loss classes are allowed" in complaints(
        "--loss_classes.train", '{"": []}'
    )
    assert "--loss_classes_kwargs.train holds 5" in complaints("--loss_classes_kwargs.train", "5")
    assert "--loss_classes_kwargs.train holds 1" in complaints("--loss_classes_kwargs.train", '{"A": 1}')


def test_values_nested_too_deeply_are_told():
    deep = '{"a":' * 400 + "1" + "}" * 400
    assert "nested too deeply" in complaints("--loss_classes", deep)
    assert "--tokenizer_kwargs is nested too deeply" in complaints("--tokenizer_kwargs" + ".a" * 800, "1")
