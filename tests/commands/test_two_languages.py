"""Encoder-decoders that read labels otherwise than texts (Marian, mBART, NLLB, M2M100); and BART, which reads them alike."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
import sentencepiece
import torch
from tokenizers import processors
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    M2M100Tokenizer,
    MarianTokenizer,
    MBart50Tokenizer,
    MBartTokenizer,
    NllbTokenizer,
)

from tests import tiny

SOURCES = ["the house is small", "we are late today", "rain fell on the hills"]
TARGETS = ["das haus ist klein", "wir sind heute sehr spät", "regen fiel auf die hügel"]
SHAPE = {
    "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64, "init_std": 0.6, "dropout": 0.0,
}  # fmt: skip
LANGUAGES = {
    "marian": (),
    "mbart": ("--source_lang", "en_XX", "--target_lang", "de_DE"),
    "mbart50": ("--source_lang", "en_XX", "--target_lang", "de_DE"),
    "nllb": ("--source_lang", "eng_Latn", "--target_lang", "deu_Latn"),
    "m2m100": ("--source_lang", "en", "--target_lang", "de"),
    "bart": (),
}
LETTERS = sorted({*"".join([*SOURCES, *TARGETS]).replace(" ", "")} | {"▁"})


def train(folder: Path, name: str, lines: list[str]) -> Path:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 30),
        model_prefix=str(folder / name),
        vocab_size=45,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return folder / f"{name}.model"


def pieces_of(*models: Path) -> list[str]:
    loaded = [sentencepiece.SentencePieceProcessor(model_file=str(model)) for model in models]
    return list(dict.fromkeys(item.id_to_piece(index) for item in loaded for index in range(len(item))))


def marian(folder: Path):
    models = [train(folder, "source", SOURCES), train(folder, "target", TARGETS)]
    names = dict.fromkeys(["</s>", "<unk>", *(name for name in pieces_of(*models) if name != "<s>"), "<pad>"])
    vocabulary = {name: index for index, name in enumerate(names)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    tokenizer = MarianTokenizer(
        source_spm=str(models[0]),
        target_spm=str(models[1]),
        vocab=str(folder / "vocab.json"),
        source_lang="en",
        target_lang="de",
    )
    pad = vocabulary["<pad>"]
    return tokenizer, {"pad_token_id": pad, "eos_token_id": 0, "decoder_start_token_id": pad, "forced_eos_token_id": 0}


def mbart(folder: Path, kind: type = MBartTokenizer):
    front = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = kind(vocab=[(name, -1.0) for name in [*front, *LETTERS]])
    start = {"decoder_start_token_id": 2} if kind is MBart50Tokenizer else {}
    return tokenizer, {"pad_token_id": 1, "eos_token_id": 2, "bos_token_id": 0, **start}


def nllb(folder: Path):
    front = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = NllbTokenizer(vocab={name: index for index, name in enumerate([*front, *LETTERS])}, merges=[])
    return tokenizer, {"pad_token_id": 1, "eos_token_id": 2, "bos_token_id": 0, "decoder_start_token_id": 2}


def m2m100(folder: Path):
    model = train(folder, "both", [*SOURCES, *TARGETS])
    front = ["<s>", "<pad>", "</s>", "<unk>"]
    names = dict.fromkeys([*front, *(name for name in pieces_of(model) if name not in front)])
    (folder / "vocab.json").write_text(json.dumps({name: index for index, name in enumerate(names)}))
    tokenizer = M2M100Tokenizer(vocab_file=str(folder / "vocab.json"), spm_file=str(model))
    return tokenizer, {"pad_token_id": 1, "eos_token_id": 2, "bos_token_id": 0, "decoder_start_token_id": 2}


def bart(folder: Path):
    front = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    roles = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}
    tokenizer = tiny.byte_level([*SOURCES, *TARGETS], 320, special=front, unk_token="<unk>", **roles)
    around = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    tokenizer.backend_tokenizer.post_processor = around
    return tokenizer, {"pad_token_id": 1, "eos_token_id": 2, "bos_token_id": 0, "decoder_start_token_id": 2}


MAKERS = {
    "marian": (marian, "marian"), "mbart": (mbart, "mbart"),
    "mbart50": (lambda folder: mbart(folder, MBart50Tokenizer), "mbart"),
    "nllb": (nllb, "m2m_100"), "m2m100": (m2m100, "m2m_100"), "bart": (bart, "bart"),
}  # fmt: skip


@pytest.fixture(scope="module", params=MAKERS)
def model(request, tmp_path_factory) -> tuple[str, Path]:
    make, family = MAKERS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    tokenizer, ids = make(folder)
    torch.manual_seed(0)
    size = max([len(tokenizer), *(index + 1 for index in getattr(tokenizer, "lang_token_to_id", {}).values())])
    config = AutoConfig.for_model(family, vocab_size=size, **SHAPE, **ids)
    return request.param, tiny.save(AutoModelForSeq2SeqLM.from_config(config), tokenizer, folder / "model")


@pytest.fixture(scope="module")
def items(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("items") / "items.json"
    rows = [{"text": source, "labels": target} for source, target in zip(SOURCES, TARGETS, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def plain_surprisals(name: str, folder: Path) -> list[list[tuple[str, float]]]:
    """Tokens and bits of each label by transformers alone, as its documents train translation; of special ones the end."""
    flags = dict(zip(LANGUAGES[name][::2], LANGUAGES[name][1::2], strict=True))
    options = {"src_lang": flags.get("--source_lang"), "tgt_lang": flags.get("--target_lang")} if flags else {}
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    model, found = AutoModelForSeq2SeqLM.from_pretrained(folder).eval(), []
    for source, target in zip(SOURCES, TARGETS, strict=True):
        inputs = dict(tokenizer(source, text_target=target, return_tensors="pt"))
        with torch.no_grad():
            bits = -model(**inputs).logits[0].double().log_softmax(-1) / math.log(2)
        labels = inputs["labels"][0].tolist()
        body = tokenizer(text_target=target, add_special_tokens=False)["input_ids"]
        kept = [place for place, index in enumerate(labels) if index in (tokenizer.eos_token_id, *body)]
        tokens = tokenizer.convert_ids_to_tokens(labels)
        found.append([(tokens[place], float(bits[place, labels[place]])) for place in kept])
    return found


@pytest.mark.parametrize("script", ["score.py", "finetune_lm.py"])
def test_labels_are_read_by_the_target_side(script, model, items, tmp_path, call_command):
    name, folder = model
    place = ("--device", "cpu") if script == "score.py" else ("--use_gpu", "False", "--seed", 1)
    flags = ("--model_name_or_path", folder, "--test_file", items, "--output_dir", tmp_path / "out", *LANGUAGES[name])
    done = call_command(script, *flags, *place)
    assert done.code == 0, done.stderr
    table = pd.read_csv(next((tmp_path / "out").glob("*-test_results.csv.gz")), keep_default_na=False)
    table = table[table["generated_sequence_type"] == "label_sequence"]
    for number, expected in enumerate(plain_surprisals(name, folder)):
        own = table[table["item"] == number]
        assert own["token"].tolist() == [token for token, _ in expected]
        assert own["surprisal"].tolist() == pytest.approx([bits for _, bits in expected], abs=1e-3)
        assert own["word_num"].tolist()[0] == 0


@pytest.mark.parametrize("script", ["score.py", "finetune_lm.py"])
def test_languages_are_asked_for_and_must_be_known(script, model, items, tmp_path, call_command):
    name, folder = model
    flags = ("--model_name_or_path", folder, "--test_file", items, "--output_dir", tmp_path / "out")
    unknown = call_command(script, *flags, "--target_lang", "xx_QQ")
    assert unknown.code == 2
    expected = "is no language of this tokenizer" if LANGUAGES[name] else "has no tokens for languages"
    assert expected in str(unknown.last["reason"])
    if LANGUAGES[name]:
        missing = call_command(script, *flags)
        assert missing.code == 2 and "give --target_lang" in str(missing.last["reason"])
