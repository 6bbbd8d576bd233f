"""run_glue.py from end to end: real data, metrics recomputed from the files it leaves, the documented command lines."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import shutil
import signal
from pathlib import Path

import pytest
from huggingface_hub import ModelCard as HubCard
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from finetune.classification.glue.check import check_submission

QUICK = (
    "--max_steps", 2, "--per_device_train_batch_size", 4, "--max_train_samples", 24, "--max_eval_samples", 40,
)  # fmt: skip


def read_predictions(folder: Path, split: str) -> list[dict]:
    text = (folder / f"predictions.{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line]


def read_metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def read_results(path: Path) -> dict[str, str]:
    return dict(line.split(" = ") for line in path.read_text(encoding="utf-8").splitlines())


@pytest.fixture(scope="module")
def wnli_run(tmp_path_factory, run_command, tiny_bert, shared_data):
    """One real run, its own process: the whole of WNLI, test set included."""
    output = tmp_path_factory.mktemp("wnli") / "run"
    done = run_command(
        "run_glue.py", "--model_name_or_path", tiny_bert, "--task_name", "WNLI", "--data_dir", shared_data / "glue",
        "--output_dir", output, "--do_train", "--do_eval", "--do_predict", "--max_steps", 10, "--eval_steps", 5,
        "--learning_rate", 1e-3,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return output, done


def test_a_run_leaves_exactly_these_files(wnli_run) -> None:
    output, _ = wnli_run
    names = {path.name for path in output.iterdir() if not path.name.startswith("checkpoint-")}
    assert names == {
        "README.md", "checksums.json", "config.json", "data_summary.json", "eval_results.txt", "eval_results_wnli.txt",
        "finetune_settings.json", "metrics.json", "model.safetensors", "plots", "predict_results_wnli.txt",
        "predictions.test.jsonl", "predictions.validation.jsonl", "report.html", "report.txt", "run.json", "run.log",
        "submission", "test_results_wnli.txt", "tokenizer.json", "tokenizer_config.json", "training_args.bin",
        "training_history.json",
    }  # fmt: skip


def test_scores_equal_scikit_learns_on_the_predictions(wnli_run) -> None:
    output, done = wnli_run
    rows = read_predictions(output, "validation")
    gold, predicted = [row["expected"] for row in rows], [row["predicted"] for row in rows]
    metrics = read_metrics(output)["validation"]
    assert len(rows) == metrics["nb_samples"] == 71
    assert metrics["accuracy"] == pytest.approx(accuracy_score(gold, predicted))
    assert metrics["f1_macro"] == pytest.approx(f1_score(gold, predicted, average="macro"))
    assert done.last["validation"]["accuracy"] == metrics["accuracy"]


def test_a_submission_passes_the_check(wnli_run, call_command) -> None:
    output, _ = wnli_run
    assert [entry.problems for entry in check_submission(output / "submission")] == [()]
    done = call_command("download_glue_data.py", "--check", output / "submission")
    assert done.code == 0
    assert "146 of     146 rows  ok" in done.stdout


def test_results_are_in_the_names_of_both_generations(wnli_run) -> None:
    output, _ = wnli_run
    accuracy = str(read_metrics(output)["validation"]["accuracy"])
    assert read_results(output / "eval_results.txt")["acc"] == accuracy
    today = read_results(output / "eval_results_wnli.txt")
    assert today["eval_accuracy"] == accuracy
    assert set(today) == {"eval_loss", "eval_accuracy", "epoch", "total_flos"}
    lines = (output / "test_results_wnli.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "index\tprediction"
    assert re.fullmatch("0\t(not_)?entailment", lines[1])


def test_the_same_command_again_says_so(wnli_run, call_command, tiny_bert, shared_data) -> None:
    output, _ = wnli_run
    again = call_command(
        "run_glue.py", "--model_name_or_path", tiny_bert, "--task_name", "WNLI", "--data_dir", shared_data / "glue",
        "--output_dir", output, "--do_train", "--do_eval", "--do_predict", "--max_steps", 10, "--eval_steps", 5,
        "--learning_rate", 1e-3,
    )  # fmt: skip
    assert again.last["status"] == "already_done"


def test_a_trained_model_is_scored_and_serves_predict(
    wnli_run, call_command, shared_data, tmp_path, monkeypatch
) -> None:
    trained, _ = wnli_run
    output = tmp_path / "scored"
    done = call_command(
        "run_glue.py", "--model_name_or_path", trained, "--task_name", "wnli", "--data_dir", shared_data / "glue",
        "--output_dir", output, "--do_eval",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert read_metrics(output)["validation"] == pytest.approx(read_metrics(trained)["validation"])
    assert not (output / "model.safetensors").exists()
    rows = read_predictions(trained, "validation")
    texts = tmp_path / "texts.jsonl"
    pairs = [json.dumps({"text": row["text"], "text_pair": row["text_pair"]}) + "\n" for row in rows]
    texts.write_text("".join(pairs), encoding="utf-8")
    target = tmp_path / "predicted.jsonl"
    served = call_command("predict.py", "--model_name_or_path", trained, "--input_file", texts, "--output_file", target)
    assert served.code == 0, served.stderr
    results = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [result["label"] for result in results] == [row["predicted"] for row in rows]
    assert results[0]["scores"] == pytest.approx(rows[0]["probabilities"], abs=1e-4)


TASKS = {
    "cola": ("matthews_correlation", matthews_corrcoef),
    "mrpc": ("f1", lambda gold, predicted: f1_score(gold, predicted, pos_label="equivalent")),
    "stsb": ("pearson", lambda gold, predicted: pearsonr(gold, predicted).statistic),
    "sst2": ("accuracy", accuracy_score),
}


@pytest.mark.parametrize("task", TASKS)
def test_official_metrics(task, call_command, tiny_bert, shared_data, tmp_path) -> None:
    output = tmp_path / "run"
    done = call_command(
        "run_glue.py", "--model_name_or_path", tiny_bert, "--task_name", task, "--data_dir", shared_data / "glue",
        "--output_dir", output, "--do_train", "--do_eval", *QUICK,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    rows, (name, score) = read_predictions(output, "validation"), TASKS[task]
    gold, predicted = [row["expected"] for row in rows], [row["predicted"] for row in rows]
    metrics = read_metrics(output)["validation"]
    assert metrics[name] == pytest.approx(score(gold, predicted), abs=1e-6)
    if task == "stsb":
        assert metrics["spearmanr"] == pytest.approx(spearmanr(gold, predicted).statistic, abs=1e-6)
        assert metrics["combined_score"] == pytest.approx((metrics["pearson"] + metrics["spearmanr"]) / 2)


def test_options_of_labels_are_refused_where_the_data_has_numbers(
    call_command, tiny_bert, shared_data, tmp_path
) -> None:
    done = call_command(
        "run_glue.py", "--model_name_or_path", tiny_bert, "--task_name", "stsb", "--data_dir", shared_data / "glue",
        "--output_dir", tmp_path / "run", "--do_train", "--do_eval", *QUICK, "--label_smoothing_factor", 0.1,
        "--focal_gamma", 2, "--calibrate", "temperature", "--class_weights", "balanced",
    )  # fmt: skip
    assert done.code == 2
    for flag in ("label_smoothing_factor 0.1", "focal_gamma 2.0", "calibrate temperature", "class_weights balanced"):
        assert f"--{flag} is for labels, and the data has numbers; drop it." in done.last["reason"]


MNLI = "index\tsentence1\tsentence2\tgold_label\n" + "".join(
    f"{i}\tpremise {i}\thypothesis {i}\t{label}\n"
    for i, label in enumerate(["entailment", "neutral", "contradiction"] * 4)
)


def test_mnli_scores_both_sets_and_predicts_the_diagnostics(call_command, tiny_bert, tmp_path) -> None:
    folder = tmp_path / "MNLI"
    folder.mkdir()
    for stem in ("train", "dev_matched", "dev_mismatched"):
        (folder / f"{stem}.tsv").write_text(MNLI, encoding="utf-8")
    bare = "".join("\t".join(line.split("\t")[:3]) + "\n" for line in MNLI.splitlines())
    for stem in ("test_matched", "test_mismatched", "diagnostic"):
        (folder / f"{stem}.tsv").write_text(bare, encoding="utf-8")
    output = tmp_path / "run"
    done = call_command(
        "run_glue.py", "--model_name_or_path", tiny_bert, "--task_name", "mnli", "--data_dir", tmp_path,
        "--output_dir", output, "--do_train", "--do_eval", "--do_predict", "--max_steps", 2,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert set(read_metrics(output)) == {"validation", "validation_mismatched"}
    for name in (
        "eval_results_mnli.txt",
        "eval_results_mnli-mm.txt",
        "test_results_mnli-mm.txt",
        "test_results_ax.txt",
    ):
        assert (output / name).is_file()
    assert {path.name for path in (output / "submission").iterdir()} == {"MNLI-m.tsv", "MNLI-mm.tsv", "AX.tsv"}


def documented_command(repository: Path, document: str, script: str) -> list[str]:
    """The words after the script of the first command line of a seed document."""
    text = (repository.parent / "shared" / "seeds" / document).read_text(encoding="utf-8")
    match = re.search(rf"python {re.escape(script)} (.*?)\n\s*\n", text, re.S)
    assert match, f"{document} has no command with {script}"
    return shlex.split(match.group(1).replace("\\ \n", " ").replace("\\\n", " "))


def test_the_command_of_the_domain_adaptation_document(
    call_command, tiny_bert, shared_data, repository, tmp_path, monkeypatch
) -> None:
    """Verbatim but for two steps: https://github.com/deepopinion/domain-adapted-atsc."""
    words = documented_command(repository, "domain-adaptation-bert.md", "run_glue.py")
    assert "--task_name=semeval2014-atsc" in words
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    model = tmp_path / "data" / "models" / "restaurants_10mio_ep3"
    shutil.copytree(tiny_bert, model)
    prepared = tmp_path / "data" / "transformed" / "restaurants_noconfl"
    raw = tmp_path / "raw.xml"
    for flags, name in ((["--istrain"], "train"), ([], "test")):
        raw.write_bytes(gzip.decompress((shared_data / "mams_atsa" / f"{name}.xml.gz").read_bytes()))
        done = call_command(
            "prepare_semeval_datasets.py", "--files", raw, *flags, "--noconfl", "--output_dir", prepared
        )
        assert done.code == 0, done.stderr
    assert "#SentencePairs 11186" in done.stdout or "#SentencePairs 1336" in done.stdout
    done = call_command(
        "run_glue.py", *words, "--max_steps", 2, "--warmup_steps", 1, "--max_train_samples", 64,
        "--max_eval_samples", 64, "--max_predict_samples", 64, "--eval_steps", 2, "--save_steps", 2,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    output = tmp_path / "data" / "models" / "semeval2014-atsc-bert-ada-restaurants-restaurants"
    results = read_results(output / "eval_results.txt")
    assert {"acc", "f1_macro", "loss"} <= set(results)
    assert set(read_metrics(output)) == {"validation", "test"}
    files = json.loads((output / "run.json").read_text(encoding="utf-8"))["inputs"]
    assert "train_split.xml" in json.dumps(files)
    assert "dev.xml" in json.dumps(files)
    assert HubCard.load(output / "README.md").data.datasets is None, "the hub has no data set of this name"


def test_old_names_speak_the_old_way(call_command, tiny_bert, shared_data, tmp_path) -> None:
    output = tmp_path / "run"
    done = call_command(
        "run_glue.py", "--model_name_or_path", tiny_bert, "--model_type", "bert", "--task_name", "SST-2",
        "--data_dir", shared_data / "glue" / "SST-2", "--do_train", "--do_eval", "--do_lower_case",
        "--per_gpu_train_batch_size", 4, "--per_gpu_eval_batch_size", 64, "--max_steps", 2, "--max_train_samples", 20,
        "--max_eval_samples", 20, "--output_dir", output, "--overwrite_output_dir", "--overwrite_cache",
        "--eval_all_checkpoints",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    log = (output / "run.log").read_text(encoding="utf-8")
    assert "***** Eval results sst-2 *****" in log
    assert HubCard.load(output / "README.md").data.datasets == ["nyu-mll/glue"]
    assert re.search(r"- +acc = 0\.\d", log)
    for flag in ("--model_type", "--per_gpu_train_batch_size", "--eval_all_checkpoints"):
        assert flag in done.stderr


def test_numbers_from_a_csv_file(call_command, tiny_bert, tmp_path) -> None:
    rows = [f'"text {i}, quoted",{i / 7:.3f}' for i in range(30)]
    (tmp_path / "train.csv").write_text("\n".join(["title,value", *rows]), encoding="utf-8")
    output = tmp_path / "run"
    done = call_command(
        "run_glue.py", "--model_name_or_path", tiny_bert, "--train_file", tmp_path / "train.csv", "--text_column", "title",
        "--label_column_name", "value", "--output_dir", output, "--do_train", "--do_eval", "--max_steps", 2,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert {"mse", "pearson"} <= set(read_metrics(output)["validation"])
    config = json.loads((output / "config.json").read_text(encoding="utf-8"))
    assert config["problem_type"] == "regression"


BAD = [
    (["--task_name", "mrcp"], "there is no GLUE task 'mrcp'; did you mean mrpc"),
    (["--task_name", "rte", "--data_dir", "."], "no file of GLUE RTE is there"),
    ([], "--do_train is given without data; add --train_file, --data_dir or --dataset_name"),
    (
        ["--task_name", "wnli", "--metric_for_best_model", "acuracy"],
        "--metric_for_best_model is 'acuracy'; did you mean",
    ),
    (["--task_name", "wnli", "--max_seq_length", "4000"], "--max_seq_length 4000 is more than the 128 positions"),
    (["--task_name", "wnli", "--class_weights", "nowhere.txt"], "nowhere.txt: no such file"),
]


@pytest.mark.parametrize(("flags", "message"), BAD)
def test_bad_input_is_told_in_a_sentence(call_command, tiny_bert, shared_data, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    data = [] if "--data_dir" in flags or not flags else ["--data_dir", shared_data / "glue"]
    done = call_command(
        "run_glue.py", "--model_name_or_path", tiny_bert, "--output_dir", tmp_path / "run", "--do_train", "--do_eval",
        *flags, *data,
    )  # fmt: skip
    assert done.code == 2, done.stdout + done.stderr
    assert message in done.last["reason"]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_stopped_run_ends_as_an_undisturbed_one(
    call_command, stop_command, resumed_step, tiny_bert, shared_data, tmp_path
) -> None:
    def words(output: Path) -> list[str]:
        return [str(word) for word in (
            "--model_name_or_path", tiny_bert, "--task_name", "wnli", "--data_dir", shared_data / "glue", "--output_dir",
            output, "--do_train", "--do_eval", "--max_steps", 40, "--eval_steps", 5, "--save_steps", 5, "--eval_strategy",
            "steps", "--learning_rate", 1e-3, "--per_device_train_batch_size", 4, "--gradient_accumulation_steps", 2,
            "--max_train_samples", 300, "--max_eval_samples", 20, "--class_weights", "balanced", "--focal_gamma", 1,
        )]  # fmt: skip

    undisturbed, output = tmp_path / "undisturbed", tmp_path / "run"
    assert call_command("run_glue.py", *words(undisturbed)).code == 0
    marker = output / "checkpoint-5" / "complete.json"
    stopped = stop_command("run_glue.py", *words(output), once=marker, sign=signal.SIGTERM)
    assert stopped.code == 75, stopped.stdout
    again = call_command("run_glue.py", *words(output))
    assert again.code == 0, again.stderr
    assert 0 < resumed_step(output) < 40
    assert (output / "model.safetensors").read_bytes() == (undisturbed / "model.safetensors").read_bytes()
    assert read_metrics(output) == read_metrics(undisturbed)
