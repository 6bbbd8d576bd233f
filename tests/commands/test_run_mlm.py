from __future__ import annotations

import json
import re
import signal
import zipfile
from pathlib import Path

import pytest
from transformers import AutoModelForMaskedLM

from finetune.arguments.model import ModelArguments
from finetune.tokenization.loading import load_tokenizer

STEPS, SAVE_EVERY = 24, 6


@pytest.fixture(scope="module")
def text(tmp_path_factory, shared_data) -> Path:
    """Two folders with text files, train and validation, one of them packed by hand."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "train").mkdir()
    (folder / "val").mkdir()
    lines = (shared_data / "lm" / "dev_corpus.txt").read_text().split("\n")
    (folder / "train" / "a.txt").write_text("\n".join(lines[:60]) + "\n")
    (folder / "train" / "b.txt").write_text("\n".join(lines[60:100]) + "\n")
    (folder / "val" / "val.txt").write_text("\n".join(lines[100:]) + "\n")
    return folder


@pytest.fixture(scope="module")
def thai_tokenizer(tmp_path_factory, shared_data, run_command) -> tuple[Path, Path]:
    """Raw Thai text (folders train and val), and the word-level vocabulary that train_tokenizer.py makes of it."""
    folder = tmp_path_factory.mktemp("thai")
    with zipfile.ZipFile(shared_data / "lm" / "iapp_thai_wiki_qa.zip") as archive:
        rows = [json.loads(line) for line in archive.read("data/valid.jsonl").decode().splitlines()]
    contexts = list(dict.fromkeys(row["context"] for row in rows))
    for name, part in (("train", contexts[:24]), ("val", contexts[24:28])):
        (folder / name).mkdir()
        (folder / name / f"{name}.txt").write_text("\n\n".join(part) + "\n")
    vocabulary = folder / "newmm.json"
    flags = ("--ext", "txt", "--train_dir", folder / "train", "--pre_tokenizer_type", "newmm", "--num_workers", 1)
    done = run_command("train_tokenizer.py", *flags, "--output_file", vocabulary, "--vocab_min_freq", 2)
    assert done.code == 0, done.stderr
    return folder, vocabulary


def test_documented_thai_command_trains_from_scratch(thai_tokenizer, tmp_path, call_command):
    """thai2transformers' command as its document has it; only sizes are made small by --config_overrides."""
    folder, vocabulary = thai_tokenizer
    output = tmp_path / "roberta"
    flags = (
        *("--architecture", "roberta-base", "--tokenizer_name_or_path", vocabulary, "--ext", "txt"),
        *("--train_dir", folder / "train", "--eval_dir", folder / "val", "--max_seq_length", 64),
        *("--learning_rate", "5e-4", "--weight_decay", 0.01, "--adam_beta2", 0.98, "--adam_epsilon", "1e-6"),
        *("--max_steps", 4, "--per_device_train_batch_size", 1, "--per_device_eval_batch_size", 1),
        *("--gradient_accumulation_steps", 4, "--warmup_steps", 1, "--seed", 1234, "--save_steps", 1000),
        *("--logging_steps", 1, "--save_total_limit", 10, "--evaluation_strategy", "steps", "--eval_steps", 2),
        *("--prediction_loss_only", "--logging_dir", tmp_path / "logs", "--output_dir", output, "--add_space_token"),
        *("--datasets_cache_dir", tmp_path / "cache", "--datasets_type", "MemmapConcatFullSentenceTextDataset"),
        *("--tokenizer_type", "newmm"),
        *("--config_overrides", "hidden_size=32,num_hidden_layers=2,num_attention_heads=2,intermediate_size=64"),
    )
    done = call_command("run_mlm.py", *flags)
    assert done.code == 0, done.stderr
    assert done.last["status"] == "done" and done.last["perplexity"] > 1
    tokenizer = load_tokenizer(ModelArguments(model_name_or_path=str(output)))
    model = AutoModelForMaskedLM.from_pretrained(output)
    assert model.config.vocab_size == len(tokenizer) and model.config.pad_token_id == tokenizer.pad_token_id
    metrics = json.loads((output / "metrics.json").read_text())["validation"]
    assert set(metrics) == {"perplexity", "loss", "accuracy"}
    assert (output / "eval_results.txt").read_text().startswith("perplexity = ")
    log = (output / "run.log").read_text()
    losses = [float(found) for found in re.findall(r"\{'loss': ([0-9.]+)", log)]
    assert len(losses) == 4
    assert "lines of text became" in log or "lines of text became" in done.stderr


