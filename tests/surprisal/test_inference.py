"""Scores of texts against a plain loop over probabilities, tokenizer and words included."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from finetune.errors import DataError
from finetune.surprisal.inference import SurprisalModel
from tests.tiny import byte_level
from tests.tiny import gpt2 as tiny_gpt2

TEXTS = ["the dogs run,  home", "a dog", " the cat\nsleeps", ""]


@pytest.fixture(scope="module")
def gpt2() -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast]:
    tokenizer = byte_level(TEXTS * 3, 280, special=["<eos>"], eos_token="<eos>")
    return tiny_gpt2(290, n_positions=40, initializer_range=0.4), tokenizer


@torch.no_grad()
def next_probabilities(model, ids) -> np.ndarray:
    return torch.softmax(model(torch.tensor([ids])).logits[0, -1].double(), -1).numpy()


def plain_words(model, tokenizer, text: str) -> list[tuple[str, float, float]]:
    """(subwords, bits, corrected bits) of each word by theorem 2 of Pimentel & Meister (2024), one subword at a time."""
    end = tokenizer.eos_token_id
    marked = [i for i in range(len(tokenizer)) if tokenizer.convert_ids_to_tokens(i)[0] in "ĠĊĉč" or i == end]
    ids = tokenizer(text)["input_ids"]
    subwords = tokenizer.convert_ids_to_tokens(ids)
    words: list[list[int]] = []
    for place in range(len(ids)):
        after_blank = place > 0 and not subwords[place - 1].strip("ĠĊ")
        if place == 0 or (ids[place] in marked and not after_blank):
            words.append([])
        words[-1].append(place)
    results = []
    for word in words:
        probability = math.prod(next_probabilities(model, [end, *ids[:place]])[ids[place]] for place in word)
        before = next_probabilities(model, [end, *ids[: word[0]]])[marked].sum() if ids[word[0]] in marked else 1.0
        after = next_probabilities(model, [end, *ids[: word[-1] + 1]])[marked].sum()
        corrected = probability * after / before
        results.append(("".join(subwords[place] for place in word), -math.log2(probability), -math.log2(corrected)))
    return results


def test_corrected_words_are_those_of_a_plain_loop(gpt2):
    model, tokenizer = gpt2
    scored = SurprisalModel(model, tokenizer, "lm").score(TEXTS)
    expected = [row for text in TEXTS for row in plain_words(model, tokenizer, text)]
    assert [row[0] for row in expected] == ["the", "Ġdogs", "Ġrun,", "ĠĠhome", "a", "Ġdog", "Ġthe", "Ġcat", "Ċsleeps"]
    assert scored.words.surprisal == pytest.approx([row[1] for row in expected], abs=1e-4)
    assert scored.words.corrected == pytest.approx([row[2] for row in expected], abs=1e-4)


def test_corrected_words_of_long_texts_are_all_there(gpt2):
    model, tokenizer = gpt2
    surprisal_model = SurprisalModel(model, tokenizer, "lm", max_length=12)
    scored = surprisal_model.score(["the dogs run home " * 8, "a dog"])
    assert np.isfinite(scored.words.corrected).all() and np.isfinite(scored.surprisal).all()
    assert surprisal_model.counts["texts_windowed"] == 1
    assert len(scored.words.tokens) == 32 + 2 and scored.words.tokens.sum() == len(scored.ids)  # the last space too


def test_a_model_beside_itself_does_not_depend_on_batches(gpt2):
    model, tokenizer = gpt2
    together = SurprisalModel(model, tokenizer, "lm").score(TEXTS)
    alone = [SurprisalModel(model, tokenizer, "lm", batch_size=1).score([text]).surprisal for text in TEXTS]
    assert together.surprisal == pytest.approx(np.concatenate(alone), abs=1e-4)


def test_labels_must_be_as_long_as_masked_texts(tiny_bert):
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig.from_pretrained(tiny_bert))
    surprisal_model = SurprisalModel(model, AutoTokenizer.from_pretrained(tiny_bert), "mlm", masking="given")
    with pytest.raises(DataError, match="have 2 tokens, their text 3"):
        surprisal_model.score(["the [MASK] runs"], ["the dog"])
    scored = surprisal_model.score(["the [MASK] runs", "no mask"], ["the dog runs", None])
    assert scored.shown is not None and scored.shown.tolist() == [False, True, False, False, False]
    assert scored.words.corrected[1] == scored.surprisal[1] > 0 and surprisal_model.counts["texts_without_masks"] == 1
