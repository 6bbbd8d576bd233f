from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest

from finetune.classification.glue.files import find_glue_files, load_glue_corpus, read_glue_file
from finetune.classification.glue.tasks import TASKS, find_task
from finetune.errors import DataError, UsageError

# Sizes of the files in the shared folder, from its README; MRPC and SST-2 train are known to be incomplete there.
SIZES = {
    "cola": {"train": 8551, "validation": 1043, "test": 1063},
    "mrpc": {"train": 3667, "validation": 408, "test": 1725},
    "stsb": {"train": 5749, "validation": 1500, "test": 1379},
    "wnli": {"train": 635, "validation": 71, "test": 146},
    "qnli": {"validation": 5463},
    "sst2": {"train": 20000, "validation": 872},
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_equal_the_data_readme(name: str, shared_data: Path) -> None:
    task = find_task(name)
    corpus = load_glue_corpus(task, shared_data / "glue")
    assert {split: len(rows) for split, rows in corpus.splits.items()} == SIZES[name]
    for split, size in SIZES[name].items():
        assert (size == task.rows[split]) != any(f" {split} has {size:,} rows" in note for note in corpus.notes)


def test_quotes_are_text(shared_data: Path) -> None:
    path = shared_data / "glue" / "MRPC" / "train.tsv.gz"
    rows = read_glue_file(path, find_task("mrpc"))
    raw = gzip.decompress(path.read_bytes()).decode("utf-8-sig")
    plain = list(csv.DictReader(io.StringIO(raw), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert rows.texts == [row["#1 String"] for row in plain]
    assert rows.pairs == [row["#2 String"] for row in plain]
    assert any(text.startswith('"') for text in rows.texts)
    assert rows.labels[0] == "equivalent"


def test_the_task_folder_and_the_folder_above_it_read_the_same(shared_data: Path) -> None:
    above = load_glue_corpus(find_task("wnli"), shared_data / "glue")
    inside = load_glue_corpus(find_task("WNLI"), shared_data / "glue" / "WNLI")
    assert above.files == inside.files
    assert above.splits["test"].column_names == ["text", "text_pair", "line"]


def test_cola_test_has_a_header_and_train_has_none(shared_data: Path) -> None:
    corpus = load_glue_corpus(find_task("CoLA"), shared_data / "glue")
    assert corpus.splits["train"][0]["line"] == 1
    assert corpus.splits["test"][0] == {"text": "Bill whistled past the house.", "line": 2}


def test_stsb_labels_are_numbers(shared_data: Path) -> None:
    corpus = load_glue_corpus(find_task("sts-b"), shared_data / "glue", ["validation"])
    assert corpus.labels is None
    assert corpus.splits["validation"][1]["label"] == 4.75


@pytest.mark.parametrize(
    ("spelling", "name"),
    [("SST-2", "sst2"), ("sst-2", "sst2"), ("sts-b", "stsb"), ("MNLI", "mnli"), ("mnli-mm", "mnli-mm"), ("AX", "ax")],
)
def test_old_and_new_names(spelling: str, name: str) -> None:
    assert find_task(spelling).name == name


def test_unknown_name_has_a_nearest_match() -> None:
    with pytest.raises(UsageError, match=r"no GLUE task 'mrcp'; did you mean mrpc"):
        find_task("mrcp")


MNLI_HEADER = "index\tgenre\tsentence1\tsentence2\tlabel1\tgold_label"


def write(path: Path, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_mnli_matched_mismatched_and_diagnostics(tmp_path: Path) -> None:
    row = "0\tfiction\tA dog runs.\tAn animal moves.\tneutral\tentailment"
    for stem in ("train", "dev_matched", "dev_mismatched"):
        write(tmp_path / "MNLI" / f"{stem}.tsv", MNLI_HEADER, row, row.replace("entailment", "-"))
    write(tmp_path / "MNLI" / "test_mismatched.tsv", "index\tsentence1\tsentence2", "0\ta\tb")
    write(tmp_path / "MNLI" / "diagnostic.tsv", "index\tsentence1\tsentence2", "0\tc\td")
    mismatched = load_glue_corpus(find_task("mnli-mm"), tmp_path)
    assert mismatched.files["validation"][0].name == "dev_mismatched.tsv"
    assert mismatched.splits["train"][:] == {
        "text": ["A dog runs."],
        "text_pair": ["An animal moves."],
        "label": ["entailment"],
        "line": [2],
    }
    assert any("1 rows without an agreed label" in note for note in mismatched.notes)
    assert set(load_glue_corpus(find_task("mnli"), tmp_path).splits) == {"train", "validation"}
    assert load_glue_corpus(find_task("ax"), tmp_path).splits["test"][0]["text"] == "c"


def test_broken_rows_of_qqp_are_dropped_and_counted(tmp_path: Path) -> None:
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"
    path = write(tmp_path / "train.tsv", header, "1\t2\t3\tWhy?\tHow?\t0", "4\t5\t6\tcut in two", "7\t8\t9\ta\tb\t1")
    rows = read_glue_file(path, find_task("qqp"))
    assert rows.labels == ["not_duplicate", "duplicate"]
    assert rows.lines == [2, 4]
    assert any("1 rows with missing fields were dropped" in note for note in rows.notes)


def test_every_problem_of_every_file_is_told_with_its_line(tmp_path: Path) -> None:
    header = "index\tsentence1\tsentence2\tlabel"
    write(tmp_path / "train.tsv", header, "0\ta\tb\tentailment", "1\ta\tb\tentailmnt", "2\tshort")
    write(tmp_path / "dev.tsv", header, "0\ta\tb\t")
    write(tmp_path / "test.tsv", "id\ttext", "0\tx")
    with pytest.raises(DataError) as caught:
        load_glue_corpus(find_task("rte"), tmp_path)
    text = str(caught.value)
    assert f"{tmp_path}/train.tsv:3: the label is 'entailmnt'; entailment and not_entailment are allowed" in text
    assert f"{tmp_path}/train.tsv:4: the row has 2 of 4 fields" in text
    assert f"{tmp_path}/test.tsv:1: the first line has the fields 'id', 'text'" in text


def test_labels_missing_throughout_make_an_unlabelled_split(tmp_path: Path) -> None:
    header = "index\tsentence1\tsentence2\tlabel"
    write(tmp_path / "test.tsv", header, "0\ta\tb\t-1", "1\ta\tb\t-1")
    assert load_glue_corpus(find_task("rte"), tmp_path).splits["test"].column_names == ["text", "text_pair", "line"]
    write(tmp_path / "test.tsv", header, "0\ta\tb\tentailment", "1\ta\tb\t")
    with pytest.raises(DataError, match=r"test.tsv:3: the row has no label"):
        load_glue_corpus(find_task("rte"), tmp_path)


def test_scores_outside_the_scale_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "dev.tsv", "index\tsentence1\tsentence2\tscore", "0\ta\tb\t5.5", "1\ta\tb\thigh")
    with pytest.raises(DataError, match=r"dev.tsv:2: the score is 5.5; scores from 0 to 5(.|\n)*the score is 'high'"):
        load_glue_corpus(find_task("stsb"), tmp_path)


def test_missing_files_name_what_to_place_where(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train.tsv, dev.tsv, test.tsv .*gluebenchmark.com"):
        find_glue_files(find_task("rte"), tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        find_glue_files(find_task("rte"), tmp_path / "nowhere")


def test_every_task_is_consistent() -> None:
    for task in TASKS:
        assert len(task.values) == len(task.labels)
        assert set(task.stems) == set(task.rows)
        assert task.is_regression == (task.name == "stsb")
