"""predict.py for taggers through its command line: inputs, outputs, models that another program saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForTokenClassification


@pytest.fixture(scope="module")
def save_tagger(tmp_path_factory, tiny_bert):
    """A random tagger with given labels, saved by transformers alone."""

    def save(labels: list[str]) -> Path:
        folder = tmp_path_factory.mktemp("taggers")
        torch.manual_seed(1)
        names = dict(enumerate(labels))
        config = BertConfig.from_pretrained(
            tiny_bert, id2label=names, label2id={name: number for number, name in names.items()}, initializer_range=1.0
        )
        BertForTokenClassification(config).save_pretrained(folder)
        AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="module")
def bioes_tagger(save_tagger) -> Path:
    return save_tagger(["O", "B-PER", "I-PER", "E-PER", "S-PER"])


@pytest.fixture
def text_file(tmp_path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("Maria flew to Berlin and on to Bonn, where it rained.\n\nHi\n", encoding="utf-8")
    return path


def read_results(done) -> list[dict]:
    assert done.code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("labels", [["ADJ", "NOUN", "VERB"], ["LABEL_0", "LABEL_1"]])
def test_a_model_of_another_program_whose_labels_are_no_entities(call_command, save_tagger, text_file, labels):
    results = read_results(
        call_command("predict.py", "--model_name_or_path", save_tagger(labels), "--input_file", text_file)
    )
    assert len(results) == 3
    assert set(results[0]["tags"]) <= set(labels)
    assert all("entities" not in result for result in results)


def test_labels_of_another_program_are_spelt_as_ours(call_command, save_tagger, text_file):
    tagger = save_tagger(["O", "B_PER", "I_PER"])
    done = call_command(
        "predict.py", "--model_name_or_path", tagger, "--input_file", text_file, "--constrained_decoding"
    )
    tags = read_results(done)[0]["tags"]
    assert set(tags) <= {"O", "B-PER", "I-PER"}
    assert all(before != "O" for before, tag in zip(["O", *tags], tags, strict=False) if tag == "I-PER")
    assert "entities in the scheme IOB2" in done.stderr


def test_constrained_bioes_is_well_formed(call_command, bioes_tagger, text_file):
    from finetune.encoding.tag_column import TagColumn
    from finetune.encoding.tags import TagScheme, count_ill_formed

    words = ["--model_name_or_path", bioes_tagger, "--input_file", text_file]
    free = [result["tags"] for result in read_results(call_command("predict.py", *words))]
    constrained = [
        result["tags"] for result in read_results(call_command("predict.py", *words, "--constrained_decoding"))
    ]
    assert count_ill_formed(TagColumn.of_sequences(free), TagScheme.BIOES) > 0
    assert count_ill_formed(TagColumn.of_sequences(constrained), TagScheme.BIOES) == 0


def test_short_windows_give_every_word_a_tag(call_command, bioes_tagger, text_file):
    """--max_length below the stride of training: windows still advance."""
    (bioes_tagger / "finetune_settings.json").write_text(
        json.dumps({"scheme": "BIOES", "max_length": 64, "stride": 32})
    )
    done = call_command(
        "predict.py", "--model_name_or_path", bioes_tagger, "--input_file", text_file, "--max_length", 8, "--no_cuda"
    )
    assert [len(result["tags"]) for result in read_results(done)] == [13, 0, 1]
    assert "--no_cuda is now --device cpu" in done.stderr


@pytest.mark.parametrize(
    ("target", "part"),
    [("texts.txt", "the output file exists"), (".", "this is a folder"), ("texts.txt/x/out.jsonl", "not a folder")],
)
def test_an_output_that_cannot_be_is_told_before_anything_is_predicted(
    call_command, bioes_tagger, text_file, tmp_path, target, part
):
    before = text_file.read_bytes()
    words = ["--model_name_or_path", bioes_tagger, "--input_file", text_file, "--output_file", tmp_path / target]
    done = call_command("predict.py", *words)
    assert (done.code, "Traceback" in done.stderr) == (2, False)
    assert part in done.last["reason"]
    assert text_file.read_bytes() == before


def test_a_broken_line_leaves_no_output(call_command, bioes_tagger, tmp_path):
    source, target = tmp_path / "in.jsonl", tmp_path / "new" / "out.jsonl"
    source.write_text('{"text": "good"}\n{"text": 5}\n', encoding="utf-8")
    words = ["--model_name_or_path", bioes_tagger, "--input_file", source, "--output_file", target]
    done = call_command("predict.py", *words)
    assert done.code == 2
    assert "in.jsonl:2" in done.last["reason"]
    assert not list(target.parent.iterdir())


CONLL = "Maria B-PER\nflew O\nto O\nBonn O\n\nIda B-PER\nBell I-PER\nleft O\n"


@pytest.fixture(scope="module")
def trained_tagger(run_command, tmp_path_factory, tiny_bert) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "train.txt").write_text((CONLL + "\n") * 8, encoding="utf-8")
    done = run_command(
        "run_ner.py", "--model_name_or_path", tiny_bert, "--train_file", folder / "train.txt", "--test_file",
        folder / "train.txt", "--output_dir", folder / "run", "--do_train", "--do_predict", "--max_steps", 6,
        "--learning_rate", 3e-3, "--bf16", "False",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", ["train.txt", "a.csv", "a.jsonl"])
def test_the_file_of_training_is_scored_as_run_ner_scores_it(call_command, trained_tagger, tmp_path, name):
    blocks = [[line.split() for line in block.split("\n") if line] for block in (CONLL + "\n").split("\n\n")[:2]] * 8
    if name.endswith(".csv"):
        rows = [f"{number},{word},{tag}" for number, block in enumerate(blocks) for word, tag in block]
        (tmp_path / name).write_text("\n".join(["sentence_id,word,tag", *rows]) + "\n", encoding="utf-8")
    elif name.endswith(".jsonl"):
        rows = [json.dumps({"tokens": [w for w, _ in b], "ner_tags": [t for _, t in b], "id": 1}) for b in blocks]
        (tmp_path / name).write_text("\n".join(rows), encoding="utf-8")
    source = tmp_path / name if (tmp_path / name).exists() else trained_tagger / name
    words = ["--model_name_or_path", trained_tagger / "run", "--input_file", source, "--bf16", "False"]
    done = call_command(
        "predict.py", *words, "--output_format", "conll", "--output_file", tmp_path / "out.conll", "--score"
    )
    assert done.code == 0, done.stderr
    expected = json.loads((trained_tagger / "run" / "metrics.json").read_text(encoding="utf-8"))["test"]
    assert done.last["input"] == {key: expected[key] for key in ("f1_micro", "precision_micro", "recall_micro")}
    assert done.last["scored"] == done.last["texts"] == 16
    assert (tmp_path / "out.conll").read_bytes() == (trained_tagger / "run" / "predictions.test.conll").read_bytes()
    assert "Processed: 16 / 16 [ input Result ]" in done.stdout


def test_nothing_to_score_is_said(call_command, trained_tagger, text_file):
    done = call_command(
        "predict.py", "--model_name_or_path", trained_tagger / "run", "--input_file", text_file, "--score"
    )
    assert (done.code, "holds no right answers" in done.last["reason"]) == (2, True)


def test_words_with_line_ends_keep_their_lines(call_command, trained_tagger, tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({"tokens": ["a\nb", "\t", "", "c"]}) + "\n", encoding="utf-8")
    words = ["--model_name_or_path", trained_tagger / "run", "--input_file", source, "--output_format", "conll"]
    done = call_command("predict.py", *words)
    assert [line.split("\t")[0] for line in done.stdout.split("\n")[:5]] == ["a␊b", "␉", "␀", "c", ""]


def test_standard_output_holds_predictions_and_nothing_else(call_command, bioes_tagger, text_file, tmp_path):
    words = ("predict.py", "--model_name_or_path", bioes_tagger, "--input_file")
    done = call_command(*words, text_file)
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == text_file.read_text().splitlines()
    assert json.loads(done.stderr.splitlines()[-1])["status"] == "done"
    missing = call_command(*words, tmp_path / "nowhere.txt")
    assert (missing.code, missing.stdout) == (2, "")
    assert json.loads(missing.stderr.splitlines()[-1])["status"] == "failed"
    assert call_command(*words[:-1], "--no_such_flag").stdout == ""
    filed = call_command(*words, text_file, "--output_file", tmp_path / "out.jsonl")
    assert json.loads(filed.stdout)["status"] == "done"