def test_dataset_only_prepares_what_training_then_finds(text, tiny_bert, tmp_path, call_command):
    flags = (
        *("--model_name_or_path", tiny_bert, "--train_dir", text / "train", "--eval_dir", text / "val"),
        *("--max_seq_length", 48, "--datasets_cache_dir", tmp_path / "cache", "--preprocessing_num_workers", 2),
    )
    built = call_command("run_mlm.py", *flags, "--build_dataset_only", "--output_dir", tmp_path / "built")
    assert built.code == 0, built.stderr
    assert built.last["train"]["examples"] > built.last["validation"]["examples"] > 0
    stores = {path.name for path in (tmp_path / "cache").iterdir()}
    assert stores == {Path(built.last[name]["folder"]).name for name in ("train", "validation")}
    run = (*flags, "--do_train", "--do_eval", "--max_steps", 2, "--output_dir", tmp_path / "run")
    done = call_command("run_mlm.py", *run)
    assert done.code == 0, done.stderr
    assert done.stderr.count("Tokenized corpus found at") == 2
    assert {path.name for path in (tmp_path / "cache").iterdir()} == stores


@pytest.mark.parametrize(
    "packing",
    [
        ("--line_by_line", "--whole_word_mask", "--pad_to_max_length"),
        ("--datasets_type", "MemmapConcatFullSentenceTextDataset", "--within_documents"),
        ("--streaming", "--no_sparse_head"),
        ("--max_tokens_per_batch", "100", "--length_window", "2"),
    ],
)
def test_every_way_of_packing_trains(packing, text, tiny_bert, tmp_path, call_command):
    validation = ("--validation_file", text / "val" / "val.txt") if "--streaming" in packing else ()
    flags = (
        *("--model_name_or_path", tiny_bert, "--train_file", text / "train" / "*.txt", "--max_seq_length", 32),
        *("--do_train", "--do_eval", "--max_steps", 3, "--datasets_cache_dir", tmp_path / "cache", *packing),
    )
    done = call_command("run_mlm.py", *flags, *validation, "--output_dir", tmp_path / "run")
    assert done.code == 0, done.stderr
    assert done.last["loss"] < 12


def mlm_arguments(text: Path, model: Path, output: Path, cache: Path) -> list[str]:
    flags = {
        "model_name_or_path": model,
        "train_dir": text / "train",
        "eval_dir": text / "val",
        "output_dir": output,
        "datasets_cache_dir": cache,
        "max_seq_length": 24,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "dataloader_num_workers": 1,
        "max_steps": STEPS,
        "eval_strategy": "steps",
        "eval_steps": SAVE_EVERY,
        "logging_steps": 5,
        "learning_rate": 1e-3,
        "seed": 7,
    }
    named = [str(part) for name, value in flags.items() for part in (f"--{name}", value)]
    return [*named, "--do_train", "--do_eval"]


