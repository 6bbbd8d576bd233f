"""Numbers are given out until each has a result; results come in order, each once, whoever is late or dies."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from finetune.engine.actor import Forward
from finetune.engine.kept_results import KeptResults
from finetune.engine.ledger import Ledger
from finetune.run.engines import Mapped


@given(st.integers(0, 12), st.integers(1, 6), st.integers(1, 4), st.integers(0, 1 << 30))
def test_every_result_comes_once_and_in_order(items, window, workers, seed):
    draw = random.Random(seed)
    ledger, held, given_on = Ledger(window), [], []
    while not ledger.is_over:
        given_on += ledger.results()
        while len(held) < workers and (number := ledger.take()) is not None:
            held.append(number)
            assert number < ledger.turn + window
        if held:
            number = held.pop(draw.randrange(len(held)))
            if draw.random() < 0.3:
                ledger.give_back(number)
            elif number >= items:
                ledger.note_end(number)
            else:
                ledger.add(number, number * 10)
                ledger.add(number, "a second result of a number changes nothing")
    assert given_on == [number * 10 for number in range(items)]


def test_kept_results_are_not_made_again_unless_the_work_is_another(tmp_path: Path):
    kept = KeptResults(tmp_path / "parts", {"seed": 1})
    kept.write(0, b"zero")
    kept.write(2, b"two")
    again = KeptResults(tmp_path / "parts", {"seed": 1})
    ledger = Ledger(8, again)
    assert list(ledger.results()) == [b"zero"]
    assert [ledger.take() for _ in range(3)] == [1, 3, 4]
    ledger.add(1, b"one")
    assert list(ledger.results()) == [b"one", b"two"]
    assert KeptResults(tmp_path / "parts", {"seed": 2}).found == set()


def test_items_are_found_by_number_in_any_order():
    reads = []

    class Counted:
        def __iter__(self):
            reads.append(1)
            return iter("abcde")

    items = Forward(Mapped(str.upper, Counted()))
    assert [items.find(number) for number in (0, 3, 4)] == [("a",), ("d",), ("e",)] and len(reads) == 1
    assert items.find(1) == ("b",) and len(reads) == 2
    assert items.find(7) is None
    assert items.find(2) == ("c",)
