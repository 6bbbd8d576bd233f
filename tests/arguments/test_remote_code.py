"""Code of a model is run only by the flag on the command line, whatever a file or a dictionary says."""

from __future__ import annotations

import json

import pytest

from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import CommandParser
from finetune.arguments.run import RunArguments
from finetune.errors import UsageError
from finetune.lm_experiments.arguments import ExperimentModelArguments
from finetune.lm_experiments.dotted import DottedParser
from finetune.sweep.grid import read_grid


def dotted() -> DottedParser:
    return DottedParser("a test", [ExperimentModelArguments, RunArguments])


def plain() -> CommandParser:
    return CommandParser("a test", [ModelArguments, RunArguments])


NAMED = ["--model_name_or_path", "m"]
FILES = [
    "trust_remote_code: true",
    "trust-remote-code: yes",
    "trust_remote_code: [true]",
    "trust_remote_code: 1",
]
FILES_OF_DICTIONARIES = [
    "tokenizer_kwargs: {trust_remote_code: true}",
    "model_kwargs: {a: {trust_remote_code: true}}",
    "model_kwargs: {a: [{trust_remote_code: true}]}",
    "model_kwargs.trust_remote_code: true",
    "config_kwargs: 'json:{\"trust_remote_code\": true}'",
    "model_kwargs: {weights_only: false}",
    "allow_import: [os]",
]


@pytest.mark.parametrize(
    ("make", "text"),
    [(plain, text) for text in FILES] + [(dotted, text) for text in FILES + FILES_OF_DICTIONARIES],
)
def test_no_file_lets_a_model_run_code(tmp_path, make, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"config\.yaml|yourself|weights are read as numbers"):
        make().parse([*NAMED, "--config_file", str(path)])


@pytest.mark.parametrize(
    "words",
    [
        ["--tokenizer_kwargs.trust_remote_code", "True"],
        ["--model_kwargs.trust_remote_code"],
        ["--model_kwargs", json.dumps({"trust_remote_code": True})],
        ["--model_kwargs.weights_only", "False"],
    ],
)
def test_no_dictionary_does(words):
    with pytest.raises(UsageError, match=r"yourself|numbers alone"):
        dotted().parse([*NAMED, *words])


@pytest.mark.parametrize("make", [plain, dotted])
def test_the_flag_does_and_a_file_may_forbid(tmp_path, make):
    path = tmp_path / "config.yaml"
    path.write_text("trust_remote_code: false\n")
    arguments = make().parse([*NAMED, "--config_file", str(path)])
    assert arguments.get("trust_remote_code") is False
    arguments = make().parse([*NAMED, "--config_file", str(path), "--trust_remote_code"])
    assert arguments.get("trust_remote_code") is True
    path.write_text(arguments.as_yaml())  # what is written reads back, but for this
    assert make().parse(["--config_file", str(path)]).get("trust_remote_code") is False


def test_no_grid_file_does(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text("trust_remote_code: [true, false]\n")
    with pytest.raises(UsageError, match="type --trust_remote_code yourself"):
        read_grid([], path)
