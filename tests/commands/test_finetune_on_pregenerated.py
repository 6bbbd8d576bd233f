from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from transformers import AutoTokenizer, BertConfig, BertModel


@pytest.fixture(scope="module")
def bert(tiny_bert, tmp_path_factory) -> Path:
    """The tiny BERT without dropout, so that batches may be cut up differently and give the same losses."""
    folder = tmp_path_factory.mktemp("models") / "bert"
    config = BertConfig.from_pretrained(tiny_bert, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    BertModel.from_pretrained(tiny_bert, config=config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(bert, shared_data, tmp_path_factory, run_command) -> dict[str, Path]:
    """The documented first command, in both formats."""
    folders = {}
    for kind in ("binary", "json"):
        folders[kind] = tmp_path_factory.mktemp("data") / kind
        done = run_command(
            "pregenerate_training_data.py",
            *("--train_corpus", shared_data / "lm" / "dev_corpus.txt", "--bert_model", bert, "--do_lower_case"),
            *("--output_dir", f"{folders[kind]}/", "--epochs_to_generate", 2, "--max_seq_len", 64),
            *("--output_format", kind),
        )
        assert done.code == 0, done.stderr
    return folders


def flags(data: Path, bert: Path, output: Path) -> tuple[object, ...]:
    """The documented second command; losses of every step are logged."""
    return (
        *("--pregenerated_data", f"{data}/", "--bert_model", bert, "--do_lower_case", "--output_dir", f"{output}/"),
        *("--epochs", 2, "--train_batch_size", 16, "--logging_steps", 1, "--learning_rate", "1e-2"),
    )


def losses(output: Path) -> list[float]:
    return [float(line) for line in (output / "losses_1_steps.txt").read_text().split()]


def test_both_formats_give_equal_losses(data, bert, tmp_path, call_command):
    for kind, folder in data.items():
        done = call_command("finetune_on_pregenerated.py", *flags(folder, bert, tmp_path / kind), "--writeout_steps", 4)
        assert done.code == 0, done.stderr
    one, other = tmp_path / "binary", tmp_path / "json"
    assert losses(one) == losses(other) and losses(one)[-1] < losses(one)[0]
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    batches = -(-len(json.loads((data["json"] / "epoch_0_metrics.json").read_text())) // 16)
    assert len(losses(one)) == done.last["steps"] >= 2 * batches
    written = sorted(path.name for path in one.glob("ep*"))
    assert len(written) == int(done.last["steps"]) // 4 and (one / written[0] / "model.safetensors").is_file()
    assert len((one / "losses_4_steps.txt").read_text().split()) == len(written)
    assert AutoTokenizer.from_pretrained(one).tokenize("Hello") == ["hello"]


def test_a_short_run_has_its_losses_and_a_stopped_one_those_of_an_undisturbed_one(
    data, bert, tmp_path, call_command, stopped_at_step
):
    """Nine steps, logged every four, windows of six: the last block of each file is a part of one."""
    every = [*flags(data["binary"], bert, tmp_path / "every"), "--max_steps", 9, "--bf16", "False"]
    assert call_command("finetune_on_pregenerated.py", *every).code == 0
    further = ("--max_steps", 9, "--bf16", "False", "--logging_steps", 4, "--writeout_steps", 6, "--save_steps", 3)
    whole = [*flags(data["binary"], bert, tmp_path / "whole"), *further]
    assert call_command("finetune_on_pregenerated.py", *whole).code == 0
    step = losses(tmp_path / "every")
    blocks = [sum(step[:4]) / 4, sum(step[4:8]) / 4, step[8]]
    windows = [sum(step[:8]) / 8, step[8]]
    for name, expected in (("losses_4_steps.txt", blocks), ("losses_6_steps.txt", windows)):
        assert list(map(float, (tmp_path / "whole" / name).read_text().split())) == pytest.approx(expected, rel=1e-4)
    cut = [*flags(data["binary"], bert, tmp_path / "cut"), *further]
    with stopped_at_step(5):
        assert call_command("finetune_on_pregenerated.py", *cut).code == 75
    assert call_command("finetune_on_pregenerated.py", *cut).code == 0
    for name in ("losses_4_steps.txt", "losses_6_steps.txt"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    shorter = [*flags(data["binary"], bert, tmp_path / "short"), "--max_steps", 2, "--logging_steps", 50]
    assert call_command("finetune_on_pregenerated.py", *shorter).code == 0
    for name in ("losses_50_steps.txt", "losses_20000_steps.txt"):
        assert len((tmp_path / "short" / name).read_text().split()) == 1


def test_accumulation_and_precision_of_padding_change_nothing(data, bert, tmp_path, call_command):
    """16x1 against 4x4, and the fast path against the plain one, in float32."""
    variants = {"whole": (), "parts": ("--gradient_accumulation_steps", 4), "plain": ("--no_fast_path",)}
    results = {}
    for name, further in variants.items():
        output = tmp_path / name
        done = call_command(
            "finetune_on_pregenerated.py", *flags(data["binary"], bert, output), "--bf16", "False", *further
        )
        assert done.code == 0, done.stderr
        results[name] = losses(output)
    assert results["parts"] == pytest.approx(results["whole"], rel=1e-4)
    assert results["plain"] == pytest.approx(results["whole"], rel=1e-4)


def test_killed_run_ends_as_an_undisturbed_one(data, tiny_bert, tmp_path, call_command, stop_command, resumed_step):
    def arguments(output: Path) -> list[str]:
        named = flags(data["binary"], tiny_bert, output)
        return [str(flag) for flag in (*named, "--epochs", 8, "--train_batch_size", 8, "--save_steps", 5)]

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert call_command("finetune_on_pregenerated.py", *arguments(whole)).code == 0
    marker = cut / "checkpoint-5" / "complete.json"
    killed = stop_command("finetune_on_pregenerated.py", *arguments(cut), once=marker)
    assert killed.code == -signal.SIGKILL
    again = call_command("finetune_on_pregenerated.py", *arguments(cut))
    assert again.code == 0, again.stderr
    assert resumed_step(cut) > 0
    assert losses(cut) == losses(whole)
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_bad_input_is_told_in_sentences(data, bert, tmp_path, call_command):
    cased = tmp_path / "cased"
    BertModel.from_pretrained(bert).save_pretrained(cased)
    AutoTokenizer.from_pretrained(bert, do_lower_case=False).save_pretrained(cased)
    short = ("--pregenerated_data", data["binary"], "--bert_model")
    cases = [
        ((*short, cased), "the data was made with the tokenizer"),
        ((*short, bert, "--train_batch_size", 10, "--gradient_accumulation_steps", 4), "cannot be divided"),
        (("--pregenerated_data", tmp_path, "--bert_model", bert), "no training data was found"),
        (("--pregenerated_data", tmp_path / "none", "--bert_model", bert), "no such folder"),
        ((*short, tmp_path / "no-model"), "no-model"),
    ]
    for further, message in cases:
        done = call_command("finetune_on_pregenerated.py", *further, "--output_dir", tmp_path / "run")
        assert done.code == 2 and message in str(done.last["reason"]), done.last


def test_simple_lm_finetuning(bert, shared_data, tmp_path, call_command):
    corpus = shared_data / "lm" / "dev_corpus.txt"
    common = ("--train_corpus", corpus, "--bert_model", bert, "--do_lower_case", "--do_train", "--num_train_epochs", 2)
    common += ("--learning_rate", "1e-2")
    done = call_command(
        "simple_lm_finetuning.py",
        *common,
        "--output_dir",
        tmp_path / "run",
        "--max_seq_length",
        64,
        "--logging_steps",
        1,
    )
    assert done.code == 0, done.stderr
    sentences, documents, alone = 114, 17, 0
    instances = sentences - documents + alone
    assert done.last["steps"] == 2 * -(-instances // 32)
    assert losses(tmp_path / "run")[-1] < losses(tmp_path / "run")[0]
    assert (tmp_path / "run" / "model.safetensors").is_file()
