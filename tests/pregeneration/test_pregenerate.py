from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from finetune.encoding import corpus as corpus_module
from finetune.errors import DataError
from finetune.pregeneration import pregenerate as pregeneration_module
from finetune.pregeneration.epoch_files import OutputFormat, read_arrays, read_metrics
from finetune.pregeneration.epoch_json import read_lines
from finetune.pregeneration.instances import InstanceSettings
from finetune.pregeneration.pregenerate import WORK_FOLDER, Pregeneration, pregenerate


@pytest.fixture(scope="module")
def tokenizer(minilm_folder):
    return AutoTokenizer.from_pretrained(minilm_folder)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    rng = np.random.default_rng(0)
    words = ["the", "a", "of", "unbelievable", "morning", "light", "sits", "under", "every", "table", "slowly"]
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    documents = []
    for _ in range(60):
        sentences = [" ".join(rng.choice(words, size=rng.integers(2, 25))) for _ in range(rng.integers(1, 30))]
        documents.append("\n".join(sentences))
    path.write_text("\n\n".join(documents) + "\n")
    return path


@pytest.fixture
def task(corpus, tmp_path) -> Pregeneration:
    settings = InstanceSettings(max_seq_len=48)
    return Pregeneration([corpus], tmp_path / "out", 2, settings, shard_tokens=2000)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("output_format", list(OutputFormat))
def test_same_files_for_any_number_of_workers_and_memory_mode(task, tokenizer, tmp_path, output_format, monkeypatch):
    monkeypatch.setattr(corpus_module, "BYTES_WORTH_A_WORKER", 1)
    monkeypatch.setattr(pregeneration_module, "TOKENS_WORTH_A_WORKER", 1)
    results = {}
    for name, workers, reduce_memory in [("one", 1, False), ("two", 2, False), ("reduced", 2, True)]:
        out = tmp_path / name
        pregenerate(
            replace(task, output_dir=out, workers=workers, reduce_memory=reduce_memory, output_format=output_format),
            tokenizer,
        )
        results[name] = digests(out)
    assert results["one"] == results["two"] == results["reduced"]
    suffix = output_format.suffix
    assert set(results["one"]) == {f"epoch_{n}{end}" for n in (0, 1) for end in (suffix, "_metrics.json")}


def test_both_formats_hold_the_same_instances(task, tokenizer, tmp_path):
    binary, lines = tmp_path / "binary", tmp_path / "json"
    counts = pregenerate(replace(task, output_dir=binary), tokenizer)
    assert pregenerate(replace(task, output_dir=lines, output_format=OutputFormat.JSON), tokenizer) == counts
    for epoch in (0, 1):
        one = read_arrays(binary / f"epoch_{epoch}.safetensors")
        other = read_lines(lines / f"epoch_{epoch}.json", tokenizer)
        for name in one.__dataclass_fields__:
            assert np.array_equal(getattr(one, name), getattr(other, name)), (epoch, name)
        metrics = read_metrics(binary, epoch)
        assert metrics["num_training_examples"] == len(one.lengths) == counts["instances"][epoch]
        assert metrics["max_seq_len"] == 48 and metrics["tokenizer"]["class"] == "BertTokenizer"


def _run(task, tokenizer, started):
    started.set()
    pregenerate(task, tokenizer)


def _kill_when(condition, task, tokenizer) -> None:
    """Run in another process and kill it as soon as `condition()` holds."""
    context = multiprocessing.get_context("fork")
    started = context.Event()
    process = context.Process(target=_run, args=(task, tokenizer, started))
    process.start()
    assert started.wait(60)
    deadline = time.monotonic() + 60
    while not condition() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert process.is_alive(), "the run ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.join()


