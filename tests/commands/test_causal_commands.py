from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import pre_tokenizers, processors
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tests import tiny

SMALL = "n_embd=32,n_layer=2,n_head=2"


@pytest.fixture(scope="module")
def text(shared_data) -> Path:
    return shared_data / "lm" / "dev_corpus.txt"


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory, text) -> Path:
    folder = tmp_path_factory.mktemp("byte-level")
    tiny.byte_level(
        text.read_text(encoding="utf-8").splitlines(keepends=True), 500, eos_token=tiny.END
    ).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("apart", [(), ("--document_attention",)])
def test_run_clm_trains_from_scratch_and_goes_on(apart, text, byte_level, tmp_path, call_command):
    common = (
        "--train_file",
        text,
        "--do_train",
        "--do_eval",
        "--block_size",
        64,
        "--datasets_cache_dir",
        tmp_path / "c",
    )
    first = call_command(
        "run_clm.py",
        *("--model_type", "gpt2", "--config_overrides", SMALL, "--tokenizer_name", byte_level, *common, *apart),
        *("--max_steps", 6, "--learning_rate", "1e-2", "--logging_steps", 1, "--output_dir", tmp_path / "first"),
    )
    assert first.code == 0, first.stderr
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "first")
    assert model.config.vocab_size == 500
    store = next((tmp_path / "c").glob("corpus-*"))
    said = json.loads((store / "store.json").read_text())
    tokenizer = PreTrainedTokenizerFast.from_pretrained(byte_level)
    expected = len(tokenizer(text.read_text())["input_ids"]) + (17 if apart else 0)
    assert said["tokens"] == pytest.approx(expected, abs=3), "no subword is lost (lines are tokenized one by one)"
    further = call_command(
        "run_clm.py",
        *("--model_name_or_path", tmp_path / "first", *common, *apart, "--max_steps", 6, "--learning_rate", "1e-2"),
        *("--output_dir", tmp_path / "second"),
    )
    assert further.code == 0, further.stderr
    assert further.last["perplexity"] < first.last["perplexity"] < 500


def test_legacy_command_is_causal_without_mlm(text, byte_level, tmp_path, call_command):
    done = call_command(
        "run_language_modeling.py",
        *("--output_dir", tmp_path / "run", "--model_type", "gpt2", "--config_overrides", SMALL, "--do_train"),
        *(f"--train_data_file={text}", "--do_eval", f"--eval_data_file={text}", "--tokenizer_name", byte_level),
        *("--max_steps", 2, "--evaluate_during_training", "--logging_steps", 1, "--per_gpu_train_batch_size", 4),
        *("--block_size", 32, "--datasets_cache_dir", tmp_path / "cache"),
    )
    assert done.code == 0, done.stderr
    assert (tmp_path / "run" / "eval_results_lm.txt").read_text().startswith("perplexity = ")
    assert "GPT2LMHeadModel" in (tmp_path / "run" / "config.json").read_text()


@pytest.mark.parametrize("lines", [(), ("--line_by_line",)])
def test_legacy_command_is_masked_with_mlm(lines, text, tiny_bert, tmp_path, call_command):
    done = call_command(
        "run_language_modeling.py",
        *("--output_dir", tmp_path / "run", "--model_type", "bert", "--model_name_or_path", tiny_bert, "--do_train"),
        *(f"--train_data_file={text}", "--do_eval", f"--eval_data_file={text}", "--mlm", "--max_steps", 2, *lines),
        *("--block_size", 32, "--datasets_cache_dir", tmp_path / "cache"),
    )
    assert done.code == 0, done.stderr
    assert "BertForMaskedLM" in (tmp_path / "run" / "config.json").read_text()


def test_permutation_language_modelling_is_refused_in_a_sentence(text, byte_level, tmp_path, call_command):
    flags = (
        f"--train_data_file={text}",
        "--tokenizer_name",
        byte_level,
        "--output_dir",
        tmp_path / "run",
        "--do_train",
    )
    for further in (("--plm_probability", 0.2, "--model_type", "bert"), ("--model_type", "xlnet")):
        done = call_command("run_language_modeling.py", *flags, *further)
        assert done.code == 2 and "permutation language modelling" in str(done.last["reason"])


def test_model_that_sees_both_sides_is_refused_without_mlm(text, tiny_bert, tmp_path, call_command):
    flags = (
        f"--train_data_file={text}",
        "--model_name_or_path",
        tiny_bert,
        "--output_dir",
        tmp_path / "run",
        "--do_train",
    )
    done = call_command("run_language_modeling.py", *flags, "--block_size", -1)
    assert done.code == 2 and "sees the text on both sides" in str(done.last["reason"])
    done = call_command("run_clm.py", "--train_file", text, *flags[1:])
    assert done.code == 2 and "--mlm" in str(done.last["reason"])


def stored_tokens(cache: Path, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    (store,) = cache.glob("corpus-*")
    return tokenizer.convert_ids_to_tokens(np.fromfile(store / "tokens.bin", np.uint16).tolist())


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), "<s> a ĊĊ b Ċ <s> c ĊĊ d <s> e"),
        (("--add_bos_token", "False", "--add_eos_token"), "a ĊĊ b Ċ </s> c ĊĊ d </s> e </s>"),
        (("--text_unit", "line"), "<s> a Ċ <s> Ċ <s> b Ċ <s> c Ċ <s> Ċ <s> d <s> e"),
        (("--keep_linebreaks", "False", "--add_bos_token", "False"), "a b c d e"),
        (("--document_attention",), "<s> a ĊĊ </s> <s> b Ċ </s> <s> c ĊĊ d </s> <s> e </s>"),
    ],
)
def test_run_clm_trains_on_the_text_as_it_stands(flags, expected, tmp_path, call_command):
    """Files and rows: whole, line by line, or between empty lines, with what the tokenizer or the user puts around."""
    tokenizer = tiny.byte_level(["\n\n"] * 9, 270, special=("<s>", "</s>"), bos_token="<s>", eos_token="</s>")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    template = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.backend_tokenizer.post_processor = template
    folder = tiny.save(tiny.gpt2(len(tokenizer)), tokenizer, tmp_path / "model")
    (tmp_path / "a.txt").write_text("a\n\nb\n")
    (tmp_path / "b.jsonl").write_text('{"text": "c\\n\\nd"}\n{"text": "<s>e"}\n')
    done = call_command(
        "run_clm.py",
        *("--model_name_or_path", folder, "--train_file", tmp_path / "a.txt", tmp_path / "b.jsonl", "--do_train"),
        *("--build_dataset_only", "--datasets_cache_dir", tmp_path / "c", "--output_dir", tmp_path / "out", *flags),
    )
    assert done.code == 0, done.stderr
    # A text keeps the begin-of-text token that it brings, whatever is asked for.
    found = stored_tokens(tmp_path / "c", tokenizer)
    assert [token for token in found if token != "<s>" or "<s>" in expected] == expected.split()
    assert "begins with" in done.stderr and "none has a second one" in done.stderr


def test_run_clm_refuses_what_contradicts_itself(tmp_path, call_command):
    done = call_command(
        "run_clm.py",
        *("--model_name_or_path", tmp_path, "--train_file", tmp_path, "--output_dir", tmp_path / "out", "--do_train"),
        *("--text_unit", "document", "--keep_linebreaks", "False", "--document_attention", "--add_eos_token", "False"),
    )
    assert done.code == 2
    assert "--text_unit document and --keep_linebreaks False" in str(done.last["reason"])
    assert "--add_eos_token False contradict" in str(done.last["reason"])
