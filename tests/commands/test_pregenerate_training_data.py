from __future__ import annotations

import hashlib
import json
import logging
import signal
from pathlib import Path

import numpy as np
import pytest

SCRIPT = "pregenerate_training_data.py"


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("epoch_*")}


def test_documented_command_line(run_command, shared_data, minilm_folder, tmp_path):
    out = tmp_path / "dev_corpus_prepared"
    flags = ("--train_corpus", shared_data / "lm" / "dev_corpus.txt", "--bert_model", minilm_folder, "--do_lower_case")
    flags += ("--output_dir", f"{out}/", "--epochs_to_generate", 2, "--max_seq_len", 256, "--output_format", "json")
    done = run_command(SCRIPT, *flags)
    assert done.code == 0, done.stderr
    last = done.last
    assert (last["status"], last["documents"], last["sentences"], len(last["instances"])) == ("done", 17, 114, 2)
    for epoch in (0, 1):
        lines = (out / f"epoch_{epoch}.json").read_text().splitlines()
        metrics = json.loads((out / f"epoch_{epoch}_metrics.json").read_text())
        assert len(lines) == metrics["num_training_examples"] == last["instances"][epoch]
        assert metrics["max_seq_len"] == 256 and metrics["tokenizer"]["lowercase"] is True
        instance = json.loads(lines[0])
        assert instance["tokens"][0] == "[CLS]" and instance["tokens"][-1] == "[SEP]"
    assert not (out / ".pregeneration").exists()
    again = run_command(SCRIPT, *flags, "--num_workers", 2)
    assert again.code == 0 and again.last["status"] == "already_done"
    other = run_command(SCRIPT, *flags, "--seed", 7)
    assert other.code == 2 and "--seed was 42, is now 7" in other.stderr


@pytest.fixture
def large_corpus(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in range(900)]
    path = tmp_path / "corpus.txt"
    sentences = [" ".join(rng.choice(words, size=12)) + ("\n" if rng.random() < 0.1 else "") for _ in range(10_000)]
    path.write_text("\n".join(sentences))
    return path


def test_interrupted_command_goes_on_and_equals_an_undisturbed_one(
    minilm_folder, tmp_path, large_corpus, call_command, stop_command, caplog
):
    def flags(out: str) -> tuple[object, ...]:
        settings = ("--epochs_to_generate", 2, "--reduce_memory", "--do_whole_word_mask")
        return (
            "--train_corpus",
            large_corpus,
            "--bert_model",
            minilm_folder,
            "--output_dir",
            tmp_path / out,
            *settings,
        )

    tokens = tmp_path / "cut" / ".pregeneration" / "sentences" / "tokens.bin"
    stopped = stop_command(SCRIPT, *flags("cut"), "--num_workers", 2, once=tokens, sign=signal.SIGTERM)
    assert stopped.code == 75, stopped.stdout
    assert stopped.last["status"] == "preempted"
    assert not list((tmp_path / "cut").glob("epoch_0.safetensors"))

    with caplog.at_level(logging.INFO):
        assert call_command(SCRIPT, *flags("cut")).code == 0
    log = (tmp_path / "cut" / "run.log").read_text()
    assert "Going on with the work of an interrupted run" in log
    assert call_command(SCRIPT, *flags("whole")).code == 0
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole") != {}


@pytest.mark.slow
def test_several_processes_make_the_bytes_of_one(
    minilm_folder, tmp_path, large_corpus, run_command, run_two_processes, stop_command
):
    """Stopped with two as the first shard is there, gone on with by three; and by a launcher that is not ours."""

    def flags(out: str) -> list[object]:
        words = ["--train_corpus", large_corpus, "--bert_model", minilm_folder, "--epochs_to_generate", 3]
        return [*words, "--output_dir", tmp_path / out]

    shard = tmp_path / "cut" / ".pregeneration" / "epoch_0" / "000000.npz"
    stopped = stop_command(SCRIPT, *flags("cut"), "--nproc", 2, once=shard, sign=signal.SIGTERM)
    assert stopped.code == 75, stopped.stdout
    done = run_command(SCRIPT, *flags("cut"), "--nproc", 3, OMP_NUM_THREADS="1")
    assert done.code == 0, done.stderr
    assert "Going on with the work of an interrupted run" in done.stderr
    by_others = run_two_processes(SCRIPT, *flags("others"))
    assert by_others.code == 0, by_others.stderr
    alone = run_command(SCRIPT, *flags("one"))
    assert len(digests(tmp_path / "one")) == 6
    for several in (done, by_others):
        folder = Path(several.last["output_dir"])
        assert digests(folder) == digests(tmp_path / "one")
        assert {**several.last, "output_dir": ""} == {**alone.last, "output_dir": ""}
        assert several.stdout.count("sentences of") == 1
        assert {path.name for path in folder.iterdir()} == {path.name for path in (tmp_path / "one").iterdir()}


def test_a_corpus_without_text_is_told_once_by_several_processes(minilm_folder, tmp_path, run_command):
    (tmp_path / "one.txt").write_text("A single document.\n", encoding="utf-8")
    words = ["--train_corpus", tmp_path / "one.txt", "--bert_model", minilm_folder, "--output_dir", tmp_path / "out"]
    done = run_command(SCRIPT, *words, "--nproc", 2)
    assert done.code == 2 and done.stderr.count("a single document of 1 sentences") == 1, done.stderr


def test_every_mistake_is_told_at_once(tmp_path, call_command):
    def reason(*flags: object) -> str:
        done = call_command(SCRIPT, *flags)
        assert done.code == 2
        return str(done.last["reason"])

    missing = ("--train_corpus", tmp_path / "none.txt", "--bert_model", tmp_path / "no-model")
    told = reason(*missing, "--output_dir", tmp_path / "out")
    assert "no such file" in told and "no-model" in told
    told = reason("--train_corpus", "x", "--epochs_to_generate", 0, "--max_seq_len", 3, "--bert_modle", "y")
    for part in ("--epochs_to_generate is 0", "--max_seq_len is 3", "--bert_model", "--output_dir is missing"):
        assert part in told
