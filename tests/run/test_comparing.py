from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

from finetune.run.comparing import NOT_COMPARED, argument_differences, fingerprints, input_differences
from finetune.run.moved_names import MOVED


def test_differences_are_named_with_both_values():
    before = {"learning_rate": 5e-05, "names": ["a"], "text": "", "max_length": None}
    now = {"learning_rate": 1e-05, "names": ("a",), "text": "x", "max_length": 5}
    assert argument_differences(before, now, ()) == [
        "--learning_rate was 5e-05, is now 1e-05",
        '--text was "", is now x',
        "--max_length was not set, is now 5",
    ]


@pytest.mark.parametrize("name", ["dataloader_num_workers", "overwrite_output_dir", "output_dir", "debug", "report_to"])
def test_what_does_not_change_the_outcome_is_not_compared(name):
    assert name in NOT_COMPARED
    assert argument_differences({name: 1}, {name: 2}, [name]) == []


def test_a_new_argument_counts_only_when_it_was_typed():
    assert argument_differences({}, {"new_flag": 5}, ()) == []
    assert argument_differences({}, {"new_flag": 5}, ["new_flag"]) == ["--new_flag was not set, is now 5"]


def test_changed_input_files(tmp_path):
    files = [tmp_path / name for name in ("same.txt", "touched.txt", "changed.txt", "gone.txt")]
    for file in files:
        file.write_text("abc")
    recorded = fingerprints(files)
    os.utime(files[1], (1, 1))
    files[2].write_text("abd")
    files[3].unlink()
    assert input_differences(recorded) == [f"{files[2]} has changed since", f"{files[3]} can no longer be read"]


def test_names_of_modules_that_moved_are_the_same_arguments():
    old = {"loss_classes": {"train": ["finetune.training.baseline_losses.KLBaselineLoss"]}, "seed": 1}
    new = {"loss_classes": {"train": ["finetune.lm_experiments.baseline_losses.KLBaselineLoss"]}, "seed": 1}
    assert argument_differences(old, new, ()) == []
    for module in MOVED.values():
        assert find_spec(module), module
