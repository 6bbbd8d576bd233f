from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finetune.distillation.losses import (
    BinarySoftTargetLoss,
    CosineLoss,
    HardLabelLoss,
    HiddenStateLoss,
    LogitLoss,
    RelationLoss,
    SoftTargetLoss,
    SparseSoftTargetLoss,
    choose_relation_heads,
    choose_top_k,
    map_layers,
)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def softmax(values: np.ndarray) -> np.ndarray:
    exponentials = np.exp(values - values.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_soft_targets_against_their_definition(temperature):
    student, teacher = draw(5, 7), draw(5, 7, seed=1)
    p, q = softmax(teacher.double().numpy() / temperature), softmax(student.double().numpy() / temperature)
    expected = (p * np.log(p / q)).sum() * temperature**2
    loss = SoftTargetLoss(temperature)
    assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)
    assert loss(teacher, teacher).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("count", [1, 3, 10, 11, 50])
def test_the_likeliest_and_the_rest_against_their_definition(count):
    """K + 1 classes: the K top-k of the teacher, and all others as one."""
    student, teacher, kept = draw(6, 11), 3 * draw(6, 11, seed=1), min(count, 11)
    loss, ids_and_values = SparseSoftTargetLoss(2.0), choose_top_k(teacher, count, 2.0)
    p, q = softmax(teacher.double().numpy() / 2), softmax(student.double().numpy() / 2)
    expected = 0.0
    for row in range(6):
        order = np.argsort(-p[row])
        for part in [*order[:kept, None], *([order[kept:]] if kept < 11 else [])]:
            expected += p[row, part].sum() * np.log(p[row, part].sum() / q[row, part].sum())
    assert loss(student, *ids_and_values).item() == pytest.approx(expected * 4, rel=1e-5)
    assert loss(student, *ids_and_values) <= SoftTargetLoss(2.0)(student, teacher) * (1 + 1e-6)
    assert loss(teacher, *ids_and_values).item() == pytest.approx(0.0, abs=1e-5)
    assert torch.allclose(ids_and_values[1].exp().sum(-1), torch.ones(6))


@pytest.mark.parametrize("count", [2, 11])
def test_gradients_of_the_likeliest_and_the_rest(count):
    student, teacher = draw(4, 11).double().requires_grad_(), draw(4, 11, seed=1).double()
    ids, values = choose_top_k(teacher, count, 2.0)
    SparseSoftTargetLoss(2.0)(student, ids, values).backward()
    p, q = softmax(teacher.numpy() / 2), softmax(student.detach().numpy() / 2)
    scaled = np.empty_like(q)  # of the rest each entry has the student's share of the teacher's probability
    for row, chosen in enumerate(ids.numpy()):
        rest = np.setdiff1d(np.arange(11), chosen)
        scaled[row, chosen] = p[row, chosen]
        scaled[row, rest] = q[row, rest] / q[row, rest].sum() * p[row, rest].sum() if len(rest) else 0
    assert student.grad.numpy() == pytest.approx((q - scaled) * 2, rel=1e-4, abs=1e-6)


def test_labels_decided_one_by_one():
    student, teacher = draw(4, 3), draw(4, 3, seed=1)
    p, q = (1 / (1 + np.exp(-logits.double().numpy() / 2)) for logits in (teacher, student))
    expected = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum() * 4
    assert BinarySoftTargetLoss(2.0)(student, teacher).item() == pytest.approx(expected, rel=1e-5)
    assert BinarySoftTargetLoss(2.0)(teacher, teacher).item() == pytest.approx(0.0, abs=1e-6)


def test_soft_targets_agree_with_the_published_formula():
    """batchmean of torch's KLDivLoss over positions, times T squared."""
    student, teacher = draw(6, 11), draw(6, 11, seed=3)
    criterion = torch.nn.KLDivLoss(reduction="batchmean")
    published = criterion(torch.log_softmax(student / 2, -1), torch.softmax(teacher / 2, -1)) * 4
    assert (SoftTargetLoss(2.0)(student, teacher) / 6).item() == pytest.approx(published.item(), rel=1e-5)


def test_gradients_of_soft_targets_keep_their_size_at_high_temperature():
    """T^2 KL tends to half the squared difference of centred logits over the vocabulary's size (Hinton et al., eq. 4)."""
    student, teacher = draw(1, 9), draw(1, 9, seed=1)
    difference = (student - student.mean()) - (teacher - teacher.mean())
    expected = difference.square().sum().item() / (2 * 9)
    assert SoftTargetLoss(100.0)(student.double(), teacher.double()).item() == pytest.approx(expected, rel=0.05)


