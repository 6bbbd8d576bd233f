"""Commands that keep no folder know their own complete output: started again as they are, they have nothing left to do."""

from __future__ import annotations

import json
import runpy

import pytest

from finetune.prediction.task import find_record
from finetune.run.atomic_files import AtomicFile


@pytest.fixture(params=["predict.py", "train_tokenizer.py", "train-roberta-tokenizer.py"])
def again(request, tmp_path, tiny_bert, call_command):
    """A command and where its output goes; the same each time it is called, but for what is added."""
    text, folder = tmp_path / "data" / "text.txt", tmp_path / "out"
    text.parent.mkdir()
    text.write_text("Ann saw the dog in Rome\nthe cat ran\n" * 20, encoding="utf-8")
    words, output = {
        "predict.py": (("--model_name_or_path", tiny_bert, "--input_file", text), folder / "answers.jsonl"),
        "train_tokenizer.py": (
            ("--train_dir", text, "--pre_tokenizer_type", "bpe", "--vocab_size", 280),
            folder / "vocab.json",
        ),
        "train-roberta-tokenizer.py": (
            ("--data_dir", text.parent, "--file_suffix", "txt", "--output_dir", folder, "--vocab_size", 280),
            folder / "BertWordPieceTokenizer-vocab.txt",
        ),
    }[request.param]  # fmt: skip
    if request.param == "predict.py":
        words = (*words[:1], save_tagger(tiny_bert, tmp_path), *words[2:])
    if request.param != "train-roberta-tokenizer.py":
        words = (*words, "--output_file", output)

    def call(*more: object):
        return call_command(request.param, *words, *more)

    call.text, call.output = text, output
    return call


def save_tagger(encoder, folder):
    from transformers import AutoTokenizer, BertConfig, BertForTokenClassification

    names = {0: "O", 1: "B-PER", 2: "I-PER"}
    labels = {name: number for number, name in names.items()}
    BertForTokenClassification(BertConfig.from_pretrained(encoder, id2label=names, label2id=labels)).save_pretrained(
        folder / "tagger"
    )
    AutoTokenizer.from_pretrained(encoder).save_pretrained(folder / "tagger")
    return folder / "tagger"


def written(call) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in call.output.parent.iterdir()}


def test_the_same_command_is_done_already(again):
    first = again()
    assert first.code == 0, first.stderr
    before = written(again)
    second = again()
    assert (second.code, second.last["status"]) == (0, "already_done"), second.stderr
    assert {**second.last, "status": "done"} == first.last
    assert "whole; nothing is left to do" in second.stderr
    assert written(again) == before


@pytest.mark.parametrize("change", ["input", "output", "arguments", "record"])
def test_another_output_is_refused(again, change):
    assert again().code == 0
    record = again.output.with_name(again.output.name + ".run.json")
    if change == "input":
        again.text.write_text("something else\n" * 30, encoding="utf-8")
    elif change == "output":
        again.output.write_bytes(again.output.read_bytes()[:-1])
    elif change == "record":
        record.write_text('{"files": [[[', encoding="utf-8")
    more = ("--batch_size", 7) if "answers" in again.output.name else ("--vocab_size", 281)
    done = again(*(more if change == "arguments" else ()))
    assert done.code == 2 and "exists" in str(done.last["reason"]), done.stderr
    if change != "record":
        assert "is not the output of this command: " in done.stderr


@pytest.fixture
def predict(tmp_path, tiny_bert, call_command):
    """Prediction of brat's annotations into the model's own folder."""
    model, text = save_tagger(tiny_bert, tmp_path), tmp_path / "story.txt"
    text.write_text("Ann saw Rome\n", encoding="utf-8")
    text.with_suffix(".ann").write_text("T1\tPER 0 3\tAnn\n", encoding="utf-8")

    def call(output: str = "answers.jsonl", *more: object):
        words = ("--model_name_or_path", model, "--input_file", text.with_suffix(".ann"), *more)
        return call_command("predict.py", *words, "--output_file", model / output)

    call.model, call.text = model, text
    return call


def test_what_lies_beside_a_model_makes_no_other_one_of_it(predict):
    assert predict().code == 0
    assert predict("others.jsonl", "--batch_size", 3).code == 0
    for name in ("run.log", "run.json", "report.html", "README.md"):
        (predict.model / name).write_text("{}", encoding="utf-8")
    done = predict()
    assert (done.code, done.last["status"]) == (0, "already_done"), done.stderr


@pytest.mark.parametrize("name", ["story.txt", "model.safetensors", "config.json", "tokenizer.json"])
def test_whatever_was_read_counts(predict, name):
    """The text beside annotations, and each file of the model."""
    assert predict().code == 0
    path = predict.text if name == "story.txt" else predict.model / name
    content = path.read_bytes()
    path.write_bytes(content.replace(b"Rome", b"Oslo") if name == "story.txt" else content + b" ")
    done = predict()
    assert done.code == 2 and "exists" in str(done.last["reason"]), done.stderr
    assert f"{path} has changed since" in done.stderr or path.name in done.stderr


def test_the_model_that_an_adapter_was_trained_on_counts(predict, tmp_path, repository):
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}", encoding="utf-8")
    (predict.model / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(base)}), encoding="utf-8"
    )
    (predict.model / "adapter_model.safetensors").touch()
    parser = runpy.run_path(str(repository / "scripts" / "predict.py"))["make_parser"]()
    words = ["--model_name_or_path", predict.model, "--input_file", predict.text, "--output_file", tmp_path / "x"]
    record = find_record(parser.parse([str(word) for word in words]))
    assert record is not None and (base / "config.json").resolve() in record._inputs


def test_a_part_of_an_output_is_made_whole(again):
    """A kill between the record and the last file."""
    assert again().code == 0
    before = {name: content for name, (content, _) in written(again).items() if not name.endswith(".run.json")}
    names = json.loads(again.output.with_name(again.output.name + ".run.json").read_text())["files"]
    again.output.with_name(sorted(names)[-1]).unlink()
    done = again()
    assert (done.code, done.last["status"]) == (0, "done"), done.stderr
    assert {name: content for name, (content, _) in written(again).items() if not name.endswith(".run.json")} == before


def test_overwriting_does_it_again(again):
    assert again().code == 0
    done = again("--overwrite_output_file")
    assert (done.code, done.last["status"]) == (0, "done")


def test_a_record_stands_before_the_file_has_its_name(tmp_path):
    seen = []
    path = tmp_path / "x"
    with AtomicFile(path, before_naming=lambda aside: seen.append((aside.read_bytes(), path.exists()))) as file:
        file.stream.write(b"all")
    assert seen == [(b"all", False)] and path.read_bytes() == b"all"
