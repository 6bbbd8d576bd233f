"""Surprisals of many families beside transformers alone in double precision, one text at a time, over unusual texts."""

from __future__ import annotations

import functools
import itertools
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer, PreTrainedTokenizerFast

from finetune.arguments.model import ModelArguments
from finetune.surprisal.arguments import ScoreArguments
from finetune.surprisal.inference import ScoredTokens, open_surprisal_model
from tests.tiny_families import make_config

BITS = 1e-3
CAUSAL = (
    "bloom", "cohere", "falcon", "gemma", "gemma2", "gpt2", "gpt_neo", "gpt_neox", "gptj", "llama", "mistral", "olmo2",
    "opt", "phi", "qwen2", "stablelm",
)  # fmt: skip
MASKED = (
    "albert", "bert", "convbert", "deberta-v2", "distilbert", "electra", "fnet", "mobilebert", "modernbert", "mpnet",
    "nystromformer", "roberta", "xlm-roberta",
)  # fmt: skip
SPECIAL = ("<s>", "<unk>", "</s>", "<pad>", "<mask>")  # <pad> is id 3, as in the configurations
TEXTS = [
    "The keys to the cabinet are on the table.", "the dog", "a", "I", ".", "?!", "don't", "naïve café", "Ärger über Öl",
    "",  # nothing at all
    " leading", "trailing ", "  two  spaces  ", "\t", "tab\tbetween", "\n", "line\nend", "two\n\nends\n", "\r\n", "a\r\nb",
    "😀", "👩‍👩‍👧‍👦 family", "I ❤️ it 🤷🏽‍♀️!", "🇹🇭🇰🇷",  # joined from several code points
    "ภาษาไทย", "กินข้าวหรือยัง ครับ", "น้ำใจ", "中文测试", "日本語、テスト。", "한국어 문장", "العربية", "हिन्दी", "Việt",
    "<s>", "</s> here", "a <mask> b", "<pad><mask>", "x</s>y <s>z",  # its own special tokens, which are text
    "\u00a0non\u00a0breaking\u3000wide", "\u200bzero\ufeffwidth", "1,234.5 + 2e-5 = ½",
    "the cat sleeps and the dog runs home and the cat", "ﬁne ＦＵＬＬ ①", "e\u0301 combining",
]  # fmt: skip


def train(kind: str) -> PreTrainedTokenizerFast:
    """One of the three designs of vocabularies, whose every id can stand in these texts."""
    if kind == "wordpiece":
        rust, trainer = Tokenizer(models.WordPiece(unk_token="<unk>")), trainers.WordPieceTrainer
        rust.normalizer, rust.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        more = {}
    elif kind == "pieces":
        rust, trainer = Tokenizer(models.BPE(unk_token="<unk>")), trainers.BpeTrainer
        rust.pre_tokenizer, rust.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        more = {}
    else:
        rust, trainer = Tokenizer(models.BPE()), trainers.BpeTrainer
        rust.pre_tokenizer, rust.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        more = {"initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}
    plain = [text for text in TEXTS if not any(name in text for name in SPECIAL)]
    rust.train_from_iterator(
        plain * 2, trainer(vocab_size=400, special_tokens=list(SPECIAL), show_progress=False, **more)
    )
    if kind == "pieces":
        rust.model = with_bytes(json.loads(rust.to_str())["model"])
    names = ("bos_token", "unk_token", "eos_token", "pad_token", "mask_token")
    return PreTrainedTokenizerFast(tokenizer_object=rust, **dict(zip(names, SPECIAL, strict=True)))


def with_bytes(model: dict[str, Any]) -> models.BPE:
    """The same pieces, and every byte for what they do not spell."""
    letters = [letter for letter in model["vocab"] if len(letter) > 1 or letter.isascii() or letter in "▁ก中"]
    known = {*letters, *SPECIAL}
    merges = [(a, b) for a, b in model["merges"] if {a, b, a + b} <= known]
    names = dict.fromkeys([*SPECIAL, *letters, *(f"<0x{byte:02X}>" for byte in range(256))])
    vocabulary = {name: number for number, name in enumerate(names)}
    return models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True)


@functools.cache
def make_tokenizer(kind: str, *, masked: bool) -> PreTrainedTokenizerFast:
    tokenizer = train(kind)
    if masked:
        from tokenizers.processors import TemplateProcessing

        around = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
        tokenizer.backend_tokenizer.post_processor = around
    return tokenizer


