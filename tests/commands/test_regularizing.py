"""`--r_drop` and `--fgm` by what they do to a training: nothing at zero, and what their papers say above it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    ModernBertConfig,
    ModernBertForTokenClassification,
)

from finetune.classification.losses import SequenceLoss
from finetune.errors import UsageError
from finetune.models.unpadding.hooks import unpad_encoder
from finetune.training import regularizing
from finetune.training.losses import TokenLoss

QUIET = ("--config_overrides", "hidden_dropout_prob=0.0,attention_probs_dropout_prob=0.0")
TEXTS = [f"text number {n} is {'good ' * (n % 3)}{'fine' if n % 2 else 'bad'}" for n in range(8)]
SENTENCES = [[("ann", "B-PER"), ("ran", "O"), ("far", "O")], [("the", "O"), ("fox", "O")], [("bob", "B-PER")]] * 3


@pytest.fixture
def train(call_command, tiny_bert, tmp_path):
    """A few steps of plain gradient descent on texts or sentences; the folder of what came of it."""

    def call(name: str, *more: object, command: str = "run_glue.py", batch: int = 8, code: int = 0):
        data = tmp_path / f"data.{'jsonl' if command == 'run_glue.py' else 'conll'}"
        rows = [json.dumps({"text": text, "label": "fb"[n % 2]}) for n, text in enumerate(TEXTS)]
        blocks = ["".join(f"{word}\t{tag}\n" for word, tag in sentence) for sentence in SENTENCES]
        data.write_text("\n".join(rows if command == "run_glue.py" else blocks) + "\n")
        done = call_command(
            command, "--model_name_or_path", tiny_bert, "--train_file", data, "--output_dir", tmp_path / name, "--do_train",
            "--optim", "sgd", "--learning_rate", 0.5, "--max_steps", 2, "--per_device_train_batch_size", batch,
            "--max_grad_norm", 0, "--lr_scheduler_type", "constant", "--logging_steps", 1, *more,
        )  # fmt: skip
        assert done.code == code, done.stderr
        return done if code else tmp_path / name

    return call


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def distance(one: dict, other: dict) -> float:
    return max(float((value - other[name]).abs().max()) for name, value in one.items())


@pytest.mark.parametrize("command", ["run_glue.py", "run_ner.py"])
def test_at_zero_they_change_no_bit_and_above_it_they_do(command, train):
    plain = weights(train("plain", command=command))
    assert distance(plain, weights(train("zero", "--r_drop", 0, "--fgm", 0.0, command=command))) == 0
    assert distance(plain, weights(train("drop", "--r_drop", 4, command=command))) > 1e-4
    assert distance(plain, weights(train("moved", "--fgm", 1, command=command))) > 1e-4


def test_without_dropout_both_answers_of_r_drop_are_one(train):
    fixed = (*QUIET, "--bf16", "False", "--no_fast_path")
    assert distance(weights(train("plain", *fixed)), weights(train("drop", "--r_drop", 4, *fixed))) < 1e-6


def test_r_drop_is_half_of_what_the_paper_says():
    torch.manual_seed(0)
    one, other, labels = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    answers = iter([one, other])
    loss = SequenceLoss("single_label_classification")

    def answer():
        outputs = {"logits": next(answers)}
        return loss(outputs, labels), outputs

    found, _ = regularizing.ConsistentAnswers(5.0, loss).compute(answer, labels, None)
    nll = functional.cross_entropy(one, labels) + functional.cross_entropy(other, labels)
    kinds = {"reduction": "batchmean", "log_target": True}
    first, second = one.log_softmax(-1), other.log_softmax(-1)
    apart = 0.5 * (functional.kl_div(first, second, **kinds) + functional.kl_div(second, first, **kinds))
    assert torch.allclose(2 * found, nll + 5.0 * apart)


def test_answers_are_compared_where_labels_are_and_by_decision_and_weight():
    torch.manual_seed(0)
    one, other = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    labels = torch.tensor([[1, -100, 2], [-100, 0, -100]])
    found = TokenLoss().divergences(one, other, labels)
    assert found.shape == labels.shape and torch.equal(found > 0, labels != -100)
    several = SequenceLoss("multi_label_classification")
    plain = several.divergences(one[:, 0], other[:, 0], torch.tensor([[1.0, 0, 0, 1], [0, 0, 1, 1]]))
    p, q = one[:, 0].sigmoid(), other[:, 0].sigmoid()
    kl = lambda a, b: a * (a / b).log() + (1 - a) * ((1 - a) / (1 - b)).log()  # noqa: E731
    assert torch.allclose(plain, 0.5 * (kl(p, q) + kl(q, p)), atol=1e-6)
    weighed = several.divergences(one[:, 0], other[:, 0], torch.tensor([[1.0, 0, 0, 1, 3], [0, 0, 1, 1, 0]]))
    assert torch.allclose(weighed, plain * torch.tensor([[3.0], [0.0]]))


def test_fgm_learns_the_batch_and_the_batch_with_moved_embeddings(train):
    """Against transformers alone, whose embeddings are given: gradients of both lessons, each text moved by its own."""
    fixed = (*QUIET, "--bf16", "False", "--max_steps", 1)
    start, end = train("start", *fixed, "--learning_rate", 0), train("end", *fixed, "--fgm", 0.7)
    model = AutoModelForSequenceClassification.from_pretrained(start).eval()
    batch = AutoTokenizer.from_pretrained(start)(TEXTS, padding=True, return_tensors="pt")
    labels = torch.tensor([n % 2 for n in range(8)])
    labels = torch.tensor([model.config.label2id["fb"[n]] for n in labels])
    ids = batch.pop("input_ids")
    embedded = model.get_input_embeddings()(ids)
    embedded.retain_grad()
    functional.cross_entropy(model(inputs_embeds=embedded, **batch).logits, labels).backward()
    move = 0.7 * embedded.grad / embedded.grad.flatten(1).norm(dim=1)[:, None, None]
    again = model.get_input_embeddings()(ids) + move.detach()
    functional.cross_entropy(model(inputs_embeds=again, **batch).logits, labels).backward()
    found, before = weights(end), weights(start)
    for name, parameter in model.named_parameters():
        expected = before[name] - 0.5 * parameter.grad
        assert torch.allclose(found[name], expected, atol=2e-6), name


def test_accumulation_changes_nothing(train):
    fixed = (*QUIET, "--bf16", "False", "--fgm", 1, "--r_drop", 1)
    whole = weights(train("whole", *fixed))
    cut = weights(train("cut", *fixed, "--gradient_accumulation_steps", 4, batch=2))
    assert distance(whole, cut) < 2e-5


@pytest.mark.parametrize(
    "more", [("--bf16", True), ("--peft", "lora"), ("--no_native",), ("--gradient_checkpointing",)]
)
def test_they_go_with_the_rest_of_the_house(more, train):
    flags = (
        ("--r_drop", 1, "--fgm", 1, "--freeze", "embeddings") if more[0] != "--peft" else ("--r_drop", 1, "--fgm", 1)
    )
    folder = train("run", *flags, *more, command="run_ner.py")
    history = json.loads((folder / "training_history.json").read_text())["log"]
    assert all(0 < row["loss"] < 10 for row in history if "loss" in row)


def test_what_they_cannot_do_is_refused(train, call_command, tiny_bert, tmp_path, monkeypatch):
    done = train("idle", "--do_train", "False", "--do_eval", "--r_drop", 1, "--fgm", 1, code=2)
    assert "--r_drop needs training" in done.last["reason"] and "--fgm needs training" in done.last["reason"]
    numbers = tmp_path / "numbers.csv"
    numbers.write_text("text,label\n" + "".join(f"text {n},{n / 4 + 0.1}\n" for n in range(8)))
    done = train("numbers", "--train_file", numbers, "--r_drop", 1, code=2)
    assert "--r_drop 1.0 is for labels, and the data has numbers" in done.last["reason"]
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    modern = ModernBertForTokenClassification(
        ModernBertConfig(
            vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, **ids
        )
    )
    unpad_encoder(modern)
    monkeypatch.setattr(regularizing, "count_processes", lambda: 2)
    with pytest.raises(UsageError) as refused:
        regularizing.check_regularizing(1.0, 1.0, modern)
    assert "--r_drop and --fgm need a training of one process" in str(refused.value)
    assert "are packed; add --no_unpad" in str(refused.value)
