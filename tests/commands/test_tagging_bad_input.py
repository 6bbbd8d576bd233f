"""What a user can get wrong with a tagging command: one clear sentence each, exit code 2, nothing written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

GOOD = "Anna\tB-PER\nlives\tO\nhere\tO\n\nBonn\tB-LOC\nis\tO\nold\tO\n"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A small good corpus; tests spoil one file of it."""
    paths = {name: tmp_path / f"{name}.conll" for name in ("train", "validation", "test")}
    for path in paths.values():
        path.write_text(GOOD, encoding="utf-8")
    return paths


@pytest.fixture
def tag(call_command, tiny_bert, files, tmp_path):
    """Start run_ner.py on the small corpus; further flags override."""

    def call(*further: object, model: Path = tiny_bert):
        flags = [
            "--model_name_or_path",
            model,
            "--output_dir",
            tmp_path / "out",
            "--do_train",
            "--do_eval",
            "--do_predict",
        ]
        for name, path in files.items():
            flags += [f"--{name}_file", path]
        done = call_command("run_ner.py", *flags, *further)
        assert not (tmp_path / "out").exists() or done.code == 0, "a refused command leaves nothing behind"
        return done

    return call


def refused(done, *parts: str) -> None:
    assert done.code == 2, done.stderr
    assert done.last["status"] == "failed"
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.last["reason"], done.last["reason"]


def test_a_missing_file_is_named_with_its_nearest_sibling(tag, files):
    files["train"] = files["train"].with_name("trian.conll")
    refused(tag(), "trian.conll", "train.conll")


def test_a_column_that_is_not_there(tag):
    refused(tag("--label_column_name", 5), "train.conll", "5")


def test_a_ragged_line_is_named_by_its_number(tag, files):
    files["train"].write_text(GOOD.replace("lives\tO", "lives"), encoding="utf-8")
    refused(tag(), "train.conll:2")


def test_bytes_that_are_not_utf8_are_named_by_line_and_byte(tag, files):
    files["validation"].write_bytes(GOOD.encode().replace(b"old", b"\xe4lt"))
    refused(tag(), "validation.conll:7", "UTF-8", "0xE4 at offset 43")


def test_a_tag_in_validation_that_training_lacks(tag, files):
    files["validation"].write_text(GOOD.replace("B-LOC", "B-CITY"), encoding="utf-8")
    refused(tag(), "B-CITY")


def test_training_data_without_labels(tag, files):
    files["train"].write_text("Anna\nlives\n\nBonn\n", encoding="utf-8")
    refused(tag(), "train.conll")


@pytest.mark.parametrize("text", ["", "\n\n\n"])
def test_an_empty_file_and_one_without_sentences(tag, files, text):
    files["train"].write_text(text, encoding="utf-8")
    refused(tag(), "train.conll")


def test_vocabularies_that_do_not_fit_are_told_with_both_sizes(tag, tiny_bert, tmp_path):
    from transformers import BertConfig, BertModel

    small = tmp_path / "small"
    config = BertConfig.from_pretrained(tiny_bert, vocab_size=2000)
    BertModel(config).save_pretrained(small)
    refused(tag("--tokenizer_name", tiny_bert, model=small), "2,000", "30,522")


def test_a_model_folder_without_weights(tag, tiny_bert, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(tiny_bert, bare)
    (bare / "model.safetensors").unlink()
    refused(tag(model=bare), "no weights", str(bare))


def test_an_architecture_without_a_tagging_head(tag, tiny_bert, tmp_path):
    from transformers import CLIPTextConfig

    other = tmp_path / "clip"
    shutil.copytree(tiny_bert, other)
    CLIPTextConfig(vocab_size=30522).save_pretrained(other)
    refused(tag(model=other), "clip_text_model", "no token classification head")


def test_a_length_beyond_the_models_positions(tag):
    refused(tag("--max_seq_length", 129), "129", "128 positions")


@pytest.mark.parametrize("span", [[0, 99, "PER"], [3, 2, "PER"], [-1, 2, "PER"]])
def test_spans_that_leave_the_text_or_end_before_they_begin(tag, files, span, tmp_path):
    files["train"] = tmp_path / "train.jsonl"
    files["train"].write_text(json.dumps({"text": "Anna lives here", "label": [span]}) + "\n", encoding="utf-8")
    refused(tag(), "train.jsonl:1")


def test_spans_that_cross(tag, files, tmp_path):
    files["train"] = tmp_path / "train.jsonl"
    row = {"text": "Anna of Bonn", "label": [[0, 7, "PER"], [5, 12, "LOC"]]}
    files["train"].write_text(json.dumps(row) + "\n", encoding="utf-8")
    refused(tag(), "train.jsonl:1")


def test_unknown_flags_get_their_nearest_match(tag):
    refused(tag("--max_sequence_lenght", 20), "--max_sequence_lenght", "--max_seq_length")


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--max_seq_length", "20", "--stride", "20"], ["--stride 20", "--max_length 20"]),
        (["--dataset_name", "wnut17"], ["--dataset_name", "--train_file"]),
        (["--fp16", "--bf16"], ["--fp16", "--bf16"]),
        (["--eval_strategy", "no", "--early_stopping_patience", "2"], ["--early_stopping_patience"]),
        (["--eval_strategy", "steps", "--eval_steps", "3", "--save_steps", "4", "--load_best_model_at_end"],
         ["every 4 steps and scored every 3"]),
        (["--learning_rate", "fast"], ["--learning_rate", "fast"]),
        (["--metric_for_best_model", "f1_micro"], ["--metric_for_best_model", "f1_micro", "loss, precision, recall, f1"]),
        (["--task_name", "pos", "--metric_for_best_model", "f1"], ["--metric_for_best_model", "f1_micro"]),
    ],
)  # fmt: skip
def test_combinations_and_values_that_cannot_be(tag, flags, parts):
    refused(tag(*flags), *parts)


def test_all_problems_are_told_at_once(tag, files, tiny_bert, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(tiny_bert, bare)
    (bare / "model.safetensors").unlink()
    files["train"].write_text(GOOD.replace("lives\tO", "lives").replace("is\tO", "is"), encoding="utf-8")
    files["test"] = files["test"].with_name("tset.conll")
    done = tag("--max_seq_length", 500, model=bare)
    refused(done, "train.conll:2", "train.conll:6", "tset.conll", "no weights", "128 positions")


def test_a_used_folder_is_not_overwritten(call_command, tiny_bert, files, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    flags = ["--model_name_or_path", tiny_bert, "--output_dir", out, "--do_train", "--train_file", files["train"]]
    refused(call_command("run_ner.py", *flags), "thesis.txt", "--overwrite_output_dir")
    assert (out / "thesis.txt").read_text() == "mine"


def test_class_weights_for_labels_that_are_not_there(tag, tmp_path):
    weights = tmp_path / "weights.txt"
    weights.write_text("O 1\nB-PER 2\nB-LCO 3\n", encoding="utf-8")
    refused(tag("--class_weights", weights), "B-LCO", "B-LOC")


def test_fused_adam_without_apex_warns_of_the_other_package(tag):
    refused(tag("--optim", "apex_fused_adam"), "PyPI", "NVIDIA")
