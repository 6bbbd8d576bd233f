"""Soft targets without the passes over memory that their definition takes: rows in turn, the gradient in the same pass.

Over a vocabulary of tens of thousands the elementwise work of a divergence costs as much as the matrix products around it,
and nearly all of that is memory traffic: a dozen arrays of (positions, vocabulary), written and read. Here a few rows at a
time go through all steps while they lie in the cache, and each power is taken once. The gradient for logits s of the
student and t of the teacher at temperature T is T (softmax(s / T) - softmax(t / T)): it is at hand where the loss is, and is
all that is kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CACHED = 1 << 19  # float32 numbers of a few rows: 2 MB, about a core's share of its caches
AT_ONCE = 1 << 26  # on an accelerator, whose kernels want many rows


def scale(logits: Tensor, temperature: float) -> Tensor:
    """Logits (rows, vocabulary) over the temperature in float32, the largest of each row 0, so that no power overflows."""
    scaled = logits.float() / temperature
    return scaled.sub_(scaled.amax(-1, keepdim=True))


class _SoftTargets(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        gradient = torch.empty_like(student) if ctx.needs_input_grad[0] else None
        total = torch.zeros((), dtype=torch.float32, device=student.device)
        rows = max((CACHED if student.device.type == "cpu" else AT_ONCE) // student.shape[-1], 1)
        for start in range(0, len(student), rows):
            part = slice(start, start + rows)
            own, distilled = (scale(logits[part], temperature) for logits in (student, teacher))
            difference = distilled - own
            own_sum, teacher_sum = (powers.exp_().sum(-1, keepdim=True) for powers in (own, distilled))
            probabilities = distilled.div_(teacher_sum)
            total += torch.dot(probabilities.flatten(), difference.flatten()) + (own_sum / teacher_sum).log().sum()
            if gradient is not None:
                gradient[part] = own.div_(own_sum).sub_(probabilities).mul_(temperature)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total * temperature**2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        return gradient * factor, None, None


def sum_soft_targets(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Sum over positions of T^2 KL(teacher || student) of distributions at temperature T, float32.

    Both are logits (positions, vocabulary); gradients reach the student only.
    """
    total: Tensor = _SoftTargets.apply(student, teacher.detach(), temperature)
    return total
