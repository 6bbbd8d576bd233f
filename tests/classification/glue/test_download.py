from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from finetune.classification.glue import download as glue_download
from finetune.classification.glue.download import choose_tasks, download_tasks, unpack, write_mrpc
from finetune.classification.glue.files import load_glue_corpus
from finetune.classification.glue.tasks import find_task
from finetune.errors import DataError, RunError, UsageError


def test_names_of_the_first_download_script() -> None:
    names = "CoLA,SST,MRPC,QQP,STS,MNLI,SNLI,QNLI,RTE,WNLI,diagnostic"
    assert {task.name for task in choose_tasks(names)} == {task.name for task in choose_tasks("all")}
    with pytest.raises(UsageError, match="no GLUE task 'RTEE'; did you mean rte"):
        choose_tasks("CoLA,RTEE")


def pack(**members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def test_archives_are_unpacked_flat_and_nowhere_else(tmp_path: Path) -> None:
    header = "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n"
    members = {"RTE/train.tsv": header, "RTE/original/x.tsv": "", "../../dev.tsv": header, "RTE/readme.txt": ""}
    unpack(pack(**members), "address", tmp_path / "RTE")
    assert sorted(path.name for path in (tmp_path / "RTE").iterdir()) == ["dev.tsv", "train.tsv"]
    assert set(load_glue_corpus(find_task("rte"), tmp_path).splits) == {"train", "validation"}
    with pytest.raises(DataError, match="not a zip file"):
        unpack(b"<html>", "address", tmp_path)


def test_mrpc_is_cut_by_its_list_of_ids(tmp_path: Path) -> None:
    rows = ['\ufeff1\t10\t11\t"A" said\tB said', "0\t20\t21\tC\tD", "1\t30\t31\tE\tF"]
    text = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n" + "\n".join(rows).removeprefix("\ufeff") + "\n"
    write_mrpc(tmp_path / "MRPC", text, text, "20\t21\n")
    corpus = load_glue_corpus(find_task("mrpc"), tmp_path)
    assert {name: len(split) for name, split in corpus.splits.items()} == {"train": 2, "validation": 1, "test": 3}
    assert corpus.splits["validation"][0]["label"] == "not_equivalent"
    assert "label" not in corpus.splits["test"].column_names
    with pytest.raises(DataError, match=r"msr_paraphrase_train.txt:2: the row has 1 fields"):
        write_mrpc(tmp_path, "h\th\th\th\th\nbroken\n", text, "")


def test_what_cannot_be_fetched_is_told_for_each_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(address: str) -> bytes:
        if "WNLI" in address:
            return pack(**{"WNLI/train.tsv": "index\tsentence1\tsentence2\tlabel\n0\ta\tb\t1\n"})
        raise OSError("Name or service not known")

    monkeypatch.setattr(glue_download, "fetch", fetch)
    with pytest.raises(RunError) as caught:
        download_tasks(choose_tasks("RTE,WNLI,MRPC"), tmp_path)
    text = str(caught.value)
    assert f"RTE: {glue_download.BASE}/RTE.zip failed (Name or service not known)" in text
    assert f"place train.tsv, dev.tsv, test.tsv (or .tsv.gz) in {tmp_path / 'MRPC'}" in text
    assert "WNLI" not in text
    assert (tmp_path / "WNLI" / "train.tsv").is_file()


def test_a_link_in_the_folder_is_replaced_and_never_followed(tmp_path) -> None:
    elsewhere, folder = tmp_path / "elsewhere.txt", tmp_path / "RTE"
    elsewhere.write_text("mine", encoding="utf-8")
    folder.mkdir()
    (folder / "train.tsv").symlink_to(elsewhere)
    unpack(pack(**{"RTE/train.tsv": "index\n0\n"}), "address", folder)
    assert elsewhere.read_text(encoding="utf-8") == "mine"
    assert (
        not (folder / "train.tsv").is_symlink() and (folder / "train.tsv").read_text(encoding="utf-8") == "index\n0\n"
    )
