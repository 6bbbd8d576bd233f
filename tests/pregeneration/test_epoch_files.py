from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from transformers import AutoTokenizer

from finetune.errors import DataError
from finetune.pregeneration.epoch_files import (
    EpochArrays,
    PregeneratedEpoch,
    join_arrays,
    read_arrays,
    read_metrics,
    write_shard_arrays,
)
from finetune.pregeneration.epoch_json import join_lines, read_lines, write_shard_lines
from finetune.pregeneration.instances import Instances


@pytest.fixture(scope="module")
def tokenizer(minilm_folder):
    return AutoTokenizer.from_pretrained(minilm_folder)


def some_instances(seed: int, count: int = 9) -> Instances:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(6, 40, size=count)
    masked = [np.sort(rng.choice(np.arange(1, length - 1), size=3, replace=False)) for length in lengths]
    return Instances(
        ids=rng.integers(1000, 30_000, size=lengths.sum()).astype(np.uint16),
        lengths=lengths.astype(np.uint16),
        b_starts=rng.integers(3, 5, size=count).astype(np.uint16),
        is_random_next=rng.random(count) < 0.5,
        masked_counts=np.full(count, 3, dtype=np.uint16),
        masked_positions=np.concatenate(masked).astype(np.uint16),
        masked_labels=rng.integers(1000, 30_000, size=3 * count).astype(np.uint16),
    )


@pytest.fixture
def epoch_files(tmp_path, tokenizer) -> tuple[Path, Path]:
    """The same two shards, joined in both formats."""
    subwords = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    shards: dict[str, list[Path]] = {"npz": [], "json": []}
    for number in range(2):
        batches = [some_instances(number), some_instances(number + 10)]
        for kind, paths in shards.items():
            paths.append(tmp_path / "work" / f"{number}.{kind}")
        write_shard_arrays(shards["npz"][-1], batches)
        write_shard_lines(shards["json"][-1], batches, subwords)
    binary, lines = tmp_path / "epoch_0.safetensors", tmp_path / "epoch_0.json"
    assert join_arrays(binary, shards["npz"]) == join_lines(lines, shards["json"]) == 36
    return binary, lines


def assert_same(one: EpochArrays, other: EpochArrays) -> None:
    for name in EpochArrays.__dataclass_fields__:
        first, second = getattr(one, name), getattr(other, name)
        assert first.dtype == second.dtype and np.array_equal(first, second), name


def test_both_formats_hold_the_same(epoch_files, tokenizer):
    binary, lines = epoch_files
    assert_same(read_arrays(binary), read_lines(lines, tokenizer))
    assert binary.stat().st_size < lines.stat().st_size / 4


def test_shards_are_joined_in_order(epoch_files):
    arrays = read_arrays(epoch_files[0])
    parts = [some_instances(seed) for seed in (0, 10, 1, 11)]
    for name in EpochArrays.__dataclass_fields__:
        assert np.array_equal(getattr(arrays, name), np.concatenate([getattr(part, name) for part in parts])), name


def test_any_reader_of_safetensors_opens_it(epoch_files):
    arrays = load_file(epoch_files[0])
    assert set(arrays) == {
        *("input_ids", "lengths", "b_starts", "is_random_next"),
        *("masked_counts", "masked_positions", "masked_labels"),
    }
    assert np.array_equal(arrays["input_ids"], read_arrays(epoch_files[0]).ids)


def test_lines_are_the_documented_objects(epoch_files, tokenizer):
    instance = json.loads(epoch_files[1].read_text().split("\n")[0])
    first = some_instances(0)
    length, b_start = int(first.lengths[0]), int(first.b_starts[0])
    assert list(instance) == ["tokens", "segment_ids", "is_random_next", "masked_lm_positions", "masked_lm_labels"]
    assert instance["tokens"] == tokenizer.convert_ids_to_tokens(first.ids[:length].tolist())
    assert instance["segment_ids"] == [0] * b_start + [1] * (length - b_start)
    assert instance["is_random_next"] is bool(first.is_random_next[0])
    assert instance["masked_lm_positions"] == first.masked_positions[:3].tolist()
    assert instance["masked_lm_labels"] == tokenizer.convert_ids_to_tokens(first.masked_labels[:3].tolist())


