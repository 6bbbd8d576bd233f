from __future__ import annotations

import logging

import pytest

from finetune.tagging.legacy_files import write_legacy_predictions, write_legacy_results
from finetune.tagging.metrics import compare_tags, score_spans

SCORES = score_spans(compare_tags([["B-X", "O", "B-X"]], [["B-X", "O", "O"]]))
WORDS, PREDICTED = [["EU", "rejects"], ["Peter"]], [["B-ORG", "O"], ["B-PER"]]


@pytest.mark.parametrize(("split", "name"), [("validation", "eval_results.txt"), ("test", "test_results.txt")])
def test_results_are_key_value_lines_in_the_old_order(split, name, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        path = write_legacy_results(tmp_path, split, SCORES, loss=0.25, epoch=3.0, total_flos=12)
    lines = [
        "eval_loss = 0.25",
        f"eval_accuracy_score = {2 / 3}",
        "eval_precision = 0.5",
        "eval_recall = 1.0",
        f"eval_f1 = {2 / 3}",
        "epoch = 3.0",
        "total_flos = 12",
    ]
    assert path.name == name
    assert path.read_text() == "".join(f"{line}\n" for line in lines)
    assert [message for message in caplog.messages if " = " in message] == [f"  {line}" for line in lines]
    assert caplog.messages[0] == f"***** {'Eval' if split == 'validation' else 'Test'} results *****"


def test_what_is_unknown_is_left_out(tmp_path):
    assert "eval_loss" not in write_legacy_results(tmp_path, "test", SCORES).read_text()


def test_predictions_keep_the_blank_lines_of_the_file(tmp_path):
    source = tmp_path / "test.txt"
    source.write_text("-DOCSTART- -X- O O\n\nEU B-ORG\nrejects O\n\n\nPeter B-PER", encoding="utf-8")
    path = write_legacy_predictions(tmp_path / "test_predictions.txt", WORDS, PREDICTED, source=source)
    assert path.read_text() == "-DOCSTART- -X- O O\n\nEU B-ORG\nrejects O\n\n\nPeter B-PER\n"


@pytest.mark.parametrize(
    "content", [None, "EU B-ORG\nother O\n\nPeter B-PER\n", "EU O\nrejects O\n", "EU\nrejects\n\nPeter\nX\n"]
)
def test_predictions_without_their_file_are_separated_by_blank_lines(content, tmp_path):
    source = None
    if content is not None:
        source = tmp_path / "test.txt"
        source.write_text(content, encoding="utf-8")
    path = write_legacy_predictions(tmp_path / "test_predictions.txt", WORDS, PREDICTED, source=source)
    assert path.read_text() == "EU B-ORG\nrejects O\n\nPeter B-PER\n\n"
