"""Archives: members whole and of bounded size; links, encryption and damage refused in a sentence."""

from __future__ import annotations

import io
import stat
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.classification.corpora import read_archive
from finetune.classification.glue.check import check_submission
from finetune.classification.glue.download import unpack
from finetune.data.archives import LARGE, open_archive
from finetune.errors import DataError

ROW = b'{"text": "a", "label": "b"}\n'


def pack(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def link(name: str, target: str) -> bytes:
    buffer, entry = io.BytesIO(), zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(entry, target)
    return buffer.getvalue()


def test_a_link_in_an_archive_is_refused_and_nothing_comes_of_it(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("index\tprediction\n")
    with pytest.raises(DataError, match=r"RTE/train.tsv is a link, not a file"):
        unpack(link("RTE/train.tsv", str(secret)), "address", tmp_path / "RTE")
    assert not (tmp_path / "RTE").exists() or not list((tmp_path / "RTE").iterdir())
    (tmp_path / "data.zip").write_bytes(link("data/train.jsonl", str(secret)))
    with pytest.raises(DataError, match="is a link, not a file"):
        read_archive(tmp_path / "data.zip", "train")
    (tmp_path / "answers.zip").write_bytes(link("SST-2.tsv", str(secret)))
    with pytest.raises(DataError, match="is a link, not a file"):
        check_submission(tmp_path / "answers.zip")


@pytest.mark.parametrize("name", ["../../x.tsv", "/tmp/x.tsv", "a/../../x.tsv"])
def test_no_member_leaves_the_folder(tmp_path, name):
    folder = tmp_path / "a" / "RTE"
    unpack(pack(**{name: b"index\n0\n"}), "address", folder)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [folder / "x.tsv"]


def test_a_task_folder_that_is_a_link_inside_keeps_what_it_links_to(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "train.tsv").write_text("precious\n")
    folder = tmp_path / "RTE"
    folder.mkdir()
    for name in ("train.tsv", "dev.tsv"):
        (folder / name).symlink_to(tmp_path / "elsewhere" / name)
    unpack(pack(**{"RTE/train.tsv": b"index\n0\n", "RTE/dev.tsv": b"index\n1\n"}), "address", folder)
    assert (tmp_path / "elsewhere" / "train.tsv").read_text() == "precious\n"
    assert not (tmp_path / "elsewhere" / "dev.tsv").exists()
    assert not any(path.is_symlink() for path in folder.iterdir())


def test_a_bomb_is_told_before_it_is_unpacked(tmp_path):
    packed = pack(**{"data/train.jsonl": b" " * (1 << 20)})
    place = packed.index(b"PK\x01\x02") + 24  # the size that the archive says its member has
    lying = packed[:place] + (LARGE + 1).to_bytes(4, "little") + packed[place + 4 :]
    (tmp_path / "data.zip").write_bytes(lying)
    with pytest.raises(DataError, match=r"would unpack to 268,435,457 bytes; unpack it yourself"):
        read_archive(tmp_path / "data.zip", "train")


@given(data=st.data())
def test_damage_anywhere_is_a_sentence_or_leaves_the_rows(data, tmp_path_factory):
    packed = bytearray(pack(**{"data/train.jsonl": ROW * 3}))
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.mktemp("zip") / "data.zip"
    path.write_bytes(bytes(packed[: data.draw(st.integers(len(packed) // 2, len(packed)))]))
    try:
        assert read_archive(path, "train").columns["text"] == ["a"] * 3
    except DataError as error:
        assert str(path) in str(error)


def test_members_of_other_systems_are_left_out():
    with open_archive(io.BytesIO(pack(**{"__MACOSX/a": b"", "a": b"x"})), "name") as archive:
        assert archive.members == ["a"] and archive.read("a") == b"x"
        with pytest.raises(KeyError):
            archive.read("b")
