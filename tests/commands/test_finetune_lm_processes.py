"""finetune_lm.py in several processes: the tables, losses, tests and models of one, written once."""

from __future__ import annotations

import signal
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from tests import tiny

SCRIPT = "finetune_lm.py"
TEXTS = [f"The {number} keys to " + "the cabinet, " * (number % 4) + "are here." for number in range(40)]
KL = [
    "--loss_classes.train",
    "OutputsDefaultLoss",
    "KLBaselineLoss",
    "--loss_classes_kwargs.train.KLBaselineLoss.dataset",
]
MORE = "--loss_classes_kwargs.train.KLBaselineLoss.n_examples_per_batch"
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """13 texts to train on: with two a batch an epoch ends with a turn in which there is none for some processes."""
    folder = tmp_path_factory.mktemp("data")
    for name, lines in {"train": TEXTS[:13], "dev": TEXTS[13:20], "items": TEXTS[20:29], "wiki": TEXTS[29:]}.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory, tiny_bert) -> dict[str, Path]:
    """Without dropout. (SGD below: AdamW takes whole steps along gradients that are rounding, as those of key biases.)"""
    tokenizer = tiny.byte_level(TEXTS * 5, 320)
    still = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "initializer_range": 0.3}
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=16, n_layer=1, n_head=2, **still)
    return {
        "lm": tiny.save(GPT2LMHeadModel(config), tokenizer, tmp_path_factory.mktemp("models") / "gpt2"),
        "mlm": tiny_bert,
    }


@pytest.fixture
def words(data, models):
    """The command line of a training of that kind, with so many batches for each update of one process."""

    def make(kind: str, output: Path, accumulated: int, *more: object) -> list[object]:
        flags = {
            "model_name_or_path": models[kind], "train_file": data / "train.txt", "validation_file": data / "dev.txt",
            "test_file": data / "items.txt", "per_device_train_batch_size": 2, "per_device_validation_batch_size": 2,
            "per_device_test_batch_size": 2, "gradient_accumulation_steps": accumulated, "output_dir": output, "seed": 1,
            "epochs": 3, "train_optimizer": "SGD", "train_optimizer_kwargs.lr": "1e-1",
        }  # fmt: skip
        given = [word for name, value in flags.items() for word in (f"--{name}", value)]
        if kind == "lm":
            return [*given, "--shuffle", *KL, data / "wiki.txt", MORE, 3, *more]
        drawn = ["--data_preprocessing_fn", "mask_random_tokens", "--data_preprocessing_fn_strategy.train", "per_batch"]
        drawn += ["--model_task", "mlm", "--save_tmp_test_files"]
        still = ["hidden_dropout_prob", "attention_probs_dropout_prob"]
        return [*given, *drawn, *(word for name in still for word in (f"--config_kwargs.{name}", 0.0)), *more]

    return make


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, na_values=["NA"])


def require_same(one: Path, several: Path) -> None:
    """The same files, tables and model, to rounding."""
    names = [{path.name for path in folder.iterdir()} for folder in (one, several)]
    assert names[0] == names[1] and {"losses.csv.gz", "loss_curves.pdf", "config.txt"} <= names[0]
    tables = [path.name for path in one.glob("*.csv.gz")]
    assert len(tables) == 3
    for name in tables:
        expected, found = read(one / name), read(several / name)
        assert len(expected) >= 12
        pd.testing.assert_frame_equal(found, expected, rtol=TOLERANCE, atol=2e-5)
    weights = [load_file(folder / "model" / "model.safetensors") for folder in (one, several)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-4, atol=1e-5)


def without_rates(last: dict) -> dict:
    return {name: value for name, value in last.items() if name not in ("output_dir", "tokens_per_second", "mfu")}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "processes", "each"), [("lm", 2, 1), ("mlm", 3, 2)])
