"""Words and config files that nobody means: each is told in a sentence, at once, and none is a bug of ours."""

from __future__ import annotations

import json
import runpy

import pytest

from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.paths import is_path
from finetune.arguments.run import RunArguments
from finetune.errors import UsageError
from finetune.lm_experiments.arguments import ExperimentArguments, ExperimentModelArguments
from finetune.lm_experiments.dotted import DottedParser


def parse(*words: object) -> Arguments:
    groups = [ExperimentModelArguments, ExperimentArguments, RunArguments]
    return DottedParser("a test", groups).parse(["--model_name_or_path", "m", *map(str, words)])


def train(*words: object) -> Arguments:
    return CommandParser("a test", [RunArguments], training_defaults={}).parse(["--output_dir", "o", *map(str, words)])


@pytest.mark.parametrize("flag", ["--save_steps", "--warmup_steps", "--num_train_epochs", "--learning_rate"])
@pytest.mark.parametrize("word", ["inf", "-inf", "Infinity", "1e999", "9" * 5000])
def test_numbers_without_end(flag, word):
    with pytest.raises(UsageError, match=flag):
        train(flag, word)


def test_clipping_at_infinity_only_measures():
    assert train("--max_grad_norm", "inf").get("max_grad_norm") == float("inf")


DEEP = "[" * 100_000
NESTED = '{"a":' * 50_000


@pytest.mark.parametrize(
    "word", [DEEP, NESTED, "json:" + DEEP, "json:" + "9" * 5000 + "x", '{"a": ' + "9" * 5000 + "}"]
)
def test_json_that_is_deep_or_long(word):
    with pytest.raises(UsageError, match="--model_kwargs"):
        parse("--model_kwargs", word)


@pytest.mark.parametrize("words", [["--loss_classes.train"], ["--loss_classes.train", 3], ["--train_optimizer", "1"]])
def test_what_is_no_name(words):
    with pytest.raises(UsageError, match=r"it takes|no class|not one|allowed|one of|optimizer"):
        parse(*words)


def test_home_is_expanded_in_every_path(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = tmp_path / "c.yaml"
    config.write_text("cache_dir: ~/cache\nmodel_name_or_path: ~/model\n")
    arguments = DottedParser("a test", [ExperimentModelArguments, RunArguments]).parse(["--config_file", str(config)])
    assert arguments.get("cache_dir") == f"{tmp_path}/cache"
    assert arguments.get("model_name_or_path") == f"{tmp_path}/model"
    assert train("--output_dir", "~/runs/a b").get("output_dir") == f"{tmp_path}/runs/a b"


@pytest.mark.parametrize(
    ("script", "name"),
    [
        *((script, "run") for script in ("export", "serve", "merge", "report")),
        *(("run_ner", name) for name in ("class_weights", "silver_file", "deepspeed", "labels")),
        *(("run_glue", name) for name in ("soft_label_order", "train_file")),
        ("downstream/train_sequence_classification_lm_finetuning", "tokenizer_type_or_public_model_name"),
    ],
)
def test_whatever_names_a_file_or_folder_is_a_path(script, name, repository):
    parser = runpy.run_path(str(repository / "scripts" / f"{script}.py"))["make_parser"]()
    assert is_path(parser.fields[name])


@pytest.mark.parametrize("word", ["~nouser-of-that-name/x", "a/" + "x" * 256, "ü" * 128, "a\0b"])
def test_paths_that_cannot_be(word):
    with pytest.raises(UsageError, match="--output_dir"):
        train("--output_dir", word)


BOMB = "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
FILES = {
    "bomb": BOMB,
    "itself": "model_kwargs: &m {a: *m}\n",
    "itself in a list": "model_kwargs: {a: &m [*m]}\n",
    "deep": "model_kwargs: " + "{a: " * 2000 + "1" + "}" * 2000 + "\n",
    "deep list": "model_kwargs: " + "[" * 5000 + "]" * 5000 + "\n",
}


@pytest.mark.parametrize("kind", FILES)
def test_yaml_that_is_a_trap(tmp_path, kind):
    path = tmp_path / "c.yaml"
    path.write_text(FILES[kind])
    with pytest.raises(UsageError, match=r"c\.yaml"):
        parse("--config_file", path)


def test_json_that_is_deep(tmp_path):
    path = tmp_path / "c.json"
    path.write_text('{"model_kwargs": ' + NESTED)
    with pytest.raises(UsageError, match=r"c\.json: values stand too deep"):
        parse("--config_file", path)


def test_dates_sets_and_bytes_stay_text(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("model_kwargs: {a: 2024-01-02, b: !!binary aGk=, c: 1.5, d: true, e: x, f: 0x10, 7: [1, no]}\n")
    values = parse("--config_file", path).get("model_kwargs")
    assert values == {"a": "2024-01-02", "b": "aGk=", "c": 1.5, "d": True, "e": "x", "f": 16, "7": [1, False]}
    assert json.dumps(values)