def test_squared_differences_of_logits():
    student, teacher = draw(4, 6), draw(4, 6, seed=1)
    assert LogitLoss()(student, teacher).item() == pytest.approx(float(((student - teacher) ** 2).sum()), rel=1e-6)
    assert LogitLoss()(teacher, teacher).item() == 0


def test_hard_labels_skip_what_is_not_labelled():
    logits, labels = draw(4, 6), torch.tensor([2, -100, 5, -100])
    expected = -sum(math.log(softmax(logits[row].numpy())[label]) for row, label in ((0, 2), (2, 5)))
    assert HardLabelLoss()(logits, labels).item() == pytest.approx(expected, rel=1e-5)


def test_cosine_of_equal_widths_has_no_weights_and_is_zero_for_the_teacher():
    loss, student, teacher = CosineLoss(8, 8), draw(3, 8), draw(3, 8, seed=1)
    rows = zip(student.numpy(), teacher.numpy(), strict=True)
    expected = sum(1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in rows)
    assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)
    assert loss(teacher, teacher).item() == pytest.approx(0.0, abs=1e-6)
    assert not list(loss.parameters())


def test_cosine_of_another_width_is_zero_where_the_projection_gives_the_teacher():
    loss, student = CosineLoss(4, 8), draw(3, 4)
    teacher = student @ loss.projection.weight.T
    assert loss(student, teacher.detach()).item() == pytest.approx(0.0, abs=1e-5)


def test_hidden_states_are_compared_layer_by_layer_after_projection():
    loss = HiddenStateLoss(4, 6, [0, 2])
    student, teacher = [draw(5, 4), draw(5, 4, seed=1)], [draw(5, 6, seed=2 + number) for number in range(3)]
    weights = [loss.embedding_projection.weight, loss.layer_projection.weight]
    pairs = zip(student, (teacher[0], teacher[2]), weights, strict=True)
    expected = sum(float(((own @ weight.detach().T - target) ** 2).mean(-1).sum()) for own, target, weight in pairs)
    assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)
    same = HiddenStateLoss(6, 6, [0, 1, 2])
    assert same(teacher, teacher).item() == 0 and not list(same.parameters())


def naive_relations(vectors: np.ndarray, heads: int) -> np.ndarray:
    """(heads, length, length) of one text."""
    parts = np.split(vectors, heads, axis=-1)
    return np.stack([softmax(part @ part.T / math.sqrt(part.shape[-1])) for part in parts])


def test_relations_against_a_text_at_a_time():
    """Widths 12 and 24, texts of 3 and 5 tokens, what stands in the padding does not matter."""
    mask, heads = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]), 4
    student = [draw(2, 5, 12, seed=number) for number in range(3)]
    teacher = [draw(2, 5, 24, seed=10 + number) for number in range(3)]
    expected = 0.0
    for own, target in zip(student, teacher, strict=True):
        for row, length in ((0, 3), (1, 5)):
            q = naive_relations(own[row, :length].double().numpy(), heads)
            p = naive_relations(target[row, :length].double().numpy(), heads)
            expected += (p * np.log(p / q)).sum() / heads
    loss = RelationLoss(heads)
    assert loss(student, teacher, mask).item() == pytest.approx(expected, rel=1e-5)
    assert loss(teacher, teacher, mask).item() == pytest.approx(0.0, abs=1e-6)
    disturbed = [own.clone() for own in student]
    for own in disturbed:
        own[0, 3:] = 100.0
    assert loss(disturbed, teacher, mask).item() == pytest.approx(expected, rel=1e-5)


def test_relations_have_finite_gradients_beside_padding():
    student = [draw(1, 4, 8).requires_grad_() for _ in range(3)]
    teacher = [draw(1, 4, 16, seed=number) for number in range(3)]
    RelationLoss(2)(student, teacher, torch.tensor([[1, 1, 0, 0]])).backward()
    assert all(own.grad is not None and own.grad.isfinite().all() for own in student)


@given(st.integers(1, 24), st.integers(1, 24))
def test_layers_are_mapped_in_order_from_embeddings_to_last(student, teacher):
    layers = map_layers(student, teacher)
    assert layers[0] == 0 and layers[-1] == teacher and layers == sorted(layers) and len(layers) == student + 1


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 16))
def test_relation_heads_divide_both_widths(first, second, factor):
    heads = choose_relation_heads(first * factor, second * factor)
    assert (first * factor) % heads == 0 and (second * factor) % heads == 0 and heads >= min(factor, 1)
