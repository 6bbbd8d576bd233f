"""`finetune compare` by its command line, on folders as runs leave them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.page.pages import Page, assert_is_whole

WORDS = ["Mira", "saw", "<b>Oslo</b>"]
GOLD = ["B-PER", "O", "B-LOC"]


def write_run(
    folder: Path, wrong: set[int], *, number: int = 40, learning_rate: float = 1e-5, gold: list[str] = GOLD
) -> Path:
    """A tagger's folder: sentences in `wrong` have their last entity missed."""
    folder.mkdir(parents=True)
    rows = []
    for place in range(number):
        said = [*gold[:2], "O"] if place in wrong else gold
        rows.append(
            "".join(f"{w}\t{e}\t{p}\n" for w, e, p in zip([*WORDS[:2], f"{WORDS[2]}{place}"], gold, said, strict=True))
        )
    (folder / "predictions.test.conll").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "metrics.json").write_text(json.dumps({"test": {"f1_micro": 0.5, "nb_samples": number}}))
    manifest = {
        "status": "done",
        "arguments": {"learning_rate": learning_rate, "output_dir": str(folder)},
        "inputs": {"/data/train.txt": {"sha256": "ab" * 32}},
    }
    (folder / "run.json").write_text(json.dumps(manifest))
    return folder


def write_classifier(folder: Path, predicted: list[str]) -> Path:
    folder.mkdir(parents=True)
    rows = [
        {
            "row": n,
            "text": f"text {n}",
            "expected": "ab"[n % 2],
            "predicted": label,
            "probabilities": {"a": 0.5, "b": 0.5},
        }
        for n, label in enumerate(predicted)
    ]
    (folder / "predictions.test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "metrics.json").write_text(json.dumps({"test": {"accuracy": 0.5}}))
    (folder / "run.json").write_text(json.dumps({"status": "done", "arguments": {}}))
    return folder


def test_three_runs_are_compared_with_the_first(call_command, tmp_path):
    base = write_run(tmp_path / "base", set(range(20)))
    better = write_run(tmp_path / "better", set(range(3)), learning_rate=3e-5)
    alike = write_run(tmp_path / "alike", set(range(1, 21)))
    done = call_command("compare.py", base, better, alike, "--output_dir", tmp_path / "out", "--trials", 2000)
    assert done.code == 0, done.stderr
    assert done.last["verdicts"] == {"better": "better", "alike": "no difference beyond chance is shown"}
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    row = next(row for row in found["differences"] if (row["run"], row["score"]) == ("better", "f1_micro"))
    assert row["first"] == pytest.approx(2 * 60 / (60 + 80)) and row["second"] == pytest.approx(2 * 77 / (77 + 80))
    assert row["p"] <= row["p_holm"] < 0.05 and row["low"] < row["difference"] < row["high"]
    assert [change["kind"] for change in found["changed"]["better"]] == ["mended"] * 17
    assert sorted(change["kind"] for change in found["changed"]["alike"]) == ["broken", "mended"]
    assert "| learning_rate | 1e-05 | 3e-05 | 1e-05 |" in done.stdout
    assert (tmp_path / "out" / "comparison.md").read_text().splitlines()[0] == "# 3 runs beside base"
    page = Page(tmp_path / "out" / "comparison.html")
    assert_is_whole(page)
    assert "<b>Oslo</b>" in page.text and "<b>Oslo" not in page.source


def test_few_changes_have_exact_p_values(call_command, tmp_path):
    runs = write_classifier(tmp_path / "one", list("ab" * 4)), write_classifier(tmp_path / "two", list("aa" * 4))
    done = call_command("compare.py", *runs, "--output_dir", tmp_path / "out")
    assert done.code == 0, done.stderr
    rows = json.loads((tmp_path / "out" / "comparison.json").read_text())["differences"]
    accuracy = next(row for row in rows if row["score"] == "accuracy")
    assert accuracy["exact"] and accuracy["p"] == 2 / 2**4  # all four exchanged, or none


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"number": 39}, "40 and 39 examples"),
        ({"gold": ["B-PER", "O", "B-ORG"]}, "40 of 40 examples differ, the first is number 1"),
    ],
)
def test_other_test_data_are_refused(call_command, tmp_path, other, said):
    runs = write_run(tmp_path / "one", set()), write_run(tmp_path / "two", set(), **other)
    done = call_command("compare.py", *runs)
    assert done.code == 2 and said in str(done.last["reason"]) and "different data (test)" in str(done.last["reason"])


def test_bad_input_is_refused_in_sentences(call_command, tmp_path):
    one, two = write_run(tmp_path / "one", set()), write_classifier(tmp_path / "two", ["a"])
    for words, said in (
        ((one,), "one run alone cannot be compared"),
        ((one, tmp_path / "no"), "there is no such folder"),
        ((one, two), "runs of different tasks cannot be compared: one is a tagger, two is a text classifier"),
        ((one, write_run(tmp_path / "x", set()), "--split", "dev"), "--split dev was not scored in all runs"),
        ((), "--runs is missing"),
    ):
        done = call_command("compare.py", *words)
        assert done.code == 2 and said in str(done.last["reason"]), done


def test_a_word_after_the_flags_is_no_run(call_command, tmp_path):
    one = write_run(tmp_path / "one", set())
    done = call_command("compare.py", "--seed", 1, one)
    assert done.code == 2 and "unexpected word" in str(done.last["reason"])
