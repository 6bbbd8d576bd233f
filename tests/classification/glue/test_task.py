from __future__ import annotations

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from finetune.classification.arguments import ClassificationDataArguments, ColumnArguments
from finetune.classification.corpus import load_classification_corpus
from finetune.classification.glue.task import is_old_name, load_from_hub
from finetune.classification.glue.tasks import find_task
from finetune.data import hub
from finetune.errors import DataError


def hub_split(labels: list[int], names: list[str]) -> Dataset:
    features = Features(
        {
            "premise": Value("string"),
            "hypothesis": Value("string"),
            "label": ClassLabel(names=names),
            "idx": Value("int32"),
        }
    )
    size = len(labels)
    columns = {
        "premise": [f"premise {i} of words" for i in range(size)],
        "hypothesis": [f"hypothesis {i}" for i in range(size)],
        "label": labels,
        "idx": list(range(size)),
    }
    return Dataset.from_dict(columns, features=features)


@pytest.fixture
def mnli_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """The hub's copy of MNLI: five splits, test sets with the label -1."""
    names, asked = ["entailment", "neutral", "contradiction"], []
    parts = {
        "train": [0, 1, 2],
        "validation_matched": [0, 1],
        "validation_mismatched": [2],
        "test_matched": [-1, -1],
        "test_mismatched": [-1],
    }
    loaded = DatasetDict({name: hub_split(labels, names) for name, labels in parts.items()})

    def load_dataset(*words):
        asked.append(words)
        return loaded

    monkeypatch.setattr(hub.datasets, "load_dataset", load_dataset)
    return asked


def test_the_hubs_copy_reads_like_the_files(mnli_on_the_hub) -> None:
    matched, mismatched = load_from_hub(find_task("mnli")), load_from_hub(find_task("mnli-mm"))
    assert mnli_on_the_hub == [("nyu-mll/glue", "mnli"), ("nyu-mll/glue", "mnli")]
    assert {name: len(rows) for name, rows in matched.splits.items()} == {"train": 3, "validation": 2, "test": 2}
    assert {name: len(rows) for name, rows in mismatched.splits.items()} == {"train": 3, "validation": 1, "test": 1}
    assert mismatched.splits["validation"]["label"][:] == ["contradiction"]
    assert matched.splits["test"].column_names == ["text", "text_pair", "line"]


def test_splits_of_other_names(mnli_on_the_hub) -> None:
    data = ClassificationDataArguments(
        dataset_name="some/nli", validation_split_name="validation_mismatched", remove_splits="test"
    )
    corpus = load_classification_corpus(data, ColumnArguments(), seed=1)
    assert {name: len(rows) for name, rows in corpus.splits.items()} == {"train": 3, "validation": 1}
    assert corpus.labels == ["entailment", "neutral", "contradiction"]
    with pytest.raises(DataError, match="no split 'validation_mismatch'; its splits are train, validation_matched"):
        load_classification_corpus(
            ClassificationDataArguments(dataset_name="some/nli", validation_split_name="validation_mismatch"),
            ColumnArguments(),
            seed=1,
        )


def test_the_hub_out_of_reach_names_the_files_to_place() -> None:
    with pytest.raises(
        DataError, match=r"GLUE RTE is not at hand.*place train.tsv, dev.tsv, test.tsv .* in a folder RTE"
    ):
        load_from_hub(find_task("rte"))


@pytest.mark.parametrize(
    ("name", "old"),
    [
        ("sst-2", True),
        ("sst2", False),
        ("STS-B", True),
        ("mnli-mm", False),
        ("semeval2014-atsc", True),
        ("task", False),
    ],
)
def test_generation_of_a_name(name: str, old: bool) -> None:
    assert is_old_name(name) is old
