from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from finetune.encoding.blocks import Blocks
from finetune.encoding.token_store import DESCRIPTION, TokenStore, TokenStoreWriter
from finetune.errors import RunError
from finetune.run.atomic_files import FOLDER_ASIDE
from finetune.run.record_lock import only_one_prepares


def blocks_of(rows, dtype=np.uint16) -> Blocks:
    ids = np.array([subword for row in rows for subword in row], dtype=dtype)
    return Blocks(ids, np.array([len(row) for row in rows], dtype=np.int64), (ids % 4).astype(np.uint8))


def write_store(folder, rows, *, dtype=np.uint16, has_flags=False) -> None:
    with TokenStoreWriter(folder, dtype=dtype, has_flags=has_flags) as writer:
        for start in range(0, len(rows), 2):
            writer.add(blocks_of(rows[start : start + 2], dtype))
        writer.commit({"counts": {"lines": len(rows)}})


ROWS = [[1, 2, 3], [65535], [5, 6], [7, 8, 9, 10], [11]]


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_examples_come_back_as_they_were(tmp_path, dtype):
    write_store(tmp_path / "store", ROWS, dtype=dtype, has_flags=True)
    store = TokenStore(tmp_path / "store")
    assert len(store) == 5 and store.lengths.tolist() == [3, 1, 2, 4, 1] and store.counts == {"lines": 5}
    assert [store[index]["input_ids"].tolist() for index in range(5)] == ROWS
    assert store[-1]["input_ids"].tolist() == ROWS[-1]
    assert store[3]["flags"].tolist() == [subword % 4 for subword in ROWS[3]]
    assert store[0]["input_ids"].dtype == np.int64
    with pytest.raises(IndexError):
        store[5]


def test_draws_depend_on_seed_epoch_and_index_only(tmp_path):
    write_store(tmp_path / "store", ROWS)
    store = TokenStore(tmp_path / "store", seed=3)
    first = [store[index]["draw"] for index in range(5)]
    assert len(set(first)) == 5
    assert [TokenStore(tmp_path / "store", seed=3)[index]["draw"] for index in range(5)] == first
    assert TokenStore(tmp_path / "store", seed=4)[0]["draw"] != first[0]
    assert "draw" not in TokenStore(tmp_path / "store")[0]
    store.set_epoch(1)
    assert not set(first) & {store[index]["draw"] for index in range(5)}
    store.set_epoch(0)
    assert store[2]["draw"] == first[2]


def test_examples_to_evaluate_keep_their_draws_and_leave_the_epoch_of_training_alone(tmp_path):
    write_store(tmp_path / "store", ROWS)
    train = TokenStore(tmp_path / "store", seed=3)
    held_out = train.part(3, None).fixed()
    first = [row["draw"] for row in (held_out[0], held_out[1])]
    assert first == [train[3]["draw"], train[4]["draw"]]
    train.set_epoch(2)
    of_training = train[0]["draw"]
    held_out.set_epoch(1)  # as accelerate does with every data set that it reads
    assert [held_out[0]["draw"], held_out[1]["draw"]] == first and train[0]["draw"] == of_training


def _draw_when_told(store, told, answers):
    answers.put(store[0]["draw"])
    told.wait()
    answers.put(store[0]["draw"])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_new_epoch_reaches_workers_that_already_run(tmp_path, method):
    write_store(tmp_path / "store", ROWS)
    store = TokenStore(tmp_path / "store", seed=3).part(0, 4)
    context = multiprocessing.get_context(method)
    told, answers = context.Event(), context.Queue()
    worker = context.Process(target=_draw_when_told, args=(store, told, answers))
    worker.start()
    assert answers.get(timeout=60) == store[0]["draw"]
    store.set_epoch(5)
    told.set()
    assert answers.get(timeout=60) == store[0]["draw"]
    worker.join()


def test_parts(tmp_path):
    write_store(tmp_path / "store", ROWS)
    store = TokenStore(tmp_path / "store", seed=1)
    part = store.part(1, 3)
    assert len(part) == 2 and len(store.part(0, None)) == 5 and len(store.part(3, 99)) == 2
    assert part.lengths.tolist() == [1, 2]
    assert part[1]["input_ids"].tolist() == ROWS[2] and part[1]["draw"] == store[2]["draw"]
    assert part.part(1, None)[0]["input_ids"].tolist() == ROWS[2]
    with pytest.raises(IndexError):
        part[2]


def test_exception_leaves_nothing(tmp_path):
    with (
        pytest.raises(OSError, match="disk full"),
        TokenStoreWriter(tmp_path / "s", dtype=np.uint16, has_flags=False) as w,
    ):
        w.add(blocks_of(ROWS))
        raise OSError("disk full")
    assert list(tmp_path.iterdir()) == []


def _write_and_hang(folder, has_begun):
    with only_one_prepares(folder), TokenStoreWriter(folder, dtype=np.uint16, has_flags=False) as writer:
        writer.add(blocks_of(ROWS))
        has_begun.set()
        time.sleep(600)


def test_killed_preparation_is_never_mistaken_for_a_store_and_is_removed(tmp_path):
    context = multiprocessing.get_context("fork")
    has_begun = context.Event()
    worker = context.Process(target=_write_and_hang, args=(tmp_path / "store", has_begun))
    worker.start()
    assert has_begun.wait(60)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert not (tmp_path / "store").exists()
    assert any(FOLDER_ASIDE in path.name for path in tmp_path.iterdir())
    with only_one_prepares(tmp_path / "store"):  # the lock went with its owner
        write_store(tmp_path / "store", ROWS)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_other_process_waits_for_the_one_that_prepares(tmp_path):
    context = multiprocessing.get_context("fork")
    has_begun = context.Event()
    worker = context.Process(target=_write_and_hang, args=(tmp_path / "store", has_begun))
    worker.start()
    assert has_begun.wait(60)
    context.Process(target=lambda: (time.sleep(0.3), os.kill(worker.pid, signal.SIGKILL))).start()
    started = time.monotonic()
    with only_one_prepares(tmp_path / "store"):
        assert time.monotonic() - started > 0.2
    worker.join()


def test_files_that_disagree_are_refused(tmp_path):
    write_store(tmp_path / "store", ROWS)
    tokens = tmp_path / "store" / "tokens.bin"
    tokens.write_bytes(tokens.read_bytes()[:-2])
    with pytest.raises(RunError, match="disagree"):
        TokenStore(tmp_path / "store")


def test_description_says_what_it_is(tmp_path):
    write_store(tmp_path / "store", ROWS)
    said = json.loads((tmp_path / "store" / DESCRIPTION).read_text())
    assert said["examples"] == 5 and said["tokens"] == 11 and said["dtype"] == "<u2" and said["counts"]["lines"] == 5
