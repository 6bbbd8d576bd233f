from __future__ import annotations

import pickle

import numpy as np
import pytest

from finetune.distillation.teacher_cache_files import (
    PLACES,
    VALUES,
    TeacherCache,
    TeacherCacheWriter,
    TeacherRows,
    count_epochs,
    name_of,
)

IDS = np.arange(12).reshape(6, 2)
LOGS = np.linspace(-3, -0.1, 18, dtype=np.float32).reshape(6, 3)


def write(folder, offset: int = 0) -> TeacherCache:
    """Three examples with 3, 1 and 2 positions; the last is added first."""
    writer = TeacherCacheWriter(folder, examples=3, count=2, answers=100)
    with writer.writing({"seed": 1}):
        writer.add([2], [2], IDS[4:] + offset, LOGS[4:])
        writer.add([0, 1], [3, 1], IDS[:4] + offset, LOGS[:4])
    found = TeacherCache.find(folder)
    assert found is not None
    return found


def test_answers_come_back_by_example(tmp_path):
    cache = write(tmp_path / "a")
    for source in (cache, pickle.loads(pickle.dumps(cache))):
        for index, (start, end) in enumerate([(0, 3), (3, 4), (4, 6)]):
            assert np.array_equal(source.of(index)["teacher_ids"], IDS[start:end])
            assert np.array_equal(source.of(index)["teacher_values"], LOGS[start:end])


def test_a_half_written_cache_is_never_trusted(tmp_path):
    folder = tmp_path / "a"
    writer = TeacherCacheWriter(folder, examples=3, count=2, answers=100)
    with pytest.raises(KeyboardInterrupt), writer.writing({}):
        writer.add([2], [2], IDS[4:], LOGS[4:])
        raise KeyboardInterrupt
    assert TeacherCache.find(folder) is None and not list(tmp_path.iterdir())
    left_by_a_kill = tmp_path / "a.partial-1"
    left_by_a_kill.mkdir()
    (left_by_a_kill / VALUES).write_bytes(b"1234")
    write(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("name", [VALUES, PLACES, "cache.json", "ids.bin"])
def test_a_cache_with_a_shortened_file_is_none(tmp_path, name):
    write(tmp_path / "a")
    path = tmp_path / "a" / name
    path.write_bytes(path.read_bytes()[:-4])
    assert TeacherCache.find(tmp_path / "a") is None


def test_an_example_without_answers_is_noticed(tmp_path):
    writer = TeacherCacheWriter(tmp_path / "a", examples=3, count=2, answers=100)
    with pytest.raises(AssertionError), writer.writing({}):
        writer.add([2], [2], IDS[4:], LOGS[4:])
    assert TeacherCache.find(tmp_path / "a") is None


def test_each_epoch_has_its_answers(tmp_path):
    rows = TeacherRows([{"input_ids": [1] * length} for length in (3, 1, 2)])
    assert rows[0] == {"input_ids": [1, 1, 1]} and rows.lengths.tolist() == [3, 1, 2]
    rows.caches = [write(tmp_path / "a"), write(tmp_path / "b", offset=50)]
    assert rows[1]["teacher_ids"].tolist() == [[6, 7]]
    rows.set_epoch(1)
    assert rows[1]["teacher_ids"].tolist() == [[56, 57]]
    rows.caches = rows.caches[:1]
    assert rows[1]["teacher_ids"].tolist() == [[6, 7]], "one cache serves all epochs"


def test_names_and_epochs():
    assert name_of({"a": 1, "b": 2}) == name_of({"b": 2, "a": 1}) != name_of({"a": 1, "b": 3})
    assert [count_epochs(*given) for given in [(3.0, -1, 10), (2.5, 0, 10), (3.0, 11, 10), (3.0, 5, 10)]] == [
        3,
        3,
        2,
        1,
    ]
