"""Surprisals of encoder-decoders beside transformers alone in double precision, over the same unusual texts and labels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from finetune.arguments.model import ModelArguments
from finetune.surprisal.arguments import ScoreArguments
from finetune.surprisal.inference import ScoredTokens, open_surprisal_model
from tests.surprisal.test_plain_transformers import BITS, SPECIAL, TEXTS
from tests.tiny_translators import LANGUAGES, MAKERS, save_translator

LABELS = [*TEXTS[7:], *TEXTS[:7]]
PYTHON = ("marian", "marian_separate", "m2m100", "plbart")  # tokenizers in Python
BLIND = (*PYTHON, "mbart", "mbart50", "t5")  # transformers cannot let them read control tokens as text: they are pieces
LEARNT = [text for text in TEXTS if not any(name in text for name in SPECIAL)]


def score(name: str, folder: Path) -> ScoredTokens:
    source, target = LANGUAGES.get(name, (None, None))
    options = ScoreArguments(device="cpu", source_lang=source, target_lang=target)
    return open_surprisal_model(ModelArguments(model_name_or_path=str(folder)), options).score(TEXTS, LABELS)


def encode(tokenizer: Any, text: str, name: str, *, side: str) -> tuple[list[int], list[int]]:
    """Ids of a text, or label, with what the tokenizer puts around it, and without; control tokens are text."""
    plain = tokenizer(**{side: text})["input_ids"]
    if name in PYTHON:
        return plain, tokenizer(**{side: text}, add_special_tokens=False)["input_ids"]
    around, bare = tokenizer(**{side: "a"})["input_ids"], tokenizer("a", add_special_tokens=False)["input_ids"]
    first = next(place for place in range(len(around)) if around[place : place + len(bare)] == bare)
    body = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [*around[:first], *body, *around[first + len(bare) :]], body


@torch.no_grad()
def plain_bits(name: str, folder: Path) -> list[tuple[list[int], list[float]]]:
    """Of each label its ids, without what names its beginning or language, and their bits; control tokens are text."""
    options = dict(zip(("src_lang", "tgt_lang"), LANGUAGES.get(name, ()), strict=False))
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    model, found = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float64).eval(), []
    for text, label in zip(TEXTS, LABELS, strict=True):
        ids, body = encode(tokenizer, label, name, side="text_target")
        inputs = {"input_ids": encode(tokenizer, text, name, side="text")[0], "labels": ids}
        inputs = {key: torch.tensor([values]) for key, values in inputs.items()}
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        bits = -model(**inputs).logits[0].log_softmax(-1) / math.log(2)
        first = next(place for place in range(len(ids)) if ids[place : place + len(body)] == body)
        kept = [*range(first, first + len(body)), *(place for place in range(first + len(body), len(ids))
                                                    if ids[place] == tokenizer.eos_token_id)]  # fmt: skip
        found.append(([ids[place] for place in kept], [float(bits[place, ids[place]]) for place in kept]))
    return found


@pytest.mark.parametrize("name", MAKERS)
def test_surprisals_of_labels_are_those_of_transformers_in_double_precision(name, tmp_path):
    folder = save_translator(name, tmp_path, LEARNT, LEARNT[::-1], max_position_embeddings=160)
    expected, scored = plain_bits(name, folder), score(name, folder)
    assert np.concatenate([bits for _, bits in expected]).std() > 0.1
    checked = 0
    for number, (ids, bits) in enumerate(expected):
        own = slice(scored.offsets[number], scored.offsets[number + 1])
        if name in BLIND and any(special in TEXTS[number] + LABELS[number] for special in SPECIAL):
            continue
        assert scored.ids[own].tolist() == ids
        assert np.abs(scored.surprisal[own] - bits).max(initial=0) < BITS
        checked += 1
    assert checked >= 30
