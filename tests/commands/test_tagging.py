"""The tagging commands from end to end: real data, real tokenizers, metrics recomputed from the files they leave."""

from __future__ import annotations

import ast
import gzip
import json
import re
import shlex
from pathlib import Path

import pytest
from seqeval.metrics import classification_report, f1_score, precision_score, recall_score
from seqeval.scheme import IOB2

SEED_DOCUMENT = "thai-token-classification.md"


def read_predictions(path: Path) -> tuple[list[list[str]], list[list[str]], list[list[str]]]:
    """Words, gold and predicted tags of a predictions file, read without the code that wrote it."""
    sentences = path.read_text(encoding="utf-8").strip("\n").split("\n\n")
    rows = [[line.split("\t") for line in sentence.split("\n")] for sentence in sentences]
    return tuple([[row[column] for row in sentence] for sentence in rows] for column in range(3))  # type: ignore[return-value]


def assert_scores_are_those_of_the_predictions(output: Path, split: str) -> dict:
    metrics = json.loads((output / "metrics.json").read_text(encoding="utf-8"))[split]
    _, gold, predicted = read_predictions(output / f"predictions.{split}.conll")
    assert metrics["nb_samples"] == len(gold)
    assert metrics["f1_micro"] == pytest.approx(f1_score(gold, predicted, zero_division=0))
    assert metrics["precision_micro"] == pytest.approx(precision_score(gold, predicted, zero_division=0))
    assert metrics["recall_micro"] == pytest.approx(recall_score(gold, predicted, zero_division=0))
    strict = f1_score(gold, predicted, mode="strict", scheme=IOB2, zero_division=0)
    assert metrics["strict"]["f1_micro"] == pytest.approx(strict)
    return metrics


