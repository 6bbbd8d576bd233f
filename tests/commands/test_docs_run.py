"""Commands of documents, run as they stand where small models and texts bear the names that they use."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer, BertForMaskedLM

from finetune.commands import find_commands
from tests.docs_commands import find_shown
from tests.serving.served import make_model
from tests.tiny import byte_level, gpt2, save

ROOT = Path(__file__).parents[2]
COMMANDS = find_commands(ROOT / "scripts")
TEXT = "Maria flew to Berlin with her brother.\nThe keys to the cabinet are on the table.\n"
CORPUS = "".join(f"Maria saw {n} ships. They came from Oslo.\nShe waved at number {n}.\n\n" for n in range(12))
CONLL = "Maria\tB-PER\nflew\tO\nto\tO\nBerlin\tB-LOC\n\nNobody\tO\n"
PAIRS = [
    {"sentence_good": f"Number {n} is here.", "sentence_bad": f"Number {n} are here.", "UID": "sva"} for n in range(4)
]
FILES = {
    **dict.fromkeys(("items.txt", "items.txt.gz", "news.txt", "news.txt.gz", "news/a.txt", "news/b.txt"), TEXT),
    "dev.conll": CONLL,
    "dev_corpus.txt": CORPUS,
    "data/blimp/sva.jsonl": "".join(json.dumps(pair) + "\n" for pair in PAIRS),
    "data/pairs.jsonl": "".join(
        json.dumps({"right": pair["sentence_good"], "wrong": pair["sentence_bad"], "phenomenon": "sva"}) + "\n"
        for pair in PAIRS
    ),
}


@pytest.fixture
def place(tmp_path, tiny_bert, monkeypatch):
    """A folder with everything that the documents below name."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        data = text.encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    make_model(tiny_bert, "tagger", tmp_path / "outputs" / "wnut17")
    save(gpt2(300), byte_level([TEXT], 300), tmp_path / "gpt2")
    for name in ("bert-base-cased", "bert-base-uncased"):
        tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
        save(BertForMaskedLM(AutoConfig.from_pretrained(tiny_bert)), tokenizer, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["prediction.md", "surprisal.md", "pregeneration.md"])
def test_the_commands_of_a_document_run(name, place, call_command, monkeypatch):
    shown = [found for found in find_shown(ROOT / "docs" / name, COMMANDS, ROOT) if not found.partial]
    assert len(shown) >= 2
    for command in shown:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((command.said or "").encode()), encoding="utf-8"))
        longest = ["--max_seq_len", "64"] if "--max_seq_len" in command.words else []  # what the small model reads
        done = call_command(
            command.script.relative_to(ROOT / "scripts"), *command.words, *longest, CUDA_VISIBLE_DEVICES=""
        )
        assert done.code == 0, f"{command}\n{done.stderr}"
        names = [
            word for flag, word in zip(command.words, command.words[1:], strict=False) if flag.startswith("--output_")
        ]
        assert all(Path(word).exists() for word in names if word != "conll"), command
