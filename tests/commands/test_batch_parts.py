"""--auto_find_batch_size: whatever memory holds, a step learns from the same rows, and ends with the same weights."""

from __future__ import annotations

import json
import re
import shutil
from itertools import chain
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertForMaskedLM, BertForSequenceClassification, BertForTokenClassification

from finetune.training.batch_parts import cut


@pytest.fixture(scope="module")
def steady_bert(tiny_bert, tmp_path_factory) -> Path:
    """Without dropout, which would draw other masks for smaller parts."""
    folder = tmp_path_factory.mktemp("steady") / "bert"
    shutil.copytree(tiny_bert, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def train(call_command, steady_bert, tmp_path):
    def call(*further: object, name: str = "run"):
        return call_command(
            "run_ner.py", "--model_name_or_path", steady_bert, "--dataset_name", "sample", "--output_dir",
            tmp_path / name, "--do_train", "--max_train_samples", 40, "--bf16", "False", "--max_steps", 5,
            "--per_device_train_batch_size", 8, "--logging_steps", 1, "--learning_rate", 1e-3, *further,
        )  # fmt: skip

    return call


def limit_rows(monkeypatch, model: type, limit: int, *, in_backward: bool = False) -> list[int]:
    """Memory holds no more than `limit` rows; those that were tried are returned."""
    plain, backward, tried = model.forward, torch.Tensor.backward, []

    def refuse() -> None:
        if tried[-1] > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    def forward(self, *words, **named):
        if self.training:
            tried.append(len(named["input_ids"]))
            if not in_backward:
                refuse()
        return plain(self, *words, **named)

    def late(self, *words, **named):
        backward(self, *words, **named)  # gradients are there, and would count twice
        refuse()

    monkeypatch.setattr(model, "forward", forward)
    if in_backward:
        monkeypatch.setattr(torch.Tensor, "backward", late)
    return tried


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=2e-6, msg=name)


def read_losses(stderr: str) -> list[float]:
    return [float(value) for value in re.findall(r"'loss': ([\d.e-]+)", stderr)]


@pytest.mark.parametrize("in_backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize(
    "flags", [[], ["--gradient_accumulation_steps", 2], ["--no_fast_path"]], ids=["fast", "accumulated", "plain"]
)
@pytest.mark.parametrize("limit", [1, 3])
def test_the_effective_batch_stays_as_it_is(train, monkeypatch, tmp_path, limit, flags, in_backward):
    whole = train(*flags, name="whole")
    assert whole.code == 0, whole.stderr
    tried = limit_rows(monkeypatch, BertForTokenClassification, limit, in_backward=in_backward)
    parts = train(*flags, "--auto_find_batch_size")
    assert parts.code == 0, parts.stderr
    assert max(tried) == 8 and set(tried[-4:]) <= {1, 2}
    assert f"in {8 if limit == 1 else 4} parts. The effective batch is what it was." in parts.stderr
    assert read_losses(parts.stderr) == pytest.approx(read_losses(whole.stderr), rel=1e-4) and read_losses(whole.stderr)
    assert_same_weights(tmp_path / "whole", tmp_path / "run")


def test_memory_may_run_out_in_the_middle_of_a_step_and_of_a_run(train, monkeypatch, tmp_path):
    flags = ["--gradient_accumulation_steps", 2]
    assert train(*flags, name="whole").code == 0
    plain, calls = BertForTokenClassification.forward, []

    def forward(self, *words, **named):
        if self.training:
            calls.append(len(named["input_ids"]))
            if len(calls) == 7:  # the second batch of the fourth step; the third is the short one of an epoch
                raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return plain(self, *words, **named)

    monkeypatch.setattr(BertForTokenClassification, "forward", forward)
    done = train(*flags, "--auto_find_batch_size")
    assert done.code == 0, done.stderr
    assert calls[:11] == [8] * 7 + [4] * 4, "the first batch of the step is done again, in parts"
    assert "from step 4 on" in done.stderr
    assert_same_weights(tmp_path / "whole", tmp_path / "run")


def test_a_run_that_goes_on_knows_how_much_memory_holds(train, monkeypatch, tmp_path):
    tried = limit_rows(monkeypatch, BertForTokenClassification, 2)
    flags = ["--auto_find_batch_size", "--save_steps", 2]
    assert train(*flags).code == 0
    weights = (tmp_path / "run/model.safetensors").read_bytes()
    record = tmp_path / "run/run.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "status": "running"}))
    for checkpoint in (tmp_path / "run").glob("checkpoint-*"):
        if checkpoint.name != "checkpoint-4":
            shutil.rmtree(checkpoint)
    tried.clear()
    assert train(*flags).code == 0
    assert tried == [2, 2, 2, 2]
    assert (tmp_path / "run/model.safetensors").read_bytes() == weights


