from __future__ import annotations

import os

import pytest

from finetune.errors import DataError, RunError
from finetune.run.workers import IN_FLIGHT_PER_WORKER, map_in_order, usable_cores


def double(item: int) -> int:
    return 2 * item


def fail_on_three(item: int) -> int:
    if item == 3:
        raise DataError("three is not allowed")
    return item


def die_on_three(item: int) -> int:
    if item == 3:
        os._exit(9)
    return item


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order(workers):
    assert list(map_in_order(double, range(50), workers=workers)) == list(range(0, 100, 2))


def test_only_a_few_items_are_read_ahead():
    read = []

    def items():
        for item in range(100):
            read.append(item)
            yield item

    results = map_in_order(double, items(), workers=2)
    next(results)
    assert len(read) <= 2 * IN_FLIGHT_PER_WORKER
    results.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_come_through(workers):
    with pytest.raises(DataError, match="three is not allowed"):
        list(map_in_order(fail_on_three, range(10), workers=workers))


def test_killed_worker_is_told_in_a_sentence():
    with pytest.raises(RunError, match="a worker process was killed"):
        list(map_in_order(die_on_three, range(10), workers=2))


def test_usable_cores_respects_the_batch_system():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
