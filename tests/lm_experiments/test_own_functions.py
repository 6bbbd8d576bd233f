"""Functions of users: tensors in, either out, errors with their own file and line."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from finetune.errors import DataError
from finetune.lm_experiments.own_functions import is_own, serve_own
from finetune.lm_experiments.preprocessing import call_preprocessing, identity

PROGRAM = """
def shift(inputs, tokenizer, *, rng, by=1):
    kind = type(inputs["input_ids"]).__name__
    assert kind == tokenizer, kind
    return {**inputs, "input_ids": inputs["input_ids"] + by}


def divide(inputs, tokenizer):
    count = 0
    return 1 / count


def forget(inputs, tokenizer):
    return [1]
"""
INPUTS = {"input_ids": np.array([[1, 2], [3, 4]]), "attention_mask": np.ones((2, 2), dtype=np.int64), "context": None}


@pytest.fixture
def program(tmp_path: Path):
    path = tmp_path / "theirs.py"
    path.write_text(PROGRAM)
    spec = importlib.util.spec_from_file_location("theirs", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("as_numpy", "kind"), [(False, "Tensor"), (True, "ndarray")])
def test_tensors_or_arrays_in_and_arrays_out(program, as_numpy, kind):
    served = serve_own(program.shift, as_numpy=as_numpy)
    made = call_preprocessing(served, INPUTS, kind, {"by": 2}, rng=np.random.default_rng(0))
    assert type(made["input_ids"]) is np.ndarray and made["input_ids"].tolist() == [[3, 4], [5, 6]]
    assert INPUTS["input_ids"].tolist() == [[1, 2], [3, 4]]


def test_a_tensor_shares_no_memory_with_the_texts(program):
    def clear(inputs, tokenizer):
        inputs["input_ids"].zero_()
        return inputs

    assert serve_own(clear, as_numpy=False)(INPUTS, None)["input_ids"].sum() == 0
    assert INPUTS["input_ids"].sum() == 10


def test_their_errors_are_theirs(program, tmp_path):
    with pytest.raises(DataError, match=rf"{tmp_path}/theirs.py:10: divide raised ZeroDivisionError: division by zero"):
        serve_own(program.divide, as_numpy=False)(INPUTS, None)
    with pytest.raises(DataError, match=r"theirs.py:13: forget returned list; a dictionary of inputs is expected"):
        serve_own(program.forget, as_numpy=False)(INPUTS, None)


def test_ours_are_called_as_they_are():
    assert not is_own(identity) and is_own(torch.sum)