def test_where_a_single_row_is_too_much_the_run_ends(train, monkeypatch):
    limit_rows(monkeypatch, BertForTokenClassification, 0)
    done = train("--auto_find_batch_size")
    assert (done.code, done.last["status"]) == (1, "failed")
    assert "out of memory" in str(done.last["reason"]) and "Traceback" not in done.stderr


def test_other_errors_are_not_taken_for_a_lack_of_memory(train, monkeypatch):
    def forward(self, *words, **named):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(BertForTokenClassification, "forward", forward)
    assert "shapes do not match" in str(train("--auto_find_batch_size").last["reason"])


@pytest.mark.parametrize(
    "further", [[], ["--max_tokens_per_batch", 64], ["--length_window", 2]], ids=["plain", "tokens", "window"]
)
def test_other_tasks_and_samplers(call_command, steady_bert, tmp_path, monkeypatch, further):
    (tmp_path / "train.txt").write_text("the cat sat on the mat\na dog ran\nfar away\n" * 12, encoding="utf-8")

    def call(name: str, *flags: object):
        return call_command(
            "run_mlm.py", "--model_name_or_path", steady_bert, "--train_file", tmp_path / "train.txt", "--line_by_line",
            "--output_dir", tmp_path / name, "--do_train", "--max_steps", 3, "--bf16", "False",
            "--per_device_train_batch_size", 8, *further, *flags,
        )  # fmt: skip

    assert call("whole").code == 0
    limit_rows(monkeypatch, BertForMaskedLM, 2)
    done = call("run", "--auto_find_batch_size")
    assert done.code == 0, done.stderr
    assert "The effective batch is what it was" in done.stderr
    assert_same_weights(tmp_path / "whole", tmp_path / "run")


def test_a_classifier(call_command, steady_bert, tmp_path, monkeypatch):
    rows = "".join(f"text {n},{'good' if n % 3 else 'bad'}\n" for n in range(24))
    (tmp_path / "train.csv").write_text(f"text,label\n{rows}", encoding="utf-8")

    def call(name: str, *flags: object):
        return call_command(
            "run_glue.py", "--model_name_or_path", steady_bert, "--train_file", tmp_path / "train.csv", "--output_dir",
            tmp_path / name, "--do_train", "--max_steps", 3, "--bf16", "False", *flags,
        )  # fmt: skip

    assert call("whole").code == 0
    limit_rows(monkeypatch, BertForSequenceClassification, 3)
    assert call("run", "--auto_find_batch_size").code == 0
    assert_same_weights(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize("rows", [1, 2, 5, 8])
@pytest.mark.parametrize("parts", [1, 2, 3, 8, 16])
@pytest.mark.parametrize("selected", [False, True])
def test_a_batch_is_cut_between_rows(rows, parts, selected):
    """Row 1 has no place that anybody reads; unused places point to the first, which has no label."""
    ids = torch.arange(rows * 3).view(rows, 3) + 100
    places = torch.tensor([[place for place in range(1, rows * 3) if place // 3 != 1] + [0, 0]])
    labels = torch.full((rows, 3), -100)
    labels.view(-1)[places[0]] = ids.view(-1)[places[0]]
    labels[0, 0] = -100
    chosen = labels.view(-1)[places[0]][None]
    batch = {"input_ids": ids, "labelled_positions": places, "sequence_lengths": list(range(rows))}
    pieces = cut(batch | {"labels": chosen if selected else labels}, parts)
    assert len(pieces) == min(parts, rows)
    assert torch.equal(torch.cat([piece["input_ids"] for piece in pieces]), ids)
    assert list(chain.from_iterable(piece["sequence_lengths"] for piece in pieces)) == list(range(rows))
    read = [piece["input_ids"].flatten()[piece["labelled_positions"][0]] for piece in pieces]
    labelled = [
        piece["labels"][0] if selected else piece["labels"].flatten()[piece["labelled_positions"][0]]
        for piece in pieces
    ]
    counted = torch.cat(labelled) != -100
    assert torch.equal(torch.cat(read)[counted], torch.cat(labelled)[counted])
    assert torch.equal(torch.cat(labelled)[counted], labels[labels != -100])
