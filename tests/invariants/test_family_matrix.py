"""Every family through the real commands: train, evaluate, reload, predict; the fast path as the plain recipe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import processors
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, PretrainedConfig

from finetune.models import prediction
from finetune.models.families import FAMILIES
from tests import tiny
from tests.tiny_families import PAD, ROWS, SIZES, make_config

SPECIAL = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
WORDS = [f"w{number}" for number in range(SIZES["vocab_size"] - len(SPECIAL))]
ROLES = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
ENCODERS = (
    "albert", "bert", "big_bird", "camembert", "convbert", "data2vec-text", "deberta", "deberta-v2", "distilbert",
    "electra", "ernie", "esm", "eurobert", "flaubert", "fnet", "funnel", "ibert", "longformer", "luke", "megatron-bert",
    "mobilebert", "modernbert", "mpnet", "mra", "nystromformer", "rembert", "roberta", "roberta-prelayernorm", "roformer",
    "squeezebert", "t5", "umt5", "xlm", "xlm-roberta", "xlm-roberta-xl", "xlnet", "xmod", "yoso",
)  # fmt: skip
DECODERS = ("gpt2", "gpt_neox", "llama", "mistral", "stablelm")
TRAINING = (
    "--do_train", "--do_eval", "--max_steps", "2", "--learning_rate", "1e-4", "--per_device_train_batch_size", "4",
    "--bf16", "False", "--seed", "1", "--logging_steps", "1",
)  # fmt: skip


def make_tokenizer(family: str):
    """Words as ids; decoders have an end token alone, pad on the left and put nothing around a text."""
    if family in DECODERS:
        roles = {"unk_token": "[UNK]", "bos_token": "[SEP]", "eos_token": "[SEP]"}
        return tiny.word_level([*SPECIAL, *WORDS], **roles, padding_side="left")
    side = "left" if family == "xlnet" else "right"
    tokenizer = tiny.word_level([*SPECIAL, *WORDS], **ROLES, padding_side=side)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return tokenizer


def without_dropout(config: PretrainedConfig) -> PretrainedConfig:
    for name, value in config.to_dict().items():
        if "drop" in name and isinstance(value, float):
            setattr(config, name, 0.0)
    config.classifier_dropout = 0.0  # a decoder that names none takes 0.1
    return config


def make_folder(family: str, folder: Path, head: type) -> Path:
    config = without_dropout(make_config(family))
    if family in DECODERS:
        config.pad_token_id = None
    torch.manual_seed(0)
    return tiny.save(head.from_config(config).base_model, make_tokenizer(family), folder)


def make_sentences() -> list[list[str]]:
    """Of 1 to 60 words: the longest have no place in 40 positions."""
    drawn = torch.Generator().manual_seed(4)
    lengths = [3, 60, 1, 12, 38, 5, 41, 8]
    return [[WORDS[i] for i in torch.randint(len(WORDS), (n,), generator=drawn).tolist()] for n in lengths]


def write_tags(path: Path) -> Path:
    tag = {word: "B-X" if number % 3 == 0 else "O" for number, word in enumerate(WORDS)}
    sentences = ["".join(f"{word}\t{tag[word]}\n" for word in words) for words in make_sentences()]
    path.write_text("\n".join(sentences), encoding="utf-8")
    return path


def write_texts(path: Path) -> Path:
    rows = [f"{' '.join(words)},{'even' if number % 2 else 'odd'}\n" for number, words in enumerate(make_sentences())]
    path.write_text("text,label\n" + "".join(rows), encoding="utf-8")
    return path


def predict(call_command, model: Path, source: Path, batch_size: int) -> list[dict]:
    done = call_command(
        "predict.py", "--model_name_or_path", model, "--input_file", source,
        "--output_file", model / f"by_{batch_size}.jsonl", "--batch_size", batch_size, "--bf16", "False",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return [
        json.loads(line) for line in (model / f"by_{batch_size}.jsonl").read_text(encoding="utf-8").splitlines() if line
    ]


def numbers(value: object) -> list[float]:
    """All numbers within a JSON value, in order."""
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, float) else []


def assert_alike(found: list[dict], expected: list[dict], *, rtol: float, atol: float) -> None:
    assert len(found) == len(expected) > 0 and len(numbers(expected)) >= len(expected)
    torch.testing.assert_close(torch.tensor(numbers(found)), torch.tensor(numbers(expected)), rtol=rtol, atol=atol)


def run_both(call_command, script: str, model: Path, data: Path, output: Path) -> None:
    """Train with the fast path and without: the losses of all steps are equal."""
    losses = []
    for folder, flags in ((output / "fast", ()), (output / "plain", ("--no_fast_path",))):
        done = call_command(
            script, "--model_name_or_path", model, "--train_file", data, "--validation_file", data,
            "--output_dir", folder, *TRAINING, *flags,
        )  # fmt: skip
        assert done.code == 0, done.stderr
        log = json.loads((folder / "checkpoint-2" / "trainer_state.json").read_text())["log_history"]
        losses.append([entry["loss"] for entry in log if "loss" in entry])
    fast, plain = torch.tensor(losses)
    assert len(fast) == 2
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("family", ENCODERS + DECODERS)
def test_a_tagger_of_every_family(family, tmp_path, call_command, monkeypatch):
    monkeypatch.setattr(prediction, "TOKENS_AT_ONCE", 1)  # else one short text shares its batch with others
    model = make_folder(family, tmp_path / "model", AutoModelForTokenClassification)
    run_both(call_command, "run_ner.py", model, write_tags(tmp_path / "train.conll"), tmp_path)
    texts = tmp_path / "new.txt"
    texts.write_text("\n".join(" ".join(words) for words in make_sentences()), encoding="utf-8")
    together, alone, plain = (
        predict(call_command, tmp_path / name, texts, size) for name, size in (("fast", 8), ("fast", 1), ("plain", 8))
    )
    assert_alike(together, alone, rtol=1e-4, atol=1e-5)
    assert_alike(together, plain, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("family", (*DECODERS, "bert", "modernbert", "roberta-prelayernorm", "xlnet", "deberta"))
def test_a_classifier_of_families_that_read_their_texts_differently(family, tmp_path, call_command, monkeypatch):
    monkeypatch.setattr(prediction, "TOKENS_AT_ONCE", 1)
    model = make_folder(family, tmp_path / "model", AutoModelForSequenceClassification)
    run_both(call_command, "run_glue.py", model, write_texts(tmp_path / "train.csv"), tmp_path)
    texts = tmp_path / "new.txt"
    texts.write_text("\n".join(" ".join(words) for words in make_sentences()), encoding="utf-8")
    together, alone = (predict(call_command, tmp_path / "fast", texts, size) for size in (8, 1))
    assert_alike(together, alone, rtol=1e-4, atol=1e-5)
    config = json.loads((tmp_path / "fast" / "config.json").read_text())
    assert config["pad_token_id"] == (2 if family in DECODERS else PAD)


def test_the_longest_sentence_has_no_place_in_the_positions():
    assert max(map(len, make_sentences())) > ROWS and {*ENCODERS, *DECODERS} <= {*FAMILIES}
