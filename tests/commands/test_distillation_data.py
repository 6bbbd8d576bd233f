from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, DistilBertForMaskedLM

from finetune.distillation.teachers import read_weights
from finetune.encoding.token_store import TokenStore

FOLDER = "distillation/scripts"


@pytest.fixture
def text(tmp_path) -> Path:
    path = tmp_path / "dump.txt"
    path.write_text("Hello there, world.\n\nA second line, naïve café!\n" + "word " * 700 + "\n", encoding="utf-8")
    return path


@pytest.fixture
def store(text, tiny_bert, tmp_path, call_command) -> Path:
    done = call_command(
        f"{FOLDER}/binarized_data.py", "--file_path", text, "--tokenizer_name", tiny_bert, "--dump_file", tmp_path / "d"
    )
    assert done.code == 0, done.stderr
    return Path(str(done.last["data_file"]))


def test_every_line_is_a_sequence_between_its_special_tokens(text, store, tiny_bert):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    lines = [line for line in text.read_text(encoding="utf-8").splitlines() if line]
    expected = [tokenizer(line, verbose=False)["input_ids"] for line in lines]
    assert [row["input_ids"].tolist() for row in map(TokenStore(store).__getitem__, range(3))] == expected
    assert len(expected[2]) > 512 and store.name == f"d.{tiny_bert.name}"


def test_a_dump_is_not_replaced_unasked(text, store, tiny_bert, tmp_path, call_command):
    line = (f"{FOLDER}/binarized_data.py", "--file_path", text, "--tokenizer_name", tiny_bert)
    done = call_command(*line, "--dump_file", tmp_path / "d")
    assert done.code == 2 and "--overwrite" in done.stderr
    assert call_command(*line, "--dump_file", tmp_path / "d", "--overwrite").code == 0


@pytest.mark.parametrize("name", ["counts.json", "counts.npy", "counts.pickle"])
def test_counts_are_those_of_the_ids(store, tmp_path, call_command, name):
    target = tmp_path / name
    done = call_command(f"{FOLDER}/token_counts.py", "--data_file", f"{store}.pickle", "--token_counts_dump", target)
    assert done.code == 0, done.stderr
    written = Path(str(done.last["token_counts"]))
    counts = np.load(written) if written.suffix == ".npy" else np.array(json.loads(written.read_text()))
    rows = [row["input_ids"] for row in map(TokenStore(store).__getitem__, range(3))]
    assert written.suffix != ".pickle" and np.array_equal(counts, np.bincount(np.concatenate(rows), minlength=30522))


def test_ids_beyond_the_vocabulary_are_told(store, tmp_path, call_command):
    done = call_command(
        f"{FOLDER}/token_counts.py", "--data_file", store, "--token_counts_dump", tmp_path / "c", "--vocab_size", 100
    )
    assert done.code == 2 and "beyond a vocabulary of 100" in done.stderr and not (tmp_path / "c").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_layers_of_minilm_become_a_distilbert_without_its_untrained_head(minilm_folder, tmp_path, call_command, suffix):
    target, config = tmp_path / f"student{suffix}", tmp_path / "config.json"
    done = call_command(
        f"{FOLDER}/extract_distilbert.py", "--model_name", minilm_folder, "--layers", 0, 3, 5, "--vocab_transform",
        *("--dump_checkpoint", target, "--student_config_dump", config),
    )  # fmt: skip
    assert done.code == 0, done.stderr
    weights, teacher = read_weights(target), read_weights(minilm_folder)
    taken = weights["distilbert.transformer.layer.2.attention.k_lin.weight"]
    assert torch.equal(taken, teacher["encoder.layer.5.attention.self.key.weight"])
    assert not any(name.startswith("vocab_transform") for name in weights)
    shape = json.loads(config.read_text())
    assert shape["n_layers"] == 3 and shape["dim"] == 384
    DistilBertForMaskedLM(DistilBertForMaskedLM.config_class(**shape)).load_state_dict(weights, strict=False)


def test_missing_layers_and_wrong_families_are_told(minilm_folder, tmp_path, call_command):
    line = (f"{FOLDER}/extract_distilbert.py", "--model_name", minilm_folder, "--dump_checkpoint", tmp_path / "x.pth")
    done = call_command(*line, "--layers", 0, 9)
    assert done.code == 2 and "no layer 9" in done.stderr and "from 0 to 5" in done.stderr
    done = call_command(*line, "--model_type", "roberta")
    assert done.code == 2 and "say bert instead" in done.stderr


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/never",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_old_pickles_are_converted(tmp_path, call_command, protocol):
    rows = [np.array([101, 7, 102], np.uint16), np.array([101, 60000, 5, 102], np.int32)]
    (tmp_path / "dump.bert.pickle").write_bytes(pickle.dumps(rows, protocol=protocol))
    done = call_command("convert_legacy_pickle.py", "--input_file", tmp_path / "dump.bert.pickle")
    assert done.code == 0, done.stderr
    store = TokenStore(tmp_path / "dump.bert")
    assert [store[index]["input_ids"].tolist() for index in range(2)] == [row.tolist() for row in rows]
    (tmp_path / "counts.pickle").write_bytes(pickle.dumps([0, 3, 2**40], protocol=protocol))
    done = call_command("convert_legacy_pickle.py", "--input_file", tmp_path / "counts.pickle")
    assert done.code == 0 and json.loads((tmp_path / "counts.json").read_text()) == [0, 3, 2**40]


@pytest.mark.parametrize("values", [[Evil()], np.array([Evil()], dtype=object), {"a": 1}, [], [np.zeros(3)]])
def test_pickles_with_code_or_something_else_are_refused(tmp_path, call_command, values):
    (tmp_path / "x.pickle").write_bytes(pickle.dumps(values))
    done = call_command("convert_legacy_pickle.py", "--input_file", tmp_path / "x.pickle")
    assert done.code == 2 and "list of counts" in done.stderr and "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.pickle"]
