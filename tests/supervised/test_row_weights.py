"""Cells that rows weigh, read; weights scaled to a mean of 1 over what the loss counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.errors import DataError
from finetune.supervised.row_weights import check_weights, read_weight, scale_weights


@pytest.mark.parametrize("value", [None, "", "much", -1, "-0.5", math.nan, "nan", math.inf, "1e39", True, [1], {}])
def test_what_is_no_weight(value):
    assert math.isnan(read_weight(value))
    (problem,) = check_weights([1, value], [{"path": "f.csv", "line": 2}, {"path": "f.csv", "line": 3}])
    assert str(problem).startswith("f.csv:3: the weight of the row is ") and "from 0 on" in str(problem)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 1.0, 2.0, 3.0]), st.integers(1, 5)), min_size=1))
def test_scaled_weights_are_one_in_the_mean_over_items_and_keep_their_ratios(rows):
    weights, items = (np.array(column) for column in zip(*rows, strict=True))
    if not weights.any():
        with pytest.raises(DataError, match="weigh nothing"):
            scale_weights(weights, items)
        return
    scaled = scale_weights(weights, items)
    assert np.isclose((scaled * items).sum(), items.sum(), rtol=1e-5)
    assert np.allclose(scaled * weights.max(), weights * scaled.max(), rtol=1e-5)
