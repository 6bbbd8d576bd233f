"""Files of annotation tools and corpora that are no plain columns: OntoNotes, WebAnno, brat, one sentence a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import DataError
from finetune.tagging.formats.choice import read_sentences
from finetune.tagging.formats.sentences import Sentences, TagColumns

TEXT = "Ann Lee met Bob"


def read(folder: Path, name: str, content: str, **columns: Any) -> Sentences:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return read_sentences(path, TagColumns(**columns))


def ontonotes(*rows: tuple[str, str, str]) -> str:
    lines = [
        f"nw/x   0   {n}  {w}   {pos}   (TOP*   -   -   -   -   {ne}   (ARG0*   -"
        for n, (w, pos, ne) in enumerate(rows)
    ]
    return "#begin document (nw/x); part 000\n" + "\n".join(lines) + "\n\n#end document\n"


def test_names_of_ontonotes_come_from_brackets(tmp_path: Path) -> None:
    content = ontonotes(
        ("Ann", "NNP", "(PERSON*"), ("Lee", "NNP", "*)"), ("met", "VBD", "*"), ("Bob", "NNP", "(PERSON)")
    )
    names = read(tmp_path, "a.v4_gold_conll", content)
    assert names.words == [TEXT.split()]
    assert names.tags == [["B-PERSON", "I-PERSON", "O", "B-PERSON"]]
    assert read(tmp_path, "a.conll", content, task="pos_tags").tags == [["NNP", "NNP", "VBD", "NNP"]]
    with pytest.raises(DataError, match="brackets of names"):
        read(tmp_path, "b.conll", ontonotes(("Ann", "NNP", "(PERSON*"), ("Lee", "NNP", "(PERSON*")))


WEBANNO = """#FORMAT=WebAnno TSV 3.3
#T_SP=de.tudarmstadt.ukp.dkpro.core.api.lexmorph.type.pos.POS|PosValue
#T_SP=de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity|identifier|value


