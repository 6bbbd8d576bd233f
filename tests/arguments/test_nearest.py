from __future__ import annotations

import pytest

from finetune.arguments.nearest import allowed_values, nearest


@pytest.mark.parametrize(
    ("word", "known", "match"),
    [
        ("learnin_rate", ["learning_rate", "lr"], "learning_rate"),
        ("max_step", ["max_length", "max_steps"], "max_steps"),
        ("adamw", ["grokadamw", "adamw_torch", "adamw_8bit"], "adamw_torch"),
        ("PER", ["per", "loc"], "per"),
        ("batch_size", ["auto_find_batch_size_now", "per_device_train_batch_size"], "per_device_train_batch_size"),
        ("zzz", ["learning_rate"], None),
        ("", ["a"], None),
    ],
)
def test_nearest(word, known, match):
    assert nearest(word, known) == match


def test_short_lists_are_shown_whole_and_long_ones_only_without_a_match():
    assert allowed_values("b", ["bb", "cc"]) == "did you mean 'bb'; allowed: bb, cc"
    names = [f"name{number:02}" for number in range(40)]
    assert allowed_values("name0", names) == "did you mean 'name00'"
    assert allowed_values("q", names).endswith("name39")
