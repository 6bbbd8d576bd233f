"""Tiny encoder-decoders with the tokenizers that they have: one vocabulary or two, with languages or without."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    M2M100Tokenizer,
    MarianTokenizer,
    MBart50Tokenizer,
    MBartTokenizer,
    NllbTokenizer,
    PLBartTokenizer,
    PreTrainedTokenizerFast,
)

from tests import tiny

SHAPE = {
    "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64, "init_std": 0.6, "dropout": 0.0,
}  # fmt: skip
LANGUAGES = {  # of texts and labels, where the tokenizer has some
    "mbart": ("en_XX", "de_DE"), "mbart50": ("en_XX", "de_DE"), "nllb": ("eng_Latn", "deu_Latn"), "m2m100": ("en", "de"),
    "plbart": ("java", "en_XX"),
}  # fmt: skip
FRONT = ["<s>", "<pad>", "</s>", "<unk>"]
BART_IDS = {"pad_token_id": 1, "eos_token_id": 2, "bos_token_id": 0, "decoder_start_token_id": 2}
Made = tuple[Any, dict[str, Any]]  # a tokenizer, and what the configuration says of its ids


def letters_of(lines: Sequence[str]) -> list[str]:
    return sorted({*"".join("".join(lines).split())} | {"▁"})


def train(folder: Path, name: str, lines: Sequence[str]) -> Path:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for line in lines if line.strip()] * 30),
        model_prefix=str(folder / name),
        vocab_size=len(letters_of(lines)) + 20,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return folder / f"{name}.model"


def pieces_of(*models: Path) -> list[str]:
    loaded = [sentencepiece.SentencePieceProcessor(model_file=str(model)) for model in models]
    return list(dict.fromkeys(item.id_to_piece(index) for item in loaded for index in range(len(item))))


def write_vocabulary(path: Path, names: Sequence[str]) -> dict[str, int]:
    vocabulary = {name: index for index, name in enumerate(dict.fromkeys(names))}
    path.write_text(json.dumps(vocabulary), encoding="utf-8")
    return vocabulary


def marian(folder: Path, sources: Sequence[str], targets: Sequence[str], *, separate: bool = False) -> Made:
    """Two SentencePiece models over one vocabulary, as most have it, or over a vocabulary each."""
    models = [train(folder, "source", sources), train(folder, "target", targets)]
    front, kept = ["</s>", "<unk>"], [[name for name in pieces_of(model) if name != "<s>"] for model in models]
    names = [[*front, *kept[0]], [*front, *kept[1]]] if separate else [[*front, *kept[0], *kept[1]]]
    names = [list(dict.fromkeys(held)) for held in names]
    size = max(map(len, names))  # both have the padding at the same place, as converted models have
    names = [[*held, *(f"unused{index}" for index in range(size - len(held))), "<pad>"] for held in names]
    vocabulary = write_vocabulary(folder / "vocab.json", names[0])
    ids: dict[str, Any] = {"pad_token_id": vocabulary["<pad>"], "eos_token_id": 0, "forced_eos_token_id": 0}
    more: dict[str, Any] = {}
    if separate:
        write_vocabulary(folder / "target_vocab.json", names[1])
        more = {"separate_vocabs": True, "target_vocab_file": str(folder / "target_vocab.json")}
        ids |= {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": size + 1, "tie_word_embeddings": False}
    tokenizer = MarianTokenizer(
        source_spm=str(models[0]),
        target_spm=str(models[1]),
        vocab=str(folder / "vocab.json"),
        source_lang="en",
        target_lang="de",
        **more,
    )
    return tokenizer, {**ids, "decoder_start_token_id": vocabulary["<pad>"]}


def marian_separate(folder: Path, sources: Sequence[str], targets: Sequence[str]) -> Made:
    return marian(folder, sources, targets, separate=True)


def mbart(folder: Path, sources: Sequence[str], targets: Sequence[str], kind: type = MBartTokenizer) -> Made:
    del folder
    tokenizer = kind(vocab=[(name, -1.0) for name in [*FRONT, *letters_of([*sources, *targets])]])
    ids = {name: value for name, value in BART_IDS.items() if kind is MBart50Tokenizer or "start" not in name}
    return tokenizer, ids


def mbart50(folder: Path, sources: Sequence[str], targets: Sequence[str]) -> Made:
    return mbart(folder, sources, targets, MBart50Tokenizer)


def nllb(folder: Path, sources: Sequence[str], targets: Sequence[str]) -> Made:
    del folder
    names = [*FRONT, *letters_of([*sources, *targets])]
    return NllbTokenizer(vocab={name: index for index, name in enumerate(names)}, merges=[]), BART_IDS


def m2m100(folder: Path, sources: Sequence[str], targets: Sequence[str]) -> Made:
    model = train(folder, "both", [*sources, *targets])
    write_vocabulary(folder / "vocab.json", [*FRONT, *(name for name in pieces_of(model) if name not in FRONT)])
    return M2M100Tokenizer(vocab_file=str(folder / "vocab.json"), spm_file=str(model)), BART_IDS


def plbart(folder: Path, sources: Sequence[str], targets: Sequence[str]) -> Made:
    return PLBartTokenizer(vocab_file=str(train(folder, "both", [*sources, *targets]))), BART_IDS


def bart(folder: Path, sources: Sequence[str], targets: Sequence[str]) -> Made:
    del folder
    roles = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}
    roles |= {"unk_token": "<unk>", "mask_token": "<mask>"}
    tokenizer = tiny.byte_level([*sources, *targets], 320, special=[*FRONT, "<mask>"], **roles)
    around = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    tokenizer.backend_tokenizer.post_processor = around
    return tokenizer, BART_IDS


def t5(folder: Path, sources: Sequence[str], targets: Sequence[str]) -> Made:
    held = sentencepiece.SentencePieceProcessor(model_file=str(train(folder, "both", [*sources, *targets])))
    pieces = [(held.id_to_piece(index), held.get_score(index)) for index in range(3, len(held))]
    sentinels = [f"<extra_id_{number}>" for number in range(10)]
    special = [(name, 0.0) for name in ("<pad>", "</s>", "<unk>")]
    rust = Tokenizer(models.Unigram([*special, *pieces, *((name, 0.0) for name in sentinels)], unk_id=2))
    rust.pre_tokenizer, rust.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    rust.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    roles = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "extra_special_tokens": sentinels}
    ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    return PreTrainedTokenizerFast(tokenizer_object=rust, **roles), ids


MAKERS = {
    "marian": (marian, "marian"), "marian_separate": (marian_separate, "marian"), "mbart": (mbart, "mbart"),
    "mbart50": (mbart50, "mbart"), "nllb": (nllb, "m2m_100"), "m2m100": (m2m100, "m2m_100"), "bart": (bart, "bart"),
    "plbart": (plbart, "plbart"), "t5": (t5, "t5"),
}  # fmt: skip


def save_translator(name: str, folder: Path, sources: Sequence[str], targets: Sequence[str], **changes: Any) -> Path:
    """A random model whose predictions are far from even, with its tokenizer."""
    make, family = MAKERS[name]
    tokenizer, ids = make(folder, sources, targets)
    torch.manual_seed(0)
    size = max([len(tokenizer), *(index + 1 for index in getattr(tokenizer, "lang_token_to_id", {}).values())])
    shape = {} if family == "t5" else SHAPE
    if family == "t5":
        shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0}
        changes = {}
    config = AutoConfig.for_model(family, **{"vocab_size": size, **shape, **ids, **changes})
    return tiny.save(AutoModelForSeq2SeqLM.from_config(config), tokenizer, folder / "model")
