"""Files of a run's folder of another shape than any command writes: passed over, or refused in a sentence."""

from __future__ import annotations

import errno

import pytest

from finetune.comparison.runs import ComparedRun, _read_examples
from finetune.errors import DataError
from finetune.page import building
from finetune.page.folder import RunFolder


@pytest.mark.parametrize("text", ['{"log": 7}', '{"log": {"a": 1}}', "[1]", '{"log": [1, {"a": 2}]}'])
def test_a_history_of_another_shape(tmp_path, text):
    (tmp_path / "training_history.json").write_text(text, encoding="utf-8")
    assert RunFolder(tmp_path).history == []


@pytest.mark.parametrize("labels", ['["O"]', '{"x": "O"}', "7", '{"-1": "O"}', '{"": "O"}'])
def test_labels_of_another_shape(tmp_path, labels):
    (tmp_path / "config.json").write_text(f'{{"id2label": {labels}}}', encoding="utf-8")
    assert RunFolder(tmp_path).labels == []


def test_labels_come_by_number(tmp_path):
    (tmp_path / "config.json").write_text('{"id2label": {"10": "c", "9": "b", "0": "a"}}', encoding="utf-8")
    assert RunFolder(tmp_path).labels == ["a", "b", "c"]


def test_notes_that_are_no_utf8(tmp_path):
    (tmp_path / "report.txt").write_bytes(b"\xff\nNotes:\n- a\n")
    assert RunFolder(tmp_path).notes == ["a"]


@pytest.mark.parametrize("line", ["7", "[]", '"a"', "null"])
def test_predictions_that_are_no_objects(tmp_path, line):
    (tmp_path / "predictions.test.jsonl").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="no JSON object"):
        _read_examples(ComparedRun(RunFolder(tmp_path), "x", "jsonl"), "test")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EMFILE])
def test_a_page_that_the_disk_refuses_is_a_failure_of_the_run(tmp_path, monkeypatch, number):
    (tmp_path / "metrics.json").write_text('{"test": {"f1": 0.5}}')

    def refuse(*_):
        raise OSError(number, "refused")

    monkeypatch.setattr(building, "write_text", refuse)
    with pytest.raises(OSError, match="refused"):
        building.try_page(tmp_path, {"status": "done"})


def test_a_page_that_cannot_be_drawn_is_said_alone(tmp_path, monkeypatch, caplog):
    (tmp_path / "metrics.json").write_text('{"test": {"f1": 0.5}}')
    monkeypatch.setattr(building, "render", lambda *_, **__: 1 / 0)
    building.try_page(tmp_path, {"status": "done"})
    assert "could not be written (ZeroDivisionError" in caplog.text
