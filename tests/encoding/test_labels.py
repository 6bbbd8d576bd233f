from __future__ import annotations

import logging

import pytest
from datasets import Dataset

from finetune.data.corpus import Corpus
from finetune.encoding.labels import build_label_list, match_labels, prepare_tags
from finetune.encoding.tags import TagScheme
from finetune.errors import DataError


def make_corpus(labels=None, **splits):
    rows = {
        name: Dataset.from_dict({"words": [["w"] * len(tags) for tags in split], "tags": split})
        for name, split in splits.items()
    }
    return Corpus(name="toy", splits=rows, labels=labels)


def test_lst20_tags_are_spelt_anew_and_its_scheme_is_named():
    corpus = make_corpus(
        labels=["O", "B_PER", "I_PER", "E_PER"], train=[["B_PER", "E_PER", "O"], ["B_PER", "O"]], test=[["O"]]
    )
    prepared = prepare_tags(corpus)
    assert prepared.scheme is TagScheme.BIOE
    assert prepared.corpus.splits["train"]["tags"][:] == [["B-PER", "E-PER", "O"], ["B-PER", "O"]]
    assert prepared.corpus.labels == ["O", "B-PER", "I-PER", "E-PER"]
    assert prepared.notes == [
        "3 tags were spelt anew, as 'B_PER' -> 'B-PER'.",
        "The tags are in the scheme BIOE (B, I, O, E).",
    ]
    assert corpus.splits["train"]["tags"][0] == ["B_PER", "E_PER", "O"]  # the corpus it came from is untouched


def test_ill_formed_tags_are_counted_and_repaired_on_demand():
    corpus = make_corpus(train=[["B-X", "I-X"], ["O", "I-X"], ["B-Y"]], validation=[["B-X"]])
    counted, repaired = prepare_tags(corpus), prepare_tags(corpus, fix_labels=True)
    assert counted.scheme is repaired.scheme is TagScheme.IOB2
    assert "train has 1 places where a tag may not stand in IOB2" in counted.notes[-1]
    assert counted.notes[-1].endswith("--fix_labels repairs them.")
    assert repaired.notes[-1].endswith("they were repaired.")
    assert counted.corpus.splits["train"]["tags"][1] == ["O", "I-X"]
    assert repaired.corpus.splits["train"]["tags"][1] == ["O", "B-X"]
    assert repaired.corpus.splits["train"]["words"][:] == corpus.splits["train"]["words"][:]


def test_parts_of_speech_stay_as_they_are():
    corpus = make_corpus(train=[["NOUN", "I-X"]])
    assert prepare_tags(corpus, scheme=TagScheme.POS).corpus is corpus
    prepared = prepare_tags(make_corpus(train=[["NOUN", "VERB"]]), fix_labels=True)
    assert prepared.scheme is TagScheme.POS
    assert prepared.corpus.splits["train"]["tags"][:] == [["NOUN", "VERB"]]


def test_unlabelled_splits_are_passed_by():
    corpus = make_corpus(train=[["B_X", "O"]])
    corpus.splits["test"] = Dataset.from_dict({"words": [["w"]]})
    prepared = prepare_tags(corpus)
    assert prepared.corpus.splits["test"].column_names == ["words"]
    del corpus.splits["train"]
    assert prepare_tags(corpus).notes == []
    assert prepare_tags(corpus, scheme=TagScheme.BIOES).scheme is TagScheme.BIOES


def test_labels_are_declared_or_those_of_train_sorted():
    assert build_label_list(make_corpus(labels=["X", "O"], train=[["O"]])) == ["X", "O"]
    assert build_label_list(make_corpus(train=[["O", "I-X"], ["B-X"]], test=[["B-Y"]])) == ["B-X", "I-X", "O"]
    assert build_label_list(make_corpus(test=[["B-Y", "O"]])) == ["B-Y", "O"]
    with pytest.raises(DataError, match="the corpus 'toy' has no labels"):
        build_label_list(Corpus("toy", {"train": Dataset.from_dict({"words": [["w"]]})}))


def test_labels_of_model_and_data_are_matched_by_name(caplog):
    model = ["O", "B_PER", "I_PER", "B_LOC"]
    assert match_labels(model, ["B-LOC", "O"], folder="m") == ["O", "B-PER", "I-PER", "B-LOC"]
    with pytest.raises(DataError) as error:
        match_labels(model, ["B-LOK", "I-LOC", "O"], folder="m")
    assert [problem.found for problem in error.value.problems] == [
        "the data has the label 'B-LOK', which the model in m does not know",
        "the data has the label 'I-LOC', which the model in m does not know",
    ]
    assert "the nearest known label is 'B-LOC'" in error.value.problems[0].allowed
    with caplog.at_level(logging.WARNING):
        assert match_labels(["LABEL_0", "LABEL_1"], ["O", "B-X"], folder="m") == ["O", "B-X"]
    assert "labels without names" in caplog.text
