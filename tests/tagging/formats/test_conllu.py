from __future__ import annotations

from pathlib import Path

import pytest

from finetune.errors import DataError
from finetune.tagging.formats.conllu import UPOS_TAGS, read_conllu
from finetune.tagging.formats.sentences import TagColumns

TEXT = """\
# newdoc id = a
# text = Vámonos # al mar
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\tV\tMood=Imp\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\tP\tCase=Acc\t1\tobj\t_\t_
2.1\tvamos\tir\tVERB\tV\t_\t_\t_\t_\t_
3\t#\t#\tSYM\tS\t_\t1\tdep\t_\t_

1\tmar adentro\tmar\tNOUN\tN\t_\t0\troot\t_\t_
"""


def read(folder: Path, text: str, **columns: object) -> tuple[list, list | None, list[int]]:
    path = folder / "x.conllu"
    path.write_text(text, encoding="utf-8", newline="")
    sentences = read_conllu(path, TagColumns(**columns))  # type: ignore[arg-type]
    return sentences.words, sentences.tags, sentences.lines


def test_words_without_ranges_and_empty_nodes(tmp_path: Path) -> None:
    words, tags, lines = read(tmp_path, TEXT)
    assert words == [["Vamos", "nos", "#"], ["mar adentro"]]
    assert tags == [["VERB", "PRON", "SYM"], ["NOUN"]]
    assert lines == [4, 9]
    notes = read_conllu(tmp_path / "x.conllu", TagColumns()).notes
    assert "1 id ranges and 1 empty nodes were skipped" in notes[0]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"task": "pos_tags"}, "VERB"),
        ({"task": "pos"}, "VERB"),
        ({"task": "xpos"}, "V"),
        ({"tags": "feats"}, "Mood=Imp"),
        ({"tags": "4"}, "V"),
        ({"tags": "deprel", "words": "lemma"}, "root"),
    ],
)
def test_other_columns(tmp_path: Path, columns: dict, expected: str) -> None:
    words, tags, _ = read(tmp_path, TEXT, **columns)
    assert tags is not None
    assert tags[0][0] == expected
    assert words[0][0] == ("ir" if "words" in columns else "Vamos")


def test_every_bad_line_is_named(tmp_path: Path) -> None:
    text = "1\ta\tb\n1x\ta\t_\tX\t_\t_\t_\t_\t_\t_\n2\t\t_\tX\t_\t_\t_\t_\t_\t_\n"
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    assert [(problem.line, problem.found) for problem in caught.value.problems] == [
        (1, "3 columns apart by tabs"),
        (2, "'1x' is no word id"),
        (3, "the word is empty"),
    ]


def test_a_column_that_is_empty_everywhere(tmp_path: Path) -> None:
    row = "1\t{}\t_\t_\t_\t_\t_\t_\t_\t_\n"
    with pytest.raises(DataError, match="the column upos is `_` everywhere"):
        read(tmp_path, row.format("a"))
    assert read(tmp_path, row.format("a"), required=False)[1] is None
    with pytest.raises(DataError, match="published without its text"):
        read(tmp_path, row.format("_"))


@pytest.mark.parametrize("columns", [{"task": "ner_tags"}, {"tags": "uposs"}, {"tags": "10"}])
def test_columns_that_are_not_there(tmp_path: Path, columns: dict) -> None:
    with pytest.raises(DataError, match="--label_column_name"):
        read(tmp_path, TEXT, **columns)


@pytest.mark.parametrize(
    ("name", "sentences", "words", "tags"),
    [
        ("th_tud-ud-train", 2902, 62011, 15),
        ("th_tud-ud-dev", 362, 7521, 15),
        ("th_tud-ud-test", 363, 7683, 15),
        ("en_ewt-ud-dev", 2001, 25147, 17),
        ("en_ewt-ud-test", 2077, 25094, 17),
    ],
)
def test_treebanks_have_the_published_sizes(
    shared_data: Path, name: str, sentences: int, words: int, tags: int
) -> None:
    treebank = read_conllu(shared_data / "ud" / f"{name}.conllu.gz", TagColumns())
    assert len(treebank.words) == sentences
    assert sum(map(len, treebank.words)) == words
    assert treebank.tags is not None
    distinct = {tag for row in treebank.tags for tag in row}
    assert len(distinct) == tags
    assert distinct <= set(UPOS_TAGS)


def test_skipped_lines_of_the_english_treebank(shared_data: Path) -> None:
    treebank = read_conllu(shared_data / "ud" / "en_ewt-ud-dev.conllu.gz", TagColumns(tags="xpos"))
    assert "359 id ranges and 4 empty nodes" in treebank.notes[0]
    assert treebank.tags is not None
    assert len({tag for row in treebank.tags for tag in row}) == 49
