from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.errors import DataError
from finetune.tagging.formats.conll import read_conll
from finetune.tagging.formats.sentences import TagColumns

TAGS = ["O", "B-PER", "I-PER", "B-ไม่ยืนยัน"]
LINE_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\t")


def sentences_of(words: st.SearchStrategy[str]) -> st.SearchStrategy[list[list[tuple[str, str]]]]:
    pairs = st.tuples(words, st.sampled_from(TAGS))
    return st.lists(st.lists(pairs, min_size=1, max_size=6), min_size=1, max_size=6)


WORDS_WITH_SPACES = st.text(LINE_CHARACTERS, min_size=1, max_size=8).filter(
    lambda word: not word.startswith(("-DOCSTART-", "\ufeff"))
)
WORDS_WITHOUT_SPACES = WORDS_WITH_SPACES.filter(lambda word: " " not in word)


def read(folder: Path, text: str, **columns: object) -> tuple[list, list | None, list[int]]:
    path = folder / "x.conll"
    path.write_text(text, encoding="utf-8", newline="")
    sentences = read_conll(path, TagColumns(**columns))  # type: ignore[arg-type]
    return sentences.words, sentences.tags, sentences.lines


def check_round_trip(folder: Path, rows: list, delimiter: str, breaks: str, final: str, packed: bool) -> None:
    blocks = ["\n".join(f"{word}{delimiter}{tag}" for word, tag in row) for row in rows]
    data = (f"\n{breaks}\n".join(blocks) + final).encode("utf-8")
    path = folder / ("x.conll.gz" if packed else "x.conll")
    path.write_bytes(gzip.compress(data) if packed else data)
    sentences = read_conll(path, TagColumns())
    assert sentences.words == [[word for word, _ in row] for row in rows]
    assert sentences.tags == [[tag for _, tag in row] for row in rows]
    sizes = [len(row) + 1 for row in rows]
    assert sentences.lines == [1 + sum(sizes[:index]) for index in range(len(rows))]


@given(
    rows=sentences_of(WORDS_WITH_SPACES),
    breaks=st.sampled_from(["", "\t"]),
    final=st.sampled_from(["", "\n", "\n\n"]),
    packed=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_written_with_tabs_is_read(tmp_path: Path, rows: list, breaks: str, final: str, packed: bool) -> None:
    check_round_trip(tmp_path, rows, "\t", breaks, final, packed)


@given(
    rows=sentences_of(WORDS_WITHOUT_SPACES), delimiter=st.sampled_from([" ", "   "]), final=st.sampled_from(["", "\n"])
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_written_with_spaces_is_read(tmp_path: Path, rows: list, delimiter: str, final: str) -> None:
    check_round_trip(tmp_path, rows, delimiter, "", final, packed=False)


def test_words_that_are_spaces_or_hold_them(tmp_path: Path) -> None:
    words, tags, _ = read(tmp_path, " \tO\nต่าง ๆ\tB-X\n  \tI-X\n\ufeff\tO\n")
    assert words == [[" ", "ต่าง ๆ", "  ", "\ufeff"]]
    assert tags == [["O", "B-X", "I-X", "O"]]


def test_all_kinds_of_breaks(tmp_path: Path) -> None:
    text = "-DOCSTART- -X- O O\n\na NN B-NP O\n\n\nb NN B-NP O\n   \nc NN B-NP B-LOC\n-DOCSTART- -X- O O\nd NN B-NP O"
    words, tags, lines = read(tmp_path, text)
    assert words == [["a"], ["b"], ["c"], ["d"]]
    assert tags == [["O"], ["O"], ["B-LOC"], ["O"]]
    assert lines == [3, 6, 8, 10]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, "B-LOC"),
        ({"task": "ner_tags"}, "B-LOC"),
        ({"task": "ner"}, "B-LOC"),
        ({"task": "pos_tags"}, "NNP"),
        ({"task": "chunk"}, "B-NP"),
        ({"tags": "1"}, "NNP"),
        ({"tags": "-2"}, "B-NP"),
        ({"tags": "pos_tags"}, "NNP"),
        ({"tags": "0", "words": "3"}, "Oslo"),
    ],
)
def test_columns_are_chosen_by_name_number_or_task(tmp_path: Path, columns: dict, expected: str) -> None:
    _, tags, _ = read(tmp_path, "Oslo NNP B-NP B-LOC\n", **columns)
    assert tags == [[expected]]


def test_columns_named_by_the_file_itself(tmp_path: Path) -> None:
    text = "# global.columns = WORD LANGUAGE ENTITY\nOslo\tno\tB-LOC\n"
    assert read(tmp_path, text, tags="LANGUAGE")[1] == [["no"]]