@pytest.mark.parametrize("extra", ["--whole_word_mask", "--streaming"])
def test_killed_run_ends_as_an_undisturbed_one(
    extra, text, tiny_bert, tmp_path, call_command, stop_command, resumed_step
):
    """Masks change with every epoch, and a resumed epoch draws the same ones again, of a stream, too."""
    whole, cut, cache = tmp_path / "whole", tmp_path / "cut", tmp_path / "cache"
    done = call_command("run_mlm.py", *mlm_arguments(text, tiny_bert, whole, cache), extra)
    assert done.code == 0, done.stderr
    assert "The best checkpoint by validation" in done.stderr and "missing keys" not in done.stderr
    marker = cut / f"checkpoint-{SAVE_EVERY}" / "complete.json"
    killed = stop_command("run_mlm.py", *mlm_arguments(text, tiny_bert, cut, cache), extra, once=marker)
    assert killed.code == -signal.SIGKILL
    again = call_command("run_mlm.py", *mlm_arguments(text, tiny_bert, cut, cache), extra)
    assert again.code == 0, again.stderr
    assert 0 < resumed_step(cut) < STEPS
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("flags", "messages"),
    [
        ((), ("it is not said what to train", "--tokenizer_name_or_path is missing", "--do_train needs text")),
        (
            ("--architecture", "roberta-bas", "--tokenizer_name_or_path", "{model}"),
            ("roberta-bas is unknown", "roberta-base"),
        ),
        (("--model_name_or_path", "{model}", "--max_seq_length", 500), ("--max_seq_length 500 is more than the 128",)),
        (
            ("--model_name_or_path", "{model}", "--train_dir", "{tmp}", "--ext", "raw"),
            ("no file of this folder ends in .raw",),
        ),
        (("--model_name_or_path", "{model}", "--train_file", "{tmp}/bad.txt"), ("bad.txt:2: byte 0xFF",)),
        (("--model_name_or_path", "{model}", "--train_file", "{tmp}/blank.txt"), ("there is no text in blank.txt",)),
        (("--model_name_or_path", "{model}", "--train_file", "{tmp}/one.txt"), ("single example",)),
        (
            ("--model_name_or_path", "{model}", "--train_file", "{tmp}/one.txt", "--streaming", "--length_window", "4"),
            ("needs --max_steps", "a stream has no part to hold out", "--length_window needs the whole text"),
        ),
        (
            ("--model_name_or_path", "{model}", "--validation_split_percentage", "0"),
            ("--do_eval needs text to validate on",),
        ),
        (("--model_name_or_path", "{model}", "--train_ref_file", "x"), ("a reference file is for --line_by_line",)),
        (
            ("--model_name_or_path", "{model}", "--config_name", "{tmp}/gpt2.json"),
            ("embedding rows", "no masked lm head"),
        ),
    ],
)
def test_bad_input_is_told_in_sentences(flags, messages, tiny_bert, tmp_path, call_command):
    (tmp_path / "bad.txt").write_bytes(b"fine\nbroken \xff\n")
    (tmp_path / "blank.txt").write_text("\n\n")
    (tmp_path / "one.txt").write_text("one line\n")
    (tmp_path / "gpt2.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "good.txt").write_text("a line\n" * 40)
    flags = [str(flag).format(model=tiny_bert, tmp=tmp_path) for flag in flags]
    if flags and not {"--train_file", "--train_dir"} & set(flags):
        flags += ["--train_file", str(tmp_path / "good.txt")]
    done = call_command(
        "run_mlm.py", *flags, "--output_dir", tmp_path / "run", "--datasets_cache_dir", tmp_path / "cache"
    )
    assert done.code == 2
    for message in messages:
        assert message in str(done.last["reason"])
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_training_does_not_depend_on_when_held_out_text_is_evaluated(text, tiny_bert, tmp_path, call_command):
    """In the middle of the second epoch, with data loader workers that stay, or only at the end."""
    flags = (
        *("--model_name_or_path", tiny_bert, "--train_file", text / "train" / "b.txt", "--line_by_line"),
        *("--validation_split_percentage", 20, "--do_train", "--do_eval", "--max_steps", 10, "--logging_steps", 1),
        *("--per_device_train_batch_size", 8, "--eval_strategy", "steps", "--bf16", "False"),
        *("--config_overrides", "hidden_dropout_prob=0.0,attention_probs_dropout_prob=0.0"),
    )
    workers = ("--dataloader_num_workers", 1, "--dataloader_persistent_workers", "True")
    histories = []
    for name, more in {"often": ("--eval_steps", 2, *workers), "once": ("--eval_steps", 10)}.items():
        done = call_command("run_mlm.py", *flags, *more, "--output_dir", tmp_path / name)
        assert done.code == 0, done.stderr
        state = json.loads((tmp_path / name / "checkpoint-10" / "trainer_state.json").read_text())
        histories.append(
            ([line["loss"] for line in state["log_history"] if "loss" in line], state["log_history"][-1]["eval_loss"])
        )
    assert len(histories[0][0]) == 10 and histories[0] == histories[1]
