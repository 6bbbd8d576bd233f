"""Columns of words and tags: told by what they hold, by a header, by flags; refused where they are the wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.errors import DataError
from finetune.tagging.formats.choice import read_sentences
from finetune.tagging.formats.sentences import Sentences, TagColumns

WORDS = [["Ann", "Lee", "met", "Bob", "in", "Oslo"], ["It", "rained"]]
TAGS = [["B-PER", "I-PER", "O", "B-PER", "O", "B-LOC"], ["O", "O"]]


def write_rows(path: Path, rows: list[list[list[str]]], delimiter: str = "\t", before: str = "") -> Path:
    blocks = ["\n".join(delimiter.join(cells) for cells in block) for block in rows]
    path.write_text(before + "\n\n".join(blocks) + "\n", encoding="utf-8")
    return path


def with_columns(*columns: str) -> list[list[list[str]]]:
    """Rows of the two sentences; `{w}`, `{t}`, `{n}` stand for word, tag and number."""
    return [
        [
            [column.format(w=w, t=t, n=n) for column in columns]
            for n, (w, t) in enumerate(zip(words, tags, strict=True), 1)
        ]
        for words, tags in zip(WORDS, TAGS, strict=True)
    ]


def read(path: Path, **columns: str) -> Sentences:
    return read_sentences(path, TagColumns(**columns))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("germeval.tsv", ("{n}", "{w}", "{t}", "O")),
        ("uner.iob2", ("{n}", "{w}", "{t}", "-", "annotator")),
        ("deft.deft", ("{w}", " file_{n}.deft", " {n}7", " {n}9", " {t}", " -1", " -1", " 0")),
        ("nerd.txt", ("{w}", "NN", "{t}")),
        ("trailing.conll", ("{w}", "{t}", "")),
        ("trailing3.conll", ("{w}", "{t}", "", "")),
    ],
)
def test_columns_of_known_files_are_found(tmp_path: Path, name: str, columns: tuple[str, ...]) -> None:
    sentences = read(write_rows(tmp_path / name, with_columns(*columns)))
    assert (sentences.words, sentences.tags) == (WORDS, TAGS)


@pytest.mark.parametrize("header", ["word\ttag", "Token\tNER_Tag", "form\tlabel", "TOKEN\tNE-COARSE-LIT"])
@pytest.mark.parametrize("gap", ["\n", "\n\n"])
@pytest.mark.parametrize("suffix", ["txt", "tsv", "conll"])
def test_a_line_of_names_is_no_sentence(tmp_path: Path, header: str, gap: str, suffix: str) -> None:
    path = write_rows(tmp_path / f"a.{suffix}", with_columns("{w}", "{t}"), before=header + gap)
    sentences = read(path)
    assert (sentences.words, sentences.tags) == (WORDS, TAGS)
    assert any("lines name the columns" in note for note in sentences.notes)


def test_hipe_names_its_columns_and_ends_of_sentences(tmp_path: Path) -> None:
    rows = [
        ["Ann", "B-pers", "O", "_"],
        [".", "O", "O", "NoSpaceAfter|EndOfSentence"],
        ["Oslo", "B-loc", "B-pers", "_"],
    ]
    before = "TOKEN\tNE-COARSE-LIT\tNE-COARSE-METO\tMISC\n# document_id = 1\n"
    path = write_rows(tmp_path / "hipe.tsv", [rows], before=before)
    with path.open("a", encoding="utf-8") as file:
        file.write("# segment = 2\nfell\tO\tO\t_\n")
    sentences = read(path)
    assert sentences.words == [["Ann", "."], ["Oslo", "fell"]]
    assert sentences.tags == [["B-pers", "O"], ["B-loc", "O"]]
    assert read(path, tags="ne-coarse-meto").tags == [["O", "O"], ["B-pers", "O"]]
    assert any("2 comment lines" in note for note in sentences.notes)


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (("{t}", "{w}"), r"column 0, taken for the words, looks like tags.*--text_column_name 1 --label_column_name 0"),
        (("doc", "{w}", "{t}"), r"column 0, taken for the words, holds 'doc' throughout"),
        (("{n}", "{w}"), r"column 0, taken for the words, holds only numbers"),
        (("{w}", "x", "on {n} May"), r"column 2, taken for the tags, holds values with spaces"),
        (("{w}", "a", "_"), r"column 2, taken for the tags, holds '_' throughout"),
        (("{w}", "a{n}", "{w}{n}"), r"column 2, taken for the tags, has \d+ values in \d+ rows"),
    ],
)
def test_wrong_columns_are_refused_with_what_each_holds(tmp_path: Path, columns: tuple[str, ...], found: str) -> None:
    rows = with_columns(*columns) * 6
    with pytest.raises(DataError, match=found) as caught:
        read(write_rows(tmp_path / "a.conll", rows if "{w}{n}" not in columns else unique_rows()))
    assert "the columns begin with column 0:" in str(caught.value)


def unique_rows() -> list[list[list[str]]]:
    return [[[f"w{i}", "a", f"x{i}"] for i in range(40)]]


def test_columns_that_were_named_are_taken_as_they_are(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.conll", with_columns("{t}", "{w}") * 6)
    assert read(path, words="1", tags="0").words[0] == WORDS[0]
    assert read(path, words="0", tags="1").words[0] == TAGS[0]


COMMENT_TEXT = st.text(alphabet="abc=:/.?#[]7-", min_size=1, max_size=8)


@given(st.lists(COMMENT_TEXT, min_size=1, max_size=3), st.sampled_from(["\t", " "]), st.sampled_from(["#", "# ", "#x"]))
def test_comments_are_no_words_whatever_their_columns(
    tmp_path_factory: pytest.TempPathFactory, cells: list[str], delimiter: str, mark: str
) -> None:
    comment = mark + delimiter.join(cells)
    if len(cells) == 1 and delimiter == " " and mark == "# ":
        comment += "="
    path = write_rows(tmp_path_factory.mktemp("c") / "a.conll", with_columns("{w}", "{t}"), delimiter, comment + "\n")
    sentences = read(path)
    tag = comment.split(delimiter)[-1] if delimiter == "\t" else comment.split()[-1]
    if tag in ("-", "#", ":", ".", "[", "]", "[]", "--", "::", "..") or set(tag) <= set("-#:.[]"):
        return  # a tag of punctuation, as of parts of speech
    assert (sentences.words, sentences.tags) == (WORDS, TAGS)


@pytest.mark.parametrize("tag", ["O", "B-PER", "SYM"])
def test_a_word_that_is_a_hash_stays_one(tmp_path: Path, tag: str) -> None:
    rows = [[["#", tag], ["one", "O"]], [["#tag", tag], ["Ann", "B-PER"]]]
    sentences = read(write_rows(tmp_path / "a.conll", rows))
    assert sentences.words == [["#", "one"], ["#tag", "Ann"]]


POS = {"B-PER": "PROPN", "I-PER": "PROPN", "O": "VERB", "B-LOC": "NOUN"}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (("{n}-9", "{w}", "{t}"), "holds a number in every row, as '1-9'"),
        (("w_{n}", "{w}", "{t}"), "holds a number in every row, as 'w_1'"),
        (("2020-01-0{n}", "{w}", "{t}"), "holds a number in every row"),
        (("1:{n}", "{w}", "{t}"), "holds a number in every row"),
        (("report.xml", "{w}", "{t}"), "holds 'report.xml' throughout"),
    ],
)
def test_ids_are_no_words(tmp_path: Path, columns: tuple[str, ...], said: str) -> None:
    path = write_rows(tmp_path / "a.tsv", with_columns(*columns) * 4)
    with pytest.raises(DataError, match=said) as caught:
        read(path)
    assert "choose with --text_column_name 1 --label_column_name 2" in str(caught.value)


@pytest.mark.parametrize("values", [("anna", "anna"), ("anna", "ben"), ("a.xml", "b.xml"), ("2020", "2021")])
def test_what_seldom_changes_is_no_tag_and_no_word(tmp_path: Path, values: tuple[str, str]) -> None:
    """The name of an annotator, a file or a year, row after row."""
    blocks = [
        [[*cells[:1], POS[cells[1]], values[number % 2]] for cells in block]
        for number, block in enumerate(with_columns("{w}", "{t}") * 8)
    ]
    merged = [[row for block in blocks[start : start + 8] for row in block] for start in (0, 8)]
    merged = [[[*row[:2], values[number]] for row in block] for number, block in enumerate(merged)]
    with pytest.raises(DataError, match=r"column 2, taken for the tags, holds .* (throughout|row after row)"):
        read(write_rows(tmp_path / "a.tsv", merged))


def test_a_cell_that_is_empty_outside_of_entities_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("Ann\tB-PER\nmet\t\nBob\tB-PER\nin\t\nthe\t\npark\t\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a.tsv:2: the word 'met' has an empty tag; .* has the tag O") as caught:
        read(tmp_path / "a.tsv")
    assert [problem.line for problem in caught.value.problems] == [2, 4, 5, 6]


@pytest.mark.parametrize("gap", ["\u00a0", " \u3000 ", "\u2003", "\t", "   "])
@pytest.mark.parametrize("delimiter", ["\t", " "])
def test_a_line_of_white_space_ends_a_sentence_whatever_the_space(tmp_path: Path, gap: str, delimiter: str) -> None:
    blocks = ["\n".join(delimiter.join(cells) for cells in block) for block in with_columns("{w}", "{t}")]
    (tmp_path / "a.conll").write_text(f"\n{gap}\n".join(blocks), encoding="utf-8")
    assert read(tmp_path / "a.conll").words == WORDS


@pytest.mark.parametrize("delimiter", ["\t", " "])
def test_parts_of_speech_are_not_taken_for_words(tmp_path: Path, delimiter: str) -> None:
    words = [f"{stem}{ending}" for stem in ("mira", "oslo", "bern", "lena") for ending in ("an", "os", "el", "ik")]
    rows = [[["NN" if n % 2 else "VBZ", word, "B-PER" if n % 2 else "O"] for n, word in enumerate(words)]] * 3
    path = write_rows(tmp_path / "pos_first.conll", rows, delimiter)
    with pytest.raises(DataError, match=r"column 0, taken for the words, has 2 values without small letters") as caught:
        read(path)
    assert "--text_column_name 1 --label_column_name 2" in str(caught.value)
    assert read(path, words="1", tags="2").words[0] == words
    shouted = [[[word.upper(), word, tag] for _, word, tag in block] for block in rows]
    assert read(write_rows(tmp_path / "lemma.conll", shouted, delimiter)).words[0] == [word.upper() for word in words]
