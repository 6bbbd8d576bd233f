from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertForMaskedLM

SENTENCE = "The quick brown fox number {0} jumps over the lazy dog near the river while {0} birds sing in the trees"


@pytest.fixture(scope="module")
def teacher(tiny_bert, tmp_path_factory) -> Path:
    """The tiny BERT with a head of its own, without dropout."""
    folder = tmp_path_factory.mktemp("teacher") / "teacher"
    torch.manual_seed(1)
    model = BertForMaskedLM(AutoConfig.from_pretrained(tiny_bert))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(teacher, tmp_path_factory, run_command) -> Path:
    folder = tmp_path_factory.mktemp("data")
    lines = [SENTENCE.format(number) for number in range(40)] + ["too short", "word " * 200]
    (folder / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    student = {"n_layers": 2, "dim": 16, "n_heads": 2, "hidden_dim": 24, "vocab_size": 30522}
    student |= {"max_position_embeddings": 64, "dropout": 0.0, "attention_dropout": 0.0}
    (folder / "student.json").write_text(json.dumps(student))
    done = run_command(
        "distillation/scripts/binarized_data.py", "--file_path", folder / "text.txt", "--tokenizer_name", teacher,
        "--dump_file", folder / "dump",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    counted = run_command(
        "distillation/scripts/token_counts.py", "--data_file", folder / "dump.teacher",
        "--token_counts_dump", folder / "counts.json",
    )  # fmt: skip
    assert counted.code == 0, counted.stderr
    return folder


def flags(data: Path, teacher: Path, output: Path) -> tuple[object, ...]:
    """The documented command with every loss: the student is half as wide as its teacher."""
    alphas = {"ce": 5, "mlm": 2, "cos": 1, "clm": 0, "mse": 0.001, "hidden": 1, "relation": 1}
    return (
        *("--student_type", "distilbert", "--student_config", data / "student.json", "--teacher_type", "bert"),
        *("--teacher_name", teacher, "--data_file", data / "dump.teacher", "--mlm", "--bf16", "False"),
        *("--token_counts", data / "counts.json", "--dump_path", output, "--n_epoch", 2, "--batch_size", 8),
        *("--gradient_accumulation_steps", 1, "--log_interval", 1, "--checkpoint_interval", 4, "--freeze_pos_embs"),
        *(word for name, value in alphas.items() for word in (f"--alpha_{name}", value)),
    )


def logged(folder: Path) -> list[float]:
    board = EventAccumulator(str(folder / "log" / "train"))
    board.Reload()
    return [event.value for event in board.Scalars("losses/loss")]


def test_a_narrower_student_learns_and_is_handed_on(data, teacher, tmp_path, call_command):
    output, export = tmp_path / "out", tmp_path / "export"
    done = call_command("distillation/train.py", *flags(data, teacher, output), "--export", export)
    assert done.code == 0, done.stderr
    for line in ("--- Starting epoch 0/1", "Splitting 1 too long", "Remove 1 too short", "go get some drinks"):
        assert line in done.stderr
    losses = logged(output)
    assert losses[-1] < losses[0] and len(losses) == done.last["steps"]
    names = {path.name for path in output.iterdir()}
    assert {"parameters.json", "config.json", "model_epoch_0.pth", "model_epoch_1.pth", "pytorch_model.bin"} <= names
    weights = torch.load(output / "pytorch_model.bin", weights_only=True)
    assert not any("distillation" in name or "teacher" in name for name in load_file(output / "model.safetensors"))
    student = AutoModel.from_pretrained(export)
    assert student.config.architectures == ["DistilBertModel"] and AutoTokenizer.from_pretrained(export).vocab_size
    assert torch.equal(
        student.embeddings.word_embeddings.weight, weights["distilbert.embeddings.word_embeddings.weight"]
    )
    card = (export / "README.md").read_text()
    assert "parameters" in card and "per second" in card


def test_the_fast_path_and_accumulation_change_nothing(data, teacher, tmp_path, call_command):
    variants = {"fast": (), "plain": ("--no_fast_path",)}
    results = {}
    for name, further in variants.items():
        done = call_command("distillation/train.py", *flags(data, teacher, tmp_path / name), *further)
        assert done.code == 0, done.stderr
        results[name] = logged(tmp_path / name)
    assert results["plain"] == pytest.approx(results["fast"], rel=1e-4)


def test_a_resumed_run_equals_an_undisturbed_one(data, teacher, tmp_path, call_command):
    whole, part = tmp_path / "whole", tmp_path / "part"
    done = call_command("distillation/train.py", *flags(data, teacher, whole), "--save_total_limit", 9)
    assert done.code == 0, done.stderr
    checkpoint = whole / "checkpoint-4"
    done = call_command("distillation/train.py", *flags(data, teacher, part), "--resume_from_checkpoint", checkpoint)
    assert done.code == 0, done.stderr
    assert (part / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_loss_that_is_not_finite_ends_with_code_3(data, teacher, tmp_path, call_command):
    line = flags(data, teacher, tmp_path / "out")
    done = call_command("distillation/train.py", *line, "--learning_rate", "1e30", "--max_grad_norm", "1e30")
    assert done.code == 3 and "became" in done.stderr


@pytest.mark.parametrize(
    ("further", "expected"),
    [
        (("--student_config", "wrong.json"), "30,000"),
        (("--token_counts", "few.json"), "3 entries"),
        (("--max_model_input_size", 100), "64 positions"),
        (("--relation_heads", 5), "does not divide"),
        (("--word_mask", 0.5), "together they are 1"),
        (("--alpha_clm", 1), "contradict"),
        (tuple(word for name in ("ce", "mlm", "cos", "mse", "hidden", "relation") for word in (f"--alpha_{name}", 0)),
         "nothing would be learnt"),
        (("--teacher_name", "headless"), "no trained head"),
    ],
)  # fmt: skip
def test_bad_input_is_told(data, teacher, tiny_bert, tmp_path, call_command, monkeypatch, further, expected):
    monkeypatch.chdir(tmp_path)
    student = json.loads((data / "student.json").read_text())
    Path("wrong.json").write_text(json.dumps(student | {"vocab_size": 30000}))
    Path("few.json").write_text("[1, 2, 3]")
    Path("headless").symlink_to(tiny_bert)
    done = call_command("distillation/train.py", *flags(data, teacher, tmp_path / "out"), *further)
    assert done.code == 2 and expected in str(done.last["reason"])
    assert not (tmp_path / "out").exists()
