"""predict.py for classifiers: the files of training are read as in training, their answers kept and scored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

TEXTS = ["a fine film", "dull, and too long", 'she said "no"', "what a joy", "cold food", "line\nend"]
ROWS = [{"review": text, "stars": ("good", "bad")[number % 2], "id": number} for number, text in enumerate(TEXTS)] * 4


def spell(rows: list[dict], name: str) -> str:
    if name.endswith(".jsonl"):
        return "".join(json.dumps(row) + "\n" for row in rows)
    if name.endswith(".json"):
        return json.dumps(rows, indent=2)
    cells = [[str(row["id"]), '"' + row["review"].replace('"', '""') + '"', row["stars"]] for row in rows]
    return "\n".join(",".join(row) for row in [["id", "review", "stars"], *cells]) + "\n"


@pytest.fixture(scope="module")
def classifier(run_command, tmp_path_factory, tiny_bert) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    (folder / "train.csv").write_text(spell(ROWS, "train.csv"), encoding="utf-8")
    done = run_command(
        "run_glue.py", "--model_name_or_path", tiny_bert, "--train_file", folder / "train.csv", "--test_file",
        folder / "train.csv", "--output_dir", folder / "run", "--do_train", "--do_predict", "--max_steps", 4,
        "--text_column", "review", "--label_column", "stars", "--bf16", "False",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return folder


def predict(call_command, classifier: Path, source: Path, *more: object):
    words = ["--model_name_or_path", classifier / "run", "--input_file", source, "--bf16", "False", *more]
    done = call_command("predict.py", *words)
    results = [json.loads(line) for line in done.stdout.splitlines()] if done.code == 0 else []
    return done, results


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json"])
def test_files_of_training_are_read_by_its_columns_and_scored(call_command, classifier, tmp_path, name):
    (tmp_path / name).write_text(spell(ROWS, name), encoding="utf-8")
    done, results = predict(call_command, classifier, tmp_path / name, "--score")
    assert done.code == 0, done.stderr
    trained = [json.loads(line) for line in (classifier / "run" / "predictions.test.jsonl").read_text().splitlines()]
    assert [row["text"] for row in results] == [row["text"] for row in trained] == [row["review"] for row in ROWS]
    assert [row["label"] for row in results] == [row["predicted"] for row in trained]
    assert [row["gold_label"] for row in results] == [row["stars"] for row in ROWS]
    assert [int(row["id"]) for row in results] == [row["id"] for row in ROWS]
    metrics = json.loads((classifier / "run" / "metrics.json").read_text(encoding="utf-8"))["test"]
    assert done.last["input"] == {"accuracy": metrics["accuracy"], "f1_macro": metrics["f1_macro"]}


def test_fields_that_predictions_have_too_are_kept(call_command, classifier, tmp_path):
    row = {"text": "a fine film", "label": "good", "score": 5, "scores": None, "id": "x"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    _, (result,) = predict(call_command, classifier, tmp_path / "a.jsonl")
    assert (result["gold_label"], result["gold_score"], result["gold_scores"], result["id"]) == ("good", 5, None, "x")
    assert isinstance(result["score"], float) and set(result["scores"]) == {"good", "bad"}


def test_rows_without_answers_are_predicted_and_counted(call_command, classifier, tmp_path):
    (tmp_path / "a.csv").write_text("review,stars\nfine,good\nlong,\n", encoding="utf-8")
    done, results = predict(call_command, classifier, tmp_path / "a.csv", "--score")
    assert (len(results), done.last["scored"]) == (2, 1)
    assert "1 of 2 texts have no right answer" in done.stderr
    (tmp_path / "b.csv").write_text("review,stars\nfine,excellent\n", encoding="utf-8")
    done, _ = predict(call_command, classifier, tmp_path / "b.csv", "--score")
    assert (done.code, "labels that the model does not know: 'excellent' (1 times)" in done.last["reason"]) == (2, True)


def test_lines_are_texts_and_two_columns_of_text_are_refused(call_command, classifier, tmp_path):
    (tmp_path / "a.txt").write_text("id,text\n1,a fine film\n", encoding="utf-8")
    _, results = predict(call_command, classifier, tmp_path / "a.txt")
    assert [result["text"] for result in results] == ["id,text", "1,a fine film"]
    (tmp_path / "a.csv").write_text("premise,hypothesis\nfine,long\n", encoding="utf-8")
    done, _ = predict(call_command, classifier, tmp_path / "a.csv")
    assert (done.code, "--text_column_name" in done.last["reason"]) == (2, True)
    done, results = predict(call_command, classifier, tmp_path / "a.csv", "--text_column_name", "hypothesis")
    assert [result["text"] for result in results] == ["long"]
