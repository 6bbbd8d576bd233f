"""Every command that reads text names a file that is UTF-16, with and without its mark, and says how to convert it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, BertForTokenClassification

from tests import tiny

TEXT = "The keys are here.\n\nThe dog sleeps.\nThe cat runs home.\n"
CONLL = "The O\nkeys O\n\nMaria B-PER\nruns O\n"
ROWS = "text,label\nThe keys are here,a\nThe dog runs,b\n"
PAIRS = json.dumps({"sentence_good": "The dog runs.", "sentence_bad": "The dog run.", "UID": "a", "field": "b"}) + "\n"
OUT = ("--output_dir", "{out}")
COMMANDS: dict[str, tuple[str, ...]] = {  # script, its words and what the file holds; {file} and {folder} hold it
    "score": ("score.py", "--model_name_or_path", "{gpt2}", "--test_file", "{file}"),
    "score pairs": (
        *("score.py", "--model_name_or_path", "{gpt2}", "--evaluate", "minimal_pairs", "--pairs_file", "{file}"),
    ),
    "score blimp": ("score.py", "--model_name_or_path", "{gpt2}", "--evaluate", "blimp", "--blimp_dir", "{folder}"),
    "finetune_lm": ("finetune_lm.py", "--model_name_or_path", "{gpt2}", "--test_file", "{file}", *OUT),
    "run_clm": (
        *("run_clm.py", "--model_name_or_path", "{gpt2}", "--train_file", "{file}", "--do_train", *OUT),
        *("--datasets_cache_dir", "{out}/cache", "--validation_split_percentage", "0"),
    ),
    "run_mlm": (
        *("run_mlm.py", "--model_name_or_path", "{bert}", "--train_file", "{file}", "--do_train", *OUT),
        *("--datasets_cache_dir", "{out}/cache", "--validation_split_percentage", "0"),
    ),
    "run_mlm by line": (
        *("run_mlm.py", "--model_name_or_path", "{bert}", "--train_file", "{file}", "--do_train", *OUT),
        *("--datasets_cache_dir", "{out}/cache", "--validation_split_percentage", "0", "--line_by_line"),
    ),
    "run_language_modeling": (
        *("run_language_modeling.py", "--model_name_or_path", "{bert}", "--mlm", "--train_data_file", "{file}"),
        *("--do_train", *OUT),
    ),
    "train_tokenizer": (
        *("train_tokenizer.py", "--train_dir", "{file}", "--pre_tokenizer_type", "bpe", "--vocab_size", "300"),
        *("--output_file", "{out}/vocab.json"),
    ),
    "train_tokenizer spm": (
        *("train_tokenizer.py", "--train_dir", "{file}", "--pre_tokenizer_type", "spm", "--vocab_size", "40"),
        *("--output_file", "{out}/sentencepiece.bpe.model"),
    ),
    "train-roberta-tokenizer": (
        *("train-roberta-tokenizer.py", "--data_dir", "{folder}", "--file_suffix", "{suffix}", "--vocab_size", "300"),
        *("--tokenizer_name", "ByteLevelBPETokenizer", "--output_dir", "{out}"),
    ),
    "pregenerate": (
        *("pregenerate_training_data.py", "--train_corpus", "{file}", "--bert_model", "{bert}"),
        *("--epochs_to_generate", "1", *OUT),
    ),
    "simple_lm_finetuning": (
        *("simple_lm_finetuning.py", "--train_corpus", "{file}", "--bert_model", "{bert}", "--do_train", *OUT),
    ),
    "binarized_data": (
        *("distillation/scripts/binarized_data.py", "--file_path", "{file}", "--tokenizer_name", "{bert}"),
        *("--dump_file", "{out}/ids"),
    ),
    "split": ("split.py", "--data_path", "{file}", "--base_path", "{out}/part", "--ratio", "2"),
    "run_ner": (
        *("run_ner.py", "--model_name_or_path", "{bert}", "--train_file", "{file}", "--validation_file", "{file}"),
        *("--do_train", *OUT),
    ),
    "run_glue": (
        *("run_glue.py", "--model_name_or_path", "{bert}", "--train_file", "{file}", "--validation_file", "{file}"),
        *("--do_train", *OUT),
    ),
    "sequence classification": (
        *("downstream/train_sequence_classification_lm_finetuning.py", "mbert", "--tokenizer_dir", "{bert}"),
        *("--model_dir", "{bert}", "--train_file", "{file}", "--test_file", "{file}", *OUT),
    ),
    "token classification": (
        *("downstream/train_token_classification_lm_finetuning.py", "--model_name_or_path", "{bert}"),
        *("--train_file", "{file}", "--validation_file", "{file}", "--do_train", *OUT),
    ),
    "distil a tagger": (
        *("distillation/train.py", "--task", "token_classification", "--student_name", "{bert}"),
        *("--teacher_name", "{tagger}", "--train_file", "{file}", "--validation_file", "{file}", *OUT),
    ),
    "predict tags": ("predict.py", "--model_name_or_path", "{tagger}", "--input_file", "{file}"),
    "predict labels": ("predict.py", "--model_name_or_path", "{classifier}", "--input_file", "{file}"),
}
CONLL_COMMANDS = ("run_ner", "token classification", "distil a tagger")
ROW_COMMANDS = ("run_glue", "sequence classification")


def held(name: str) -> tuple[str, str]:
    """The name of the file of a command and what it holds."""
    if name in CONLL_COMMANDS:
        return "data.conll", CONLL
    if name in ROW_COMMANDS:
        return "data.csv", ROWS
    return ("data.jsonl", PAIRS) if name in ("score pairs", "score blimp") else ("data.txt", TEXT)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *["The", "keys", "are", "here", "dog", "sleeps", "runs", "cat", "home", "Maria", "."],
    ]
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), words, strict=False))
    tokenizer = tiny.word_level(words, **names)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16
    )
    from transformers import BertForMaskedLM

    found = {"gpt2": tiny.save(tiny.gpt2(len(tokenizer)), tokenizer, root / "gpt2")}
    found["bert"] = tiny.save(BertForMaskedLM(config), tokenizer, root / "bert")
    config.id2label, config.label2id = {0: "O", 1: "B-PER"}, {"O": 0, "B-PER": 1}
    found["tagger"] = tiny.save(BertForTokenClassification(config), tokenizer, root / "tagger")
    found["classifier"] = tiny.save(BertForSequenceClassification(config), tokenizer, root / "classifier")
    assert AutoTokenizer.from_pretrained(root / "bert").mask_token == "[MASK]"
    return found


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
@pytest.mark.parametrize("name", COMMANDS)
def test_utf16_is_named_by_every_command_that_reads_text(name, encoding, models, call_command, tmp_path):
    file, content = held(name)
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / file
    path.write_bytes(content.encode(encoding))
    places = {**models, "file": path, "folder": path.parent, "out": tmp_path / "out", "suffix": path.suffix.strip(".")}
    script, *words = (word.format(**places) for word in COMMANDS[name])
    done = call_command(script, *words)
    said = "UTF-16" if encoding == "utf-16" else "UTF-16LE"
    remedy = f"the file is {said}; UTF-8 is read; save it as UTF-8: iconv -f {said} -t UTF-8 {file} > utf8-{file}"
    assert done.code == 2 and remedy in str(done.last["reason"])
    assert not [item for item in (tmp_path / "out").rglob("*") if item.suffix in (".model", ".safetensors", ".gz")]
