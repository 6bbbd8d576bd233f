"""The course's chapter 3 and the three small examples, as programs of their own; the metrics the documents print."""

from __future__ import annotations

import ast
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, ElectraConfig, ElectraForMaskedLM

IDS = [101, 2023, 2003, 1996, 2034, 6251, 1012, 102, 2023, 2003, 1996, 2117, 2028, 1012, 102]


@pytest.fixture
def run(repository, tmp_path, monkeypatch, capsys) -> Callable[..., tuple[str, str]]:
    """Start an example as a program, in this process to save its imports; returns its two outputs."""

    def start(name: str, *words: object) -> tuple[str, str]:
        path = repository / "examples" / name
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(path.parent))
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, words)])
        capsys.readouterr()
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as end:
            assert end.code == 0
        return capsys.readouterr()

    return start


def scores_in(text: str) -> dict[str, float]:
    return ast.literal_eval(re.findall(r"\{'accuracy'.*?\}", text)[-1])


def test_trainer_prints_what_the_course_prints(run, tiny_bert, shared_data) -> None:
    stdout, _ = run(
        "chapter3_trainer.py", "--checkpoint", tiny_bert, "--data_dir", shared_data / "glue",
        "--num_epochs", 1, "--max_train_samples", 16,
    )  # fmt: skip
    assert f"'input_ids': {IDS}" in stdout
    assert f"'token_type_ids': {[0] * 8 + [1] * 7}" in stdout
    shapes = dict(re.findall(r"'(\w+)': torch.Size\((\[[\d, ]+\])\)", stdout))
    assert shapes == {"input_ids": "[8, 67]", "token_type_ids": "[8, 67]", "attention_mask": "[8, 67]", "labels": "[8]"}
    assert "(408, 2) (408,)" in stdout
    assert 0 <= scores_in(stdout)["f1"] <= 1


def test_full_loop_scores_every_pair_once(run, tiny_bert, shared_data) -> None:
    stdout, stderr = run(
        "chapter3_full_loop.py", "--checkpoint", tiny_bert, "--data_dir", shared_data / "glue",
        "--num_epochs", 2, "--max_train_samples", 16,
    )  # fmt: skip
    assert "['labels', 'input_ids', 'token_type_ids', 'attention_mask']" in stdout
    assert "4/4" in stderr  # two epochs of two batches on the progress bar
    accuracy = scores_in(stdout)["accuracy"]
    assert (accuracy * 408) == pytest.approx(round(accuracy * 408))


@pytest.mark.parametrize("name", ["chapter3_trainer.py", "chapter3_full_loop.py"])
def test_precision_is_asked_for_and_a_missing_network_is_a_sentence(
    run, tiny_bert, shared_data, repository, name
) -> None:
    data = ("--data_dir", shared_data / "glue")
    stdout, _ = run(name, "--checkpoint", tiny_bert, *data, "--num_epochs", 1, "--max_train_samples", 8, "--bf16")
    assert 0 <= scores_in(stdout)["f1"] <= 1
    script = [sys.executable, str(repository / "examples" / name)]
    for words, code, said in (
        (["--checkpoint", "nobody/nothing", *map(str, data)], 1, "Without a network, name folders"),
        (["--fp16"], 2, "--fp16 needs a CUDA GPU"),
    ):
        hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
        ended = subprocess.run([*script, *words], capture_output=True, text=True, env=hidden, check=False)
        assert (ended.returncode, said in ended.stderr, "Traceback" in ended.stderr) == (code, True, False)


@pytest.fixture
def masked_models(minilm_folder: Path, tmp_path: Path) -> Path:
    """A tiny BERT and a tiny ELECTRA with a head for words."""
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    models = {
        "bert": BertForMaskedLM(BertConfig(**sizes, intermediate_size=32)),
        "electra": ElectraForMaskedLM(ElectraConfig(**sizes, intermediate_size=32, embedding_size=16)),
    }
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(("name", "model"), [("example1.py", "bert"), ("example2.py", "electra")])
def test_masked_word_is_guessed_on_a_cpu(run, masked_models, name, model) -> None:
    text = "[CLS] to be or not to be. [SEP]"
    stdout, _ = run(name, "--model_name_or_path", masked_models / model, "--text", text)
    lines = stdout.splitlines()
    assert lines[0] == "['[CLS]', 'to', 'be', 'or', 'not', 'to', 'be', '.', '[SEP]']"
    assert lines[1] == "['[CLS]', 'to', 'be', 'or', 'not', '[MASK]', 'be', '.', '[SEP]']"
    assert lines[2].startswith("[101, 2000, 2022, 2030, 2025, 103,")
    assert lines[4].startswith("[MASK] => ")


def test_a_tokenizer_is_shown(run, minilm_folder) -> None:
    stdout, _ = run(
        "example3.py", "--model_type", "bert", "--model_name_or_path", minilm_folder, "--do_lower_case",
        "--text", "I WANNA go",
    )  # fmt: skip
    assert stdout.splitlines() == ["vocab_size:  30522", "i wanna go"]
