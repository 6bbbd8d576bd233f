"""The tiny tokenizers and models of all tests: trained or drawn in a blink, the same every time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForTokenClassification,
    BertConfig,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

END = "<|endoftext|>"
END_ROLES = {"bos_token": END, "eos_token": END, "unk_token": END}


def word_level(names: Iterable[str], **roles: Any) -> PreTrainedTokenizerFast:
    """A tokenizer whose ids are the places of these words; `roles` are its special tokens."""
    vocabulary = {name: number for number, name in enumerate(dict.fromkeys(names))}
    rust = Tokenizer(models.WordLevel(vocabulary, unk_token=roles["unk_token"]))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=rust, **roles)


def byte_level(
    texts: Sequence[str], vocab_size: int, *, special: Sequence[str] = (END,), **roles: Any
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on these texts, as GPT-2 has it."""
    rust = Tokenizer(models.BPE())
    rust.pre_tokenizer, rust.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rust.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=rust, **(roles or END_ROLES))


def gpt2(vocab_size: int, *, seed: int = 0, **changes: Any) -> GPT2LMHeadModel:
    """A GPT-2 of one layer, 16 wide, drawn from `seed`, in evaluation mode."""
    torch.manual_seed(seed)
    shape = {"n_positions": 32, "n_embd": 16, "n_layer": 1, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocab_size, **(shape | changes))).eval()


def bert_config(vocab_size: int, **changes: Any) -> BertConfig:
    """A BERT of one layer, 16 wide."""
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return BertConfig(vocab_size=vocab_size, **(shape | changes))


def save(model: PreTrainedModel, tokenizer: Any, folder: Path) -> Path:
    """A folder that `--model_name_or_path` takes."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_tagger(folder: Path) -> Path:
    """A tagger of `B-X` that knows the words a, b and c, with drawn weights."""
    tokenizer = word_level(["[PAD]", "[UNK]", "a", "b", "c"], unk_token="[UNK]", pad_token="[PAD]")
    config = BertConfig(
        vocab_size=5, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        id2label={0: "O", 1: "B-X"}, label2id={"O": 0, "B-X": 1},
    )  # fmt: skip
    torch.manual_seed(0)
    return save(AutoModelForTokenClassification.from_config(config), tokenizer, folder)
