from __future__ import annotations

from pathlib import Path

import pytest

from finetune.classification.published.semeval import (
    AspectKind,
    aspect_rows,
    count_labels,
    describe_offsets,
    read_semeval,
)
from finetune.errors import DataError

SEMEVAL = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<sentences>
  <sentence id="813">
    <text>All the appetizers &amp; salads were fabulous, the steak was so-so.</text>
    <aspectTerms>
      <aspectTerm term="appetizers" polarity="positive" from="8" to="18"/>
      <aspectTerm term="steak" polarity="conflict" from="49" to="54"/>
    </aspectTerms>
    <aspectCategories><aspectCategory category="food" polarity="neutral"/></aspectCategories>
  </sentence>
  <sentence id="814"><text>Nothing here.</text></sentence>
</sentences>
"""


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "sentences", "labels"),
    [
        ("train", 4297, {"POS": 3380, "NEG": 2764, "NEU": 5042}),
        ("val", 500, None),
        ("test", 500, None),
    ],
)
def test_mams_counts_equal_the_data_readme(shared_data: Path, name: str, sentences: int, labels: dict | None) -> None:
    path = shared_data / "mams_atsa" / f"{name}.xml.gz"
    read = read_semeval(path)
    assert len(read) == sentences
    assert sum(len(sentence.aspects) for sentence in read) == {"train": 11186, "val": 1332, "test": 1336}[name]
    assert describe_offsets(read, path) == []
    if labels:
        assert count_labels(read) == labels


def test_terms_and_categories(tmp_path: Path) -> None:
    path = write(tmp_path / "train.xml", SEMEVAL)
    table = aspect_rows(read_semeval(path), path, "train")
    assert table.columns == {
        "text": ["All the appetizers & salads were fabulous, the steak was so-so."],
        "text_pair": ["appetizers"],
        "label": ["POS"],
    }
    assert table.lines == [6]
    assert table.notes == ["train: 1 aspects with conflicting sentiment were left out."]
    categories = aspect_rows(read_semeval(path, AspectKind.CATEGORY), path, "train")
    assert (categories.columns["text_pair"], categories.columns["label"]) == (["food"], ["NEU"])


def test_files_without_polarity_have_no_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "test.xml", SEMEVAL.replace(' polarity="positive"', "").replace(' polarity="conflict"', ""))
    assert list(aspect_rows(read_semeval(path), path, "test").columns) == ["text", "text_pair"]


def test_offsets_that_do_not_fit_are_counted(tmp_path: Path) -> None:
    moved = SEMEVAL.replace('from="8" to="18"', 'from="9" to="19"').replace('from="49" to="54"', 'from="0" to="0"')
    path = write(tmp_path / "train.xml", moved)
    notes = describe_offsets(read_semeval(path), path)
    assert [note.split(": ")[1] for note in notes] == [
        "1 of 2 aspect terms have the offsets 0-0, as older tools wrote them.",
        "1 of 2 aspect terms do not stand where their offsets say.",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</aspectTerms>", "", r"train.xml:10: the XML is broken here \(mismatched tag\)"),
        (' from="8"', "", r"train.xml:6: the offsets of 'appetizers' are from=None and to='18'"),
        ('to="54"', 'to="end"', r"train.xml:7: the offsets of 'steak' are from='49' and to='end'"),
        ('"positive"', '"positiv"', r"train.xml:6: the polarity of 'appetizers' is 'positiv'; .*nearest is positive"),
        ('term="steak" ', "", r"train.xml:7: an <aspectTerm> lacks term="),
        ("<text>Nothing here.</text>", "", r"train.xml:11: the sentence has no <text>"),
        (
            "sentences>",
            "reviews>",
            r"train.xml:2: the first element is <reviews>; <sentences> or <Reviews> is expected",
        ),
    ],
)
def test_broken_files_say_where(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_semeval(write(tmp_path / "train.xml", SEMEVAL.replace(old, new)))


def test_aspects_of_one_file_are_all_labelled_or_none(tmp_path: Path) -> None:
    path = write(tmp_path / "train.xml", SEMEVAL.replace(' polarity="conflict"', ""))
    with pytest.raises(DataError, match=r"train.xml:7: the aspect has no polarity"):
        aspect_rows(read_semeval(path), path, "train")


def test_entities_do_not_read_other_files(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret.txt", "secret")
    declared = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]>\n<sentences>'
    path = write(tmp_path / "train.xml", SEMEVAL.replace("<sentences>", declared).replace("Nothing here", "a &e; b"))
    assert all("secret" not in sentence.text for sentence in read_semeval(path))