def test_comments_are_skipped_only_where_they_cannot_be_words(tmp_path: Path) -> None:
    text = "# id 7\n# text = a b c\n#\tO\n#tag\tB-X\n\n#\tO\n"
    words, tags, lines = read(tmp_path, text)
    assert words == [["#", "#tag"], ["#"]]
    assert tags == [["O", "B-X"], ["O"]]
    assert lines == [3, 6]
    notes = read_conll(tmp_path / "x.conll", TagColumns()).notes
    assert notes == [f"{tmp_path / 'x.conll'}: 2 comment lines were skipped."]


def test_unlabelled_files_have_one_column_and_their_words_may_be_spaces(tmp_path: Path) -> None:
    words, tags, _ = read(tmp_path, "a\n \n#hash\nb\n\nc", required=False)
    assert words == [["a", " ", "#hash", "b"], ["c"]]
    assert tags is None
    with pytest.raises(DataError, match="one column only, so there are no labels"):
        read(tmp_path, "a\nb\n")


def test_the_delimiter_can_be_given_and_is_said(tmp_path: Path) -> None:
    assert read(tmp_path, "a,O\nb,B-X\n", delimiter="comma")[1] == [["O", "B-X"]]
    assert read(tmp_path, "a b\tO\nc d\tO\n", delimiter="tab")[0] == [["a b", "c d"]]
    remarks = read_conll(tmp_path / "x.conll", TagColumns()).remarks
    assert "2 columns apart by tabs; words from column 0, tags from column 1" in remarks[0]


def test_dos_line_ends_are_read(tmp_path: Path) -> None:
    words, tags, _ = read(tmp_path, "a\tO\r\nb\tB-X\r\n\t\r\nc\tO\r\n\r\n")
    assert words == [["a", "b"], ["c"]]
    assert tags == [["O", "B-X"], ["O"]]


def test_every_ragged_line_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, "a\tO\nb O\nc\tX\tO\n\nd\tO\n\tO\ne\t \n")
    assert [(problem.line, problem.found) for problem in caught.value.problems] == [
        (2, "1 column apart by tabs where the other lines have 2"),
        (3, "3 columns apart by tabs where the other lines have 2"),
        (6, "the word is empty"),
        (7, "the word 'e' has an empty tag"),
    ]
    assert str(caught.value).startswith(f"{tmp_path / 'x.conll'}:2: 1 column")


def test_spaces_in_words_of_a_file_with_spaces_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="words that hold spaces need tabs"):
        read(tmp_path, "a O\nNew York B-LOC\nb O\n")


def test_of_many_problems_twenty_are_listed(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, "a\tO\n" * 40 + "x\n" * 30)
    assert len(caught.value.problems) == 21
    assert "10 more problems" in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"tags": "2"}, "there is no column 2; columns 0 to 1 are there; choose one with --label_column_name"),
        ({"words": "7"}, "there is no column 7; .* --text_column_name"),
        ({"tags": "nertags"}, "there is no column 'nertags'; the columns are tokens, tags; did you mean tags"),
    ],
)
def test_a_column_that_is_not_there(tmp_path: Path, columns: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, "a\tO\n", **columns)


@pytest.mark.parametrize("text", ["", "\n\n\t\n", "-DOCSTART- -X- O O\n\n"])
def test_a_file_without_sentences(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"empty|no sentence"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("name", "sentences", "words"),
    [
        ("thainer/data.conll.gz", 6348, 251789),
        ("wnut17/wnut17train.conll.gz", 3394, 62730),
        ("wnut17/emerging.dev.conll", 1009, 15733),
        ("wnut17/emerging.test.annotated.gz", 1287, 23394),
        ("wnut17/emerging.test.conll.gz", 1287, 23394),
        ("thainer/data-pos.sample.conll", 2, 33),
    ],
)
def test_real_files_have_the_published_sizes(shared_data: Path, name: str, sentences: int, words: int) -> None:
    corpus = read_conll(shared_data / name, TagColumns())
    assert len(corpus.words) == sentences
    assert sum(map(len, corpus.words)) == words


def test_thainer_is_read_to_the_letter(shared_data: Path) -> None:
    corpus = read_conll(shared_data / "thainer/data.conll.gz", TagColumns())
    assert corpus.tags is not None
    words = [word for row in corpus.words for word in row]
    begins = Counter(tag for row in corpus.tags for tag in row if tag.startswith("B-"))
    assert begins["B-ORGANIZATION"] == 5788
    assert begins["B-PERSON"] == 3213
    assert begins["B-ZIP"] == 25
    assert sum(word.strip(" ") == "" for word in words) == 40497
    assert sum(" " in word.strip(" ") for word in words) == 71
    assert words.count("\ufeff") == 502
    assert max(map(len, corpus.words)) == 294
    assert sum(set(tags) == {"O"} for tags in corpus.tags) == 677
    assert sum(row[0].isspace() for row in corpus.words) == 3
    lines = gzip.decompress((shared_data / "thainer/data.conll.gz").read_bytes()).decode().split("\n")
    first_words = [lines[line - 1].split("\t")[0] for line in corpus.lines]
    assert first_words == [row[0] for row in corpus.words]
