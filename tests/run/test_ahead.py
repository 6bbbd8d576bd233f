"""An iterator that is made one item ahead gives what the plain one gives, its errors included."""

from __future__ import annotations

import threading

import pytest

from finetune.run.ahead import read_ahead


def test_items_come_in_order_and_the_next_is_made_meanwhile():
    made, at_work = [], threading.Event()

    def make():
        for number in range(5):
            made.append((number, threading.current_thread() is threading.main_thread()))
            if number == 1:
                at_work.set()
            yield number

    items = read_ahead(make())
    assert next(items) == 0 and at_work.wait(10)
    assert list(items) == [1, 2, 3, 4]
    assert made == [(number, False) for number in range(5)]
    assert list(read_ahead([])) == []


def test_an_error_comes_where_its_item_would_have_come():
    def make():
        yield 1
        raise ValueError("no more")

    items = read_ahead(make())
    assert next(items) == 1
    with pytest.raises(ValueError, match="no more"):
        next(items)
