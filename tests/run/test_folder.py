from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from finetune.errors import DataError, Preempted, RunError, UsageError
from finetune.run import folder as folder_room
from finetune.run.changes import record_basis
from finetune.run.checkpoints import mark_complete
from finetune.run.folder import Action, Request, Run, decide
from finetune.run.manifest import MANIFEST
from finetune.run.signals import StopRequest

REQUEST = Request(program="train.py", arguments={"seed": 1, "learning_rate": 5e-05, "dataloader_num_workers": 0})
OTHER = replace(REQUEST, arguments={**REQUEST.arguments, "learning_rate": 1e-05})


def open_run(folder: Path, request: Request = REQUEST) -> Run:
    return Run.open(folder, request, StopRequest())


def save_checkpoint(folder: Path, step: int, *, whole: bool = True) -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").write_text("weights")
    if whole:
        mark_complete(checkpoint)
    return checkpoint


def leave_run(folder: Path, status: str, *, checkpoints: tuple[int, ...] = (), request: Request = REQUEST) -> None:
    """What a run that ended with `status` leaves behind ("running": a SIGKILL)."""
    run = open_run(folder, request)
    run.start()
    for step in checkpoints:
        save_checkpoint(folder, step)
    if status != "running":
        (folder / "metrics.json").write_text("{}")
        run.finish(status, {"f1": 0.5})
    run.close()


def problems_of(folder: Path, request: Request) -> list[str]:
    with pytest.raises(UsageError) as caught:
        open_run(folder, request)
    return [str(problem) for problem in caught.value.problems]


OVERWRITE, RESTART = replace(REQUEST, overwrite=True), replace(REQUEST, restart=True)
OTHER_OVERWRITE = replace(OTHER, overwrite=True)


@pytest.mark.parametrize(
    ("status", "checkpoints", "request_now", "action"),
    [
        ("done", (5,), REQUEST, Action.ALREADY_DONE),
        ("done", (5,), OVERWRITE, Action.DISCARD),
        ("done", (5,), RESTART, Action.DISCARD),
        ("done", (5,), OTHER_OVERWRITE, Action.DISCARD),
        ("running", (5,), REQUEST, Action.RESUME),
        ("running", (5,), OVERWRITE, Action.RESUME),
        ("running", (5,), RESTART, Action.DISCARD),
        ("running", (5,), OTHER_OVERWRITE, Action.DISCARD),
        ("preempted", (5,), REQUEST, Action.RESUME),
        ("failed", (5,), REQUEST, Action.RESUME),
        ("failed", (), REQUEST, Action.RESUME),
        ("failed", (), OTHER, Action.DISCARD),  # nothing was reached: nothing is lost
        ("running", (), OTHER, Action.DISCARD),
    ],
)
def test_what_happens_to_a_used_folder(tmp_path, status, checkpoints, request_now, action):
    leave_run(tmp_path / "out", status, checkpoints=checkpoints)
    assert decide(tmp_path / "out", request_now) is action


@pytest.mark.parametrize(("status", "state"), [("done", "a finished"), ("failed", "an unfinished")])
def test_other_arguments_are_refused_with_the_differences(tmp_path, status, state):
    leave_run(tmp_path, status, checkpoints=(5,))
    first, *rest = problems_of(tmp_path, replace(OTHER, program="predict.py"))
    assert f"the folder holds {state} run with other arguments" in first and "--overwrite_output_dir" in first
    assert rest == ["the command was train.py, is now predict.py.", "--learning_rate was 5e-05, is now 1e-05."]
    assert not (tmp_path / ".lock").exists()


def test_changed_data_makes_it_another_run(tmp_path):
    data, out = tmp_path / "train.txt", tmp_path / "out"
    data.write_text("a O\n")
    run = open_run(out)
    run.record_inputs({"train": [data]})
    run.start()
    run.finish("done")
    run.close()
    assert decide(out, REQUEST) is Action.ALREADY_DONE
    data.write_text("b O\n")
    assert problems_of(out, REQUEST)[1] == f"{data} has changed since."


def test_a_fresh_run_writes_nothing_before_it_starts(tmp_path):
    run = open_run(tmp_path / "a" / "b")
    run.record(labels=["O"])
    run.close()
    assert list(tmp_path.iterdir()) == []


def test_bad_input_costs_nothing_of_an_earlier_run(tmp_path):
    leave_run(tmp_path, "done", checkpoints=(5,))
    before = sorted(path.name for path in tmp_path.iterdir())
    run = open_run(tmp_path, replace(REQUEST, overwrite=True))
    run.record(labels=["O"])
    run.finish("failed", reason="bad data")
    run.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert json.loads((tmp_path / MANIFEST).read_text())["status"] == "done"


def test_a_resumed_run_has_the_newest_whole_checkpoint_and_keeps_its_record(tmp_path, caplog):
    leave_run(tmp_path, "running", checkpoints=(5, 10))
    save_checkpoint(tmp_path, 15, whole=False)
    run = open_run(tmp_path)
    assert run.resumed and run.checkpoint == tmp_path / "checkpoint-10"
    run.start()
    record = json.loads((tmp_path / MANIFEST).read_text())
    run.close()
    assert len(record["resumed"]) == 1 and record["status"] == "running"
    assert (tmp_path / "checkpoint-15.broken").is_dir() and "checkpoint-15 is not whole" in caplog.text


