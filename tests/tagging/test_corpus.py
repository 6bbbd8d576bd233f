"""The corpus of a tagging run, from files, folders and the hub, with everything wrong with it at once."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import datasets
import pytest

from finetune.data.corpus import Corpus
from finetune.errors import DataError
from finetune.tagging.arguments import TaggingDataArguments
from finetune.tagging.corpus import load_tagging_corpus

TRAIN = "Ann\tB-PER\nmet\tO\n\nBob\tB-PER\nRay\tI-PER\n\nhe\tO\n"
TEST = "Zoe\tB-PER\n"


def load(seed: int = 1, validation_needed: bool = True, **arguments: Any) -> Corpus:
    typed = {name: str(value) if isinstance(value, Path) else value for name, value in arguments.items()}
    return load_tagging_corpus(TaggingDataArguments(**typed), seed=seed, validation_needed=validation_needed)


def write(folder: Path, **files: str) -> dict[str, Path]:
    paths = {}
    for name, text in files.items():
        paths[name] = folder / name.replace("__", ".")
        paths[name].write_text(text, encoding="utf-8", newline="")
    return paths


def problems_of(**arguments: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        load(**arguments)
    return [str(problem) for problem in caught.value.problems]


def test_files_of_different_formats_make_one_corpus(tmp_path: Path) -> None:
    record = json.dumps({"text": "Ann met Bob", "label": [[0, 3, "PER"]]})
    paths = write(tmp_path, train__conll=TRAIN, dev__jsonl=record, test__csv="id,word,tag\n1,Zoe,B-PER\n1,x,O\n")
    corpus = load(train_file=paths["train__conll"], validation_file=paths["dev__jsonl"], test_file=paths["test__csv"])
    assert list(corpus.splits) == ["train", "validation", "test"]
    assert corpus.splits["train"].column_names == ["words", "tags", "line", "file"]
    assert corpus.splits["train"]["tags"][1] == ["B-PER", "I-PER"]
    assert corpus.splits["validation"]["text"][:] == ["Ann met Bob"]
    assert corpus.splits["validation"]["starts"][:] == [[0, 4, 8]]
    assert corpus.splits["test"]["words"][:] == [["Zoe", "x"]]
    assert corpus.labels is None
    assert corpus.files["train"] == [paths["train__conll"]]
    assert corpus.fingerprints()["test"][0]["path"] == str(paths["test__csv"])


def test_a_pattern_reads_several_files_and_each_row_knows_its_own(tmp_path: Path) -> None:
    write(tmp_path, a1__conll=TRAIN, a2__conll=TEST, dev__conll=TEST)
    corpus = load(train_file=tmp_path / "a*.conll", validation_file=tmp_path / "dev.conll")
    assert corpus.splits["train"]["file"][:] == [0, 0, 0, 1]
    assert corpus.splits["train"]["line"][:] == [1, 4, 7, 1]


@pytest.mark.parametrize("name", ["data_dir", "dataset_name"])
def test_a_folder_with_the_usual_names(tmp_path: Path, name: str) -> None:
    write(
        tmp_path, train__txt=TRAIN.replace("\t", " "), dev__txt=TEST.replace("\t", " "), test__txt=TEST, readme__md="x"
    )
    corpus = load(**{name: tmp_path})
    assert {split: len(rows) for split, rows in corpus.splits.items()} == {"train": 3, "validation": 1, "test": 1}


def test_a_folder_with_prefixed_names_of_one_corpus(shared_data: Path, tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        (tmp_path / f"th_tud-ud-{split}.conllu").write_text("1\ta\t_\tX\t_\t_\t_\t_\t_\t_\n")
    assert list(load(data_dir=tmp_path, allow_no_entities=True).splits) == ["train", "validation", "test"]
    (found,) = problems_of(data_dir=shared_data / "ud")
    assert "this folder holds several corpora" in found


def test_folders_that_hold_nothing(tmp_path: Path) -> None:
    assert "no such folder; check --data_dir" in problems_of(data_dir=tmp_path / "no")[0]
    write(tmp_path, notes__md="x")
    assert "this folder holds no corpus, but notes.md" in problems_of(data_dir=tmp_path)[0]


@pytest.mark.parametrize("name", ["data_dir", "dataset_name"])
def test_a_data_set_saved_to_disk(tmp_path: Path, name: str) -> None:
    labels = datasets.List(datasets.ClassLabel(names=["O", "B-PER"]))
    features = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "ner_tags": labels})
    values = {"tokens": [["Ann", "ran"], ["x"]], "ner_tags": [[1, 0], [0]]}
    rows = datasets.Dataset.from_dict(values, features=features)
    datasets.DatasetDict({"train": rows, "validation": rows, "test": rows.remove_columns("ner_tags")}).save_to_disk(
        tmp_path
    )
    corpus = load(**{name: tmp_path})
    assert corpus.labels == ["O", "B-PER"]
    assert corpus.splits["train"]["tags"][:] == [["B-PER", "O"], ["O"]]
    assert "tags" not in corpus.splits["test"].column_names
    assert corpus.fingerprints()["train"][0]["sha256"]


def test_a_data_set_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = datasets.Dataset.from_dict({"tokens": [["Ann"], ["x"]], "ner_tags": [["B-PER"], ["O"]]})
    asked = []

    def load_dataset(*args: object) -> datasets.DatasetDict:
        asked.append(args)
        return datasets.DatasetDict({"train": rows, "dev": rows})

    monkeypatch.setattr("finetune.data.hub.datasets.load_dataset", load_dataset)
    corpus = load(dataset_name="some/corpus", dataset_config_name="th")
    assert asked == [("some/corpus", "th")]
    assert corpus.splits["validation"]["tags"][:] == [["B-PER"], ["O"]]
    train, validation = problems_of(dataset_name="some/corpus", text_column_name="wrods")
    assert train.startswith("some/corpus[train]: there is no column 'wrods'")
    assert validation.startswith("some/corpus[validation]: there is no column 'wrods'")


def test_an_unknown_name_gets_the_nearest_known_one() -> None:
    (found,) = problems_of(dataset_name="thainr")
    assert "did you mean thainer" in found
    assert "--train_file" in found


def test_train_alone_gives_up_a_tenth_for_validation(tmp_path: Path) -> None:
    paths = write(tmp_path, train__conll=TRAIN * 8, test__conll=TEST)
    files = {"train_file": paths["train__conll"], "test_file": paths["test__conll"]}
    corpus = load(**files)
    assert {split: len(rows) for split, rows in corpus.splits.items()} == {"train": 15, "validation": 2, "test": 1}
    assert any("drawn with seed 1" in note for note in corpus.notes)
    assert load(**files).splits["validation"]["line"][:] == corpus.splits["validation"]["line"][:]
    assert "validation" not in load(validation_needed=False, **files).splits


def test_unlabelled_tests_are_read_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = write(tmp_path, train__conll=TRAIN, dev__conll=TEST, test__conll="Zoe\nran\n")
    corpus = load(train_file=paths["train__conll"], validation_file=paths["dev__conll"], test_file=paths["test__conll"])
    assert corpus.splits["test"].column_names == ["words", "line", "file"]
    assert "test has no tags: its words are tagged, not scored." in caplog.text


def test_a_tag_in_validation_that_training_lacks_is_named_with_its_line(tmp_path: Path) -> None:
    paths = write(tmp_path, train__conll=TRAIN, dev__conll="a\tO\n\nb\tO\nc\tB-PRE\nd\tB-PRE\ne\tB-ZZZ\n")
    first, second = problems_of(train_file=paths["train__conll"], validation_file=paths["dev__conll"])
    assert first == (
        f"{paths['dev__conll']}:4: the tag 'B-PRE' occurs in validation (2 times, first here), but training lacks it; "
        "the nearest known tag is 'B-PER'; correct it, or add examples of it to train."
    )
    assert second.startswith(f"{paths['dev__conll']}:6: the tag 'B-ZZZ' occurs in validation (once)")


def test_a_tag_that_only_test_has_is_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = write(tmp_path, train__conll=TRAIN, dev__conll=TEST, test__conll="a\tB-LOC\nb\tB-LOC\nc\tO\n")
    corpus = load(train_file=paths["train__conll"], validation_file=paths["dev__conll"], test_file=paths["test__conll"])
    assert (
        "2 words of test have tags that training lacks (B-LOC): they are scored, and cannot be predicted."
        in caplog.text
    )
    assert len(corpus.splits["test"]) == 1


def test_a_list_of_labels_fixes_their_order_and_allows_more(tmp_path: Path) -> None:
    paths = write(tmp_path, train__conll=TRAIN, dev__conll="a\tB-LOC\n", labels__txt="I-PER\nO\n\nB-PER\nB-LOC\n")
    files = {"train_file": paths["train__conll"], "validation_file": paths["dev__conll"]}
    assert load(labels=paths["labels__txt"], **files).labels == ["I-PER", "O", "B-PER", "B-LOC"]
    paths["labels__txt"].write_text("O\nB-PER\nB-LOC\n")
    (found,) = problems_of(labels=paths["labels__txt"], **files)
    assert "the tag 'I-PER' occurs in train (once), but the list of labels lacks it" in found
    paths["labels__txt"].write_text("O\nB-PER\nO\n")
    assert "names O more than once" in problems_of(labels=paths["labels__txt"], **files)[0]


def test_limits_keep_the_labels_of_the_whole_training_set(tmp_path: Path) -> None:
    paths = write(tmp_path, train__conll=TRAIN, dev__conll=TEST * 3)
    corpus = load(
        train_file=paths["train__conll"], validation_file=paths["dev__conll"], max_train_samples=1, max_eval_samples=1
    )
    assert {split: len(rows) for split, rows in corpus.splits.items()} == {"train": 1, "validation": 1}
    assert corpus.labels == ["B-PER", "I-PER", "O"]


def test_problems_of_all_files_come_together(tmp_path: Path) -> None:
    paths = write(tmp_path, train__conll=TRAIN + "\nx\n", dev__jsonl='{"tokens": ["a"], "tags": []}\n{', labels__txt="")
    paths["test"] = tmp_path / "tset.conll"
    found = problems_of(
        train_file=paths["train__conll"],
        validation_file=paths["dev__jsonl"],
        test_file=paths["test"],
        labels=paths["labels__txt"],
    )
    assert [sentence.split(": ")[0].removeprefix(f"{tmp_path}/") for sentence in found] == [
        "labels.txt",
        "tset.conll",
        "train.conll:9",
        "dev.jsonl:2",
    ]


def test_a_broken_test_file_hides_no_problem_of_validation(tmp_path: Path) -> None:
    paths = write(tmp_path, train__conll=TRAIN, dev__conll="a\tB-LOC\n", test__conll="a\tO\nb\n")
    found = problems_of(
        train_file=paths["train__conll"], validation_file=paths["dev__conll"], test_file=paths["test__conll"]
    )
    assert len(found) == 2
    assert "test.conll:2: 1 column" in found[0]
    assert "dev.conll:1: the tag 'B-LOC'" in found[1]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("train.conll", "", "the file is empty"),
        ("train.conll", "a\nb\n", "there are no labels"),
        ("train.jsonl", '{"tokens": ["a"]}', "there is no label column"),
        ("train.conll", "-DOCSTART- -X- O O\n\n", "the file holds no sentence"),
        ("train.jsonl", '{"tokens": [], "tags": []}\n{"tokens": ["a"], "tags": [[]]}', "neither a name nor a number"),
    ],
)
def test_training_files_that_cannot_be_used(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    (found,) = problems_of(train_file=path)
    assert message in found


def test_tags_of_several_annotators_are_refused_in_any_split(shared_data: Path) -> None:
    folder = shared_data / "wnut17"
    found = problems_of(
        train_file=folder / "wnut17train.conll.gz",
        validation_file=folder / "emerging.dev.conll",
        test_file=folder / "emerging.test.conll.gz",
    )
    assert len(found) == 21
    assert found[0].startswith(
        f"{folder / 'emerging.test.conll.gz'}:212: the tag 'B-corporation,B-person,B-location' of the word 'Gurez' holds "
        "several tags; one tag a word is allowed"
    )
    assert "277 more problems" in found[-1]


def test_what_was_read_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    paths = write(tmp_path, train__conll="# id\n" + TRAIN + "\nAnn\tO\nmet\tO\n", dev__conll=TEST)
    load(train_file=paths["train__conll"], validation_file=paths["dev__conll"])
    assert "2 columns apart by tabs; words from column 0, tags from column 1" in caplog.text
    assert "Corpus train.conll: train 4, validation 1." in caplog.text
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [
        f"train: {paths['train__conll']}: 1 comment lines were skipped.",
        "1 of 4 sentences of train repeat an earlier one.",
        "1 distinct sentences occur with labels that differ (for example train line 2 and train line 10).",
    ]


def test_formats_are_told_by_content_where_names_say_nothing(tmp_path: Path) -> None:
    contents = {
        "conllu.txt": "# text = a\n1\ta\t_\tO\t_\t_\t_\t_\t_\t_\n",
        "records.txt": '{"tokens": ["a"], "tags": ["O"]}\n',
        "table.tsv": "sentence_id\tword\ttag\n1\ta\tO\n",
        "words.tsv": "a\tO\n",
        "nothing": "a O\n",
    }
    for name, text in contents.items():
        path = tmp_path / name
        path.write_text(text)
        corpus = load(train_file=path, validation_needed=False, allow_no_entities=True)
        assert corpus.splits["train"]["words"][:] == [["a"]], name
        assert corpus.splits["train"]["tags"][:] == [["O"]], name


def test_nothing_typed_is_a_sentence() -> None:
    assert problems_of() == ["there is no data; add --dataset_name, --data_dir or --train_file."]
