"""A folder of files becomes a folder of results: each whole or absent, none predicted twice by the same command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune.prediction import shards
from tests import tiny


@pytest.fixture(scope="module")
def tagger(tmp_path_factory) -> Path:
    return tiny.save_tagger(tmp_path_factory.mktemp("tagger"))


@pytest.fixture
def texts(tmp_path) -> Path:
    folder = tmp_path / "texts"
    (folder / "more").mkdir(parents=True)
    for name, number in (("b.txt", 3), ("a.txt", 2), ("more/a.txt", 1)):
        (folder / name).write_text("".join(f"a b{' c' * row}\n" for row in range(number)))
    (folder / ".hidden").write_text("no text\n")
    return folder


def words(tagger: Path, texts: Path, output: Path) -> list[object]:
    return [
        "predict.py",
        "--model_name_or_path",
        tagger,
        "--input_file",
        texts,
        "--output_dir",
        output,
        "--device",
        "cpu",
    ]


def read(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*.jsonl") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_each_file_has_its_results_and_is_predicted_once(call_command, tagger, texts, tmp_path, monkeypatch):
    command = words(tagger, texts, tmp_path / "out")
    done = call_command(*command)
    assert done.code == 0, done.stderr
    assert (done.last["files"], done.last["already_done"], done.last["texts"]) == (3, 0, 6)
    first = read(tmp_path / "out")
    assert sorted(first) == ["a.txt.jsonl", "b.txt.jsonl", "more/a.txt.jsonl"]
    rows = [json.loads(line)["text"] for line in first["b.txt.jsonl"].splitlines()]
    assert rows == ["a b", "a b c", "a b c c"]
    (texts / "c.txt").write_text("c\n")  # a new file is no reason to predict the others again
    (tmp_path / "out" / "b.txt.jsonl").unlink()
    monkeypatch.setattr(shards, "predict_stream", seen := Recorded(shards.predict_stream))
    again = call_command(*command)
    assert (again.last["files"], again.last["already_done"]) == (4, 2)
    assert [path.name for path in seen.outputs] == ["b.txt.jsonl", "c.txt.jsonl"]
    assert {name: text for name, text in read(tmp_path / "out").items() if name != "c.txt.jsonl"} == first
    assert call_command(*command).last["already_done"] == 4


class Recorded:
    """Calls a function and keeps which outputs it was to write."""

    def __init__(self, function):
        self.function, self.outputs = function, []

    def __call__(self, predictor, model, options, record):
        self.outputs.append(record.output)
        return self.function(predictor, model, options, record)


def test_what_changed_is_refused_with_all_its_files_and_nothing_is_touched(call_command, tagger, texts, tmp_path):
    command = words(tagger, texts, tmp_path / "out")
    assert call_command(*command).code == 0
    before = read(tmp_path / "out")
    (texts / "a.txt").write_text("other\n")
    other = call_command(*command)
    assert other.code == 2 and "a.txt.jsonl" in other.last["reason"] and "b.txt.jsonl" not in other.last["reason"]
    flags = call_command(*command, "--top_k", 2)
    assert flags.code == 2 and all(name in flags.last["reason"] for name in before)
    assert read(tmp_path / "out") == before
    replaced = call_command(*command, "--overwrite_output_file")
    assert replaced.code == 0 and replaced.last["texts"] == 5
    assert read(tmp_path / "out")["b.txt.jsonl"] == before["b.txt.jsonl"]


def test_wrong_inputs_are_named_before_a_model_is_loaded(call_command, tagger, texts, tmp_path):
    (tmp_path / "empty").mkdir()
    wrong = ("--input_file", texts, texts / "more" / "a.txt", tmp_path / "empty", tmp_path / "no.txt")
    done = call_command("predict.py", "--model_name_or_path", tagger, "--output_dir", tmp_path / "out", *wrong)
    assert done.code == 2 and not (tmp_path / "out").exists()
    for part in ("would have the name of those of", "the folder holds no file", "no such file"):
        assert part in done.last["reason"]
    scored = call_command(*words(tagger, texts, tmp_path / "out"), "--score")
    assert scored.code == 2 and "--score is for one output" in scored.last["reason"]


@pytest.mark.slow
def test_a_killed_command_goes_on_where_it_was(stop_command, call_command, tagger, texts, tmp_path):
    (texts / "c.txt").write_text("a b c a b c\n" * 8_000)
    command = words(tagger, texts, tmp_path / "out")
    stop_command(*command, once=tmp_path / "out" / "b.txt.jsonl")
    left = read(tmp_path / "out")
    assert {"a.txt.jsonl", "b.txt.jsonl"} <= left.keys()
    assert "c.txt.jsonl" not in left  # whole or absent
    went_on = call_command(*command)
    assert went_on.code == 0 and went_on.last["already_done"] == len(left)
    call_command(*words(tagger, texts, tmp_path / "undisturbed"))
    assert read(tmp_path / "out") == read(tmp_path / "undisturbed")