def test_examples_have_what_the_model_takes(epoch_files):
    epoch = PregeneratedEpoch(read_arrays(epoch_files[0]))
    first = some_instances(0)
    assert len(epoch) == 36 and epoch.lengths[:9].tolist() == first.lengths.tolist()
    example, start = epoch[1], int(first.lengths[0])
    length, b_start = int(first.lengths[1]), int(first.b_starts[1])
    assert example["input_ids"].tolist() == first.ids[start : start + length].tolist()
    assert example["token_type_ids"].tolist() == [0] * b_start + [1] * (length - b_start)
    assert np.flatnonzero(example["labels"] != -100).tolist() == first.masked_positions[3:6].tolist()
    assert example["labels"][first.masked_positions[3:6]].tolist() == first.masked_labels[3:6].tolist()
    assert example["next_sentence_label"] == int(first.is_random_next[1])
    assert np.array_equal(epoch[-36]["input_ids"], epoch[0]["input_ids"])
    with pytest.raises(IndexError):
        epoch[36]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-2], "should have"),
        (lambda data: data[:5], "not an epoch"),
        (lambda data: b"\0" * 100, "not an epoch"),
        (lambda data: b"{}" * 50, "not an epoch"),
    ],
)
def test_damaged_epochs_are_refused(epoch_files, damage, message):
    path = epoch_files[0]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message):
        read_arrays(path)


@pytest.mark.parametrize("name", ["lengths", "masked_counts", "b_starts", "masked_positions"])
def test_arrays_that_do_not_fit_together_are_refused(epoch_files, name):
    arrays = load_file(epoch_files[0])
    arrays[name] = arrays[name][:-1]
    save_file(arrays, epoch_files[0])
    with pytest.raises(DataError, match="do not fit together"):
        read_arrays(epoch_files[0])


GOOD = {
    "tokens": ["[CLS]", "the", "[SEP]", "[MASK]", "[SEP]"],
    "segment_ids": [0, 0, 0, 1, 1],
    "is_random_next": True,
    "masked_lm_positions": [3],
    "masked_lm_labels": ["end"],
}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"tokens": ["a', "epoch_0.json:2: the line is not JSON"),
        ("[]", "lacks tokens, segment_ids"),
        (json.dumps({**GOOD, "segment_ids": [0]}), "numbers of tokens and segment_ids"),
        (json.dumps({**GOOD, "masked_lm_labels": []}), "masked positions and labels, differ"),
        (json.dumps({**GOOD, "segment_ids": [0, 1, 0, 1, 1]}), "zeros followed by ones"),
        (json.dumps({**GOOD, "masked_lm_positions": [5]}), "not one of the 5 tokens"),
        (json.dumps({**GOOD, "masked_lm_positions": [-1]}), "not one of the 5 tokens"),
        (json.dumps({**GOOD, "masked_lm_positions": 3}), "are not all lists"),
        (json.dumps({**GOOD, "masked_lm_labels": [["end"]]}), "not all strings"),
        (json.dumps({**GOOD, "tokens": ["[CLS]", "THE", "[SEP]", "x", "[SEP]"]}), "'THE' is not in the vocabulary"),
    ],
)
def test_lines_that_are_wrong_are_told_with_their_place(tmp_path, tokenizer, line, message):
    path = tmp_path / "epoch_0.json"
    path.write_text(json.dumps(GOOD) + "\n" + line + "\n")
    with pytest.raises(DataError, match=message):
        read_lines(path, tokenizer)


def test_metrics_are_read_or_told(tmp_path):
    path = tmp_path / "epoch_0_metrics.json"
    with pytest.raises(DataError, match="metrics of this epoch are missing"):
        read_metrics(tmp_path, 0)
    for text, message in [("{", "not valid JSON"), ('{"max_seq_len": 8}', "not both there"), ("[1]", "not both there")]:
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_metrics(tmp_path, 0)
    path.write_text('{"num_training_examples": 4, "max_seq_len": 8}')
    assert read_metrics(tmp_path, 0) == {"num_training_examples": 4, "max_seq_len": 8}
