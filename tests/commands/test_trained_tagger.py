"""A trained tagger used again: scored, asked for tags, resumed from a checkpoint; always as it was trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SENTENCES = "Anna Lee flies to Bonn tomorrow\nThe Board of Maria Santos met in Chiang Mai on Monday\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, run_command, tiny_bert) -> Path:
    """Short windows, lower-cased words, learned transitions: everything that a later command could miss."""
    output = tmp_path_factory.mktemp("trained") / "tagger"
    done = run_command(
        "run_ner.py", "--model_name_or_path", tiny_bert, "--dataset_name", "sample", "--output_dir", output, "--do_train",
        "--do_eval", "--max_train_samples", 400, "--max_eval_samples", 60, "--max_steps", 100, "--learning_rate", 3e-3,
        "--metric_for_best_model", "loss",
        "--max_seq_length", 12, "--stride", 4, "--lowercase", "--constrained_decoding", "learned", "--bf16", "False",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return output


def read_metrics(folder: Path, split: str) -> dict:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))[split]


def test_report_and_card_tell_what_was_done_to_the_data(trained):
    for name in ("report.txt", "README.md"):
        text = (trained / name).read_text(encoding="utf-8")
        assert "- Only the first 400 of 2,400 rows of train are used, as asked.\n" in text
        assert "- The tags are in the scheme IOB2 (B, I, O).\n" in text
        assert "sentences are longer than --max_length 12" in text
    card = (trained / "README.md").read_text(encoding="utf-8")
    assert "| max steps | 100 |" in card and "| tag scheme | IOB2 |" in card and "epochs" not in card
    assert "datasets:" not in card, "the embedded sample is not on the hub"


def test_scored_again_it_has_the_same_scores(trained, call_command, tmp_path):
    done = call_command(
        "run_ner.py", "--model_name_or_path", trained, "--dataset_name", "sample", "--do_eval", "--max_eval_samples", 60,
        "--output_dir", tmp_path / "again", "--bf16", "False",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert (
        "As the model was trained: --max_length 12, --stride 4, --lowercase True, --constrained_decoding learned"
        in (done.stderr)
    )
    before, after = read_metrics(trained, "validation"), read_metrics(tmp_path / "again", "validation")
    assert before["f1_micro"] == after["f1_micro"] > 0
    assert before["loss"] == pytest.approx(after["loss"])
    card = (tmp_path / "again" / "README.md").read_text(encoding="utf-8")
    assert "Scores of a model from" in card and "learning rate" not in card, "no training is claimed"
    manifest = json.loads((tmp_path / "again" / "run.json").read_text(encoding="utf-8"))
    assert manifest["arguments"]["max_length"] == 12 and manifest["asked"]["max_length"] is None


def test_a_card_of_training_outlives_scoring_in_its_folder(trained, call_command):
    before = (trained / "README.md").read_text(encoding="utf-8")
    done = call_command(
        "run_ner.py", "--model_name_or_path", trained, "--dataset_name", "sample", "--do_eval", "--max_eval_samples", 9,
        "--output_dir", trained / "scores", "--bf16", "False",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    again = call_command(
        "run_ner.py", "--model_name_or_path", trained, "--dataset_name", "sample", "--do_eval", "--max_eval_samples", 9,
        "--output_dir", trained / "scores", "--bf16", "False",
    )  # fmt: skip
    assert again.last["status"] == "already_done"
    assert (trained / "README.md").read_text(encoding="utf-8") == before


def test_flags_win_over_what_it_was_trained_with(trained, call_command, tmp_path):
    words = ["--dataset_name", "sample", "--do_eval", "--max_eval_samples", 60, "--output_dir", tmp_path / "again"]
    done = call_command(
        "run_ner.py", "--model_name_or_path", trained, *words, "--max_seq_length", 64, "--lowercase", "False"
    )
    assert done.code == 0, done.stderr
    assert "As the model was trained: --constrained_decoding learned." in done.stderr
    assert "overlapping windows" not in done.stderr


def test_unlabelled_sentences_are_tagged_alike_by_every_command_and_from_the_checkpoint(
    trained, call_command, tmp_path
):
    words = [line.split() for line in SENTENCES.strip().split("\n")]
    source = tmp_path / "new.conll"
    source.write_text("\n\n".join("\n".join(sentence) for sentence in words), encoding="utf-8")
    done = call_command(
        "run_ner.py", "--model_name_or_path", trained, "--test_file", source, "--do_predict", "--output_dir",
        tmp_path / "tagged", "--bf16", "False",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    expected = (tmp_path / "tagged" / "predictions.test.conll").read_text(encoding="utf-8")
    assert [line.split("\t")[0] for line in expected.split("\n") if line] == [
        word for words_ in words for word in words_
    ]
    assert "test" not in json.loads((tmp_path / "tagged" / "metrics.json").read_text(encoding="utf-8"))
    (checkpoint,) = trained.glob("checkpoint-100")
    for model in (trained, checkpoint):
        predicted = call_command(
            "predict.py",
            "--model_name_or_path",
            model,
            "--input_file",
            source,
            "--output_format",
            "conll",
            "--bf16",
            "False",
        )
        assert predicted.stdout == expected, model


def test_learned_decoding_needs_something_to_learn_from(call_command, trained, tmp_path):
    source = tmp_path / "dev.conll"
    source.write_text("Anna\tB-PER\nflies\tO\n", encoding="utf-8")
    (tmp_path / "model").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "model" / name).write_bytes((trained / name).read_bytes())
    words = ["--model_name_or_path", tmp_path / "model", "--validation_file", source, "--do_eval"]
    done = call_command("run_ner.py", *words, "--output_dir", tmp_path / "out", "--constrained_decoding", "learned")
    assert done.code == 2
    assert "nothing to learn from" in done.last["reason"]