def test_discarding_removes_what_the_run_wrote_and_nothing_else(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("before the run")
    leave_run(tmp_path, "done", checkpoints=(5,), request=replace(REQUEST, overwrite=True))
    (tmp_path / "notes.txt").write_text("after the run")
    run = open_run(tmp_path, replace(REQUEST, restart=True))
    run.start()
    run.close()
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "notes.txt", MANIFEST}
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_what_a_kill_left_is_discarded_too(tmp_path):
    leave_run(tmp_path, "running", checkpoints=(5,))
    (tmp_path / "notes.txt").write_text("mine")
    run = open_run(tmp_path, replace(REQUEST, restart=True))
    run.start()
    run.close()
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", MANIFEST}


def test_a_folder_with_other_files_is_refused_and_named(tmp_path):
    for number in range(7):
        (tmp_path / f"photo{number}.jpg").touch()
    found = problems_of(tmp_path, REQUEST)[0]
    assert "holds files that no run of finetune wrote: photo0.jpg, " in found and "and 2 more" in found
    run = open_run(tmp_path, replace(REQUEST, overwrite=True))
    run.start()
    run.close()
    assert len(list(tmp_path.glob("photo*"))) == 7


def test_an_unreadable_record_is_not_overwritten(tmp_path):
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(DataError):
        open_run(tmp_path, replace(REQUEST, overwrite=True, restart=True))


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_is_no_folder(tmp_path, name):
    (tmp_path / "file").touch()
    assert "the output folder is a file; choose another --output_dir" in problems_of(tmp_path / name, REQUEST)[0]


def test_an_asked_checkpoint(tmp_path):
    elsewhere = save_checkpoint(tmp_path, 7)
    missing = replace(REQUEST, checkpoint=str(elsewhere))
    assert "there is no trainer_state.json in this folder" in problems_of(tmp_path / "out", missing)[0]
    (elsewhere / "trainer_state.json").write_text("{}")
    run = open_run(tmp_path / "out", missing)
    run.close()
    assert run.checkpoint == elsewhere and not run.resumed
    run = open_run(tmp_path / "out", replace(REQUEST, checkpoint="True"))
    run.close()
    assert run.checkpoint is None


def test_an_asked_checkpoint_is_not_discarded_first(tmp_path):
    leave_run(tmp_path, "done", checkpoints=(5,))
    (tmp_path / "checkpoint-5" / "trainer_state.json").write_text("{}")
    asked = replace(REQUEST, restart=True, checkpoint=str(tmp_path / "checkpoint-5"))
    assert "belongs to the run that would be discarded" in problems_of(tmp_path, asked)[0]


def test_records_and_results_are_on_disk_at_once(tmp_path):
    run = open_run(tmp_path)
    run.start()
    run.record(labels=["O", "B-PER"])
    assert json.loads((tmp_path / MANIFEST).read_text())["labels"] == ["O", "B-PER"]
    run.finish("done", {"f1": 0.5})
    run.close()
    again = open_run(tmp_path)
    again.close()
    assert again.already_done and again.result == {"f1": 0.5}


@pytest.mark.parametrize(("status", "recorded"), [("preempted", "preempted"), ("failed", "running")])
def test_a_start_that_is_interrupted_before_it_goes_on_says_so(tmp_path, status, recorded):
    leave_run(tmp_path, "running", checkpoints=(5,))
    run = open_run(tmp_path)
    run.finish(status)
    run.close()
    assert json.loads((tmp_path / MANIFEST).read_text())["status"] == recorded
    assert (tmp_path / "checkpoint-5").is_dir()


def test_a_signal_while_a_run_begins_waits_for_its_record(tmp_path, monkeypatch, stop):
    def read_and_be_interrupted(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        return record_basis(*args)

    monkeypatch.setattr(folder_room, "record_basis", read_and_be_interrupted)
    run = Run.open(tmp_path, REQUEST, stop)
    with pytest.raises(Preempted):
        run.start()
    stop.hold()
    run.finish("preempted")
    run.close()
    record = json.loads((tmp_path / MANIFEST).read_text())
    assert record["status"] == "preempted" and {"named_files", "code"} < set(record)


def test_a_kill_within_the_first_record_keeps_nobody_out(tmp_path):
    (tmp_path / f".{MANIFEST}.0123abcd.partial").write_bytes(b"{")
    run = open_run(tmp_path)
    run.start()
    run.close()
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST]


def test_other_ranks_follow_without_writing(tmp_path):
    leave_run(tmp_path, "running", checkpoints=(5,))
    before = (tmp_path / MANIFEST).read_bytes()
    run = Run.open(tmp_path, REQUEST, StopRequest(), owner=False)
    run.start()
    run.finish("done")
    run.close()
    assert run.checkpoint == tmp_path / "checkpoint-5"
    assert (tmp_path / MANIFEST).read_bytes() == before


def test_a_run_without_a_folder_does_nothing():
    run = Run()
    run.record(a=1)
    run.start()
    run.finish("done")
    run.close()
    assert run.folder is None and run.checkpoint is None and not run.stop.requested


def test_a_folder_that_is_removed_while_the_run_goes_on_is_a_failure(tmp_path):
    folder = tmp_path / "out"
    run = Run.open(folder, Request(program="a", arguments={}), StopRequest())
    run.start()
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(RunError, match="was removed or replaced while the run went on"):
        run.finish("done")
    run.finish("failed")
    assert list(folder.iterdir()) == []
    run.close()


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"arguments": [], "status": "done"}', "[" * 100_000, "\0", '{"arguments": {}, "status": 1}']
)
def test_a_damaged_record_is_told(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(DataError, match=r"run\.json"):
        Run.open(tmp_path, Request(program="a", arguments={}), StopRequest())
