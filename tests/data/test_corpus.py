from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.corpus import Corpus, build_dataset, describe_duplicates, limit_samples, select_rows
from finetune.data.splits import carve_validation, split_rows
from finetune.errors import DataError


def tagged(*rows: tuple[str, str]) -> datasets.Dataset:
    words, tags = [list(words) for words, _ in rows], [list(tags) for _, tags in rows]
    return build_dataset({"words": words, "tags": tags, "line": list(range(1, len(rows) + 1))})


def test_duplicates_are_counted_within_and_across_splits_and_by_label() -> None:
    splits = {
        "train": tagged(("ab", "XO"), ("ab", "XO"), ("c", "O")),
        "validation": tagged(("ab", "OO"), ("d", "O")),
        "test": tagged(("c", "O"), ("e", "O"), ("d", "X")),
    }
    assert describe_duplicates(splits, inputs=["words"], label="tags") == [
        "1 of 3 sentences of train repeat an earlier one.",
        "1 of 2 sentences of validation are also in train.",
        "1 of 3 sentences of test are also in train.",
        "1 of 3 sentences of test are also in validation.",
        "2 distinct sentences occur with labels that differ (for example train line 1 and validation line 1).",
    ]


def test_duplicates_of_text_pairs_and_of_unlabelled_splits() -> None:
    splits = {
        "train": build_dataset({"text": ["a", "a"], "text_pair": ["b", "c"], "label": ["x", "y"]}),
        "test": build_dataset({"text": ["a"], "text_pair": ["b"]}),
    }
    notes = describe_duplicates(splits, inputs=["text", "text_pair"], label="label", noun="pairs")
    assert notes == ["1 of 1 pairs of test are also in train."]
    notes = describe_duplicates(splits, inputs=["text"], label="label", noun="texts")
    assert notes[-1] == "1 distinct texts occur with labels that differ (for example train and train)."


def test_selected_rows_keep_features_and_order_without_an_index_mapping() -> None:
    features = datasets.Features({"label": datasets.ClassLabel(names=["a", "b"]), "n": datasets.Value("int32")})
    rows = datasets.Dataset.from_dict({"label": [0, 1, 0], "n": [1, 2, 3]}, features=features)
    chosen = select_rows(rows, [2, 0])
    assert chosen["n"][:] == [3, 1]
    assert chosen.features == features
    assert chosen._indices is None


def test_limits_keep_the_first_rows_and_say_so() -> None:
    corpus = Corpus("x", {"train": tagged(("a", "O"), ("b", "O")), "test": tagged(("c", "O"))})
    limit_samples(corpus, {"train": 1, "validation": 5, "test": 9})
    assert corpus.splits["train"]["words"][:] == [["a"]]
    assert len(corpus.splits["test"]) == 1
    assert corpus.notes == ["Only the first 1 of 2 rows of train are used, as asked."]


