"""What a tagger is given to predict: read as training reads it, whatever the format."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.arguments.prediction import PredictArguments
from finetune.data.prediction_input import InputText
from finetune.errors import DataError
from finetune.tagging.formats.choice import read_sentences
from finetune.tagging.formats.sentences import TagColumns
from finetune.tagging.prediction_input import TaggingInputs

LABELS = ["B-PER", "I-PER", "B-LOC", "I-LOC", "O"]


def read(path: Path, text: str, **options) -> list[InputText]:
    path.write_text(text, encoding="utf-8")
    return list(TaggingInputs(PredictArguments(input_file=[str(path)], **options), LABELS, "auto").read())


def spell_table(sentences, delimiter: str) -> str:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    writer.writerow(["sentence_id", "word", "tag"])
    writer.writerows([f"s{number}", *pair] for number, sentence in enumerate(sentences) for pair in sentence)
    return file.getvalue()


SPELLINGS = {
    "a.conll": lambda sentences: "\n".join("".join(f"{word} {tag}\n" for word, tag in item) for item in sentences),
    "a.txt": lambda sentences: "\n".join("".join(f"{word} {tag}\n" for word, tag in item) for item in sentences),
    "b.txt": lambda sentences: "-DOCSTART-\tO\n\n" + "\n".join(
        "".join(f"{word}\tx\t{tag}\n" for word, tag in item) for item in sentences
    ),
    "a.iob": lambda sentences: "\n".join("".join(f"{word}\t{tag}\n" for word, tag in item) for item in sentences),
    "a.csv": lambda sentences: spell_table(sentences, ","),
    "a.jsonl": lambda sentences: "\n".join(
        json.dumps({"tokens": [word for word, _ in item], "ner_tags": [tag for _, tag in item]}) for item in sentences
    ),
    "a.json": lambda sentences: json.dumps(
        [{"words": [word for word, _ in item], "tags": [tag for _, tag in item]} for item in sentences], indent=1
    ),
}  # fmt: skip
words = st.tuples(st.sampled_from(["Anna", "im", "Haus", "(", "12", "don't", "é", "东京"]), st.sampled_from(LABELS))
sentence_lists = st.lists(st.lists(words, min_size=1, max_size=5), min_size=2, max_size=5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sentence_lists, st.sampled_from(sorted(SPELLINGS)))
def test_prediction_and_training_read_the_same_words_and_tags(tmp_path, sentences, name):
    texts = read(tmp_path / name, SPELLINGS[name](sentences))
    trained = read_sentences(tmp_path / name, TagColumns())
    assert [text.words for text in texts] == trained.words == [[word for word, _ in item] for item in sentences]
    assert [text.gold for text in texts] == trained.tags == [[tag for _, tag in item] for item in sentences]


@given(sentence_lists)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_annotated_text_is_read_as_in_training(tmp_path, sentences):
    rows = []
    for item in sentences:
        text, spans = "", []
        for word, tag in item:
            if tag != "O":
                spans.append([len(text), len(text) + len(word), tag[2:]])
            text += word + " "
        rows.append({"text": text.strip(), "label": spans})
    texts = read(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    trained = read_sentences(tmp_path / "a.jsonl", TagColumns())
    assert ([text.words for text in texts], [text.gold for text in texts]) == (trained.words, trained.tags)
    assert [text.text for text in texts] == [row["text"] for row in rows]


@pytest.mark.parametrize("broken", ["   ", "\t"])
def test_a_line_of_white_space_ends_a_sentence(tmp_path, broken):
    texts = read(tmp_path / "a.conll", f"to O\nAnna B-PER\n{broken}\nwent O\n")
    assert [text.words for text in texts] == [["to", "Anna"], ["went"]]
    assert [text.line for text in texts] == [1, 4]


@pytest.mark.parametrize(
    "text",
    [
        "Anna flew to Bonn.\nIt rained there.\n",
        "Anna flew\nHe stayed\n",
        "yes\n\nno\n",
        "我在东京\n\n他在\n",
        "a\tb c\nd\te f g\n",
    ],
)
def test_lines_of_text_stay_texts(tmp_path, text):
    texts = read(tmp_path / "a.txt", text)
    assert [item.text for item in texts] == text.split("\n")[:-1]
    assert all(item.words is None for item in texts)


def test_conllu_gives_forms(tmp_path):
    rest = "\t_" * 8
    rows = f"1-2\tvámonos{rest}\n1\tvamos{rest}\n2\tnos{rest}\n2.1\tx{rest}\n3\tal mar{rest}\n\n"
    texts = read(tmp_path / "a.conllu", "# text = vámonos al mar\n" + rows)
    assert [text.words for text in texts] == [["vamos", "nos", "al mar"]]


def test_words_and_text_of_one_object_keep_its_offsets(tmp_path):
    rows = [
        {"text": "Anna  met (Bob)", "words": ["Anna", "met", "Bob"], "id": 7},
        {"text": "else", "tokens": ["a", "b c"]},
        {"words": []},
        {"text": ""},
        {"text": "Bob left", "spans": [{"start": 0, "end": 3, "label": "PER"}], "answer": "reject"},
    ]
    texts = read(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n\n" for row in rows))
    first, second, third, fourth, rejected = texts
    assert first.fields == {"id": 7}
    assert first.split() == (["Anna", "met", "Bob"], [(0, 4), (6, 9), (11, 14)])
    assert (second.text, second.split()[1]) == ("a b c", [(0, 1), (2, 5)])
    assert (third.text, third.split(), fourth.split()) == ("", ([], []), ([], []))
    assert (rejected.words, rejected.gold) == (["Bob", "left"], None)


def test_a_table_of_raw_texts_gives_every_row_with_its_other_cells(tmp_path):
    texts = read(tmp_path / "a.csv", 'id,Text,label\n1,"Anna, too, came.",pos\n2,,neg\n3,He left,pos\n')
    assert [(text.text, text.fields) for text in texts] == [
        ("Anna, too, came.", {"id": "1", "label": "pos"}),
        ("", {"id": "2", "label": "neg"}),
        ("He left", {"id": "3", "label": "pos"}),
    ]
    tagged = read(tmp_path / "b.csv", "text,tags\nAnna left,B-PER O\nBob,B-PER\n")
    assert [(text.words, text.gold) for text in tagged] == [(["Anna", "left"], ["B-PER", "O"]), (["Bob"], ["B-PER"])]


def test_every_record_that_holds_nothing_is_named(tmp_path):
    rows = ['{"text": "good"}', '{"x": 1}', "[1]", '{"text": 5}', '{"words": ["a", 1]}']
    with pytest.raises(DataError) as raised:
        read(tmp_path / "a.jsonl", "\n".join(rows))
    assert [problem.line for problem in raised.value.problems] == [2, 3, 4, 5]


def test_columns_are_named_by_flags(tmp_path):
    (text,) = read(
        tmp_path / "a.jsonl",
        '{"w": ["a", "b"], "gold": ["O", "B-PER"]}',
        text_column_name="w",
        label_column_name="gold",
    )
    assert (text.words, text.gold) == (["a", "b"], ["O", "B-PER"])


NAMED_BY_CONTENT = {
    "inline": "Anna|B-PER sah|O Graz|B-LOC\nMira|B-PER kam|O\n",
    "GermEval": "#\thttp://a.example/x\t[2010-07-01]\t\n1\tAnna\tB-PER\tO\n2\tkam\tO\tO\n\n"
    "#\thttp://a.example/y\t[2010-07-02]\t\n1\tGraz\tB-LOC\tO\n",
    "CoNLL-2012": "#begin document (nw/a); part 000\n"
    "nw/a 0 0 Anna NNP (TOP(NP* - - - - (PER*) (ARG0*) -\nnw/a 0 1 sah VBD (VP* - - - - * (V*) -\n\n"
    "nw/a 0 0 Graz NNP (TOP(NP*)) - - - - (LOC*) -\n#end document\n",
    "WebAnno": "#FORMAT=WebAnno TSV 3.3\n#T_SP=webanno.custom.Entity|value\n\n\n#Text=Anna sah\n"
    "1-1\t0-4\tAnna\tPER\t\n1-2\t5-8\tsah\t_\t\n",
    "CoNLL-U": "# text = Anna kam\n1\tAnna\tAnna\tPROPN\t_\t_\t2\tnsubj\t_\tNER=B-PER\n"
    "2\tkam\tkommen\tVERB\t_\t_\t0\troot\t_\t_\n",
    "JSON list": '[{"tokens": ["Anna", "kam"], "ner_tags": ["B-PER", "O"]}]\n',
    "header": "word\ttag\nAnna\tB-PER\nkam\tO\n",
}


@pytest.mark.parametrize("name", NAMED_BY_CONTENT)
def test_a_name_that_says_nothing_hides_no_format(tmp_path, name):
    texts = read(tmp_path / "a.txt", NAMED_BY_CONTENT[name])
    trained = read_sentences(tmp_path / "a.txt", TagColumns())
    assert ([text.words for text in texts], [text.gold for text in texts]) == (trained.words, trained.tags)
    assert texts[0].words[0] == "Anna"


@pytest.mark.parametrize(
    "line", ["<p>Anna kam</p>", "either/or and/or", "a|b c|d", "I saw O", "#end of it", "1 2 3", '"Anna" kam O']
)
def test_raw_text_stays_raw_text(tmp_path, line):
    (text, _) = read(tmp_path / "a.txt", f"{line}\nanother line\n")
    assert (text.text, text.words, text.gold) == (line, None, None)
