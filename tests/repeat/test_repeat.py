"""`finetune repeat` by its command line: real runs of tiny models, skipped when they are done."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.page.pages import Page, assert_is_whole


@pytest.fixture
def sentences(tmp_path):
    rows = [{"tokens": [f"Mira{n}", "saw", "Oslo"], "ner_tags": ["B-PER", "O", "B-LOC"]} for n in range(16)]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_tagger_over_folds(sentences, tiny_bert, call_command, tmp_path):
    repeat = ["repeat.py", "run_ner", "--output_dir", tmp_path / "out", "--seeds", 1, "--folds", 2]
    words = ["--", "--model_name_or_path", tiny_bert, "--train_file", sentences, "--do_train", "--max_steps", 1]
    dry = call_command(*repeat, "--dry_run", *words)
    assert dry.code == 0 and dry.last["runs"] == 2 and not (tmp_path / "out").exists(), dry.stderr
    done = call_command(*repeat, *words)
    assert done.code == 0, done.stderr
    assert done.last["runs"] == 2 and done.last["split"] == "test" and done.last["suspects_listed"] >= 5
    found = json.loads((tmp_path / "out" / "repeat_results.json").read_text())
    values = found["scores"]["test"]["accuracy"]["values"]
    folders = [tmp_path / "out" / f"fold={fold},seed=1" for fold in (1, 2)]
    assert values == [json.loads((own / "metrics.json").read_text())["test"]["accuracy"] for own in folders]
    assert found["scores"]["test"]["accuracy"]["mean"] == pytest.approx(np.mean(values))
    suspects = [json.loads(line) for line in (tmp_path / "out" / "suspects.jsonl").read_text().splitlines()]
    rows = [json.loads(line) for line in sentences.read_text().splitlines()]
    assert all(rows[item["example"]]["tokens"][item["word"]] == item["text"] for item in suspects)
    assert all(rows[item["example"]]["ner_tags"][item["word"]] == item["gold"] for item in suspects)
    page = Page(tmp_path / "out" / "repeat.html")
    assert_is_whole(page)
    assert "calibration" in [attributes["id"] for attributes in Page(folders[0] / "report.html").of("h2")]
    again = call_command(*repeat, *words)
    assert again.code == 0 and "2 of them finished already" in again.stderr


@pytest.mark.parametrize(
    ("own", "words", "said"),
    [
        (["--seeds", 1], [], "one seed without folds is no repetition"),
        (["--folds", 2], ["--do_train"], "--folds cut one training file"),
        (["--folds", 2], ["--train_file", "x.jsonl", "--test_file", "y.jsonl"], "--test_file is given for the runs"),
        (["--folds", 99], ["--train_file", "FILE"], "16 distinct examples cannot be cut into 99 folds"),
        (["--seeds", 2], ["--seed", "3"], "--seed is given for the runs"),
        (["--seeds", 2], ["--output_dir", "x"], "--output_dir is given for the runs"),
    ],
)
def test_bad_input_comes_at_once(sentences, call_command, tmp_path, own, words, said):
    typed = [str(sentences) if word == "FILE" else word for word in words]
    done = call_command("repeat.py", "run_ner", "--output_dir", tmp_path / "out", *own, "--", *typed)
    assert done.code == 2 and said in str(done.last["reason"]), done
    assert not (tmp_path / "out").exists()
