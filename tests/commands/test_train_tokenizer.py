"""The tokenizer commands through their real command lines: what the documents say, and every bad input."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

THAI = ["กินข้าวแล้วหรือยัง วันนี้ อากาศดีมาก", "ประเทศไทยมีอากาศร้อน", "วันนี้กินข้าวที่บ้าน"] * 4


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "train"
    folder.mkdir()
    text = "\n".join(THAI)
    (folder / "a.txt").write_text(f"{text}\n", encoding="utf-8")
    (folder / "b.txt.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    (folder / "notes.md").write_text("not this\n", encoding="utf-8")
    return folder


def run(repository: Path, script: str, *flags: object, cwd: Path | None = None, **environment: str):
    command = [sys.executable, str(repository / "scripts" / script), *map(str, flags)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, env={**os.environ, **environment}
    )


def last_line(done: subprocess.CompletedProcess[str]) -> dict:
    return json.loads(done.stdout.splitlines()[-1])


def test_the_documented_command(repository, corpus, tmp_path):
    output = tmp_path / "tokenizers" / "newmm" / "newmm.json"
    flags = ("--ext", "txt", "--train_dir", corpus, "--output_file", output, "--pre_tokenizer_type", "newmm")
    flags += ("--overwrite_output_file", "--vocab_min_freq", 4)
    done = run(repository, "train_tokenizer.py", *flags, "--num_workers", 1)
    assert done.returncode == 0, done.stderr
    vocabulary = json.loads(output.read_text(encoding="utf-8"))
    assert list(vocabulary)[:7] == ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<_>", "\n"]
    assert "อากาศ" in vocabulary and list(vocabulary.values()) == list(range(len(vocabulary)))
    facts = {"status": "done", "output_file": str(output), "vocab_size": len(vocabulary)}
    assert last_line(done).items() >= facts.items()
    assert "of the" in done.stderr and "running words" in done.stderr
    again = run(repository, "train_tokenizer.py", *flags, "--num_workers", 2)
    assert again.returncode == 0 and json.loads(output.read_text(encoding="utf-8")) == vocabulary


def test_sentencepiece(repository, corpus, tmp_path):
    output = tmp_path / "sentencepiece.bpe.model"
    flags = ("--train_dir", corpus, "--output_file", output, "--pre_tokenizer_type", "spm", "--num_workers", 1)
    done = run(repository, "train_tokenizer.py", *flags, "--vocab_size", 28, "--max_sentence_length", 80)
    assert done.returncode == 0, done.stderr
    assert "8 of 24 lines are longer than 80 bytes and are left out" in done.stderr
    vocab = output.with_suffix(".vocab").read_text(encoding="utf-8").split("\n")
    assert [row.split("\t")[0] for row in vocab[:6]] == ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<_>"]
    refused = run(repository, "train_tokenizer.py", *flags, "--vocab_size", 24_000)
    assert refused.returncode == 2
    assert refused.stderr.count("this file exists already") == 2
    too_large = run(repository, "train_tokenizer.py", *flags, "--overwrite_output_file")
    assert too_large.returncode == 2
    assert "--vocab_size 24,000 is too large for the 24 lines of training text" in too_large.stderr
    assert "is the largest possible" in last_line(too_large)["reason"]
    assert output.with_suffix(".vocab").read_text(encoding="utf-8").split("\n") == vocab


def test_a_sample_is_said(repository, corpus, tmp_path):
    flags = ("--train_dir", corpus / "*.txt*", "--output_file", tmp_path / "syllable.json")
    flags += ("--pre_tokenizer_type", "syllable", "--input_sentence_size", 10, "--num_workers", 1)
    done = run(repository, "train_tokenizer.py", *flags)
    assert done.returncode == 0, done.stderr
    assert "Trained on 10 lines drawn from 24 (--input_sentence_size, seed 42)" in done.stderr


@pytest.mark.parametrize(
    ("flags", "sentences"),
    [
        (["--ext", "csv"], ["train: no file of this folder ends in .csv", "its files end in: .gz, .md, .txt"]),
        (["--train_dir", "nowhere"], ["nowhere: no such file"]),
        (["--pre_tokenizer_type", "newm"], ["--pre_tokenizer_type", "did you mean 'newmm'"]),
        (["--pre_tokenizer_type", "spm"], ["newmm.json does not end in .model"]),
        (["--vocab_min_fraq", "4"], ["--vocab_min_fraq", "--vocab_min_freq"]),
        (["--vocab_size", "0", "--ext"], ["--vocab_size", "--ext"]),
        (["--vocab_min_freq", "99999"], ["no word is left of", "the most frequent occurs"]),
        (["--pre_tokenizer_type", "fake_sefr_cut"], ["no line holds the mark <|>"]),
    ],
)
def test_bad_arguments(repository, corpus, tmp_path, flags, sentences):
    defaults = {"--train_dir": corpus, "--output_file": tmp_path / "newmm.json", "--pre_tokenizer_type": "newmm"}
    given = [word for name, value in defaults.items() if name not in flags for word in (name, value)]
    done = run(repository, "train_tokenizer.py", *given, *flags, "--num_workers", 1)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert all(sentence in done.stderr for sentence in sentences), done.stderr
    assert last_line(done)["status"] == "failed"
    assert not (tmp_path / "newmm.json").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("กิน\nข้าว\n".encode("cp874"), "bad.txt:1: byte 0xA1 at offset 0 of the file is not UTF-8"),
        (b"", "hold no line of text that can be used"),
        (b"\n \n\t\n", "hold no line of text that can be used"),
        (gzip.compress(b"text", mtime=0)[:-5], "the gzip file is damaged"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_bad_text(repository, tmp_path, content, sentence, workers):
    folder = tmp_path / "train"
    folder.mkdir()
    (folder / "bad.txt").write_bytes(content)
    flags = ("--train_dir", folder, "--output_file", tmp_path / "newmm.json", "--pre_tokenizer_type", "newmm")
    done = run(repository, "train_tokenizer.py", *flags, "--num_workers", workers)
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr and "Traceback" not in done.stderr


def test_an_empty_folder(repository, tmp_path):
    flags = ("--train_dir", tmp_path, "--output_file", tmp_path / "x" / "newmm.json", "--pre_tokenizer_type", "newmm")
    done = run(repository, "train_tokenizer.py", *flags)
    assert done.returncode == 2 and "the folder holds no files" in done.stderr
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "script", ["train_tokenizer.py", "train-roberta-tokenizer.py", "sefr_cut_pre_tokenizer.py", "convert_sefr_cache.py"]
)
def test_help_is_instant(repository, script):
    code = (
        "import runpy, sys; sys.argv = [sys.argv[1], '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pythainlp', 'sentencepiece', 'tokenizers'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(repository / "scripts" / script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert script in done.stdout and "--" in done.stdout


def test_the_classic_trainer(repository, tmp_path):
    folder = tmp_path / "wikitext-2-raw"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "wiki.raw").write_text("the cat sat on the mat\n" * 9, encoding="utf-8")
    (folder / "cached_lm.raw").write_text("zzz zzz\n" * 9, encoding="utf-8")
    flags = ("--vocab_size", 300, "--tokenizer_name", "ByteLevelBPETokenizer")
    done = run(repository, "train-roberta-tokenizer.py", *flags, cwd=tmp_path)  # data_dir and suffix by default
    assert done.returncode == 0, done.stderr
    vocabulary = json.loads((tmp_path / "ByteLevelBPETokenizer-vocab.json").read_text(encoding="utf-8"))
    assert list(vocabulary)[:5] == ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    assert "Ġcat" in vocabulary and "zzz" not in vocabulary
    assert (tmp_path / "ByteLevelBPETokenizer-merges.txt").read_text(encoding="utf-8").startswith("#version: 0.2\n")
    again = run(repository, "train-roberta-tokenizer.py", *flags, cwd=tmp_path)
    assert again.returncode == 0 and last_line(again)["status"] == "already_done"
    refused = run(repository, "train-roberta-tokenizer.py", *flags, "--min_frequency", 3, cwd=tmp_path)
    assert refused.returncode == 2 and "ByteLevelBPETokenizer-vocab.json: this file exists already" in refused.stderr
    default = run(repository, "train-roberta-tokenizer.py", "--vocab_size", 40, cwd=tmp_path)
    assert default.returncode == 0, default.stderr
    subwords = (tmp_path / "BertWordPieceTokenizer-vocab.txt").read_text(encoding="utf-8").split("\n")
    assert subwords[:5] == ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] and "cat" in subwords


def test_marks_of_sefr_cut(repository, corpus, tmp_path):
    """The package is replaced by a stand-in of the same interface, found through PYTHONPATH."""
    package = tmp_path / "path" / "sefr_cut"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "def load_model(engine):\n    assert engine == 'best'\n"
        "def tokenize(text):\n    print('a bar')\n    return [[text[:3], text[3:]]]\n",
        encoding="utf-8",
    )
    flags = ("--input_folder", corpus, "--output_folder", tmp_path / "out", "--chunk_size", 5, "--num_workers", 2)
    done = run(repository, "sefr_cut_pre_tokenizer.py", *flags, PYTHONPATH=str(package.parent))
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out" / "b.txt").read_text(encoding="utf-8").splitlines()
    assert lines[1] == f"{THAI[1][:3]}<|>{THAI[1][3:]}" and len(lines) == 12
    assert "a bar" not in done.stdout
    assert last_line(done).items() >= {"status": "done", "files": 2, "lines": 24}.items()
    refused = run(repository, "sefr_cut_pre_tokenizer.py", *flags, PYTHONPATH=str(package.parent))
    assert refused.returncode == 2 and refused.stderr.count("say --overwrite to replace it") == 2


def test_old_caches_become_json(repository, tmp_path):
    (tmp_path / "old.pkl").write_bytes(pickle.dumps({"กินข้าว": ["กิน", "ข้าว"]}))
    output = tmp_path / "sefr_cache_tokenizer_dict.json"
    flags = ("--input_file", tmp_path / "old.pkl", "--output_file", output)
    done = run(repository, "convert_sefr_cache.py", *flags)
    assert done.returncode == 0, done.stderr
    assert json.loads(output.read_text(encoding="utf-8")) == {"กินข้าว": ["กิน", "ข้าว"]}
    assert last_line(done)["texts"] == 1
    (tmp_path / "old.pkl").write_text("no pickle", encoding="utf-8")
    broken = run(repository, "convert_sefr_cache.py", *flags, "--overwrite_output_file")
    assert broken.returncode == 2 and "old.pkl: this cannot be read as a plain dictionary" in broken.stderr
