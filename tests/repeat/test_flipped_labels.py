"""Real data with labels flipped at random, five in a hundred: out-of-fold models must put them first."""

from __future__ import annotations

import gzip
import json
import random
import re
from pathlib import Path

import pytest

FLIPPED, FIRST, FOUND = 0.05, 0.1, 0.6
TRAINING = ("--do_train", "--per_device_train_batch_size", 16, "--save_strategy", "no", "--no_html_report")


def read_text(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text(encoding="utf-8")


def read_sources(data: Path, number: int) -> list[tuple[str, str]]:
    """Sentences with where they are from: a review of a film, a tweet, a review of a restaurant."""
    films = [line.split("\t")[0].strip() for line in read_text(data / "glue/SST-2/dev.tsv").split("\n")[1:] if line]
    tweets = [" ".join(word for word, _ in sentence) for sentence in read_tags(data)]
    tables = re.findall(r"<text>(.*?)</text>", read_text(data / "mams_atsa/val.xml.gz"))
    sources = {"film": films, "tweet": tweets, "table": tables}
    rows = [(text, kind) for kind, texts in sources.items() for text in list(dict.fromkeys(texts))[:number]]
    random.Random(0).shuffle(rows)
    return rows


def read_tags(data: Path) -> list[list[tuple[str, str]]]:
    blocks = re.split(r"\n\s*\n", read_text(data / "wnut17/wnut17train.conll.gz"))
    sentences = [[tuple(line.split("\t")) for line in block.split("\n") if line.strip()] for block in blocks]
    return [sentence for sentence in sentences if any(tag != "O" for _, tag in sentence)]


def find_first(folder: Path, items: int) -> list[dict]:
    return [json.loads(line) for line in (folder / "suspects.jsonl").read_text().splitlines()][: int(FIRST * items)]


@pytest.mark.slow
def test_flipped_labels_of_texts_come_first(shared_data, minilm_folder, call_command, tmp_path):
    rows, generator = read_sources(shared_data, 120), random.Random(1)
    flipped = set(generator.sample(range(len(rows)), int(FLIPPED * len(rows))))
    kinds = sorted({kind for _, kind in rows})
    lines = []
    for number, (text, kind) in enumerate(rows):
        others = [other for other in kinds if other != kind]
        lines.append(
            json.dumps({"text": text, "label": generator.choice(others) if number in flipped else kind}) + "\n"
        )
    (tmp_path / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
    done = call_command(
        "repeat.py", "run_glue", "--output_dir", tmp_path / "out", "--seeds", 1, "--folds", 2, "--", *TRAINING,
        "--model_name_or_path", minilm_folder, "--train_file", tmp_path / "rows.jsonl", "--num_train_epochs", 3,
        "--learning_rate", 2e-4,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    first = find_first(tmp_path / "out", len(rows))
    share = len(flipped & {item["example"] for item in first}) / len(flipped)
    print(f"{share:.0%} of {len(flipped)} flipped labels are among the first {len(first)} of {len(rows)} texts")
    assert share >= FOUND


@pytest.mark.slow
def test_flipped_tags_of_words_come_first(shared_data, minilm_folder, call_command, tmp_path):
    sentences, generator = read_tags(shared_data)[:260], random.Random(1)
    tags = sorted({tag for sentence in sentences for _, tag in sentence})
    words = [(row, place) for row, sentence in enumerate(sentences) for place in range(len(sentence))]
    flipped = set(generator.sample(words, int(FLIPPED * len(words))))
    for row, place in sorted(flipped):
        word, tag = sentences[row][place]
        sentences[row][place] = (word, generator.choice([other for other in tags if other != tag]))
    text = "\n".join("".join(f"{word}\t{tag}\n" for word, tag in sentence) for sentence in sentences)
    (tmp_path / "words.conll").write_text(text, encoding="utf-8")
    done = call_command(
        "repeat.py", "run_ner", "--output_dir", tmp_path / "out", "--seeds", 1, "--folds", 2, "--", *TRAINING,
        "--model_name_or_path", minilm_folder, "--train_file", tmp_path / "words.conll", "--num_train_epochs", 3,
        "--learning_rate", 2e-4,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    first = find_first(tmp_path / "out", len(words))
    share = len(flipped & {(item["example"], item["word"]) for item in first}) / len(flipped)
    print(f"{share:.0%} of {len(flipped)} flipped tags are among the first {len(first)} of {len(words)} words")
    assert share >= FOUND
