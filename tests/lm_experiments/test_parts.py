"""What finetune_lm is built of: keywords of optimizers."""

from __future__ import annotations

import pytest
import torch

from finetune.lm_experiments.parts import find_words_for_numbers


@pytest.mark.parametrize("word", ["2,5e-5", "“2e-5”", "๒", "1_000", "nan"])
@pytest.mark.parametrize(("optimizer", "name"), [("AdamW", "lr"), ("SGD", "momentum"), ("RMSprop", "alpha")])
def test_a_word_for_a_number_is_named(word, optimizer, name):
    found = find_words_for_numbers(getattr(torch.optim, optimizer), {name: word})
    assert found == [f"{name} {word!r} is no number"]


def test_words_of_keywords_that_take_words_and_numbers_are_right():
    assert find_words_for_numbers(torch.optim.LBFGS, {"line_search_fn": "strong_wolfe", "lr": 2e-5}) == []
