"""Taggers of scripts without spaces: the words of training are those that predict.py finds in raw text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from tests import tiny

NAMES = ["张伟", "刘洋", "陈静", "赵磊"]
PLACES = ["广州", "成都", "武汉"]
PATTERNS = ["昨天{}到了{}", "{}住在{}吗", "听说{}离开{}了"]
QUICK = (
    "--bf16", "False", "--num_train_epochs", 60, "--learning_rate", 5e-3, "--per_device_train_batch_size", 12,
    "--save_strategy", "no",
)  # fmt: skip


def annotated() -> list[dict]:
    rows = []
    for pattern in PATTERNS:
        for name in NAMES:
            for place in PLACES:
                text = pattern.format(name, place)
                spans = [[text.index(name), text.index(name) + 2, "PER"]]
                rows.append({"text": text, "label": [*spans, [text.index(place), text.index(place) + 2, "LOC"]]})
    return rows


@pytest.fixture(scope="module")
def character_bert(tmp_path_factory) -> Path:
    """A BERT whose vocabulary is characters, as Chinese BERT's is."""
    characters = sorted({letter for row in annotated() for letter in row["text"]} | set("0123456789年"))
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(vocabulary)})
    torch.manual_seed(0)
    config = tiny.bert_config(len(vocabulary), hidden_size=32, max_position_embeddings=32)
    assert isinstance(config, BertConfig)
    return tiny.save(BertModel(config), tokenizer, tmp_path_factory.mktemp("models") / "characters")


def train(call_command, model: Path, folder: Path, name: str, content: str, *more: object):
    source = folder / name
    source.write_text(content, encoding="utf-8")
    output = folder / "run"
    done = call_command(
        "run_ner.py", "--model_name_or_path", model, "--train_file", source, "--output_dir", output, "--do_train",
        *QUICK, *more,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return output, json.loads((output / "finetune_settings.json").read_text(encoding="utf-8")), done


def predict(call_command, model: Path, folder: Path, text: str, *more: object) -> dict:
    source = folder / "raw.txt"
    source.write_text(text + "\n", encoding="utf-8")
    done = call_command("predict.py", "--model_name_or_path", model, "--input_file", source, *more)
    assert done.code == 0, done.stderr
    return json.loads(done.stdout.split("\n")[0])


def test_spans_of_a_chinese_text_are_found_in_raw_text_again(call_command, character_bert, tmp_path):
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in annotated())
    output, settings, done = train(call_command, character_bert, tmp_path, "train.jsonl", content)
    assert settings["word_segmenter"] == "auto"
    assert "36 texts hold a script without spaces, whose characters are words" in done.stderr
    assert "words were cut where a span begins" not in done.stderr  # a cut by the annotation would give it away
    result = predict(call_command, output, tmp_path, "昨天陈静到了武汉 2008年")
    assert result["words"] == [*"昨天陈静到了武汉", "2008", "年"]
    found = [(entity["text"], entity["type"]) for entity in result["entities"]]
    assert found[:2] == [("陈静", "PER"), ("武汉", "LOC")]  # of the year training says nothing


def test_a_file_of_characters_has_raw_text_cut_into_characters(call_command, character_bert, tmp_path):
    lines = []
    for row in annotated():
        tags = ["O"] * len(row["text"])
        for start, end, label in row["label"]:
            tags[start:end] = [f"B-{label}", *[f"I-{label}"] * (end - start - 1)]
        lines += [f"{letter} {tag}\n" for letter, tag in zip(row["text"], tags, strict=True)] + ["\n"]
    output, settings, _ = train(call_command, character_bert, tmp_path, "train.txt", "".join(lines))
    assert settings["word_segmenter"] == "characters"
    result = predict(call_command, output, tmp_path, "听说刘洋离开广州了 2008年")
    assert result["words"] == [*"听说刘洋离开广州了2008年"]
    assert [entity["text"] for entity in result["entities"]][:2] == ["刘洋", "广州"]
    whole = predict(call_command, output, tmp_path, "刘洋 2008年", "--word_segmenter", "words")
    assert whole["words"] == ["刘洋", "2008年"]


def test_words_that_raw_text_is_cut_through_are_said(call_command, character_bert, tmp_path):
    lines = [f"{word} {tag}\n" for word, tag in (("张伟", "B-PER"), ("住", "O"), ("在", "O"), ("成都", "B-LOC"))]
    more = ("--num_train_epochs", 1)
    _, settings, done = train(call_command, character_bert, tmp_path, "train.txt", "".join([*lines, "\n"] * 6), *more)
    assert settings["word_segmenter"] == "auto"
    assert "12 of 24 words, as 张伟, are of scripts without spaces" in done.stderr
