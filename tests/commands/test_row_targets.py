"""Weights of training rows and probabilities instead of labels, by what they do to a trained classifier."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from finetune.classification.losses import SequenceLoss


@pytest.fixture
def train(call_command, tiny_bert, tmp_path):
    """run_glue.py on rows, one step of plain gradient descent over all of them, without dropout."""

    def call(name: str, rows: list[dict], *further: object, code: int = 0):
        data = tmp_path / f"{name}.jsonl"
        data.write_text("\n".join(map(json.dumps, rows)) + "\n")
        done = call_command(
            "run_glue.py", "--model_name_or_path", tiny_bert, "--train_file", data, "--do_train", "--optim", "sgd",
            "--config_overrides", "hidden_dropout_prob=0.0,attention_probs_dropout_prob=0.0", "--max_steps", 2,
            "--per_device_train_batch_size", 8, "--learning_rate", 0.5, "--bf16", "False", "--max_grad_norm", 0,
            "--output_dir", tmp_path / name, *further,
        )  # fmt: skip
        assert done.code == code, done.stderr
        return done if code else load_file(tmp_path / name / "model.safetensors")

    return call


def rows(**columns) -> list[dict]:
    texts = [f"text number {n} is {'good' if n % 2 else 'bad'}" for n in range(8)]
    return [{"text": text, "label": "good" if n % 2 else "bad", **{name: values[n] for name, values in columns.items()}}
            for n, text in enumerate(texts)]  # fmt: skip


def near(one: dict, other: dict) -> bool:
    return all(torch.allclose(value, other[name], atol=1e-6) for name, value in one.items())


def test_a_text_of_weight_two_counts_as_twice_and_one_of_none_not_at_all(train):
    plain = train("plain", rows())
    assert near(plain, train("ones", rows(w=[1] * 8), "--weight_column", "w"))
    weighted = train("weighted", rows(w=[2, 0, 1, 1, 1, 1, 1, 1]), "--weight_column", "w")
    given = rows()
    assert near(weighted, train("repeated", [given[0], given[0], *given[2:]])) and not near(weighted, plain)


def test_probabilities_are_learnt_and_a_certain_one_is_a_label(train):
    plain = train("plain", rows())
    certain = [{"good": 1.0} if n % 2 else json.dumps({"bad": 1, "good": 0}) for n in range(8)]
    bare = [{name: value for name, value in row.items() if name != "label"} for row in rows(p=certain)]
    assert near(plain, train("certain", bare, "--soft_label_column", "p"))
    unsure = [{"good": 0.5, "bad": 0.5}, *certain[1:4], None, "", *certain[6:]]
    learnt = train("unsure", rows(p=unsure), "--soft_label_column", "p")
    assert not near(plain, learnt)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_the_loss_is_the_plain_one_times_the_weight(gamma):
    torch.manual_seed(0)
    logits, labels, weights = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0]), torch.tensor([1.0, 0.5, 2.0, 0.0, 1.0])
    loss = SequenceLoss("single_label_classification", [1.0, 2.0, 0.5], 0.0, gamma)
    targets = functional.one_hot(labels, 3).float() * weights[:, None]
    expected = (loss.per_position(logits, labels) * weights).sum() / 5
    assert torch.allclose(loss({"logits": logits}, targets), expected)
    assert torch.allclose(loss({"logits": logits}, targets, torch.tensor(15)), expected), "items are counted by number"
    smoothing = SequenceLoss("single_label_classification", None, 0.1, 0.0)
    soft = torch.rand(5, 3).softmax(-1)
    expected = functional.cross_entropy(logits, soft, label_smoothing=0.1)
    assert torch.allclose(smoothing({"logits": logits}, soft), expected)


def test_counts_are_said_and_validation_is_scored_by_its_labels(train, tmp_path):
    given = rows(w=[0.5] * 8, p=[{"good": 0.3, "bad": 0.7}] * 8)
    more = ("--do_eval", "--validation_file", Path(tmp_path / "seen.jsonl"))
    train("seen", given, "--weight_column", "w", "--soft_label_column", "p", *more)
    log = (tmp_path / "seen" / "run.log").read_text()
    assert "rows weigh 0.5 to 0.5" in log and "8 of 8 rows have probabilities (p)" in log
    assert "validation" in json.loads((tmp_path / "seen" / "metrics.json").read_text())


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"w": [1, -2, *[1] * 6]}, "the weight of the row is -2; a number from 0 on is expected"),
        ({"w": [1, None, *[1] * 6]}, "the weight of the row is None"),
        ({"w": [0] * 8}, "all rows of w weigh nothing"),
        ({"p": [{"good": 0.6, "bad": 0.6}] * 8}, "the probabilities sum to 1.2, not to 1"),
        ({"p": [{"good": -0.5, "bad": 1.5}] * 8}, "a probability is negative"),
        ({"p": ["good"] * 8}, "the probabilities are 'good'"),
        ({"q": [1] * 8}, "train has no such column; did you mean"),
    ],
)
def test_mistakes_are_told(columns, expected, train):
    name = next(iter(columns))
    flag = {"w": ("--weight_column", "w"), "p": ("--soft_label_column", "p"), "q": ("--weight_column", "labell")}[name]
    done = train("bad", rows(**columns), *flag, code=2)
    assert expected in str(done.last["reason"]) or expected in done.stderr
