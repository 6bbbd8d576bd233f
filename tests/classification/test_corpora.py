from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from finetune.classification.arguments import ClassificationDataArguments, ColumnArguments
from finetune.classification.corpora import NAMED, OTHER_NAMES, find_named
from finetune.classification.corpus import load_classification_corpus, load_named
from finetune.classification.published.wongnai import read_wongnai
from finetune.data.corpus import Corpus
from finetune.errors import DataError


def sizes(corpus: Corpus) -> dict[str, int]:
    return {split: len(rows) for split, rows in corpus.splits.items()}


@pytest.fixture(scope="module")
def wisesight(shared_data: Path) -> Corpus:
    data = ClassificationDataArguments(
        dataset_name="wisesight_sentiment", data_dir=str(shared_data / "wisesight_sentiment")
    )
    return load_classification_corpus(data, ColumnArguments(), seed=1)


def test_wisesight_from_the_published_zip(wisesight: Corpus) -> None:
    assert sizes(wisesight) == {"train": 21628, "validation": 2404, "test": 2671}
    assert wisesight.labels == ["pos", "neu", "neg", "q"]
    counts = {
        split: [rows["label"][:].count(label) for label in wisesight.labels] for split, rows in wisesight.splits.items()
    }
    assert counts == {
        "train": [3866, 11795, 5491, 476],
        "validation": [434, 1291, 637, 42],
        "test": [478, 1453, 683, 57],
    }
    texts = [text for rows in wisesight.splits.values() for text in rows["text"][:]]
    marks = "\u200b\u200d\x0b\ufeff\xa0"
    assert [sum(mark in text for text in texts) for mark in marks] == [132, 42, 6, 2, 1]


def test_wisesight_duplicates_equal_the_data_readme(wisesight: Corpus) -> None:
    notes = " ".join(wisesight.notes)
    assert "5 of 2,671 texts of test are also in train" in notes
    assert "2 of 2,404 texts of validation are also in train" in notes
    assert "24 distinct texts occur with labels that differ" in notes


def test_environment_variable_finds_corpora(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_DATA_DIR", str(shared_data))
    corpus = load_named("goemotions", None, seed=1)
    assert sizes(corpus) == {"train": 43410, "validation": 5426, "test": 5427}
    labels = (shared_data / "goemotions" / "labels.txt").read_text(encoding="utf-8").split()
    assert corpus.labels == labels
    lengths = [len(row) for row in corpus.splits["train"]["label"][:]]
    assert [lengths.count(number) for number in range(1, 6)] == [36308, 6541, 532, 28, 1]
    assert corpus.splits["validation"][1]["label"] == ["approval", "neutral"]


def test_mams_rows_equal_the_data_readme(shared_data: Path) -> None:
    corpus = load_named("mams", str(shared_data / "mams_atsa"), seed=1)
    assert sizes(corpus) == {"train": 11186, "validation": 1332, "test": 1336}
    assert corpus.labels == ["POS", "NEG", "NEU"]
    row = corpus.splits["validation"][0]
    assert (row["text_pair"], row["label"]) == ("drinks", "NEU")


def test_prachathai_has_twelve_labels(shared_data: Path) -> None:
    corpus = load_named("prachathai67k", str(shared_data / "prachathai67k"), seed=1)
    assert sizes(corpus) == {"train": 5, "validation": 5, "test": 5}
    assert len(corpus.labels or []) == 12
    assert all(set(row) <= set(corpus.labels or []) for row in corpus.splits["train"]["label"][:])


@pytest.mark.parametrize(
    ("name", "labels"), [("review_star", ["1", "2", "3", "4", "5"]), ("correct_translation", ["0", "1"])]
)
def test_generated_reviews_enth(shared_data: Path, name: str, labels: list[str]) -> None:
    folder = shared_data / "generated_reviews_enth"
    corpus = load_named(f"generated_reviews_enth-{name}", str(folder), seed=1)
    assert sizes(corpus) == {"train": 5, "validation": 5, "test": 5}
    assert corpus.labels == labels
    assert "\u0e01" <= corpus.splits["train"][0]["text"][0] <= "\u0e5b"


def test_wongnai_in_its_official_format(shared_data: Path) -> None:
    corpus = load_named("wongnai_reviews", str(shared_data / "wongnai_reviews"), seed=1)
    assert sizes(corpus) == {"train": 4, "validation": 1, "test": 15}
    assert any("has no validation set: 1 of 5 reviews" in note for note in corpus.notes)


def test_wongnai_cut_off_in_a_character(shared_data: Path) -> None:
    folder = shared_data / "wongnai_reviews"
    table = read_wongnai(folder / "w_review_train.comma.csv.gz", "train")
    ratings = table.columns["star_rating"]
    assert [ratings.count(star) for star in "12345"] == [4, 15, 56, 112, 25]
    assert len(table.notes) == 2
    assert "in the middle of a character" in table.notes[0]
    assert "in the middle of a review" in table.notes[1]
    sample = read_wongnai(folder / "w_review_train.sample.csv", "train")
    assert [text.replace("\r", "") for text in table.columns["review_body"][:5]] == sample.columns["review_body"]


def test_wongnai_broken_in_the_middle_is_refused(shared_data: Path, tmp_path: Path) -> None:
    content = (shared_data / "wongnai_reviews" / "w_review_train.sample.csv").read_bytes()
    broken = tmp_path / "w_review_train.csv"
    broken.write_bytes(content.replace(b'";4\n', b'";nine\n', 1).replace(b'";5\n', b'";5\n"\xe0\xb8";5\n', 1))
    with pytest.raises(DataError, match="is not UTF-8"):
        read_wongnai(broken, "train")
    broken.write_bytes(content.replace(b'";4\n', b'";nine\n', 1))
    with pytest.raises(DataError, match=r"w_review_train.csv:\d+: the rating is 'nine'"):
        read_wongnai(broken, "train")


def test_semeval_validates_on_dev_and_never_on_test(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "mams_atsa"
    for name, target in (("train", "train"), ("test", "test")):
        (tmp_path / f"{target}.xml").write_bytes(gzip.decompress((source / f"{name}.xml.gz").read_bytes()))
    data = ClassificationDataArguments(dataset_name="semeval2014-atsc", data_dir=str(tmp_path))
    corpus = load_classification_corpus(data, ColumnArguments(), seed=1)
    training = set(corpus.splits["train"]["text"][:])
    assert not training & set(corpus.splits["validation"]["text"][:])
    assert len(corpus.splits["train"]) + len(corpus.splits["validation"]) == 11186
    assert any("There is no validation set" in note for note in corpus.notes)
    (tmp_path / "dev.xml").write_bytes(gzip.decompress((source / "val.xml.gz").read_bytes()))
    assert len(load_classification_corpus(data, ColumnArguments(), seed=1).splits["validation"]) == 1332


def test_missing_corpus_says_what_to_place_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("FINETUNE_DATA_DIR", raising=False)
    with pytest.raises(DataError, match=r"place train.jsonl, valid.jsonl, test.jsonl .* --data_dir, or in \$FINETUNE"):
        load_named("prachathai67k", str(tmp_path), seed=1)


def test_damaged_archive(tmp_path: Path) -> None:
    (tmp_path / "data.zip").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(DataError, match=r"data.zip: the archive is damaged"):
        load_named("wisesight_sentiment", str(tmp_path), seed=1)


def test_names() -> None:
    assert find_named("Wisesight_Sentiment") == "wisesight_sentiment"
    assert set(OTHER_NAMES.values()) <= set(NAMED)
    assert find_named("imdb") is None
