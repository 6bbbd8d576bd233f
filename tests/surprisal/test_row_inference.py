"""Scores of whole batches against plain loops, one forward pass a token, over tiny GPT-2, BERT and T5."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import BertForMaskedLM, T5Config, T5ForConditionalGeneration

from finetune.models.sparse_mlm_head import use_sparse_mlm_head
from finetune.surprisal.row_inference import EncoderInputs, RowInference
from finetune.surprisal.rows import NO_TARGET, plan_given_masks, plan_left_to_right, plan_masked
from tests.tiny import bert_config
from tests.tiny import gpt2 as tiny_gpt2

VOCABULARY, BOS, CLS, SEP, MASK, PAD = 40, 1, 2, 3, 4, 0
LENGTHS = [5, 1, 0, 9, 3]
FOLLOWS = np.arange(VOCABULARY) % 3 == 0


@pytest.fixture(scope="module")
def texts() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(5, VOCABULARY, length) for length in LENGTHS]


@pytest.fixture(scope="module")
def gpt2():
    return tiny_gpt2(VOCABULARY, n_layer=2, initializer_range=0.5)


@pytest.fixture(scope="module")
def bert():
    torch.manual_seed(0)
    config = bert_config(VOCABULARY, num_hidden_layers=2, max_position_embeddings=32, initializer_range=0.5)
    return BertForMaskedLM(config).eval()


@pytest.fixture(scope="module")
def t5():
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    config = T5Config(vocab_size=VOCABULARY, decoder_start_token_id=PAD, **sizes)
    return T5ForConditionalGeneration(config).eval()


def flatten(texts):
    return np.concatenate(texts), np.cumsum([0, *map(len, texts)])


@torch.no_grad()
def log_softmax_at(model, position: int, **inputs) -> np.ndarray:
    """The plain way: one text, one forward pass, one distribution in double precision."""
    logits = model(**{name: torch.tensor([list(ids)]) for name, ids in inputs.items()}).logits[0, position]
    return torch.log_softmax(logits.double(), dim=-1).numpy()


def plain_causal(model, text, *, start=0):
    """(log p, best id, best log p, log border) of each token, then of the border at the end."""
    rows = []
    for place in range(start, len(text) + 1):
        scores = log_softmax_at(model, -1, input_ids=[BOS, *text[start:place]])
        target = scores[text[place]] if place < len(text) else np.nan
        rows.append((target, scores.argmax(), scores.max(), np.log(np.exp(scores[FOLLOWS]).sum())))
    return np.array(rows)


def test_causal_scores_are_those_of_a_plain_loop(gpt2, texts):
    ids, offsets = flatten(texts)
    rows = plan_left_to_right(ids, offsets, prefix=[BOS], width=32)
    found = RowInference(gpt2, pad=PAD, follows=FOLLOWS, batch_size=2).score(rows, ids, slots=len(ids) + len(texts))
    for number, text in enumerate(texts):
        slots = np.append(np.arange(offsets[number], offsets[number + 1]), len(ids) + number)
        expected = plain_causal(gpt2, text)
        np.testing.assert_allclose(found.log_border[slots], expected[:, 3], atol=1e-5)
        np.testing.assert_allclose(found.log_probability[slots], expected[:, 0], atol=1e-5)
        assert found.best_id[slots[:-1]].tolist() == expected[:-1, 1].tolist()
        np.testing.assert_allclose(found.best_log_probability[slots[:-1]], expected[:-1, 2], atol=1e-5)


def test_long_texts_are_read_in_windows_that_score_each_token_once(gpt2):
    ids = np.random.default_rng(1).integers(5, VOCABULARY, 23)
    rows = plan_left_to_right(ids, np.array([0, 23]), prefix=[BOS], width=9)
    assert sorted(rows.query_slots.tolist()) == list(range(24))
    assert rows.widths.max() == 9
    found = RowInference(gpt2, pad=PAD).score(rows, ids, slots=24)
    context = 4  # at least half of the eight tokens of a window, unless the text begins there
    for row, start in enumerate(rows.starts):
        queries = slice(rows.query_offsets[row], rows.query_offsets[row + 1])
        for slot in rows.query_slots[queries]:
            assert start == 0 or slot - start >= context
            if slot < 23:
                plain = log_softmax_at(gpt2, -1, input_ids=[BOS, *ids[start:slot]])[ids[slot]]
                assert found.log_probability[slot] == pytest.approx(plain, abs=1e-5)


def test_without_a_beginning_token_the_first_token_has_no_score(gpt2, texts):
    ids, offsets = flatten(texts)
    rows = plan_left_to_right(ids, offsets, prefix=[], width=32)
    found = RowInference(gpt2, pad=PAD, follows=FOLLOWS).score(rows, ids, slots=len(ids) + len(texts))
    firsts = [offsets[number] for number, text in enumerate(texts) if len(text)]
    assert np.flatnonzero(np.isnan(found.log_probability[: len(ids)])).tolist() == firsts
    second = log_softmax_at(gpt2, -1, input_ids=[texts[0][0]])[texts[0][1]]
    assert found.log_probability[1] == pytest.approx(second, abs=1e-5)


def plain_masked(model, text, place: int, masked: range) -> float:
    row = [MASK if index in masked else token for index, token in enumerate(text)]
    return log_softmax_at(model, place + 1, input_ids=[CLS, *row, SEP])[text[place]]


@pytest.mark.parametrize("sparse", [False, True])
def test_single_masks_and_later_pieces_of_the_word(bert, texts, sparse):
    ids, offsets = flatten(texts)
    starts = np.random.default_rng(2).random(len(ids)) < 0.4
    starts[[offset for offset, text in zip(offsets, texts, strict=False) if len(text)]] = True
    model = BertForMaskedLM(bert.config).eval()
    model.load_state_dict(bert.state_dict())
    assert not sparse or use_sparse_mlm_head(model) is None
    surprisal_model = RowInference(model, pad=PAD, mask=MASK, batch_size=4)
    around = {"prefix": [CLS], "suffix": [SEP], "width": 32}
    single = surprisal_model.score(plan_masked(ids, offsets, **around), ids, slots=len(ids))
    within = surprisal_model.score(plan_masked(ids, offsets, word_starts=starts, **around), ids, slots=len(ids))
    for number, text in enumerate(texts):
        base = offsets[number]
        for place in range(len(text)):
            end = next((j for j in range(place + 1, len(text)) if starts[base + j]), len(text))
            alone = plain_masked(bert, text, place, range(place, place + 1))
            assert single.log_probability[base + place] == pytest.approx(alone, abs=1e-5)
            word = plain_masked(bert, text, place, range(place, end))
            assert within.log_probability[base + place] == pytest.approx(word, abs=1e-5)


def test_masked_windows_stand_around_their_token(bert):
    ids = np.random.default_rng(3).integers(5, VOCABULARY, 20)
    rows = plan_masked(ids, np.array([0, 20]), prefix=[CLS], suffix=[SEP], width=10)
    assert (rows.widths == 10).all() and rows.starts[[0, 10, 19]].tolist() == [0, 6, 12]
    found = RowInference(bert, pad=PAD, mask=MASK).score(rows, ids, slots=20)
    assert found.log_probability[10] == pytest.approx(plain_masked(bert, ids[6:14], 4, range(4, 5)), abs=1e-5)


def test_given_masks_are_filled_at_once(bert):
    text, hidden = np.array([7, MASK, 9, MASK, 11]), np.array([-1, 8, -1, NO_TARGET, -1])
    rows = plan_given_masks(text, np.array([0, 5]), hidden, prefix=[CLS], suffix=[SEP], width=32, mask=MASK)
    found = RowInference(bert, pad=PAD, mask=MASK).score(rows, text, slots=5)
    expected = log_softmax_at(bert, 2, input_ids=[CLS, *text, SEP])
    assert found.log_probability[1] == pytest.approx(expected[8], abs=1e-5)
    assert found.best_id[1] == expected.argmax() and np.isnan(found.log_probability[[0, 2, 3, 4]]).all()


def test_label_sequences(t5, texts):
    labels = [np.append(text, SEP) for text in texts]
    sources = [text[::-1].copy() for text in texts]
    ids, offsets = flatten(labels)
    rows = plan_left_to_right(ids, offsets, prefix=[PAD], width=None)
    encoder = EncoderInputs(*flatten([np.append(source, SEP) for source in sources]))
    found = RowInference(t5, pad=PAD, batch_size=3).score(rows, ids, slots=len(ids) + len(texts), encoder=encoder)
    for number, label in enumerate(labels):
        for place, target in enumerate(label):
            decoder = [PAD, *label[:place]]
            plain = log_softmax_at(t5, -1, input_ids=[*sources[number], SEP], decoder_input_ids=decoder)[target]
            assert found.log_probability[offsets[number] + place] == pytest.approx(plain, abs=1e-5)


def test_label_sequences_have_the_loss_of_the_model(t5, texts):
    ids = np.append(texts[0], SEP)
    rows = plan_left_to_right(ids, np.array([0, len(ids)]), prefix=[PAD], width=None)
    encoder = EncoderInputs(texts[3], np.array([0, len(texts[3])]))
    found = RowInference(t5, pad=PAD).score(rows, ids, slots=len(ids) + 1, encoder=encoder)
    with torch.no_grad():
        loss = t5(input_ids=torch.from_numpy(texts[3])[None], labels=torch.from_numpy(ids)[None]).loss
    assert -found.log_probability[: len(ids)].mean() == pytest.approx(float(loss), abs=1e-5)
