from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    BertForMaskedLM,
    GPT2LMHeadModel,
)

from finetune.distillation.binarized import binarize, count_tokens, open_binarized, write_counts
from tests import tiny

SENTENCE = "The quick brown fox number {0} jumps over the lazy dog near the river while {0} birds sing in the trees"


@pytest.fixture(scope="module")
def teacher(tiny_bert, tmp_path_factory) -> Path:
    """The tiny BERT with a head of its own, without dropout."""
    folder = tmp_path_factory.mktemp("teacher") / "teacher"
    torch.manual_seed(1)
    model = BertForMaskedLM(AutoConfig.from_pretrained(tiny_bert))
    return tiny.save(model, AutoTokenizer.from_pretrained(tiny_bert), folder)


@pytest.fixture(scope="module")
def data(teacher, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    lines = [SENTENCE.format(number) for number in range(40)] + ["too short", "word " * 200]
    (folder / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    student = {"n_layers": 2, "dim": 16, "n_heads": 2, "hidden_dim": 24, "vocab_size": 30522}
    student |= {"max_position_embeddings": 64, "dropout": 0.0, "attention_dropout": 0.0}
    (folder / "student.json").write_text(json.dumps(student))
    binarize([folder / "text.txt"], AutoTokenizer.from_pretrained(teacher), folder / "dump.teacher", workers=1)
    write_counts(folder / "counts.json", count_tokens(open_binarized(folder / "dump.teacher"), 30522))
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
    recorded = json.loads((output / "checksums.json").read_text())
    assert set(recorded) == {"model.safetensors", "pytorch_model.bin"}  # begun again over both, the same two are known
    weights = torch.load(output / "pytorch_model.bin", weights_only=True)
    assert not any("distillation" in name or "teacher" in name for name in load_file(output / "model.safetensors"))
    student = AutoModel.from_pretrained(export)
    assert student.config.architectures == ["DistilBertModel"] and AutoTokenizer.from_pretrained(export).vocab_size
    assert torch.equal(
        student.embeddings.word_embeddings.weight, weights["distilbert.embeddings.word_embeddings.weight"]
    )
    card = (export / "README.md").read_text()
    assert "parameters" in card and "per second" in card and "Distilled from" in card
    assert "| losses | 5 ce at temperature 2 + 2 mlm + 0.001 mse + 1 cos + 1 hidden + 1 relation |" in card
    assert f"| steps | {done.last['steps']} |" in card
    assert "pipeline_tag: feature-extraction" in card and "datasets:" not in card and "model-index" not in card


def test_the_fast_path_and_accumulation_change_nothing(data, teacher, tmp_path, call_command):
    at_random = ("--group_by_size", "False")
    variants = {
        "plain": ("--no_fast_path", *at_random),
        "whole": at_random,
        "halves": ("--batch_size", 4, "--gradient_accumulation_steps", 2, *at_random),
    }
    results = {}
    for name, further in variants.items():
        done = call_command("distillation/train.py", *flags(data, teacher, tmp_path / name), *further)
        assert done.code == 0, done.stderr
        results[name] = logged(tmp_path / name)
    assert len(results["whole"]) == done.last["steps"] >= 10
    assert results["plain"] == pytest.approx(results["whole"], rel=1e-4)
    assert results["halves"] == pytest.approx(results["whole"], rel=1e-4)


def read_board(folder: Path) -> EventAccumulator:
    board = EventAccumulator(str(folder / "log" / "train"))
    board.Reload()
    return board


def test_what_the_documents_look_for_is_written(data, teacher, tmp_path, call_command):
    output = tmp_path / "out"
    line = flags(data, teacher, output)
    done = call_command("distillation/train.py", *line, "--initializer_range", 0.5, "--max_model_input_size", 32)
    assert done.code == 0, done.stderr
    parameters = json.loads((output / "parameters.json").read_text())
    asked = {"n_epoch": 2, "batch_size": 8, "group_by_size": True, "alpha_ce": 5.0, "max_model_input_size": 32}
    assert asked.items() <= parameters.items()
    tags = set(read_board(output).Tags()["scalars"])
    assert {f"losses/loss_{name}" for name in ("ce", "mlm", "cos", "mse", "hidden", "relation")} <= tags
    whole = {"losses/loss", "losses/cum_avg_loss_epoch", "learning_rate/lr", "global/speed", "global/memory_usage"}
    assert whole <= tags
    for kind in ("parameter_mean/", "parameter_std/", "grad_mean/", "grad_std/"):
        assert any(tag.startswith(kind) for tag in tags)
    assert "more than 32 ids" in done.stderr, "--max_model_input_size is what sequences are split at"
    first = torch.load(output / "model_epoch_0.pth", weights_only=True)["distilbert.embeddings.word_embeddings.weight"]
    assert first.std().item() == pytest.approx(0.5, rel=0.05), "--initializer_range"


def test_group_by_size_puts_equal_lengths_together(data, teacher, tmp_path, call_command, monkeypatch):
    """Lengths of the batches that the command trains on, by what the collator is given."""
    from finetune.distillation.collators import DistillationCollator

    spreads: list[int] = []
    collate = DistillationCollator.__call__

    def watch(self, features):
        lengths = [len(row["input_ids"]) for row in features]
        spreads.append(max(lengths) - min(lengths))
        return collate(self, features)

    monkeypatch.setattr(DistillationCollator, "__call__", watch)
    found = {}
    for name in ("True", "False"):
        spreads.clear()
        line = flags(data, teacher, tmp_path / name)
        assert call_command("distillation/train.py", *line, "--group_by_size", name, "--n_epoch", 1).code == 0
        found[name] = sum(spreads)
    assert found["True"] < found["False"] / 2


def test_the_teacher_may_be_kept(data, teacher, tmp_path, call_command):
    """With as many answers as the vocabulary has, training from the cache is training from the teacher."""
    cache = tmp_path / "cache"
    only_logits = ("--alpha_mse", 0, "--alpha_cos", 0, "--alpha_hidden", 0, "--alpha_relation", 0)
    common = (*only_logits, "--restrict_ce_to_mask", "--mlm_mask_prop", 0.05, "--static_masks")
    results = {}
    for name, further in {"live": (), "kept": ("--cache_teacher", 99999, "--teacher_cache_dir", cache)}.items():
        done = call_command("distillation/train.py", *flags(data, teacher, tmp_path / name), *common, *further)
        assert done.code == 0, done.stderr
        results[name] = logged(tmp_path / name)
    assert results["kept"] == pytest.approx(results["live"], rel=1e-5)
    (folder,) = cache.iterdir()
    assert json.loads((folder / "cache.json").read_text())["k"] == 30522
    first, second = tmp_path / "first", tmp_path / "second"
    few = ("--cache_teacher", 8, "--teacher_cache_dir", cache)
    changing = tuple(word for word in common if word != "--static_masks")
    done = call_command("distillation/train.py", *flags(data, teacher, first), *changing, *few)
    assert done.code == 0 and done.stderr.count("The teacher answers") == 2, "one pass for each epoch of other masks"
    done = call_command("distillation/train.py", *flags(data, teacher, second), *changing, *few)
    assert done.code == 0 and "The teacher answers" not in done.stderr
    assert done.stderr.count("answers are taken from") == 2 and logged(first) == logged(second)
    assert logged(first)[0] < results["live"][0] * 1.01, "what a few answers leave out only lowers the divergence"


def test_a_causal_student_learns_from_a_causal_teacher(tmp_path, call_command):
    words = ["<|endoftext|>", *SENTENCE.format("").split(), *map(str, range(40))]
    tokenizer = tiny.word_level(words, **tiny.END_ROLES)
    shape = {
        "vocab_size": len(tokenizer),
        "n_positions": 32,
        "n_embd": 16,
        "n_head": 2,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    student = tmp_path / "student.json"
    teacher = tiny.save(tiny.gpt2(**shape, n_layer=4), tokenizer, tmp_path / "gpt")
    student.write_text(
        json.dumps({**shape, "n_layer": 2, "n_embd": 8, "resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0})
    )
    text = tmp_path / "text.txt"
    text.write_text("\n".join(SENTENCE.format(number) for number in range(40)))
    prepared = call_command(
        "distillation/scripts/binarized_data.py", "--file_path", text, "--tokenizer_type", "gpt2",
        "--tokenizer_name", teacher, "--dump_file", tmp_path / "dump",
    )  # fmt: skip
    assert prepared.code == 0, prepared.stderr
    line = (
        *("--student_type", "gpt2", "--student_config", student, "--teacher_type", "gpt2", "--teacher_name", teacher),
        *("--data_file", tmp_path / "dump.gpt", "--batch_size", 8, "--gradient_accumulation_steps", 1, "--n_epoch", 4),
        *("--alpha_ce", 1, "--alpha_clm", 1, "--bf16", "False", "--log_interval", 1, "--learning_rate", "1e-2"),
    )
    done = call_command("distillation/train.py", *line, "--dump_path", tmp_path / "live", "--alpha_cos", 1)
    assert done.code == 0, done.stderr
    losses = logged(tmp_path / "live")
    assert losses[-1] < losses[0] * 0.8 and "losses/loss_clm" in read_board(tmp_path / "live").Tags()["scalars"]
    assert GPT2LMHeadModel.from_pretrained(tmp_path / "live").config.n_layer == 2
    kept = ("--cache_teacher", len(tokenizer))
    for name, further in {"taught": (), "kept": kept}.items():
        done = call_command("distillation/train.py", *line, "--dump_path", tmp_path / name, *further)
        assert done.code == 0, done.stderr
    assert logged(tmp_path / "kept") == pytest.approx(logged(tmp_path / "taught"), rel=1e-5)
    assert len(list((tmp_path / "dump.gpt.taught").iterdir())) == 1, "without masks one pass serves all epochs"


def test_the_text_must_be_the_teachers(data, teacher, tmp_path, call_command):
    """The same number of entries, two of them exchanged."""
    other = tmp_path / "other"
    AutoTokenizer.from_pretrained(teacher).save_pretrained(other)
    description = json.loads((other / "tokenizer.json").read_text())
    vocabulary = description["model"]["vocab"]
    vocabulary["fox"], vocabulary["dog"] = vocabulary["dog"], vocabulary["fox"]
    (other / "tokenizer.json").write_text(json.dumps(description))
    prepared = call_command(
        "distillation/scripts/binarized_data.py", "--file_path", data / "text.txt", "--tokenizer_name", other,
        "--dump_file", tmp_path / "dump",
    )  # fmt: skip
    assert prepared.code == 0, prepared.stderr
    line = flags(data, teacher, tmp_path / "out")
    done = call_command("distillation/train.py", *line, "--data_file", tmp_path / "dump.other")
    assert done.code == 2 and "is 'dog' in the data and 'fox' in the teacher" in str(done.last["reason"])


@pytest.mark.slow
def test_two_processes_with_half_the_batch_are_one(data, teacher, tmp_path, call_command, run_two_processes):
    rest = ("--group_by_size", "False", "--n_epoch", 1)
    words = (*flags(data, teacher, tmp_path / "two"), *rest, "--batch_size", 2)
    done = run_two_processes("distillation/train.py", *words)
    assert done.code == 0, done.stderr
    alone = call_command("distillation/train.py", *flags(data, teacher, tmp_path / "one"), *rest, "--batch_size", 4)
    assert alone.code == 0, alone.stderr
    expected = logged(tmp_path / "one")
    assert len(expected) >= 10 and logged(tmp_path / "two") == pytest.approx(expected, rel=1e-5)
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    for name, weight in weights[0].items():
        assert torch.allclose(weight, weights[1][name], atol=1e-6), name
    assert done.stdout.count('"status"') == 1 and done.stderr.count("--- Starting epoch") == 1


@pytest.mark.slow
def test_killed_and_run_again_equals_undisturbed(data, teacher, tmp_path, call_command, stop_command, resumed_step):
    """Killed while it trains, by a signal that nothing can catch; masks, batches and averages go on where they were."""
    longer = ("--n_epoch", 4)
    whole = call_command("distillation/train.py", *flags(data, teacher, tmp_path / "whole"), *longer)
    assert whole.code == 0, whole.stderr
    output = tmp_path / "part"
    words = (*flags(data, teacher, output), *longer)
    killed = stop_command("distillation/train.py", *words, once=output / "checkpoint-4" / "complete.json")
    assert killed.code == -signal.SIGKILL
    again = call_command("distillation/train.py", *words)
    assert again.code == 0, again.stderr
    assert 0 < resumed_step(output) < int(str(whole.last["steps"]))
    assert (output / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()


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
        (("--cache_teacher", 8), "not what --alpha_mse needs"),
        (("--vocab_size", 30000), "say --vocab_size 30522"),
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
