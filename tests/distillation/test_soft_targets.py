from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from finetune.distillation import soft_targets
from finetune.distillation.soft_targets import sum_soft_targets


def definition(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    log_student = functional.log_softmax(student.double() / temperature, dim=-1)
    log_teacher = functional.log_softmax(teacher.double() / temperature, dim=-1)
    return (log_teacher.exp() * (log_teacher - log_student)).sum() * temperature**2


def draw(rows: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return [(3 * torch.randn(rows, 11, generator=generator)).to(dtype) for _ in range(2)]


@pytest.mark.parametrize("rows", [0, 1, 4, 5, 9])  # of which 4 are gone through together
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_loss_and_gradient_against_their_definition(monkeypatch, rows, temperature):
    monkeypatch.setattr(soft_targets, "CACHED", 4 * 11)
    student, teacher = draw(rows)
    own, expected = student.clone().requires_grad_(), student.clone().requires_grad_()
    loss, wanted = sum_soft_targets(own, teacher, temperature), definition(expected, teacher, temperature)
    (3 * loss).backward()
    (3 * wanted).backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    torch.testing.assert_close(own.grad, expected.grad.float(), rtol=1e-4, atol=1e-6)


def test_short_formats_are_computed_in_float32():
    student, teacher = draw(6, torch.bfloat16)
    own = student.clone().requires_grad_()
    loss = sum_soft_targets(own, teacher, 2.0)
    loss.backward()
    expected = student.float().requires_grad_()
    definition(expected, teacher.float(), 2.0).backward()
    assert loss.dtype == torch.float32 and own.grad.dtype == torch.bfloat16
    assert loss.item() == pytest.approx(definition(student.float(), teacher.float(), 2.0).item(), rel=1e-5)
    torch.testing.assert_close(own.grad, expected.grad.bfloat16(), rtol=1e-2, atol=1e-6)


def test_a_student_that_equals_its_teacher_has_neither_loss_nor_gradient():
    student = draw(5)[0].requires_grad_()
    loss = sum_soft_targets(student, student, 2.0)
    loss.backward()
    assert loss.item() == 0.0 and not student.grad.any()


def test_nothing_is_kept_where_no_gradient_is_wanted():
    student, teacher = draw(5)
    assert sum_soft_targets(student, teacher, 2.0).grad_fn is None
