"""The preparers from end to end: reviews to sentences, SemEval files to pairs, GLUE checks."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

from finetune.classification.published.semeval import count_labels, read_semeval


def test_laptop_reviews(call_command, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "data" / "raw"
    raw.mkdir(parents=True)
    meta = [{"asin": "L", "categories": [["Laptops"]]}, {"asin": "P", "categories": [["Phones"]]}]
    (raw / "meta_Electronics.json.gz").write_bytes(gzip.compress("\n".join(map(repr, meta)).encode()))
    reviews = [
        {"asin": "L", "reviewText": "Fast. Quiet too.\nI like it!"},
        {"asin": "P", "reviewText": "A phone. Not a laptop."},
        {"asin": "L", "reviewText": "Only one sentence."},
        {"asin": "L", "reviewText": "Heavy, e.g. for travel. Good screen."},
    ]
    packed = gzip.compress("\n".join(json.dumps(review) for review in reviews).encode())
    (raw / "reviews_Electronics.json.gz").write_bytes(packed)
    done = call_command("prepare_laptop_reviews.py")
    assert done.code == 0, done.stderr
    text = (tmp_path / "data" / "transformed" / "laptop_corpus_5.txt").read_text(encoding="utf-8")
    assert text == "Fast.\nQuiet too.\nI like it!\n\nHeavy, e.g. for travel.\nGood screen.\n"
    assert done.last["too_short"] == 1
    again = call_command("prepare_laptop_reviews.py")
    assert again.code == 2
    assert "laptop_corpus_5.txt: the file is there already" in again.last["reason"]


def test_restaurant_reviews(call_command, tmp_path: Path) -> None:
    (tmp_path / "review.json").write_text(
        "".join(json.dumps({"business_id": key, "text": "Good food. Slow service."}) + "\n" for key in "abc"),
        encoding="utf-8",
    )
    (tmp_path / "business.json").write_text(
        "".join(json.dumps({"business_id": key, "categories": kind}) + "\n" for key, kind in
                (("a", "Thai, Restaurants"), ("b", "Shops"), ("c", "Restaurants"))),
        encoding="utf-8",
    )  # fmt: skip
    done = call_command(
        "prepare_restaurant_reviews.py", "--reviews_file", tmp_path / "review.json", "--business_file",
        tmp_path / "business.json", "--output_file", tmp_path / "corpus.txt",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert (done.last["written"], done.last["other_products"]) == (2, 1)
    assert (tmp_path / "corpus.txt").read_text(
        encoding="utf-8"
    ) == "Good food.\nSlow service.\n\nGood food.\nSlow service.\n"


def test_semeval_with_upsampling(call_command, shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "mams_atsa" / "val.xml.gz"
    words = ("prepare_semeval_datasets.py", "--files", source, "--istrain", "--noconfl", "--upsample", "0.4 0.3 0.3")
    done = call_command(*words, "--output_dir", tmp_path / "out")
    assert done.code == 0, done.stderr
    assert re.findall(r"Dataset: (\w+)", done.stdout) == ["train", "dev", "train_split"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"train.xml", "dev.xml", "train_split.xml"}
    counts = count_labels(read_semeval(tmp_path / "out" / "train.xml"))
    assert abs(counts["POS"] / counts.total() - 0.4) < 0.01
    assert f"Label Counts {counts.most_common()}" in done.stdout  # of what is written, not of what it was made from
    assert f"#SentencePairs {counts.total()}" in done.stdout
    dev = {sentence.text for sentence in read_semeval(tmp_path / "out" / "dev.xml")}
    training = {sentence.text for sentence in read_semeval(tmp_path / "out" / "train_split.xml")}
    assert len(dev) == 50
    assert not dev & training
    assert call_command(*words, "--output_dir", tmp_path / "again").code == 0
    for name in ("train.xml", "dev.xml", "train_split.xml"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_what_semeval_files_lose_is_counted_and_ids_are_kept(call_command, tmp_path: Path) -> None:
    def sentence(number: int, *polarities: str) -> str:
        terms = "".join(f'<aspectTerm term="a" polarity="{word}" from="0" to="1"/>' for word in polarities)
        inside = f"<aspectTerms>{terms}</aspectTerms>" if polarities else ""
        return f'<sentence id="r{number}"><text>a b {number}</text>{inside}</sentence>'

    rows = [
        sentence(7, "positive", "conflict"),
        sentence(3, "conflict"),
        sentence(5),
        sentence(9, "negative", "neutral"),
    ]
    (tmp_path / "a.xml").write_text(f"<sentences>{''.join(rows)}</sentences>", encoding="utf-8")
    words = (
        "prepare_semeval_datasets.py",
        "--files",
        tmp_path / "a.xml",
        "--output_dir",
        tmp_path / "out",
        "--noconfl",
    )
    done = call_command(*words)
    assert done.code == 0, done.stderr
    assert "1 of 4 sentences have no aspect and are left out" in done.stderr
    assert "2 conflicting aspects were dropped, and with them 1 sentences of no other" in done.stderr
    assert [item.id for item in read_semeval(tmp_path / "out" / "test.xml")] == ["r7", "r9", "r9"]
    assert "#Sentences with minimum 1 label 2" in done.stdout and "#SentencePairs 3" in done.stdout


def test_broken_xml_is_told(call_command, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<sentences>\n<sentence><text>a</text>\n</sentences>", encoding="utf-8")
    done = call_command("prepare_semeval_datasets.py", "--files", tmp_path / "a.xml", "--output_dir", tmp_path / "out")
    assert done.code == 2
    assert "a.xml:3: the XML is broken here (mismatched tag)" in done.last["reason"]
    done = call_command("prepare_semeval_datasets.py", "--files", tmp_path / "a.xml", "--upsample", "1 1 1")
    assert done.code == 2
    assert "--upsample is for training files" in done.last["reason"]


def test_check_of_a_folder_names_what_differs(call_command, shared_data: Path) -> None:
    done = call_command("download_glue_data.py", "--check", shared_data / "glue", "--tasks", "CoLA,WNLI")
    assert done.code == 0, done.stderr
    assert done.last["files"] == 6
    done = call_command("download_glue_data.py", "--check", shared_data / "glue", "--tasks", "MRPC,RTE")
    assert done.code == 2
    assert "no file of GLUE RTE is there" in done.last["reason"]