def test_several_processes_are_one(tmp_path, call_command, run_command, words, kind, processes, each):
    one, several = tmp_path / "one", tmp_path / "several"
    done = run_command(SCRIPT, *words(kind, several, each), "--nproc", processes, OMP_NUM_THREADS="1")
    assert done.code == 0, done.stderr
    alone = call_command(SCRIPT, *words(kind, one, each * processes))
    assert alone.code == 0, alone.stderr
    require_same(one, several)
    said = [line.partition("-   ")[2] for line in done.stderr.splitlines() if "WARNING" in line]
    assert said and len(said) == len(set(said)), "each thing once"
    assert done.stdout.count('"status"') == 1 and done.stderr.count("***** Running training *****") == 1
    expected, found = without_rates(alone.last), without_rates(done.last)
    assert found.keys() == expected.keys()
    assert found["test"] == {"items": pytest.approx(expected["test"]["items"], rel=1e-5)}
    assert found["validation"]["validation_losses"] == pytest.approx(
        expected["validation"]["validation_losses"], rel=TOLERANCE
    )
    losses = read(one / "losses.csv.gz")
    assert set(losses[losses["dataset_type"] == "train"]["batch_number"]) == set(range(1, 8))


@pytest.mark.slow
def test_a_training_that_two_began_is_ended_by_one(tmp_path, call_command, stop_command, words):
    """From its last checkpoint, to the tables of a training that nothing disturbed; but not with other batches."""
    one, several = tmp_path / "one", tmp_path / "several"
    long = ["--epochs", 8, "--save_tmp_test_files"]
    stopped = stop_command(
        SCRIPT, *words("lm", several, 1, *long), "--nproc", 2,
        once=several / "checkpoint-8" / "complete.json", sign=signal.SIGTERM,
    )  # fmt: skip
    assert stopped.code == 75, stopped.stdout
    cut = call_command(SCRIPT, *words("lm", several, 1, *long, "--per_device_train_batch_size", 4))
    assert cut.code == 2 and "a batch of this run has 2 texts, and would have 4" in cut.last["reason"]
    fewer = call_command(SCRIPT, *words("lm", several, 1, *long))
    assert fewer.code == 2 and "takes 4 rows, and would take 2" in fewer.last["reason"]
    for folder in (several, one):
        done = call_command(SCRIPT, *words("lm", folder, 2, *long))
        assert done.code == 0, done.stderr
    require_same(one, several)


@pytest.mark.slow
def test_two_share_a_test_out_and_name_one_folder(tmp_path, run_command, models, data):
    """Without --output_dir, each batch in a part of its own until the end."""
    words = ["--model_name_or_path", models["lm"], "--test_file", data / "items.txt", "--per_device_test_batch_size", 2]
    words += ["--save_tmp_test_files", "--seed", 1]
    alone = run_command(SCRIPT, *words, "--output_dir", tmp_path / "one", OMP_NUM_THREADS="1")
    assert alone.code == 0, alone.stderr
    done = run_command(SCRIPT, *words, "--nproc", 2, cwd=tmp_path, OMP_NUM_THREADS="1")
    assert done.code == 0, done.stderr
    folders = list((tmp_path / "outputs" / "test_only").iterdir())
    assert len(folders) == 1 and done.last["test"] == alone.last["test"]
    tables = [next(folder.glob("*-test_results.csv.gz")).read_bytes() for folder in (tmp_path / "one", *folders)]
    assert tables[0] == tables[1] and not list(folders[0].glob("*.parts"))


def test_a_search_and_a_folder_named_after_the_time_are_of_one_process(tmp_path, call_command, models, data):
    files = ["--train_file", data / "train.txt", "--validation_file", data / "dev.txt", "--use_gpu", "False"]
    words = ["--model_name_or_path", models["lm"], *files]
    search = call_command(SCRIPT, *words, "--output_dir", tmp_path / "s", "--do_optimize", "--nproc", 2)
    assert search.code == 2 and "start it as often on one --study_kwargs.storage" in search.last["reason"]
    named = call_command(SCRIPT, *words, "--output_dir", tmp_path / "{now}", RANK="0", WORLD_SIZE="2")
    assert named.code == 2 and "differs between the processes of a launcher" in named.last["reason"]
    assert not (tmp_path / "s").exists()