@pytest.mark.parametrize("moment", ["tokenizing", "first shards", "first epoch done"])
def test_killed_run_goes_on_and_equals_an_undisturbed_one(task, tokenizer, tmp_path, moment, monkeypatch, caplog):
    work = task.output_dir / WORK_FOLDER
    moments = {
        "tokenizing": (work / "sentences" / "tokens.bin").exists,
        "first shards": lambda: len(list(work.glob("epoch_0/*.npz"))) >= 2,
        "first epoch done": (task.output_dir / "epoch_0_metrics.json").exists,
    }
    slow = pregeneration_module.build_instances

    def slowly(*arguments):
        time.sleep(0.05)
        return slow(*arguments)

    monkeypatch.setattr(pregeneration_module, "build_instances", slowly)
    _kill_when(moments[moment], task, tokenizer)
    complete = {path.name for path in task.output_dir.glob("epoch_*")}
    assert all(f"epoch_{n}.safetensors" in complete for n in (0, 1) if f"epoch_{n}_metrics.json" in complete)
    monkeypatch.setattr(pregeneration_module, "build_instances", slow)
    with caplog.at_level(logging.INFO):
        pregenerate(task, tokenizer)
    assert "Going on with the work of an interrupted run" in caplog.text
    pregenerate(replace(task, output_dir=tmp_path / "undisturbed"), tokenizer)
    assert digests(task.output_dir) == digests(tmp_path / "undisturbed")
    assert not work.exists()


def test_other_settings_use_nothing_of_what_was_left(task, tokenizer, tmp_path, monkeypatch):
    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(pregeneration_module, "finish_epoch", fail)
    with pytest.raises(KeyboardInterrupt):
        pregenerate(task, tokenizer)
    monkeypatch.undo()
    (task.output_dir / "epoch_7.json").write_text("of an earlier run")
    (task.output_dir / ".epoch_0.json.123").write_text("of a killed process")
    other = replace(task, settings=replace(task.settings, seed=7))
    pregenerate(other, tokenizer)
    pregenerate(replace(other, output_dir=tmp_path / "clean"), tokenizer)
    assert digests(task.output_dir) == digests(tmp_path / "clean")


def test_disk_full_leaves_no_file_that_looks_complete(task, tokenizer, monkeypatch):
    def full(stream, *arguments, **arrays):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        pregenerate(task, tokenizer)
    assert not list(task.output_dir.rglob("*.npz")) and not list(task.output_dir.glob("epoch_*"))
    assert not list(task.output_dir.rglob(".0*"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one\ntwo\nthree\n", "a single document of 3 sentences.*put an empty line"),
        ("\n\n \n", "there is no text in c.txt"),
        ("\n\none\n\n\n", "a single document of 1 sentences"),
        (b"one\n\ntw\xff\n", r"c\.txt:3: byte 0xFF"),
    ],
)
def test_corpora_that_cannot_be_used_are_explained(tokenizer, tmp_path, text, message):
    path = tmp_path / "c.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        pregenerate(Pregeneration([path], tmp_path / "out", 1, InstanceSettings()), tokenizer)
    assert not list((tmp_path / "out").iterdir())


def test_sentences_too_long_are_cut_and_said(tokenizer, tmp_path, caplog):
    path = tmp_path / "c.txt"
    path.write_text("word " * 300 + "\n\n" + "other " * 300 + "\nmore\n")
    with caplog.at_level(logging.INFO):
        pregenerate(Pregeneration([path], tmp_path / "out", 1, InstanceSettings(max_seq_len=32)), tokenizer)
    assert "such sentences are cut" in caplog.text and "3 sentences of 2 documents, 601 subwords" in caplog.text
    assert read_arrays(tmp_path / "out" / "epoch_0.safetensors").lengths.max() == 32


def test_real_corpora(tokenizer, shared_data, tmp_path):
    paths = [shared_data / "lm" / name for name in ("dev_corpus.txt", "sample_text.txt")]
    counts = pregenerate(Pregeneration(paths, tmp_path / "out", 1, InstanceSettings(whole_words=True)), tokenizer)
    assert (counts["documents"], counts["sentences"]) == (20, 145)
    assert counts["instances"][0] == len(read_arrays(tmp_path / "out" / "epoch_0.safetensors").lengths)
