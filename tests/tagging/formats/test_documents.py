"""Where documents begin, in every format that says so."""

from __future__ import annotations

import json

import pytest

from finetune.errors import DataError
from finetune.tagging.formats.choice import read_sentences
from finetune.tagging.formats.sentences import TagColumns, merge_sentences

A, B, C = "Ann\tB-PER\nran\tO\n", "Bob\tB-PER\n", "Cyd\tB-PER\nsat\tO\n"
UD = "1\tAnn\tann\tPROPN\t_\t_\t0\troot\t_\t_\n"
ONTONOTES = "nw/1 0 0 Ann NNP (TOP* - - - - (PERSON) *\nnw/1 0 1 ran VBD *) - - - - * *\n"
RECORD = {"tokens": ["Ann", "ran"], "tags": ["B-PER", "O"]}


def records(*documents):
    return "".join(json.dumps({**RECORD, **more}) + "\n" for more in documents)


CASES = {
    "docstart.conll": (f"-DOCSTART-\tO\n\n{A}\n{B}\n-DOCSTART-\tO\n\n{C}", [1, 1, 2]),
    "docstart-late.conll": (f"{A}\n-DOCSTART-\tO\n\n{B}\n{C}", [0, 1, 1]),
    "one-document.conll": (f"-DOCSTART-\tO\n\n{A}\n{B}", [1, 1]),
    "docstart-wins.conll": (f"-DOCSTART-\tO\n\n{A}\n\n\n{B}", [1, 1]),
    "newdoc.conll": (f"# newdoc id = x\n{A}\n{B}\n# newdoc\n{C}", [1, 1, 2]),
    "hipe.conll": (f"# hipe2022:document_id = x\n{A}\n{B}\n# hipe2022:document_id = y\n{C}", [1, 1, 2]),
    "hashtag.conll": (f"#\tO\nnewdoc\tO\n\n{A}", None),
    "two-empty-lines.conll": (f"\n\n{A}\n{B}\n\n{C}\n\n\n", [0, 0, 1]),
    "one-empty-line.conll": (f"{A}\n{B}\n{C}", None),
    "column.conll": ("document_id\tword\tner\n" + "d1\tAnn\tO\n\nd1\tBob\tB-PER\n\nd2\tCyd\tO\n", [0, 0, 1]),
    "newdoc.conllu": (f"# newdoc id = a\n# sent_id = 1\n{UD}\n# sent_id = 2\n{UD}\n# newdoc\n{UD}\n", [1, 1, 2]),
    "plain.conllu": (f"# sent_id = 1\n{UD}\n# sent_id = 2\n{UD}\n", None),
    "two-empty-lines.conllu": (f"{UD}\n\n{UD}\n{UD}\n", [0, 1, 1]),
    "o.v4_gold_conll": (
        f"#begin document (nw/1); part 000\n{ONTONOTES}\n{ONTONOTES}\n#end document\n"
        f"#begin document (nw/2); part 000\n{ONTONOTES}\n#end document\n",
        [1, 1, 2],
    ),
    "inline.txt": ("Ann|B-PER ran|O\nBob|B-PER\n\nCyd|B-PER\n", [0, 0, 1]),
    "inline-plain.txt": ("Ann|B-PER ran|O\nBob|B-PER\n", None),
    "inline-words.txt": ("Ann|B-PER\nran|O\n\nBob|B-PER\n\n\nCyd|B-PER\n", [0, 0, 1]),
    "ids.jsonl": (records({"document_id": 7}, {"document_id": 7}, {"document_id": "8"}), [0, 0, 1]),
    "no-id.jsonl": (records({"doc_id": "a"}, {}, {"doc_id": None}, {"doc_id": "a"}), [0, 1, 2, 3]),
    "plain.jsonl": (records({}, {}), None),
    "tokens.csv": (
        "Doc_ID,sentence_id,word,tag\nx,1,Ann,B-PER\n,1,ran,O\n,2,Bob,B-PER\ny,3,Cyd,B-PER\n",
        [0, 0, 1],
    ),
    "lists.csv": ('document_id,words,tags\nx,"[""Ann""]","[""O""]"\nx,"[""Bob""]","[""O""]"\n', [0, 0]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_documents_of_each_format(name, tmp_path):
    text, expected = CASES[name]
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    sentences = read_sentences(path, TagColumns())
    assert sentences.documents == expected
    assert ("document" in sentences.to_dataset().column_names) == (expected is not None)
    if expected is None:
        with pytest.raises(DataError, match=r"nothing in this file marks them.*-DOCSTART-.*# newdoc.*document_id"):
            read_sentences(path, TagColumns(documents=True))


def test_a_text_of_brat_is_a_document(tmp_path):
    (tmp_path / "a.txt").write_text("Ann ran.\nBob sat.\n")
    (tmp_path / "a.ann").write_text("T1\tPER 0 3\tAnn\n")
    assert read_sentences(tmp_path / "a.ann", TagColumns()).documents == [0, 0]


def test_documents_end_with_their_file(tmp_path):
    paths = [tmp_path / "a.conll", tmp_path / "b.conll", tmp_path / "c.conll"]
    for path in paths[:2]:
        path.write_text(f"-DOCSTART-\tO\n\n{A}\n{B}")
    paths[2].write_text(A)
    parts = [read_sentences(path, TagColumns()) for path in paths]
    assert merge_sentences(parts[:2], paths[:2])[0].documents == [0, 0, 1, 1]
    assert merge_sentences(parts, paths)[0].documents is None


def test_a_file_that_is_known_to_be_one_document(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text(f"{A}\n{B}")
    assert read_sentences(path, TagColumns(documents=True, is_document=True)).documents == [0, 0]
