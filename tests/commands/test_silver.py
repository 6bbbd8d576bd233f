"""`--silver_file` through the real command lines: counted, weighed, in train alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.nn import functional

from finetune.data.corpus import Corpus
from finetune.errors import DataError
from finetune.supervised.silver import add_silver
from finetune.tagging.arguments import TaggingArguments
from finetune.tagging.encoding import IGNORED, encode_tagging
from finetune.tagging.row_weights import WeightedTokenLoss, weigh_labels

SHORT = (
    "--use_cpu",
    "--bf16",
    False,
    "--max_steps",
    4,
    "--logging_steps",
    1,
    "--learning_rate",
    1e-2,
    "--do_train",
    "--do_eval",
)


def write_words(path, *sentences):
    path.write_text("".join("".join(f"{word}\t{tag}\n" for word, tag in rows) + "\n" for rows in sentences))
    return path


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def tagged(tmp_path):
    gold = [
        [("ann", "B-PER"), ("ran", "O")],
        [("the", "O"), ("fox", "O")],
        [("bob", "B-PER")],
        [("a", "O"), ("river", "O")],
    ]
    write_words(tmp_path / "train.conll", *gold * 3)
    write_words(tmp_path / "dev.conll", [("cyd", "B-PER"), ("sat", "O")])
    write_words(tmp_path / "silver-a.conll", [("ann", "B-PER"), ("ran", "O")], [("cyd", "O"), ("sat", "O")])
    write_words(tmp_path / "silver-b.conll", [("eve", "B-PER")])
    return tmp_path


def run_ner(call_command, tiny_bert, folder, name, *more):
    return call_command(
        "run_ner.py", "--model_name_or_path", tiny_bert, "--train_file", folder / "train.conll", "--validation_file",
        folder / "dev.conll", "--output_dir", folder / name, *SHORT, *more,
    )  # fmt: skip


def losses(folder):
    history = json.loads((folder / "training_history.json").read_text())
    return [row["loss"] for row in history["log"] if "loss" in row]


def test_silver_sentences_are_counted_and_weigh_what_was_asked_for(call_command, tiny_bert, tagged):
    done = run_ner(
        call_command, tiny_bert, tagged, "some", "--silver_file", tagged / "silver-*.conll", "--silver_weight", 0.5
    )
    assert done.code == 0, done.stderr
    assert "12 gold rows and 3 silver ones; each weighs 0.5" in done.stderr
    assert "1 of 3 silver rows have a text of train" in done.stderr
    assert "1 of 3 silver rows have a text of validation" in done.stderr
    assert json.loads((tagged / "some" / "metrics.json").read_text())["validation"]["nb_samples"] == 1
    nothing = run_ner(
        call_command, tiny_bert, tagged, "none", "--silver_file", tagged / "silver-*.conll", "--silver_weight", 0
    )
    assert nothing.code == 0, nothing.stderr
    assert losses(tagged / "none") != losses(tagged / "some")


def test_silver_tags_that_train_lacks_and_idle_flags_are_refused(call_command, tiny_bert, tagged):
    write_words(tagged / "silver-c.conll", [("oslo", "B-LOC")])
    done = run_ner(call_command, tiny_bert, tagged, "bad", "--silver_file", tagged / "silver-c.conll")
    assert done.code == 2 and "'B-LOC' is no label of train" in done.stderr
    done = run_ner(call_command, tiny_bert, tagged, "idle", "--silver_weight", 0.5)
    assert done.code == 2 and "--silver_weight needs --silver_file" in done.stderr


def test_probabilities_and_weights_of_silver_texts(call_command, tiny_bert, tmp_path):
    gold = [
        {"text": f"{word} film", "label": label} for word, label in [("good", "pos"), ("bad", "neg")] for _ in range(8)
    ]
    gold = [{**row, "text": f"{row['text']} {place}"} for place, row in enumerate(gold)]
    write_rows(tmp_path / "train.jsonl", gold)
    write_rows(
        tmp_path / "silver.jsonl",
        [{"text": "fine film", "p": {"pos": 0.8, "neg": 0.2}}, {"text": "good film 0", "p": {"pos": 1}}],
    )
    done = call_command(
        "run_glue.py", "--model_name_or_path", tiny_bert, "--train_file", tmp_path / "train.jsonl", "--output_dir",
        tmp_path / "run", "--silver_file", tmp_path / "silver.jsonl", "--silver_weight", 0.3, "--soft_label_column", "p",
        *SHORT,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert "14 gold rows and 2 silver ones; each weighs 0.3" in done.stderr  # the carved validation set is gold
    assert "2 of 2 rows have probabilities" in done.stderr
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["validation"]["nb_samples"] == 2
    write_rows(tmp_path / "silver.jsonl", [{"text": "fine film", "label": "great"}])
    done = call_command(
        "run_glue.py", "--model_name_or_path", tiny_bert, "--train_file", tmp_path / "train.jsonl", "--output_dir",
        tmp_path / "bad", "--silver_file", tmp_path / "silver.jsonl", *SHORT,
    )  # fmt: skip
    assert done.code == 2 and "'great' is no label of train" in done.stderr


def test_the_loss_of_weighed_sentences_is_that_of_each_times_its_weight(bert):
    words, tags = [["ann", "ran"], ["fox"], ["the", "river"]], [["X", "O"], ["O"], ["O", "X"]]
    rows = encode_tagging(
        Dataset.from_dict({"words": words, "tags": tags, "line": [0] * 3}), bert, ["O", "X"], max_length=16
    )
    weights = [1.0, 0.25, 3.0]
    weighed, table = weigh_labels(rows.dataset, weights, 2)
    logits = torch.randn(1, 16, 2, generator=torch.Generator().manual_seed(0))
    for plain, marked, weight in zip(rows.dataset, weighed, weights, strict=True):
        labels = torch.tensor([plain["labels"]])
        here = logits[:, : labels.shape[1]]
        expected = weight * functional.cross_entropy(here[0], labels[0], ignore_index=IGNORED, reduction="sum")
        found = WeightedTokenLoss(table, 2).per_position(here, torch.tensor([marked["labels"]])).sum()
        assert found == pytest.approx(expected.item(), rel=1e-6)
        plainly = WeightedTokenLoss(table, 2).per_position(here, labels).sum()  # as validation has them
        assert plainly == pytest.approx(expected.item() / weight, rel=1e-6)
        assert np.array_equal(np.array(plain["labels"]) == IGNORED, np.array(marked["labels"]) == IGNORED)


def test_silver_without_train_and_of_other_columns(tmp_path):
    rows, asked = Dataset.from_dict({"text": ["a"], "label": ["x"]}), TaggingArguments()
    files = [tmp_path / "s.jsonl"]
    with pytest.raises(DataError, match="there is none"):
        add_silver(Corpus("c", {}), rows, files, asked, inputs=["text"], label="label")
    pairs = Dataset.from_dict({"text": ["a"], "text_pair": ["b"], "label": ["x"]})
    with pytest.raises(DataError, match="train has text_pair"):
        add_silver(Corpus("c", {"train": pairs}), rows, files, asked, inputs=["text", "text_pair"], label="label")


def test_numbers_are_appended_and_keep_no_weight(tmp_path):
    corpus = Corpus("c", {"train": Dataset.from_dict({"text": ["a"], "label": [1.5]})})
    silver = Dataset.from_dict({"text": ["b"], "label": [2.0]})
    add_silver(corpus, silver, [tmp_path / "s.jsonl"], TaggingArguments(), inputs=["text"], label="label")
    assert corpus.splits["train"][:] == {"text": ["a", "b"], "label": [1.5, 2.0]}
