"""Folders that were not named: where they are, and which run is found again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from finetune.lm_experiments.default_folder import find_test_folder, find_training_folder, stem_of
from finetune.run.lock import FolderLock


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def leave_run(folder: Path, status: str, **arguments) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"arguments": arguments, "status": status}))
    return folder


def test_names():
    assert [stem_of(name) for name in ("data/x.txt.gz", "a.b.json", "x")] == ["x", "a.b", "x"]
    folder = find_training_folder("data/x.txt.gz", "org/gpt2", {}, ())
    assert re.fullmatch(r"outputs/x/org-gpt2/\d{4}-\d\d-\d\d_\d\d_\d\d_\d\d\.\d{9}", str(folder))
    assert find_test_folder("org/gpt2", {}, ()) == Path("outputs/test_only/org-gpt2")


def test_an_interrupted_run_of_the_same_arguments_is_gone_on_with():
    parent = Path("outputs/x/gpt2")
    leave_run(parent / "1", "done", epochs=3)
    same = leave_run(parent / "2", "preempted", epochs=3)
    leave_run(parent / "3", "preempted", epochs=4)
    assert find_training_folder("x.txt", "gpt2", {"epochs": 3}, {"epochs"}) == same
    assert find_training_folder("x.txt", "gpt2", {"epochs": 5}, {"epochs"}).name not in "123"
    assert find_training_folder("x.txt", "gpt2", {"epochs": 3}, {"epochs"}, anew=True) != same


def test_a_run_that_is_alive_is_left_alone():
    import multiprocessing

    folder = leave_run(Path("outputs/x/gpt2/1"), "running")
    ready, end = multiprocessing.Event(), multiprocessing.Event()
    other = multiprocessing.get_context("fork").Process(target=hold, args=(folder, ready, end))
    other.start()
    ready.wait(10)
    assert find_training_folder("x.txt", "gpt2", {}, ()) != folder
    end.set()
    other.join()
    assert find_training_folder("x.txt", "gpt2", {}, ()) == folder


def hold(folder, ready, end):
    lock = FolderLock(folder)
    lock.acquire()
    ready.set()
    end.wait(10)
    lock.release()


def test_other_tests_of_a_model_get_a_folder_of_their_own():
    plain = leave_run(Path("outputs/test_only/gpt2"), "done", test_file=["a"])
    assert find_test_folder("gpt2", {"test_file": ["a"]}, {"test_file"}) == plain
    other = find_test_folder("gpt2", {"test_file": ["b"]}, {"test_file"})
    assert other != plain and other.name.startswith("gpt2_")
    leave_run(other, "done", test_file=["b"])
    assert find_test_folder("gpt2", {"test_file": ["b"]}, {"test_file"}) == other
