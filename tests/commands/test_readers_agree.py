"""Taggers and classifiers read the same file to the same texts, and each names the other's files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune.arguments.prediction import PredictArguments
from finetune.classification.prediction_input import ClassificationInputs
from finetune.data.row_files import read_row_file
from finetune.errors import DataError
from finetune.models.settings import ClassifierSettings
from finetune.tagging.formats.choice import read_sentences
from finetune.tagging.formats.sentences import TagColumns
from finetune.tagging.prediction_input import TaggingInputs

TEXTS = ["Ann met Bob", "it rained all day"]
RECORDS = [{"text": text, "spans": []} for text in TEXTS]
TASKS = [{"data": {"text": text}, "annotations": [{"result": []}]} for text in TEXTS]
FILES = {
    "lines.jsonl": "\n".join(map(json.dumps, RECORDS)),
    "list.json": json.dumps(RECORDS, indent=1),
    "wrapped.json": json.dumps({"version": 1, "data": [*RECORDS, None]}),
    "columns.json": json.dumps({name: {str(n): r[name] for n, r in enumerate(RECORDS)} for name in ("text", "spans")}),
    "tasks.json": json.dumps(TASKS),
    "answers.jsonl": "\n".join(
        json.dumps({**record, "answer": answer})
        for record, answer in zip([*RECORDS, RECORDS[0]], ("accept", "accept", "reject"), strict=True)
    ),
    "plain.csv": "text,other\n" + "\n".join(f"{text},x" for text in TEXTS),
    "sheet.csv": "sep=;\nText ;other;;\n" + "\n;;;\n".join(f"{text};x;;" for text in TEXTS),
    "old.csv": "text,other\r" + "\r".join(f"{text},x" for text in TEXTS),
}


@pytest.mark.parametrize("name", FILES)
def test_both_tasks_read_the_same_texts(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name].encode())
    table = read_row_file(path)
    (column,) = [name for name in table.columns if name.lower() == "text"]
    assert table.columns[column] == TEXTS
    assert [" ".join(words) for words in read_sentences(path, TagColumns(required=False)).words] == TEXTS


@pytest.mark.parametrize("name", FILES)
def test_prediction_reads_what_training_reads(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name].encode())
    options = PredictArguments(input_file=[str(path)])
    tagged = list(TaggingInputs(options, ["O", "B-PER"], "auto").read())
    classified = list(ClassificationInputs(options, ClassifierSettings(), ["a", "b"]).read())
    rejected = [TEXTS[0]] if name == "answers.jsonl" else []  # nothing is learnt from it; it can be predicted
    assert [" ".join(text.split()[0]) for text in tagged] == TEXTS + rejected
    assert [text.text for text in classified] == TEXTS + rejected


LABELLED = {
    "fast.txt": "__label__a Ann met Bob\n__label__b it rained all day\n",
    "rows.txt": "\n".join(json.dumps({"text": text, "label": label}) for text, label in zip(TEXTS, "ab", strict=True)),
    "rows.csv": "label;text\na;Ann met Bob\nb;it rained all day\n",
    "choices.json": json.dumps(
        [
            {"data": {"text": text}, "annotations": [{"result": [{"type": "choices", "value": {"choices": [label]}}]}]}
            for text, label in zip(TEXTS, "ab", strict=True)
        ]
    ),
}


@pytest.mark.parametrize("name", LABELLED)
def test_prediction_finds_the_labels_that_training_would(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(LABELLED[name], encoding="utf-8")
    settings = ClassifierSettings(text_columns=("text",), label_columns=("label",))
    texts = list(ClassificationInputs(PredictArguments(input_file=[str(path)]), settings, ["a", "b"]).read())
    assert [(text.text, text.gold) for text in texts] == list(zip(TEXTS, "ab", strict=True))


def test_texts_that_only_begin_like_json_stay_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("{sic} Ann met Bob\n[1] it rained\n", encoding="utf-8")
    texts = ClassificationInputs(PredictArguments(input_file=[str(path)]), ClassifierSettings(), ["a", "b"]).read()
    assert [text.text for text in texts] == ["{sic} Ann met Bob", "[1] it rained"]


@pytest.mark.parametrize("name", ["broken.json", "ragged.csv", "empty.jsonl"])
def test_both_tasks_refuse_the_same_files_at_the_same_place(tmp_path: Path, name: str) -> None:
    content = {"broken.json": '[{"text": "a b"},\n{]', "ragged.csv": "text,other\na b,x\nc d\n", "empty.jsonl": "\n"}[
        name
    ]
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    said = []
    for read in (read_row_file, lambda path: read_sentences(path, TagColumns(required=False))):
        with pytest.raises(DataError) as caught:
            read(path)
        said.append([(problem.line, problem.found) for problem in caught.value.problems])
    assert said[0] == said[1]


def write_tagged(folder: Path, **splits: str) -> Path:
    for name, text in splits.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def test_a_tag_of_test_alone_is_scored_and_the_labels_of_a_model_judge_others(
    tmp_path: Path, call_command, tiny_bert: Path
) -> None:
    data = write_tagged(
        tmp_path,
        train="Ann\tB-PER\nleft\tO\n\nOslo\tB-LOC\n.\tO\n\n" * 4,
        dev="Ann\tB-PER\nleft\tO\n",
        test="Ann\tB-PER\nleft\tO\n\nFram\tB-SHIP\nsank\tO\n",
    )
    flags = ("--bf16", "False", "--data_dir", data, "--do_eval", "--do_predict")
    model = tmp_path / "model"
    done = call_command(
        "run_ner.py", "--model_name_or_path", tiny_bert, "--output_dir", model, "--do_train", "--max_steps", 2, *flags
    )
    assert done.code == 0, done.stderr
    assert "1 words of test have tags that training lacks (B-SHIP): they are scored" in done.stderr
    assert "SHIP" in (model / "report.txt").read_text(encoding="utf-8")
    labels = json.loads((model / "config.json").read_text(encoding="utf-8"))["label2id"]
    assert set(labels) == {"O", "B-PER", "B-LOC"}
    (data / "train.txt").write_text("Ann\tB-PER\nleft\tO\n", encoding="utf-8")
    (data / "dev.txt").write_text("Oslo\tB-LOC\nfell\tO\n", encoding="utf-8")
    again = call_command("run_ner.py", "--model_name_or_path", model, "--output_dir", tmp_path / "scores", *flags)
    assert again.code == 0, again.stderr
    assert "1 words of test have tags that the model lacks (B-SHIP)" in again.stderr