@pytest.fixture(scope="module")
def wnut17_run(tmp_path_factory, run_command, tiny_bert, shared_data):
    """One real run, its own process: fifteen steps on WNUT17, scored on its validation and test sentences."""
    output = tmp_path_factory.mktemp("wnut17") / "run"
    done = run_command(
        "run_ner.py", "--model_name_or_path", tiny_bert, "--dataset_name", "wnut17", "--output_dir", output,
        "--do_train", "--do_eval", "--do_predict", "--max_steps", 15, "--max_eval_samples", 100, "--learning_rate", 5e-3,
        "--bf16", False,
        "--logging_steps", 5,
        "--return_entity_level_metrics", FINETUNE_DATA_DIR=str(shared_data),
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return output, done


def test_a_run_leaves_exactly_these_files(wnut17_run):
    output, _ = wnut17_run
    assert {path.name for path in output.iterdir()} == {
        "README.md", "calibration.json", "checkpoint-15", "checksums.json", "config.json", "data_summary.json",
        "eval_results.txt", "finetune_settings.json", "metrics.json", "model.safetensors", "plots", "predictions.test.conll",
        "predictions.validation.conll", "report.html", "report.txt", "run.json", "run.log", "test_predictions.txt",
        "test_results.txt", "tokenizer.json", "tokenizer_config.json", "training_args.bin", "training_history.json",
        "training_progress.json",
    }  # fmt: skip


def test_scores_equal_seqevals_on_the_predictions_file(wnut17_run):
    output, done = wnut17_run
    metrics = assert_scores_are_those_of_the_predictions(output, "test")
    assert metrics["nb_samples"] == 1287
    assert_scores_are_those_of_the_predictions(output, "validation")
    assert done.last["test"]["f1_micro"] == metrics["f1_micro"]


def test_the_report_is_seqevals_table(wnut17_run):
    output, done = wnut17_run
    _, gold, predicted = read_predictions(output / "predictions.test.conll")
    table = classification_report(gold, predicted, digits=4, zero_division=0)
    assert "Processed: 1287 / 1287 [ Test Result ]" in done.stdout
    assert table.strip() in done.stdout
    assert table.strip() in (output / "report.txt").read_text(encoding="utf-8")


def test_every_gold_word_is_in_the_predictions(wnut17_run, shared_data):
    output, _ = wnut17_run
    words, gold, _ = read_predictions(output / "predictions.test.conll")
    text = gzip.decompress((shared_data / "wnut17" / "emerging.test.annotated.gz").read_bytes()).decode("utf-8")
    expected = [line.split("\t")[:2] for line in text.split("\n") if line.strip()]
    assert [[w, g] for ws, gs in zip(words, gold, strict=True) for w, g in zip(ws, gs, strict=True)] == expected


def test_the_log_has_the_lines_that_users_of_transformers_look_for(wnut17_run):
    output, done = wnut17_run
    lines = re.sub(r"^\S+ \S+ - ", "", done.stderr, flags=re.M)
    device = (
        r"Process rank: -1, device: \w+(:0)?, n_gpu: \d, distributed training: False, 16-bits training: (True|False)\n"
    )
    assert re.search(r"^WARNING - finetune\.training\.building -   " + device, lines, re.M)
    for start in (
        "Training/evaluation parameters TrainingArguments(", "Data parameters TaggingDataArguments(dataset_name='wnut17'",
        "Model parameters ModelArguments(", "Custom args TaggingArguments(", "***** Running training *****",
        "Num examples = 3,394", "Num Epochs = 1", "Instantaneous batch size per device = 8",
        "Gradient Accumulation steps = 1",
        "Total train batch size (w. parallel, distributed & accumulation) = 8", "Total optimization steps = 15",
        "max_steps is given, it will override any value given in num_train_epochs", "***** Running Evaluation *****",
        f"Saving model checkpoint to {output}/checkpoint-15", f"Configuration saved in {output}/checkpoint-15/config.json",
        f"Model weights saved in {output}/checkpoint-15/model.safetensors", "***** Eval results *****", "  eval_f1 = ",
    ):  # fmt: skip
        assert f" -   {start}" in lines, start


def test_logged_metrics_are_numbers_in_full_and_the_learning_rate_that_of_the_next_step(wnut17_run):
    """Linear decay from 5e-3 to nothing at step 15, logged every 5 steps, as transformers 2 to 4 did."""
    _, done = wnut17_run
    logged = [ast.literal_eval(text) for text in re.findall(r"\{'loss'.*\}", done.stderr)]
    assert [row["learning_rate"] for row in logged] == pytest.approx([5e-3 * 10 / 15, 5e-3 * 5 / 15, 0.0])
    assert [row["epoch"] for row in logged] == pytest.approx([step / 425 for step in (5, 10, 15)])
    (evaluated,) = [ast.literal_eval(text) for text in re.findall(r"\{'eval_loss'.*\}", done.stderr)]
    assert {"eval_loss", "eval_precision", "eval_recall", "eval_f1", "eval_accuracy", "epoch"} <= set(evaluated)
    assert all(isinstance(value, int | float) for row in [*logged, evaluated] for value in row.values())


def test_the_manifest_tells_the_whole_story(wnut17_run):
    output, done = wnut17_run
    record = json.loads((output / "run.json").read_text(encoding="utf-8"))
    assert record["status"] == "done"
    assert record["arguments"]["max_steps"] == 15
    assert record["seed"] == 42
    assert record["versions"]["transformers"].startswith("5.")
    assert any("wnut17train.conll.gz" in name for name in record["inputs"])
    assert done.last["status"] == "done"


def test_the_predictor_serves_the_saved_model(wnut17_run, call_command, tmp_path, minilm_folder):
    output, _ = wnut17_run
    words, _, predicted = read_predictions(output / "predictions.validation.conll")
    source, target = tmp_path / "in.conll", tmp_path / "out.conll"
    source.write_text("\n\n".join("\n".join(sentence) for sentence in words), encoding="utf-8")
    done = call_command(
        "predict.py", "--model_name_or_path", output, "--input_file", source, "--output_file", target,
        "--output_format", "conll", "--bf16", False,
    )  # fmt: skip
    assert (done.code, done.last["texts"]) == (0, 100)
    rows = [line.split("\t") for line in target.read_text(encoding="utf-8").split("\n") if line]
    assert [row[1] for row in rows] == [tag for sentence in predicted for tag in sentence]


def test_the_predictor_gives_offsets_into_the_text(wnut17_run, call_command, tmp_path):
    output, _ = wnut17_run
    source = tmp_path / "in.jsonl"
    texts = [{"text": "Maria flew  to Bonn.", "id": 7}, {"words": ["New York", "sleeps"]}]
    source.write_text("".join(json.dumps(row) + "\n" for row in texts), encoding="utf-8")
    done = call_command("predict.py", "--model_name_or_path", output, "--input_file", source)
    first, second = [json.loads(line) for line in done.stdout.splitlines()]
    assert first["id"] == 7
    assert first["words"] == ["Maria", "flew", "to", "Bonn", "."]
    for entity in first["entities"]:
        assert first["text"][entity["start"] : entity["end"]] == entity["text"]
    assert second["words"] == ["New York", "sleeps"]
    assert len(second["tags"]) == len(second["scores"]) == 2


def make_thai_model(folder: Path, shared_data: Path) -> Path:
    """A random RoBERTa of the size of a SentencePiece model trained on ThaiNER's own text."""
    import sentencepiece
    import torch
    from transformers import RobertaConfig, RobertaForMaskedLM

    folder.mkdir()
    text = gzip.decompress((shared_data / "thainer" / "data.conll.gz").read_bytes()).decode("utf-8")
    sentences = ["".join(line.split("\t")[0] for line in s.split("\n")) for s in text.split("\n\n")[:2500]]
    (folder / "text.txt").write_text("\n".join(sentences).lower(), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"), model_prefix=str(folder / "sentencepiece.bpe"), vocab_size=1200,
        character_coverage=0.9995, user_defined_symbols=["<_>"], num_threads=1, minloglevel=2,
    )  # fmt: skip
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=1205, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=512, pad_token_id=1, bos_token_id=0, eos_token_id=2, type_vocab_size=1,
    )  # fmt: skip
    RobertaForMaskedLM(config).save_pretrained(folder)
    return folder