def test_fingerprints_cover_every_file_of_every_split(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a")
    corpus = Corpus("x", {}, files={"train": [path], "test": [path, tmp_path / "gone"]})
    (expected,) = corpus.fingerprints()["train"]
    assert expected["sha256"] == hashlib.sha256(b"a").hexdigest()
    assert corpus.fingerprints()["test"] == [expected]


@pytest.mark.parametrize("count", [2, 3, 10, 635, 1270, 6348])
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_splits_are_those_of_the_datasets_library(count: int, fraction: float) -> None:
    rows = datasets.Dataset.from_dict({"row": list(range(count))})
    expected = rows.train_test_split(test_size=fraction, shuffle=True, seed=2020)
    train, test = split_rows(count, fraction, 2020)
    assert train.tolist() == expected["train"]["row"][:]
    assert test.tolist() == expected["test"]["row"][:]


def test_validation_is_carved_out_of_train_by_seed_and_never_out_of_test() -> None:
    def corpus() -> Corpus:
        train = build_dataset({"words": [[str(number)] for number in range(50)]})
        return Corpus("x", {"train": train, "test": tagged(("z", "O"))}, files={"train": [Path("a")]})

    first, again, other = corpus(), corpus(), corpus()
    for item, seed in ((first, 1), (again, 1), (other, 2)):
        carve_validation(item, seed, text="words")
    parts = {split: [words[0] for words in first.splits[split]["words"][:]] for split in ("train", "validation")}
    assert list(first.splits) == ["train", "validation", "test"]
    assert sorted(parts["train"] + parts["validation"], key=int) == [str(number) for number in range(50)]
    assert parts["train"] == sorted(parts["train"], key=int)
    assert len(parts["validation"]) == 5
    assert again.splits["validation"]["words"][:] == first.splits["validation"]["words"][:]
    assert other.splits["validation"]["words"][:] != first.splits["validation"]["words"][:]
    assert first.splits["test"]["words"][:] == [["z"]]
    assert first.files["validation"] == [Path("a")]
    assert "5 of 50 rows of train, drawn with seed 1" in first.notes[0]


def test_nothing_is_carved_where_it_is_not_needed_or_not_possible() -> None:
    complete = Corpus("x", {"train": tagged(("a", "O")), "validation": tagged(("b", "O"))})
    only_test = Corpus("x", {"test": tagged(("a", "O"))})
    for corpus in (complete, only_test):
        carve_validation(corpus, 1, text="words")
        assert corpus.notes == []
    with pytest.raises(DataError, match="at least two texts"):
        carve_validation(Corpus("x", {"train": tagged(("a", "O"))}), 1, text="words")


@given(
    rows=st.lists(st.tuples(st.integers(0, 15), st.integers(0, 6)), min_size=2, max_size=60),
    seed=st.integers(0, 5),
    several=st.booleans(),
)
def test_what_is_carved_leaves_every_label_and_shares_no_text(rows, seed, several) -> None:
    labels = [sorted({label, text % 3}) if several else label for text, label in rows]
    train = build_dataset({"text": [f"t{text}" for text, _ in rows], "label": labels})
    corpus = Corpus("x", {"train": train}, files={"train": [Path("a")]})
    try:
        carve_validation(corpus, seed, text="text", label="label")
    except DataError:
        assert len({text for text, _ in rows}) < 2 or is_never_spare(rows, labels)
        return
    parts = {split: corpus.splits[split].to_dict() for split in ("train", "validation")}
    assert not set(parts["train"]["text"]) & set(parts["validation"]["text"])
    assert flatten(parts["validation"]["label"]) <= flatten(parts["train"]["label"])
    assert sum(len(part["text"]) for part in parts.values()) == len(rows) and parts["validation"]["text"]


def flatten(labels) -> set:
    return {item for label in labels for item in (label if isinstance(label, list) else [label])}


def is_never_spare(rows, labels) -> bool:
    """Whether each text holds all rows of some label."""
    texts = {text for text, _ in rows}
    pairs = [(text, label) for (text, _), label in zip(rows, labels, strict=True)]
    return all(
        flatten(label for text, label in pairs if text == one) - flatten(label for text, label in pairs if text != one)
        for one in texts
    )


@pytest.mark.parametrize("seed", range(20))
def test_rare_labels_stay_in_train_and_frequent_ones_give_up_their_share(seed: int) -> None:
    labels = ["rare", "twice", "twice", *["a"] * 60, *["b"] * 37]
    rows = build_dataset({"text": [str(number) for number in range(100)], "label": labels})
    corpus = Corpus("x", {"train": rows}, files={"train": [Path("a")]})
    carve_validation(corpus, seed, text="text", label="label")
    drawn = Counter(corpus.splits["validation"]["label"][:])
    assert drawn.total() == 10 and not drawn["rare"] and drawn["twice"] <= 1
    assert 4 <= drawn["a"] <= 6 and 3 <= drawn["b"] <= 5


@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=30),
    words=st.lists(st.sampled_from("abc"), min_size=180, max_size=180),
    seed=st.integers(0, 9),
)
def test_a_validation_set_of_whole_documents(sizes: list[int], words: list[str], seed: int) -> None:
    documents = [number for number, size in enumerate(sizes) for _ in range(size)]
    rows = build_dataset({"words": [[words[place]] for place in range(len(documents))], "document": documents})
    corpus = Corpus("c", {"train": rows})
    carve_validation(corpus, seed, text="words", together="document")
    kept, drawn = (set(corpus.splits[split]["document"][:]) for split in ("train", "validation"))
    assert kept and drawn and not kept & drawn
    assert len(corpus.splits["train"]) + len(corpus.splits["validation"]) == len(documents)
    assert "of the same document stay together" in corpus.notes[-1]


def test_one_document_cannot_be_parted() -> None:
    rows = build_dataset({"words": [["a"], ["b"]], "document": [0, 0]})
    with pytest.raises(DataError, match=r"of one document.*at least two documents"):
        carve_validation(Corpus("c", {"train": rows}), 0, text="words", together="document")
