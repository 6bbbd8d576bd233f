from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from finetune.classification.glue.check import check_glue_folder, check_submission, is_submission
from finetune.classification.glue.tasks import find_task
from finetune.errors import DataError


def predictions(values: list[str]) -> str:
    rows = [f"{index}\t{value}" for index, value in enumerate(values)]
    return "\n".join(["index\tprediction", *rows]) + "\n"


def test_folder_of_the_real_files(shared_data: Path) -> None:
    checked = {(entry.task, entry.part): entry for entry in check_glue_folder(shared_data / "glue")}
    assert not checked["cola", "train"].problems
    assert checked["cola", "train"].rows == 8551
    (problem,) = checked["mrpc", "train"].problems
    assert (problem.found, problem.allowed) == ("the file has 3,667 rows", "3,668 are expected")


def test_task_asked_for_must_be_there(shared_data: Path) -> None:
    with pytest.raises(DataError, match="no file of GLUE RTE"):
        check_glue_folder(shared_data / "glue", [find_task("rte")])


def test_good_submission_as_folder_and_zip(tmp_path: Path) -> None:
    folder = tmp_path / "submission"
    folder.mkdir()
    (folder / "WNLI.tsv").write_text(predictions(["0", "1"] * 73), encoding="utf-8")
    (folder / "STS-B.tsv").write_text(predictions(["2.500"] * 1379), encoding="utf-8")
    assert is_submission(folder)
    assert [entry.problems for entry in check_submission(folder)] == [(), ()]
    with zipfile.ZipFile(tmp_path / "submission.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    assert all(not entry.problems for entry in check_submission(tmp_path / "submission.zip"))


def test_bad_submission_names_every_fault(tmp_path: Path) -> None:
    (tmp_path / "RTE.tsv").write_text("index\tprediction\n0\tentailment\n2\tyes\n", encoding="utf-8")
    (entry,) = check_submission(tmp_path)
    texts = [str(problem) for problem in entry.problems]
    assert texts == [
        "RTE.tsv:3: the index is '2'; 1 is expected here.",
        "RTE.tsv:3: the prediction is 'yes'; entailment or not_entailment is expected.",
        "RTE.tsv: the file has 2 rows; 3,000 are expected.",
    ]


def test_unknown_file_names(tmp_path: Path) -> None:
    (tmp_path / "sst.tsv").write_text(predictions(["0"]), encoding="utf-8")
    with pytest.raises(DataError, match=r"sst.tsv is not the name of a GLUE prediction file"):
        check_submission(tmp_path)
