from __future__ import annotations

import numpy as np
from scipy import stats

from finetune.encoding.draws import as_fraction, below, draw_bits, draw_number, mix


def test_mix_is_splitmix64():
    """The first outputs of the published generator with seed 1234567 (its state grows by the golden gamma)."""
    states = np.array(
        [1234567 + step * 0x9E3779B97F4A7C15 & (1 << 64) - 1 for step in (1, 2, 3, 4, 5)], dtype=np.uint64
    )
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert mix(states).tolist() == expected


def test_number_depends_on_every_part_and_on_their_order():
    numbers = [draw_number(*parts) for parts in ((1, 2, 3), (1, 3, 2), (2, 2, 3), (1, 2, 4), (1, 2), (0, 1, 2, 3))]
    assert len(set(numbers)) == len(numbers)
    assert all(0 <= number < 1 << 63 for number in numbers)
    assert draw_number(1, 2, 3) == numbers[0]


def test_rows_do_not_depend_on_each_other_nor_on_how_many_are_asked():
    draws = [draw_number(7, index) for index in range(20)]
    together = draw_bits(draws, 64)
    for index, draw in enumerate(draws):
        assert np.array_equal(draw_bits([draw], 10)[0], together[index, :10])


def test_fractions_and_whole_numbers_are_uniform():
    bits = draw_bits([draw_number(1, index) for index in range(500)], 400)
    fractions = as_fraction(bits).ravel()
    assert stats.kstest(fractions, "uniform").pvalue > 1e-4
    numbers = below(bits, 30).ravel()
    assert stats.chisquare(np.bincount(numbers, minlength=30)).pvalue > 1e-4
    assert abs(np.corrcoef(as_fraction(bits)[:, :-1].ravel(), as_fraction(bits)[:, 1:].ravel())[0, 1]) < 0.01


def test_limits_may_differ_from_row_to_row():
    bits = draw_bits([1, 2], 1000)
    numbers = below(bits, np.array([[3], [50]]))
    assert numbers[0].max() == 2 and numbers[1].max() == 49
