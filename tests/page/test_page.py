"""The page of a run, by the real commands: whole, escaped, without secrets, made again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from finetune.page import building
from finetune.page.verdict import wilson
from tests.page.pages import Page, assert_is_whole

SCRIPT = "<script>alert('x')</script>"
WORDS = ["ไป", "เชียงใหม่", " ", SCRIPT, 'a"b', "&amp;", "$x$", "Mira", "saw", "Oslo"]
TAGS = ["O", "B-LOC", "O", "O", "O", "O", "O", "B-PER", "O", "B-LOC"]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory, run_command, tiny_bert):
    """A short training on words that a page must escape, with a secret among its arguments."""
    folder = tmp_path_factory.mktemp("page")
    rows = [{"tokens": WORDS[n % 3 :], "ner_tags": TAGS[n % 3 :]} for n in range(24)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    for name in ("train", "dev", "test"):
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    done = run_command(
        "run_ner.py", "--model_name_or_path", tiny_bert, "--output_dir", folder / "run", "--do_train", "--do_eval",
        "--do_predict", "--train_file", folder / "train.jsonl", "--validation_file", folder / "dev.jsonl",
        "--test_file", folder / "test.jsonl", "--max_steps", 6, "--logging_steps", 2, "--eval_strategy", "steps",
        "--eval_steps", 2, "--hub_token", "hf_verysecret1",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return folder / "run"


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, run_command, tiny_bert):
    folder = tmp_path_factory.mktemp("page")
    rows = [{"text": f"number {n} {SCRIPT} ดีมาก", "label": ["good", "bad <b>"][n % 2]} for n in range(24)]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    done = run_command(
        "run_glue.py", "--model_name_or_path", tiny_bert, "--output_dir", folder / "run", "--do_train", "--do_eval",
        "--train_file", path, "--validation_file", path, "--max_steps", 4, "--logging_steps", 2,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return folder / "run"


def titles(page: Page) -> list[str]:
    return [attributes["id"] for attributes in page.of("h2")]


def test_a_taggers_page_is_whole_and_says_everything(tagger):
    page = Page(tagger / "report.html")
    assert_is_whole(page)
    assert titles(page) == ["summary", "training", "classes", "errors", "calibration", "worst", "data", "environment"]
    metrics = json.loads((tagger / "metrics.json").read_text())["test"]
    assert f"F1 (micro average) {metrics['f1_micro']:.4f}" in page.text
    manifest = json.loads((tagger / "run.json").read_text())
    assert all(facts["sha256"] in page.text for facts in manifest["inputs"].values())
    assert "run_ner.py \\\n  --model_name_or_path" in page.text and manifest["versions"]["torch"] in page.text
    assert "เชียงใหม่" in page.text and "done" in page.text


@pytest.mark.parametrize("more", [(), ("--constrained_decoding",)])
def test_a_taggers_calibration_is_that_of_the_probabilities_of_its_words(tagger, call_command, tmp_path, more):
    data = ("--test_file", tagger.parent / "test.jsonl", "--output_dir", tmp_path / "out")
    probabilities = ("--save_word_probabilities", *more)
    done = call_command("run_ner.py", "--model_name_or_path", tagger, *data, "--do_predict", *probabilities)
    assert done.code == 0, done.stderr
    with np.load(tmp_path / "out" / "predictions.test.npz") as saved:
        labels, each = saved["labels"].tolist(), saved["probabilities"].astype(float)
    rows = [line.split("\t") for line in (tmp_path / "out" / "predictions.test.conll").read_text().split("\n") if line]
    given = [each[n, labels.index(tag)] for n, (_, _, tag) in enumerate(rows)]
    bins = json.loads((tmp_path / "out" / "calibration.json").read_text())["test"]
    assert sum(row["count"] for row in bins) == len(rows) > 100
    assert sum(row["count"] * row["probability"] for row in bins) == pytest.approx(sum(given), rel=1e-3)
    right = sum(expected == predicted for _, expected, predicted in rows)
    assert sum(row["count"] * row["right"] for row in bins) == pytest.approx(right)


def test_a_classifiers_page_has_its_calibration(classifier):
    page = Page(classifier / "report.html")
    assert_is_whole(page)
    assert {"classes", "errors", "calibration", "worst"} <= set(titles(page))
    assert "bad <b>" in page.text


@pytest.mark.parametrize("kind", ["tagger", "classifier"])
def test_what_comes_from_data_is_no_markup(kind, request):
    page = Page(request.getfixturevalue(kind) / "report.html")
    assert SCRIPT not in page.source and SCRIPT in page.text
    assert len(page.of("script")) == 1


def test_no_secret_is_on_the_page(tagger):
    assert "hf_verysecret1" not in (tagger / "report.html").read_text(encoding="utf-8")


def test_plots_are_files_too_and_the_run_lists_them(tagger):
    listed = json.loads((tagger / "run.json").read_text())["files"]
    plots = [path.relative_to(tagger).as_posix() for path in (tagger / "plots").iterdir()]
    assert {"plots/loss.png", "plots/lengths.png", "plots/confusions.png"} <= set(plots)
    assert {"report.html", "training_history.json", "data_summary.json", *plots} <= set(listed)
    assert all((tagger / name).read_bytes().startswith(b"\x89PNG") for name in plots)


def test_the_page_is_made_again_from_the_files(tagger, call_command):
    before = Page(tagger / "report.html").text
    (tagger / "report.html").unlink()
    done = call_command("report.py", tagger)
    assert done.code == 0 and done.last["page"] == str(tagger / "report.html")
    after = Page(tagger / "report.html").text
    assert after.split() == before.split()
    assert "report.html" in json.loads((tagger / "run.json").read_text())["files"]


def test_a_folder_without_a_run_is_refused_in_a_sentence(call_command, tmp_path):
    for folder, said in ((tmp_path, "the folder has no run.json"), (tmp_path / "no", "there is no such folder")):
        done = call_command("report.py", folder)
        assert done.code == 2 and said in str(done.last["reason"]), done


def test_broken_files_are_told_on_the_page(tagger, tmp_path):
    folder = shutil.copytree(tagger, tmp_path / "run")
    (folder / "training_history.json").write_text("{")
    (folder / "predictions.test.conll").write_text("one\ttwo\nthree\n")
    building.write_page(folder)
    page = Page(folder / "report.html")
    assert_is_whole(page)
    assert "training_history.json cannot be read" in page.text and "page on tagged could not be made" in page.text


def test_a_page_that_cannot_be_made_is_said_and_fails_nothing(tagger, tmp_path, monkeypatch, caplog):
    def fail(path, ending):
        raise MemoryError("no room")

    monkeypatch.setattr(building, "write_page", fail)
    building.try_page(tagger, {})
    assert "report.html of" in caplog.text and "no room" in caplog.text


def test_the_page_can_be_left_out(tiny_bert, call_command, tmp_path):
    done = call_command(
        "run_ner.py", "--model_name_or_path", tiny_bert, "--dataset_name", "sample", "--output_dir", tmp_path / "run",
        "--do_train", "--do_eval", "--max_steps", 1, "--max_train_samples", 8, "--max_eval_samples", 4, "--no_html_report",
    )  # fmt: skip
    assert done.code == 0 and (tmp_path / "run" / "metrics.json").exists()
    assert not (tmp_path / "run" / "report.html").exists() and not (tmp_path / "run" / "plots").exists()


def test_the_interval_of_a_share():
    low, high = wilson(0.5, 100)
    assert (low, high) == (pytest.approx(0.4038, abs=1e-4), pytest.approx(0.5962, abs=1e-4))


def test_making_a_page_imports_no_framework():
    """Every command makes one at its end, most in less time than the import of torch and transformers takes."""
    code = (
        "import sys, finetune.page.building\n"
        "print({'torch', 'transformers', 'datasets', 'scipy.stats', 'sklearn', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
