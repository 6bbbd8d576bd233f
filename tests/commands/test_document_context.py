"""`--document_context` from end to end: a corpus whose tags only the neighbouring sentence tells."""

from __future__ import annotations

import json
import random
import shutil

import pytest

CUES = {"PER": ["hockey", "tennis"], "LOC": ["river", "mountain"]}
NAMES = ["jordan", "paris", "austin", "madison"]


def make_document(draw: random.Random) -> list[list[tuple[str, str]]]:
    """Two sentences with a name each, and before or behind them the one that says what kind the names of it are."""
    kind = draw.choice(list(CUES))
    cue = [("the", "O"), (draw.choice(CUES[kind]), "O")]
    told = [[("we", "O"), ("saw", "O"), (draw.choice(NAMES), f"B-{kind}")] for _ in range(2)]
    return [cue, *told] if draw.random() < 0.5 else [*told, cue]


def write(path, documents):
    blocks = ["\n\n".join("\n".join("\t".join(row) for row in rows) for rows in document) for document in documents]
    path.write_text("".join(f"-DOCSTART-\tO\n\n{block}\n\n" for block in blocks))
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder, draw = tmp_path_factory.mktemp("documents"), random.Random(0)
    for name, size in {"train": 300, "dev": 60, "test": 60}.items():
        write(folder / f"{name}.conll", [make_document(draw) for _ in range(size)])
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, run_command, corpus, tiny_bert):
    """Output folder and test F1, with and without context."""
    found = {}
    for context in (0, 12):
        output = tmp_path_factory.mktemp("run") / f"context-{context}"
        done = run_command(
            "run_ner.py", "--model_name_or_path", tiny_bert, "--data_dir", corpus, "--output_dir", output, "--do_train",
            "--do_eval", "--do_predict", "--num_train_epochs", 6, "--learning_rate", 5e-3, "--use_cpu", "--bf16", False,
            "--per_device_train_batch_size", 16, "--eval_strategy", "epoch", "--document_context", context,
        )  # fmt: skip
        assert done.code == 0, done.stderr
        found[context] = (output, done.last["test"]["f1_micro"], done)
    return found


def test_tags_that_only_the_neighbours_tell_are_learnt(trained):
    assert trained[0][1] < 0.65  # chance is a half
    assert trained[12][1] > 0.9
    assert "60 documents" in trained[12][2].stderr
    assert "never labelled" in trained[12][2].stderr
    assert "60 documents" not in trained[0][2].stderr
    saved = json.loads((trained[12][0] / "finetune_settings.json").read_text())
    assert (saved["document_context"], saved["context_separator"]) == (12, True)
    assert not json.loads((trained[0][0] / "finetune_settings.json").read_text())["context_separator"]


def tags_of(stdout):
    return [json.loads(line)["tags"] for line in stdout.splitlines() if '"tags"' in line]


def test_prediction_reads_the_same_neighbours_across_chunks_and_formats(
    trained, corpus, call_command, tmp_path, monkeypatch
):
    from finetune.prediction import task as prediction

    output, asked = trained[12][0], ("--device", "cpu", "--bf16", False)
    monkeypatch.setattr(prediction, "LARGE_CHUNK", 7)  # borders of chunks inside documents
    done = call_command("predict.py", "--model_name_or_path", output, "--input_file", corpus / "test.conll", *asked)
    assert done.code == 0, done.stderr
    blocks = (output / "predictions.test.conll").read_text().strip("\n").split("\n\n")
    assert tags_of(done.stdout) == [[line.split("\t")[2] for line in block.split("\n")] for block in blocks]
    documents = (corpus / "test.conll").read_text().split("-DOCSTART-\tO\n\n")[1:]
    texts = [
        [" ".join(line.split("\t")[0] for line in block.split("\n")) for block in document.strip("\n").split("\n\n")]
        for document in documents
    ]
    (tmp_path / "raw.txt").write_text("\n\n".join("\n".join(lines) for lines in texts) + "\n")
    raw = call_command("predict.py", "--model_name_or_path", output, "--input_file", tmp_path / "raw.txt", *asked)
    assert "an empty line ends a document" in raw.stderr
    assert [tags for tags in tags_of(raw.stdout) if tags] == tags_of(done.stdout)
    rows = [{"text": text, "document_id": number} for number, lines in enumerate(texts) for text in lines]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = call_command("predict.py", "--model_name_or_path", output, "--input_file", tmp_path / "rows.jsonl", *asked)
    assert tags_of(lines.stdout) == tags_of(done.stdout)
    (tmp_path / "bare.jsonl").write_text("".join(json.dumps({"text": row["text"]}) + "\n" for row in rows))
    bare = call_command("predict.py", "--model_name_or_path", output, "--input_file", tmp_path / "bare.jsonl", *asked)
    assert bare.stderr.count("nothing here marks documents") == 1
    alone = call_command(
        "predict.py",
        "--model_name_or_path",
        output,
        "--input_file",
        tmp_path / "rows.jsonl",
        "--document_context",
        0,
        *asked,
    )
    assert tags_of(bare.stdout) == tags_of(alone.stdout) != tags_of(done.stdout)


def count_separators(done):
    """Of the first example that --dry_run shows."""
    assert done.code == 0, done.stderr
    return done.stdout.count("[SEP]")


def test_a_separator_stands_between_neighbours_unless_told_otherwise_or_saved_without(
    trained, corpus, call_command, tiny_bert, tmp_path
):
    asked = ("--data_dir", corpus, "--use_cpu", "--dry_run", "--output_dir", tmp_path / "run")
    new = ("run_ner.py", "--model_name_or_path", tiny_bert, *asked, "--do_train", "--document_context", 12)
    alone = count_separators(call_command(*new[:-2]))
    assert count_separators(call_command(*new)) > alone
    assert count_separators(call_command(*new, "--context_separator", False)) == alone
    shutil.copytree(trained[12][0], tmp_path / "older")
    going_on = ("run_ner.py", "--model_name_or_path", tmp_path / "older", *asked, "--do_eval")
    assert count_separators(call_command(*going_on)) > alone
    settings = tmp_path / "older" / "finetune_settings.json"
    kept = {key: value for key, value in json.loads(settings.read_text()).items() if key != "context_separator"}
    settings.write_text(json.dumps(kept))
    assert count_separators(call_command(*going_on)) == alone


def test_data_without_documents_are_refused_all_at_once(call_command, tiny_bert, tmp_path):
    (tmp_path / "train.conll").write_text("Ann\tB-PER\n\nran\tO\n")
    (tmp_path / "dev.jsonl").write_text(json.dumps({"tokens": ["Ann"], "tags": ["B-PER"]}) + "\n")
    done = call_command(
        "run_ner.py", "--model_name_or_path", tiny_bert, "--train_file", tmp_path / "train.conll", "--validation_file",
        tmp_path / "dev.jsonl", "--output_dir", tmp_path / "run", "--do_train", "--do_eval", "--document_context", 8,
    )  # fmt: skip
    assert done.code == 2
    assert done.stderr.count("nothing in this file marks them") == 2
    assert "-DOCSTART-" in done.stderr and "document_id" in done.stderr
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_made_corpus_has_no_documents(call_command, tiny_bert, tmp_path):
    done = call_command(
        "run_ner.py", "--model_name_or_path", tiny_bert, "--dataset_name", "sample", "--output_dir", tmp_path / "run",
        "--do_train", "--document_context", 8,
    )  # fmt: skip
    assert done.code == 2
    assert "stand alone" in done.stderr