def read_documents_command(repository: Path) -> list[str]:
    """The example of the seed document, word for word, without its `cd` and environment."""
    text = (repository.parent / "shared" / "seeds" / SEED_DOCUMENT).read_text(encoding="utf-8")
    block = re.search(r"python (train_token_classification_lm_finetuning\.py.*?)```", text, re.S)
    assert block
    return shlex.split(block.group(1).replace("\\\n", " "))


def test_the_documents_command_runs_with_every_old_flag(tmp_path, run_command, shared_data, repository):
    model, output = make_thai_model(tmp_path / "model", shared_data), tmp_path / "v1"
    script, *words = read_documents_command(repository)
    replaced = {"--tokenizer_name_or_path": model, "--model_name_or_path": model, "--output_dir": output}
    shorter = {"--max_steps": 4, "--eval_steps": 2, "--logging_steps": 2, "--warmup_steps": 2}
    values = {**replaced, **shorter}
    words = [str(values.get(words[place - 1], word)) if place else word for place, word in enumerate(words)]
    done = run_command(
        f"downstream/{script}", *words, cwd=repository / "scripts" / "downstream", CUDA_VISIBLE_DEVICES="1,2",
        FINETUNE_DATA_DIR=str(shared_data),
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert "evaluation_strategy" in done.stderr and "eval_strategy" in done.stderr
    sizes = re.search(r"train 5,078, validation 635, test 635", done.stderr)
    assert sizes, done.stderr
    for split in ("Train", "Val", "Test"):
        assert f"[ {split} Result ]" in done.stdout
    assert (output / "checkpoint-4").is_dir()
    config = json.loads((output / "config.json").read_text(encoding="utf-8"))
    assert len(config["id2label"]) == 28
    assert_scores_are_those_of_the_predictions(output, "test")


def test_thai_parts_of_speech_with_a_word_level_tokenizer(tmp_path, call_command, shared_data):
    """UD Thai TUD, scored by words with scikit-learn, checked by hand from the predictions file."""
    import torch
    from sklearn.metrics import accuracy_score, f1_score
    from transformers import RobertaConfig, RobertaForMaskedLM

    folder = tmp_path / "newmm"
    folder.mkdir()
    text = gzip.decompress((shared_data / "ud" / "th_tud-ud-train.conllu.gz").read_bytes()).decode("utf-8")
    words = sorted({line.split("\t")[1] for line in text.split("\n") if line[:1].isdigit()})[:3000]
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<_>", "\n"]
    vocabulary = {word: number for number, word in enumerate([*specials, *words])}
    (folder / "newmm.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=130, pad_token_id=1, bos_token_id=0, eos_token_id=2, type_vocab_size=1,
    )  # fmt: skip
    RobertaForMaskedLM(config).save_pretrained(folder)
    output = tmp_path / "out"
    done = call_command(
        "downstream/train_token_classification_lm_finetuning.py", "--model_name_or_path", folder, "--tokenizer_type",
        "ThaiWordsNewmmTokenizer", "--dataset_name", "universal_dependencies", "--dataset_config_name", "th_tud",
        "--label_name", "pos_tags", "--data_dir", shared_data / "ud", "--output_dir", output, "--do_train", "--do_eval",
        "--max_steps", 30, "--learning_rate", 1e-2, "--no_train_report", "--per_device_train_batch_size", 16,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    metrics = json.loads((output / "metrics.json").read_text(encoding="utf-8"))["test"]
    _, gold, predicted = read_predictions(output / "predictions.test.conll")
    flat_gold, flat_predicted = [t for s in gold for t in s], [t for s in predicted for t in s]
    assert (len(gold), len(flat_gold)) == (363, 7683)
    assert metrics["accuracy"] == pytest.approx(accuracy_score(flat_gold, flat_predicted))
    assert metrics["f1_macro"] == pytest.approx(f1_score(flat_gold, flat_predicted, average="macro", zero_division=0))
    assert metrics["accuracy"] > 0.3, "thirty steps learn more than the most frequent tag (NOUN, 0.28)"


def test_the_other_spelling_of_the_thai_command_is_the_same_command(tmp_path, call_command, tiny_bert):
    flags = ["--model_name_or_path", tiny_bert, "--dataset_name", "dummytest", "--label_name", "pos_tags", "--do_eval",
             "--do_train", "--max_steps", 1, "--output_dir", tmp_path / "out"]  # fmt: skip
    assert call_command("downstream/train_token_classificaition_lm_finetuning.py", *flags).code == 0
    again = call_command("downstream/train_token_classification_lm_finetuning.py", *flags)
    assert again.last["status"] == "already_done"


def test_a_sentence_of_two_thousand_words_is_scored_in_full(tmp_path, call_command, tiny_bert):
    """Windows of 128 subwords: each word is predicted once, in training, evaluation and prediction."""
    words = [f"word{number % 97}" if number % 11 else "Bonn" for number in range(2000)]
    tags = ["B-LOC" if word == "Bonn" else "O" for word in words]
    rows = "\n".join(f"{word}\t{tag}" for word, tag in zip(words, tags, strict=True))
    path = tmp_path / "long.conll"
    path.write_text(rows, encoding="utf-8")
    output = tmp_path / "out"
    files = [part for name in ("train", "validation", "test") for part in (f"--{name}_file", path)]
    done = call_command(
        "run_ner.py", "--model_name_or_path", tiny_bert, *files, "--output_dir", output, "--do_train",
        "--do_eval", "--do_predict", "--max_steps", 2, "--bf16", False,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    read_words, gold, predicted = read_predictions(output / "predictions.test.conll")
    assert (read_words, gold) == ([words], [tags])
    assert len(predicted[0]) == 2000
    again = call_command("predict.py", "--model_name_or_path", output, "--input_file", path, "--bf16", False)
    assert json.loads(again.stdout.split("\n")[0])["tags"] == predicted[0]


def test_the_legacy_layout_of_run_ner(tmp_path, call_command, tiny_bert):
    """`--data_dir` with train.txt, dev.txt and test.txt, `token label` lines, and the files that it wrote."""
    data, output = tmp_path / "data", tmp_path / "engeval-model"
    data.mkdir()
    text = "-DOCSTART- O\n\nAnna B-PER\nlives O\n\nin O\nBonn B-LOC\n"
    for name in ("train", "dev", "test"):
        (data / f"{name}.txt").write_text(text, encoding="utf-8")
    (tmp_path / "labels.txt").write_text("B-LOC\nB-PER\nO\n", encoding="utf-8")
    done = call_command(
        "run_ner.py", "--data_dir", data, "--labels", tmp_path / "labels.txt", "--model_name_or_path", tiny_bert,
        "--output_dir", output, "--max_seq_length", 64, "--num_train_epochs", 1, "--per_gpu_train_batch_size", 2,
        "--save_steps", 1, "--seed", 1, "--do_train", "--evaluate_during_training", "--do_eval", "--do_predict",
        "--overwrite_output_dir", "--logging_steps", 1,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    results = (output / "eval_results.txt").read_text(encoding="utf-8")
    assert re.match(r"eval_loss = \d", results) and "eval_f1 = " in results
    lines = (output / "test_predictions.txt").read_text(encoding="utf-8").split("\n")
    assert lines[0] == "-DOCSTART- O" and [line.split(" ")[0] for line in lines[2:4]] == ["Anna", "lives"]


def test_a_dry_run_shows_examples_and_an_estimate_and_writes_nothing(tmp_path, call_command, tiny_bert):
    output = tmp_path / "out"
    done = call_command(
        "run_ner.py", "--model_name_or_path", tiny_bert, "--dataset_name", "sample", "--output_dir", output, "--do_train",
        "--max_train_samples", 64, "--per_device_train_batch_size", 8, "--num_train_epochs", 2, "--dry_run",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert done.stdout.count("Example ") == 3 and "[CLS]" in done.stdout
    assert done.last["steps"] == 16 and done.last["dry_run"] is True
    assert "Estimated memory" in done.stdout and "Estimated training time" in done.stdout
    assert not output.exists()


def test_printed_configuration_is_read_back(tmp_path, call_command, tiny_bert):
    flags = [
        "--model_name_or_path",
        tiny_bert,
        "--dataset_name",
        "sample",
        "--output_dir",
        tmp_path / "out",
        "--do_train",
    ]
    printed = call_command("run_ner.py", *flags, "--learning_rate", "3e-4", "--print_config").stdout
    config = tmp_path / "run.yaml"
    config.write_text(printed, encoding="utf-8")
    again = call_command("run_ner.py", "--config_file", config, "--print_config").stdout
    assert again == printed
    assert "learning_rate: 0.0003" in printed


def test_constrained_decoding_leaves_no_ill_formed_sequence(tmp_path, call_command, tiny_bert):
    output = tmp_path / "out"
    done = call_command(
        "run_ner.py", "--model_name_or_path", tiny_bert, "--dataset_name", "sample_th", "--output_dir", output, "--do_train",
        "--do_eval", "--do_predict", "--max_train_samples", 100, "--max_steps", 3, "--constrained_decoding", "learned",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    for tags in read_predictions(output / "predictions.test.conll")[2]:
        for before, tag in zip(["O", *tags], tags, strict=False):
            assert not tag.startswith("I-") or before[2:] == tag[2:], (before, tag)


@pytest.mark.parametrize("flag", [[], ["--help"]])
def test_help_and_argument_errors_do_not_wait_for_torch(repository, flag):
    """The libraries that take seconds to import are not even loaded."""
    import subprocess
    import sys

    for script in ("run_ner.py", "predict.py", "downstream/train_token_classification_lm_finetuning.py"):
        code = (
            "import atexit, runpy, sys;"
            "heavy = {'torch', 'transformers', 'datasets'};"
            "atexit.register(lambda: print('HEAVY', heavy & set(sys.modules), file=sys.stderr));"
            f"sys.argv = ['x', *{flag!r}]; runpy.run_path({str(repository / 'scripts' / script)!r}, run_name='__main__')"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == (0 if flag else 2)
        assert "HEAVY set()" in done.stderr


def test_the_thainer_filter_counts_the_pieces_of_the_mbert_folder(
    tmp_path, call_command, shared_data, tiny_bert, monkeypatch
):
    """A folder called mbert stands for multilingual BERT; its tokenizer decides which test sentences are short enough."""
    import shutil

    from transformers import AutoTokenizer

    shutil.copytree(tiny_bert, tmp_path / "mbert")
    monkeypatch.chdir(tmp_path)
    done = call_command(
        "downstream/train_token_classification_lm_finetuning.py", "--model_name_or_path", tiny_bert, "--dataset_name",
        "thainer", "--label_name", "ner_tags", "--data_dir", shared_data / "thainer", "--output_dir", "out", "--do_train",
        "--max_train_samples", 20, "--max_steps", 1, "--no_train_report",
        "--filter_thainer_with_mbert_tokenizer_threshold", 40,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    words, _, _ = read_predictions(tmp_path / "out" / "predictions.test.conll")
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    assert 0 < len(words) < 635
    assert all(sum(len(tokenizer.tokenize(word.replace(" ", "<_>"))) for word in row) < 40 for row in words)