#Text=Ann Lee met Bob
1-1\t0-3\tAnn\tNNP\t*[1]\tPER[1]\t
1-2\t4-7\tLee\tNNP\t*[1]\tPER[1]\t
1-3\t8-11\tmet\tVBD\t_\t_\t
1-4\t12-15\tBob\tNNP\t*|*\tPER|X\\_Y\t
1-4.1\t12-14\tBo\t_\t*\tPER\t
"""


def test_webanno_joins_the_tokens_of_one_annotation(tmp_path: Path) -> None:
    sentences = read(tmp_path, "a.tsv", WEBANNO)
    assert sentences.words == [TEXT.split()]
    assert sentences.tags == [["B-PER", "I-PER", "O", "B-PER"]]
    assert any("1 tokens have several annotations" in note for note in sentences.notes)
    assert any("1 annotations of parts" in note for note in sentences.notes)
    assert read(tmp_path, "a.tsv", WEBANNO, tags="PosValue").tags == [["B-NNP", "B-NNP", "B-VBD", "B-NNP"]]
    with pytest.raises(DataError, match=r"a.tsv:7: 3 columns"):
        read(tmp_path, "a.tsv", WEBANNO.replace("\tNNP\t*[1]\tPER[1]\t\n1-2", "\n1-2"))
    with pytest.raises(DataError, match="this is WebAnno TSV 2"):
        read(tmp_path, "a.tsv", "#FORMAT=WebAnno TSV 2\n" + WEBANNO)


def test_brat_reads_the_text_beside_it(tmp_path: Path) -> None:
    spans = "T1\tPER 0 7\tAnn Lee\nT2\tPER 20 23\tBob\nR1\tknows Arg1:T1 Arg2:T2\n#1\tAnnotatorNotes T1\tsure\n"
    with pytest.raises(DataError, match=r"the text that it annotates \(a.txt\) is not beside it"):
        read(tmp_path, "a.ann", spans)
    (tmp_path / "a.txt").write_text("Ann Lee met nobody.\nBob left.\n", encoding="utf-8")
    sentences = read(tmp_path, "a.ann", spans)
    assert sentences.tags == [["B-PER", "I-PER", "O", "O", "O"], ["B-PER", "O", "O"]]
    assert "1 relations, 1 notes are no spans" in sentences.notes[0]
    with pytest.raises(DataError, match="several pieces"):
        read(tmp_path, "a.ann", "T1\tPER 0 3;20 23\tAnn Bob\n")
    with pytest.raises(DataError, match=r"over the end of line 1"):
        read(tmp_path, "a.ann", "T1\tPER 12 23\tnobody. Bob\n")


@pytest.mark.parametrize("separator", ["|", "/", "_"])
def test_one_sentence_a_line(tmp_path: Path, separator: str) -> None:
    pairs = [("Ann", "B-PER"), ("a/b|c_d", "O"), ("Bob", "B-PER")]
    line = " ".join(f"{word}{separator}{tag}" for word, tag in pairs)
    sentences = read(tmp_path, "a.txt", f"{line}\n{line}\n")
    assert sentences.words == [[word for word, _ in pairs]] * 2
    assert sentences.tags == [[tag for _, tag in pairs]] * 2


def test_markup_is_named(tmp_path: Path) -> None:
    for name in ("a.xml", "a.txt"):
        with pytest.raises(DataError, match="this is XML or HTML, not words and tags"):
            read(tmp_path, name, "<DOC>\n<EM CATEG='X'>Ann</EM> left.\n</DOC>\n")


SPANS = [[0, 7, "PER"], [12, 15, "PER"]]
STUDIO = {"start": 0, "end": 7, "text": "Ann Lee"}


@pytest.mark.parametrize(
    "record",
    [
        {
            "content": TEXT,
            "annotation": [{"label": ["PER"], "points": [{"start": a, "end": b - 1}]} for a, b, _ in SPANS],
        },
        {"classes": ["PER"], "annotations": [[TEXT, {"entities": SPANS}], None]},
        {"data": [{"text": TEXT, "label": SPANS}], "version": "1"},
        {"text": TEXT, "label": [*SPANS, SPANS[0]]},
        {
            "data": {"text": f"<p>{TEXT}</p>"},
            "annotations": [
                {
                    "result": [
                        {
                            "type": "hypertextlabels",
                            "value": {
                                "globalOffsets": {"start": a, "end": b},
                                "start": "/p",
                                "hypertextlabels": [name],
                            },
                        }
                        for a, b, name in SPANS
                    ]
                }
            ],
        },
        {
            "data": {"text": TEXT},
            "annotations": [
                {
                    "result": [
                        {
                            "type": "paragraphlabels",
                            "value": {
                                "start": "0",
                                "end": "0",
                                "startOffset": a,
                                "endOffset": b,
                                "paragraphlabels": ["PER"],
                            },
                        }
                        for a, b, _ in SPANS
                    ]
                    + [{"type": "choices", "value": {"choices": ["x"]}}]
                }
            ],
        },
    ],
    ids=["dataturks", "ner annotator", "wrapper", "twice", "hypertext", "paragraphs"],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_spans_of_every_tool(tmp_path: Path, record: dict, indent: int | None) -> None:
    sentences = read(tmp_path, "a.json", json.dumps(record, indent=indent))
    assert sentences.words == [TEXT.split()]
    assert sentences.tags == [["B-PER", "I-PER", "O", "B-PER"]]


def test_tasks_that_nobody_annotated_are_no_training_data(tmp_path: Path) -> None:
    bare = {"data": {"text": TEXT}, "annotations": [], "predictions": [{"result": []}]}
    done = {
        "data": {"text": "Ann"},
        "annotations": [
            {"result": [{"type": "labels", "value": {**STUDIO, "end": 3, "text": "Ann", "labels": ["PER"]}}]}
        ],
    }
    sentences = read(tmp_path, "a.json", json.dumps([bare, done]))
    assert sentences.words == [["Ann"]]
    assert any("1 tasks were skipped because nobody annotated them" in note for note in sentences.notes)
    with pytest.raises(DataError, match="nobody annotated any task"):
        read(tmp_path, "a.json", json.dumps([bare]))
    assert read(tmp_path, "a.json", json.dumps([bare]), required=False).words == [TEXT.split()]
    sentences = read(
        tmp_path,
        "a.json",
        json.dumps(
            {
                "data": {"text": TEXT},
                "annotations": [
                    {
                        "result": [
                            {"type": "labels", "value": {**STUDIO, "labels": ["PER"]}},
                            {"type": "relation", "from_id": "a"},
                        ]
                    }
                ],
            }
        ),
    )
    assert any("1 results of the type relation are no spans" in note for note in sentences.notes)


def test_words_and_tags_as_texts_and_ids_as_fractions(tmp_path: Path) -> None:
    line = json.dumps({"tokens": TEXT, "ner_tags": "B-PER I-PER O B-PER"})
    assert read(tmp_path, "a.jsonl", f"{line}\n{line}\n").tags == [["B-PER", "I-PER", "O", "B-PER"]] * 2
    floats = json.dumps({"tokens": TEXT.split(), "ner_tags": [1.0, 2.0, 0.0, 1.0]})
    named = read(tmp_path, "a.jsonl", floats, labels=("O", "B-PER", "I-PER"))
    assert named.tags == [["B-PER", "I-PER", "O", "B-PER"]]


@pytest.mark.parametrize("gap", ["", ",", " , "])
def test_tables_of_words_end_sentences_at_empty_rows(tmp_path: Path, gap: str) -> None:
    content = f'word,tag\nAnn,B-PER\n"left, then",O\n{gap}\nBob,B-PER\n'.replace('"left, then"', "left")
    sentences = read(tmp_path, "a.csv", content)
    assert sentences.words == [["Ann", "left"], ["Bob"]]
    one = read(tmp_path, "b.csv", "word,tag\nAnn,B-PER\nleft,O\n")
    assert one.words == [["Ann", "left"]]
    assert any("no empty row ends a sentence" in note for note in one.notes)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_texts_with_labels_are_for_another_command(tmp_path: Path, name: str) -> None:
    rows = [("a fine film", "pos"), ("far too long", "neg")]
    csv = "text,label\n" + "\n".join(",".join(row) for row in rows)
    lines = "\n".join(json.dumps({"text": text, "label": label}) for text, label in rows)
    with pytest.raises(DataError, match=r"one label in the column label.*run_glue.py"):
        read(tmp_path, name, csv if name.endswith("csv") else lines)


def test_words_of_gliner_and_spans_of_argilla(tmp_path: Path) -> None:
    words = {"tokenized_text": ["Mira", "saw", "New", "York"], "ner": [[0, 0, "person"], [2, 3, "place"]]}
    sentences = read(tmp_path, "gliner.json", json.dumps([words]))
    assert sentences.words == [words["tokenized_text"]]
    assert sentences.tags == [["B-person", "O", "B-place", "I-place"]]
    record = {"text": TEXT, "tokens": TEXT.split(), "prediction": None, "annotation": [["PER", 0, 7], ["PER", 12, 15]]}
    assert read(tmp_path, "argilla.jsonl", json.dumps(record)).tags == [["B-PER", "I-PER", "O", "B-PER"]]
    with pytest.raises(DataError, match=r"\[0, 4, 'person'\] of 4 words"):
        read(tmp_path, "beyond.json", json.dumps([{**words, "ner": [[0, 4, "person"]]}]))


@pytest.mark.parametrize("separator", "|/_")
def test_one_word_a_line_ends_a_sentence_at_an_empty_line(tmp_path: Path, separator: str) -> None:
    pairs = [["Ann", "B-PER"], ["Lee", "I-PER"], ["met", "O"], ["Bob", "B-PER"]]
    block = "\n".join(separator.join(pair) for pair in pairs)
    sentences = read(tmp_path, "a.txt", f"{block}\n\n\n{block}\n")
    assert sentences.words == [TEXT.split()] * 2 and sentences.lines == [1, 7]
    assert sentences.tags == [[tag for _, tag in pairs]] * 2


@pytest.mark.parametrize("cell", ["B-PER I-PER O B-PER", "B-PER,I-PER,O,B-PER", "['B-PER', 'I-PER', 'O', 'B-PER']"])
def test_tags_of_a_cell_beside_a_text(tmp_path: Path, cell: str) -> None:
    columns = {} if cell.startswith("B") else {"tags": "Tag"}
    name = "labels" if cell.startswith("B") else "Tag"
    sentences = read(tmp_path, "a.csv", f'Sentence,{name}\n{TEXT},"{cell}"\n', **columns)
    assert sentences.words == [TEXT.split()]
    assert sentences.tags == [["B-PER", "I-PER", "O", "B-PER"]]
