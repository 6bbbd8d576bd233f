"""Precision, recall, F1 and support of one class, as every task with classes reports them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ClassScore:
    """One row of the per-class table; `support` is the number of references with this label."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
