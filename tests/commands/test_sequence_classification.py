"""The Thai sequence classification command from end to end: real corpora, several labels, windows, old words."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, classification_report, f1_score, precision_recall_fscore_support
from sklearn.preprocessing import MultiLabelBinarizer

SCRIPT = "downstream/train_sequence_classification_lm_finetuning.py"
QUICK = (
    "--max_steps", 2, "--batch_size", 4, "--max_train_samples", 24, "--max_eval_samples", 40, "--max_predict_samples", 30,
)  # fmt: skip


def read_predictions(folder: Path, split: str) -> list[dict]:
    text = (folder / f"predictions.{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_wisesight_as_documented(call_command, tiny_bert, shared_data, tmp_path) -> None:
    """Four words by place, and every option of the published command."""
    output, log_dir = tmp_path / "run", tmp_path / "log"
    done = call_command(
        SCRIPT, tiny_bert, "wisesight_sentiment", output, log_dir, "--data_dir", shared_data / "wisesight_sentiment",
        *QUICK, "--space_token", "<_>", "--prepare_for_tokenization", "--max_length", 100, "--lowercase",
        "--num_train_epochs", 5, "--learning_rate", 1e-5, "--weight_decay", 0.01, "--warmup_ratio", 0.1, "--no_cuda",
        "--greater_is_better", "--metric_for_best_model", "f1_micro", "--logging_steps", 10, "--seed", 2020,
        "--fp16_opt_level", "O1", "--gradient_accumulation_steps", 1, "--adam_epsilon", 1e-8, "--max_grad_norm", 1.0,
        "--run_name", "wisesight", "--calibrate", "temperature", "--class_weights", "balanced",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    rows = read_predictions(output, "test")
    gold, predicted = [row["expected"] for row in rows], [row["predicted"] for row in rows]
    metrics = read_json(output / "metrics.json")["test"]
    micro = precision_recall_fscore_support(gold, predicted, average="micro", zero_division=0)
    assert (metrics["precision_micro"], metrics["recall_micro"], metrics["f1_micro"]) == pytest.approx(micro[:3])
    assert metrics["f1_macro"] == pytest.approx(f1_score(gold, predicted, average="macro"))
    assert metrics["nb_samples"] == 30
    assert {"ece", "ece_uncalibrated"} <= set(metrics)
    assert "Evaluation on test set (dataset: wisesight_sentiment)\n" in done.stdout
    assert f"\naccuracy : {metrics['accuracy']:.4f}\n" in done.stdout
    assert any("<_>" in row["text"] for row in rows)
    assert all(row["text"] == row["text"].lower() for row in rows)
    assert list(log_dir.glob("events.out.tfevents.*"))
    best = output / "checkpoint-best"
    assert (best / "model.safetensors").read_bytes() == (output / "model.safetensors").read_bytes()
    assert not (best / "metrics.json").exists()
    log = (output / "run.log").read_text(encoding="utf-8")
    for line in ("[INFO] Dataset: wisesight_sentiment", "[INFO] Number of train examples = 24", "Class weights: pos"):
        assert line in log
    assert re.search(r"\[INFO\] warmup_steps: \d+\n", log) and re.search(r"\[INFO\] fp16: (True|False)\n", log)
    report = (output / "report.txt").read_text(encoding="utf-8")
    assert "Confusion matrix" in report
    assert "Most confident errors of test" in report
    table = classification_report(gold, predicted, labels=["pos", "neu", "neg", "q"], digits=4, zero_division=0)
    assert table.splitlines()[2] in report


def test_several_labels_use_thresholds_of_validation(call_command, tiny_bert, shared_data, tmp_path) -> None:
    output = tmp_path / "run"
    done = call_command(
        SCRIPT, tiny_bert, "goemotions", output, "--data_dir", shared_data / "goemotions", "--no_cleaning", *QUICK,
        "--max_seq_length", 32, "--thresholds", "per_label",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    settings = read_json(output / "finetune_settings.json")
    thresholds = settings["thresholds"]
    assert len(thresholds) == 28
    binarizer = MultiLabelBinarizer(classes=list(thresholds))
    for split in ("validation", "test"):
        rows = read_predictions(output, split)
        for row in rows:
            chosen = [label for label, value in row["probabilities"].items() if value > thresholds[label]]
            assert row["predicted"] == chosen
        gold = binarizer.fit_transform([row["expected"] for row in rows])
        predicted = binarizer.transform([row["predicted"] for row in rows])
        metrics = read_json(output / "metrics.json")[split]
        assert metrics["accuracy"] == pytest.approx(accuracy_score(gold, predicted))
        assert metrics["accuracy_micro"] == pytest.approx((gold == predicted).mean())
        for average in ("micro", "macro"):
            reference = f1_score(gold, predicted, average=average, zero_division=0)
            assert metrics[f"f1_{average}"] == pytest.approx(reference)
    validation = read_predictions(output, "validation")
    column = np.array([row["probabilities"]["neutral"] for row in validation])
    truth = np.array(["neutral" in row["expected"] for row in validation])
    best = max(f1_score(truth, column > value / 100, zero_division=0) for value in range(1, 100))
    assert f1_score(truth, column > thresholds["neutral"]) == pytest.approx(best)
    texts = tmp_path / "texts.txt"
    rows = [row for row in read_predictions(output, "test") if "\n" not in row["text"]]
    texts.write_text("".join(row["text"] + "\n" for row in rows), encoding="utf-8")
    target = tmp_path / "out.jsonl"
    served = call_command("predict.py", "--model_name_or_path", output, "--input_file", texts, "--output_file", target)
    assert served.code == 0, served.stderr
    answers = [json.loads(line) for line in target.read_text(encoding="utf-8").split("\n") if line]
    assert [answer["labels"] for answer in answers] == [row["predicted"] for row in rows]
    broken = settings | {"thresholds": {"joy": 0.5}}
    (output / "finetune_settings.json").write_text(json.dumps(broken), encoding="utf-8")
    refused = call_command("predict.py", "--model_name_or_path", output, "--input_file", texts)
    assert refused.code == 2
    assert "the stored thresholds are of another label set: there is none for admiration" in refused.last["reason"]


def test_windows_give_one_prediction_per_text(call_command, tiny_bert, tmp_path) -> None:
    rows = [
        {"body": "word " * length + str(number), "kind": "long" if length > 50 else "short"}
        for number in range(4)
        for length in (5, 200, 9, 120, 30, 90)
    ]
    train = tmp_path / "train.jsonl"
    train.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    output = tmp_path / "run"
    done = call_command(
        SCRIPT, tiny_bert, "--output_dir", output, "--train_file", train, "--text_column", "body", "--label_column", "kind",
        "--max_seq_length", 24, "--long_text", "windows", "--stride", 4, "--max_steps", 2, "--no_cleaning",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    found = read_predictions(output, "validation")
    assert len(found) == 2
    assert re.search(
        r"train: \d+ of 22 texts are longer than --max_seq_length 24; they were read in windows", done.stderr
    )
    assert "There is no test split: nothing is done with one." in done.stderr
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": row["text"]}) + "\n" for row in found), encoding="utf-8")
    target = tmp_path / "out.jsonl"
    assert call_command(
        "predict.py", "--model_name_or_path", output, "--input_file", texts, "--output_file", target
    ).code == 0  # fmt: skip
    answers = [json.loads(line) for line in target.read_text(encoding="utf-8").split("\n") if line]
    for answer, row in zip(answers, found, strict=True):
        assert answer["scores"] == pytest.approx(row["probabilities"], abs=1e-4)


def test_test_file_without_labels_is_predicted(call_command, tiny_bert, tmp_path) -> None:
    labelled = "".join(json.dumps({"text": f"text {i}", "label": "ab"[i % 2]}) + "\n" for i in range(20))
    (tmp_path / "train.jsonl").write_text(labelled, encoding="utf-8")
    (tmp_path / "test.jsonl").write_text('{"text": "what is this"}\n{"text": "and this"}\n', encoding="utf-8")
    output = tmp_path / "run"
    done = call_command(
        SCRIPT, tiny_bert, "--output_dir", output, "--train_file", tmp_path / "train.jsonl", "--test_file",
        tmp_path / "test.jsonl", "--max_steps", 1, "--lr_scheduler_type", "constant",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert "test has no labels" in done.stderr
    assert set(read_json(output / "metrics.json")) == {"validation"}
    rows = read_predictions(output, "test")
    assert len(rows) == 2
    assert all("expected" not in row and row["predicted"] in "ab" for row in rows)


BAD = [
    (
        ["spm_camember", "wisesight_sentiment"],
        "no tokenizer type or public model 'spm_camember'; did you mean 'spm_camembert'",
    ),
    (
        ["newmm", "wisesight_sentiment"],
        "newmm needs a model; mbert, xlmr and xlmr-large are known by name; add --model_dir",
    ),
    (["{model}", "wisesight_sentimant"], "did you mean wisesight_sentiment"),
    (["{model}", "prachathai67k"], "place train.jsonl, valid.jsonl, test.jsonl"),
    (["{model}"], "there is no data"),
]


@pytest.mark.parametrize(("words", "message"), BAD)
def test_bad_input_is_told_in_a_sentence(call_command, tiny_bert, tmp_path, words, message) -> None:
    words = [word.replace("{model}", str(tiny_bert)) for word in words]
    done = call_command(
        SCRIPT,
        *words,
        "--output_dir",
        tmp_path / "run",
        FINETUNE_DATA_DIR=str(tmp_path),
        FINETUNE_CACHE_DIR=str(tmp_path),
    )
    assert done.code == 2, done.stdout + done.stderr
    assert message in done.last["reason"]
    assert "Traceback" not in done.stderr
