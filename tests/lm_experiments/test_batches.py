"""Texts -> batches: the same draws for the same seed, rows that know their text, functions of one's own."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from finetune.errors import UsageError
from finetune.lm_experiments.batches import Recipe, TextBatches
from finetune.lm_experiments.preprocessing import expand_with_masks, mask_random_spans, mask_random_tokens
from finetune.lm_experiments.texts import AnnotatedTexts
from tests.tiny import word_level

TEXTS = ["a b c", "d", "e f g h"]


def make_tokenizer(*special: str) -> PreTrainedTokenizerFast:
    names = ["<pad>", "</s>", "<unk>", *special, *"abcdefgh"]
    roles = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    mask = {"mask_token": "[MASK]"} if "[MASK]" in special else {"extra_special_tokens": list(special)}
    tokenizer = word_level(names, **roles, **mask)
    ended = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.backend_tokenizer.post_processor = ended
    return tokenizer


MASKED, SPANS = make_tokenizer("[MASK]"), make_tokenizer(*[f"<extra_id_{n}>" for n in range(9)])


def texts_of(*texts: str) -> AnnotatedTexts:
    lines = list(range(1, len(texts) + 1))
    return AnnotatedTexts("x", list(texts), [{"n": number} for number in lines], None, lines)


def test_batches_of_plain_texts_are_padded_to_their_longest_or_as_asked():
    batches = TextBatches(texts_of(*TEXTS), Recipe(SPANS, "seq2seq"))
    assert [list(rows) for rows in batches.in_order(2)] == [[0, 1], [2]]
    batch = batches.make([0, 1]).arrays
    assert batch["input_ids"].shape == (2, 4) and batch["labels"][1].tolist() == [
        *batch["input_ids"][1, :2],
        -100,
        -100,
    ]
    wide = TextBatches(texts_of(*TEXTS), Recipe(SPANS, "seq2seq", pad_to=9)).make([1]).arrays
    assert wide["input_ids"].shape == wide["labels"].shape == (1, 9)
    assert wide["attention_mask"].sum() == 2 and (wide["labels"][0, 2:] == -100).all()


@pytest.mark.parametrize(("tokenizer", "task"), [(MASKED, "mlm"), (SPANS, "seq2seq")])
def test_expanded_rows_keep_their_text_and_metadata(tokenizer, task):
    once = TextBatches(texts_of(*TEXTS), Recipe(tokenizer, task, function=expand_with_masks))
    assert once.texts.texts == ["a b c"] * 3 + ["d"] + ["e f g h"] * 4
    assert [record["n"] for record in once.texts.metadata] == [1, 1, 1, 2, 3, 3, 3, 3]
    each = TextBatches(texts_of(*TEXTS), Recipe(tokenizer, task, function=expand_with_masks, per_batch=True))
    assert len(each) == 3
    made = each.make([2, 0])
    assert made.places.tolist() == [2, 2, 2, 2, 0, 0, 0]
    rows = once.make([4, 5, 6, 7, 0, 1, 2]).arrays
    assert all(np.array_equal(made.arrays[name], rows[name]) for name in ("input_ids", "labels", "attention_mask"))


def test_once_is_drawn_once_and_per_batch_anew_each_epoch():
    text = " ".join("abcdefgh" * 4)
    once = TextBatches(texts_of(text), Recipe(MASKED, "mlm", function=mask_random_tokens, seed=3))
    each = TextBatches(texts_of(text), Recipe(MASKED, "mlm", function=mask_random_tokens, seed=3, per_batch=True))
    masks = lambda batches, epoch: batches.make([0], epoch).arrays["labels"].tolist()  # noqa: E731
    assert masks(once, 1) == masks(once, 2)
    assert masks(each, 1) != masks(each, 2)
    again = TextBatches(texts_of(text), Recipe(MASKED, "mlm", function=mask_random_tokens, seed=3, per_batch=True))
    assert masks(each, 2) == masks(again, 2)


def test_labels_of_spans_are_kept_whole():
    batches = TextBatches(texts_of(*TEXTS), Recipe(SPANS, "seq2seq", function=mask_random_spans))
    batch = batches.make([0, 2]).arrays
    kept = [ids[ids != -100].tolist() for ids in batch["labels"]]
    first, second = SPANS.convert_tokens_to_ids(["<extra_id_0>", "<extra_id_1>"])
    assert all(labels[0] == first and labels[-1] == second for labels in kept)


def twice(inputs, tokenizer):
    return {name: np.repeat(values, 2, axis=0) for name, values in inputs.items()}


def counted_twice(inputs, tokenizer):
    return {**twice(inputs, tokenizer), "expanded_lengths": np.array([2, 2, 2, -1, -1, -1])}


def nothing(inputs, tokenizer):
    return {"ids": inputs["input_ids"]}


def test_own_functions_say_how_many_rows_they_make():
    good = TextBatches(texts_of(*TEXTS), Recipe(MASKED, "mlm", function=counted_twice))
    assert good.texts.texts == [text for text in TEXTS for _ in range(2)]
    with pytest.raises(UsageError, match="twice makes 6 rows of 3"):
        TextBatches(texts_of(*TEXTS), Recipe(MASKED, "mlm", function=twice))
    with pytest.raises(UsageError, match="nothing returns ids; a dictionary with input_ids"):
        TextBatches(texts_of(*TEXTS), Recipe(MASKED, "mlm", function=nothing))
