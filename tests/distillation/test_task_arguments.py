from __future__ import annotations

import pytest

from finetune.distillation.arguments import DistillationLossArguments
from finetune.distillation.task_arguments import TaskDistillationArguments, find_task


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "language_modeling"),
        (("--task", "token_classification"), "token_classification"),
        (("--task=sequence_classification", "--seed", "1"), "sequence_classification"),
        (("--config_file", "run.yaml"), "token_classification"),
        (("--config_file", "run.yaml", "--task", "sequence_classification"), "sequence_classification"),
        (("--config_file", "missing.yaml"), "language_modeling"),
        (("--task", "tokens"), "language_modeling"),
    ],
)
def test_the_task_decides_before_anything_is_parsed(words, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text("task: token_classification\nseed: 3\n")
    assert find_task(words) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "both missing"),
        ({"student_name": "a", "student_config": "b"}, "both given"),
        ({"student_name": "a", "student_type": "bert"}, "--student_type needs --student_config"),
    ],
)
def test_one_student_is_needed(given, expected):
    (problem,) = TaskDistillationArguments(teacher_name="t", **given).problems()
    assert expected in str(problem)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"cache_teacher": 8, "alpha_hidden": 1.0}, "not what --alpha_hidden needs"),
        ({"cache_teacher": 8, "alpha_mse": 1.0}, "not what --alpha_mse needs"),
        ({"cache_teacher": 8, "alpha_ce": 0.0}, "--alpha_ce, which is 0"),
        ({"teacher_cache_dir": "x"}, "needs --cache_teacher"),
    ],
)
def test_what_cannot_be_cached_is_told(given, expected):
    (problem,) = DistillationLossArguments(**given).problems()
    assert expected in str(problem)
    assert DistillationLossArguments(cache_teacher=8).problems() == []