def save_model(family: str, folder: Path, kind: str) -> Path:
    """A tiny model of a family whose predictions are far from even, and its tokenizer."""
    masked = family in MASKED
    tokenizer = make_tokenizer(kind, masked=masked)
    changes = {"max_position_embeddings": 160, "vocab_size": len(tokenizer)}
    known = make_config(family).to_dict()
    for name in ("n_positions", "initializer_range", "init_std"):
        changes |= {name: 160 if name == "n_positions" else 0.3} if name in known else {}
    torch.manual_seed(0)
    auto = AutoModelForMaskedLM if masked else AutoModelForCausalLM
    model = auto.from_config(make_config(family, **changes))
    model.config.architectures = [type(model).__name__]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def words_of(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """The number of the word that each token belongs to: as the tokenizer cuts words, or as white space separates them."""
    encoding = tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    if type(tokenizer.backend_tokenizer.model).__name__ == "WordPiece":
        return encoding.word_ids()
    spans = [match.span() for match in re.finditer(r"[^ \t\r\n]+", text)] or [(0, 0)]
    inked = [next((place for place in range(*span) if text[place] not in " \t\r\n"), span[1])
             for span in encoding["offset_mapping"]]  # fmt: skip
    found = [next((number for number, span in enumerate(spans) if place < span[1]), len(spans) - 1) for place in inked]
    return found


@torch.no_grad()
def plain_bits(folder: Path, *, masked: bool, masking: str = "single", texts: Sequence[str] = TEXTS) -> list[float]:
    """The surprisal of every token of all texts by transformers alone: a forward pass a token where it is masked."""
    auto = AutoModelForMaskedLM if masked else AutoModelForCausalLM
    model, tokenizer = auto.from_pretrained(folder, dtype=torch.float64).eval(), AutoTokenizer.from_pretrained(folder)
    found: list[float] = []
    for text in texts if masked else [text.removeprefix("<s>") for text in texts]:  # its own beginning is the beginning
        ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        if not ids:
            continue
        whole = torch.tensor([0, *ids, 2] if masked else [0, *ids])
        rows = whole.repeat(len(ids), 1) if masked else whole[None]
        words = words_of(tokenizer, text) if masking == "within_word_l2r" else range(len(ids))
        for row, later in itertools.product(range(len(ids)), range(len(ids))) if masked else ():
            if later >= row and words[later] == words[row]:
                rows[row, later + 1] = tokenizer.mask_token_id
        logits = model(input_ids=rows, attention_mask=torch.ones_like(rows)).logits.double()
        asked = logits[range(len(ids)), range(1, len(ids) + 1)] if masked else logits[0, :-1]
        found += (-torch.log_softmax(asked, -1)[range(len(ids)), ids] / math.log(2)).tolist()
    return found


def score(folder: Path, masking: str = "single", texts: Sequence[str] = TEXTS) -> ScoredTokens:
    options = ScoreArguments(device="cpu", masking=masking)
    return open_surprisal_model(ModelArguments(model_name_or_path=str(folder)), options).score(texts)


KINDS = ("wordpiece", "pieces", "bytes")


@pytest.mark.parametrize(
    ("family", "kind"),
    [(name, ("bytes", "pieces")[number % 2]) for number, name in enumerate(CAUSAL)]
    + [(name, KINDS[number % 3]) for number, name in enumerate(MASKED)],
)
def test_surprisals_are_those_of_transformers_in_double_precision(family, kind, tmp_path):
    masked = family in MASKED
    folder = save_model(family, tmp_path, kind)
    expected = np.array(plain_bits(folder, masked=masked))
    scored = score(folder)
    assert len(scored.surprisal) == len(expected) > 100 and expected.std() > 0.1
    assert np.abs(scored.surprisal - expected).max() < BITS
    assert scored.words.surprisal.sum() == pytest.approx(expected.sum(), abs=len(expected) * BITS)


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("bert", "wordpiece"),
        ("xlm-roberta", "pieces"),
        ("roberta", "bytes"),
        ("modernbert", "bytes"),
        ("fnet", "pieces"),
    ],
)
def test_words_are_masked_from_left_to_right_as_by_hand(family, kind, tmp_path):
    folder = save_model(family, tmp_path, kind)
    texts = [text for text in TEXTS if "\u00a0" not in text]  # bytes of wide spaces are tokens with and without letters
    expected = np.array(plain_bits(folder, masked=True, masking="within_word_l2r", texts=texts))
    scored = score(folder, "within_word_l2r", texts)
    assert len(scored.surprisal) == len(expected) and np.abs(scored.surprisal - expected).max() < BITS
    alone = np.array(plain_bits(folder, masked=True, texts=texts))
    assert (np.abs(alone - expected) > BITS).mean() > 0.05
