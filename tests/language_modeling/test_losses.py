from __future__ import annotations

import math
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from finetune.encoding.masking import labelled_positions
from finetune.language_modeling.losses import (
    LanguageEvaluation,
    MaskedLoss,
    NextTokenLoss,
    StreamedExamples,
    perplexity,
    score_language,
    shuffle_window,
)
from finetune.models.sparse_mlm_head import select_labelled


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 9, 30, generator=generator)
    labels = torch.randint(0, 30, (4, 9), generator=generator)
    labels[torch.rand(4, 9, generator=generator) < 0.6] = -100
    labels[0] = -100
    return logits, labels


def test_collator_and_sparse_head_select_the_same_positions(batch):
    labels = batch[1]
    ours, theirs = labelled_positions(labels.numpy()), select_labelled(labels)
    assert all(np.array_equal(one, other.numpy()) for one, other in zip(ours, theirs, strict=True))


def test_masked_loss_is_the_same_for_full_and_gathered_logits(batch):
    logits, labels = batch
    positions, selected = select_labelled(labels)
    gathered = logits.flatten(0, 1)[positions[0]][None]
    expected = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
    assert torch.allclose(MaskedLoss()({"logits": gathered}, selected), expected)
    assert torch.allclose(MaskedLoss(gathered=True)({"logits": gathered}, labels), expected)
    assert torch.allclose(MaskedLoss()({"logits": logits}, labels), expected)


def test_next_token_loss_is_that_of_shifted_labels(batch):
    logits, labels = batch
    expected = functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    assert torch.allclose(NextTokenLoss()({"logits": logits}, labels), expected)


@pytest.mark.parametrize("loss", [MaskedLoss(), NextTokenLoss()])
def test_micro_batches_add_up_to_the_global_mean(batch, loss):
    logits, labels = batch
    counted = labels if isinstance(loss, MaskedLoss) else labels[:, 1:]
    total = (counted != -100).sum()
    whole = loss({"logits": logits}, labels, total)
    parts = sum(loss({"logits": logits[[row]]}, labels[[row]], total) for row in range(4))
    assert torch.allclose(whole, parts)


@pytest.mark.parametrize("kind", ["masked", "sparse", "causal"])
def test_scores_are_those_of_the_whole_split_whatever_its_batches(batch, kind):
    logits, labels = batch
    loss = NextTokenLoss() if kind == "causal" else MaskedLoss(gathered=kind == "sparse")
    evaluate = LanguageEvaluation(loss)
    rows = []
    for part in (slice(0, 1), slice(1, 3), slice(3, 4)):
        given = logits[part]
        if kind == "sparse":
            given = given.flatten(0, 1)[select_labelled(labels[part])[0][0]][None]
        rows.append(evaluate((given, None), labels[part]))
    scores = score_language(SimpleNamespace(predictions=torch.cat(rows).numpy()))
    shown, expected = (logits[:, :-1], labels[:, 1:]) if kind == "causal" else (logits, labels)
    counted = expected != -100
    loss_expected = functional.cross_entropy(shown.flatten(0, 1), expected.flatten(), ignore_index=-100).item()
    assert scores["loss"] == pytest.approx(loss_expected, rel=1e-6)
    assert scores["perplexity"] == pytest.approx(math.exp(loss_expected), rel=1e-5)
    assert scores["accuracy"] == pytest.approx((shown.argmax(-1) == expected)[counted].float().mean().item())


def test_perplexity_beyond_numbers_is_infinite():
    assert perplexity(2.0) == math.exp(2) and perplexity(1e6) == math.inf


def test_stream_is_shuffled_by_seed_and_epoch_and_loses_nothing():
    def read(epoch):
        return ({"index": index, "epoch": epoch} for index in range(50))

    def orders(seed=1):
        examples = list(islice(StreamedExamples(read, seed=seed, window=8), 100))
        assert [example["epoch"] for example in examples] == [0] * 50 + [1] * 50
        numbers = [example["index"] for example in examples]
        return numbers[:50], numbers[50:]

    first, second = orders()
    assert sorted(first) == sorted(second) == list(range(50)) and first != sorted(first)
    assert orders() == (first, second) and len({tuple(first), tuple(second), tuple(orders(seed=2)[0])}) == 3


def read_forty(epoch):
    return ({"index": index} for index in range(40))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_stream_is_the_same_whatever_the_number_of_loader_workers(workers):
    stream = StreamedExamples(read_forty, seed=1, window=4)
    stream.batch = 4
    expected = [example["index"] for example in islice(stream, 60)]
    loader = torch.utils.data.DataLoader(stream, batch_size=4, num_workers=workers)
    assert torch.cat([batch["index"] for batch in islice(loader, 15)]).tolist() == expected


def test_a_stream_without_text_ends():
    assert list(StreamedExamples(lambda epoch: iter(()), seed=1)) == []


def test_window_bounds_what_is_held_back():
    order = [e["i"] for e in shuffle_window(({"i": i} for i in range(100)), 5, np.random.default_rng(0))]
    assert all(place >= index - 5 for index, place in zip(order, range(100), strict=True))
