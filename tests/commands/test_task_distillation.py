from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard as HubCard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertForSequenceClassification,
    BertForTokenClassification,
)

from finetune.models.settings import ClassifierSettings, TaggerSettings
from tests.page.pages import Page, assert_is_whole

ENTITIES = ("PRODUCT", "PER", "ORG", "LOC", "DATE")
TAGS = ["O", *(f"{begin}-{name}" for name in ENTITIES for begin in "BI")]
COLOURS = ["blue", "green", "red"]
SCRIPT = "distillation/train.py"


def save_teacher(model_class: type, encoder: Path, folder: Path, labels: list[str], **more: object) -> Path:
    """A random model of these labels, decided enough to be imitated."""
    torch.manual_seed(3)
    config = AutoConfig.from_pretrained(encoder, num_labels=len(labels), **more)
    config.id2label, config.label2id = dict(enumerate(labels)), {label: number for number, label in enumerate(labels)}
    model = model_class(config)
    torch.nn.init.normal_(model.classifier.weight, std=0.3)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(encoder).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tagger(tiny_bert, tmp_path_factory) -> Path:
    folder = save_teacher(BertForTokenClassification, tiny_bert, tmp_path_factory.mktemp("teachers") / "tagger", TAGS)
    TaggerSettings(scheme="IOB2", max_length=48, stride=8, lowercase=True).save(folder)
    return folder


@pytest.fixture(scope="module")
def student(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("student") / "student.json"
    shape = {
        "n_layers": 1,
        "dim": 16,
        "n_heads": 2,
        "hidden_dim": 24,
        "vocab_size": 30522,
        "max_position_embeddings": 64,
    }
    path.write_text(json.dumps({"model_type": "distilbert", "dropout": 0.0, "attention_dropout": 0.0, **shape}))
    return path


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "more.txt"
    path.write_text("\n".join(["Maria flew to Berlin", "", *(f"Number {n} is at the bank" for n in range(20))]) + "\n")
    return path


def tagging_flags(teacher: Path, student: Path, unlabelled: Path, output: Path) -> tuple[object, ...]:
    return (
        *("--task", "token_classification", "--teacher_name", teacher, "--student_config", student),
        *("--dataset_name", "sample", "--max_train_samples", 60, "--max_eval_samples", 20, "--output_dir", output),
        *("--unlabelled_file", unlabelled, "--bf16", "False", "--max_steps", 12, "--learning_rate", "1e-2"),
        *("--per_device_train_batch_size", 16, "--logging_steps", 1, "--seed", 5),
    )


def logged(folder: Path, tag: str = "losses/loss") -> list[float]:
    board = EventAccumulator(str(folder / "log" / "train"))
    board.Reload()
    return [event.value for event in board.Scalars(tag)]


def test_a_narrower_tagger_learns_and_is_served(tagger, student, unlabelled, tmp_path, call_command):
    output, export = tmp_path / "out", tmp_path / "export"
    line = tagging_flags(tagger, student, unlabelled, output)
    more = ("--alpha_hidden", 0.1, "--alpha_relation", 0.1, "--do_eval", "--export", export)
    done = call_command(SCRIPT, *line, *more)
    assert done.code == 0, done.stderr
    for line in ("--max_length 48", "--lowercase True", "1 empty lines of --unlabelled_file were left out"):
        assert line in done.stderr
    assert logged(output, "losses/loss_ce")[-1] < 0.8 * logged(output, "losses/loss_ce")[0]
    assert {f"losses/loss_{name}" for name in ("hard", "hidden", "relation")} <= set(_tags(output))
    config = AutoConfig.from_pretrained(output)
    assert config.model_type == "distilbert" and list(config.id2label.values()) == TAGS, "in the teacher's order"
    assert TaggerSettings.load(output) == TaggerSettings.load(export) == TaggerSettings.load(tagger)
    found = json.loads((output / "metrics.json").read_text())
    assert set(found) == {"validation"}
    metrics = found["validation"]
    assert {"parameters.json", "run.json", "predictions.validation.conll"} <= {path.name for path in output.iterdir()}
    beside = json.loads((output / "teacher.json").read_text())
    served = call_command("run_ner.py", "--model_name_or_path", tagger, "--dataset_name", "sample", "--max_eval_samples",
                          20, "--do_eval", "--output_dir", tmp_path / "teacher", "--bf16", "False")  # fmt: skip
    assert served.code == 0, served.stderr
    alone = json.loads((tmp_path / "teacher" / "metrics.json").read_text())["validation"]
    assert beside["scores"]["validation"]["f1_micro"] == alone["f1_micro"] and alone["f1_micro"] != metrics["f1_micro"]
    page = Page(output / "report.html")
    assert_is_whole(page)
    shown = next(svg["aria-label"] for svg in page.of("svg") if "teacher and student" in svg["aria-label"])
    assert f"accuracy {alone['accuracy']:.4f} and {metrics['accuracy']:.4f}" in shown
    assert any("Soft targets:" in svg["aria-label"] and "Relations:" in svg["aria-label"] for svg in page.of("svg"))
    assert (output / "plots" / "tokens_per_second.png").exists()
    card = HubCard.load(export / "README.md")
    assert "| teacher parameters |" in card.text and "+ 0.1 hidden + 0.1 relation |" in card.text
    assert card.data.eval_results[0].metric_name == "f1_micro", "of the validation split"
    assert card.data.datasets is None and card.data.pipeline_tag == "token-classification"
    weights = [AutoModelForTokenClassification.from_pretrained(folder).state_dict() for folder in (output, export)]
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())
    served = call_command("predict.py", "--model_name_or_path", output, "--input_file", unlabelled)
    assert served.code == 0 and json.loads(served.stdout.splitlines()[0])["words"] == ["Maria", "flew", "to", "Berlin"]


def _tags(folder: Path) -> list[str]:
    board = EventAccumulator(str(folder / "log" / "train"))
    board.Reload()
    return board.Tags()["scalars"]


def test_the_fast_path_and_a_kept_teacher_change_nothing(tagger, student, unlabelled, tmp_path, call_command):
    kept = ("--cache_teacher", 99, "--teacher_cache_dir", tmp_path / "cache")
    results = {}
    for name, further in {"live": (), "plain": ("--no_fast_path",), "kept": kept, "again": kept}.items():
        done = call_command(SCRIPT, *tagging_flags(tagger, student, unlabelled, tmp_path / name), *further)
        assert done.code == 0, done.stderr
        results[name] = logged(tmp_path / name)
    assert len(results["live"]) == 12 and "embedding rows trained" in (tmp_path / "live" / "run.log").read_text()
    assert results["plain"] == pytest.approx(results["live"], rel=1e-4)
    assert results["kept"] == pytest.approx(results["live"], rel=1e-4)
    assert results["again"] == results["kept"] and "answers are taken from" in done.stderr


def test_a_classifier_of_several_labels(tiny_bert, student, unlabelled, tmp_path, call_command):
    problem = {"problem_type": "multi_label_classification"}
    teacher = save_teacher(BertForSequenceClassification, tiny_bert, tmp_path / "teacher", COLOURS, **problem)
    ClassifierSettings(max_length=20, **problem).save(teacher)
    rows = [{"text": f"a {COLOURS[n % 3]} thing {n}", "labels": COLOURS[n % 3 :]} for n in range(40)]
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    line = (
        *("--task", "sequence_classification", "--teacher_name", teacher, "--student_config", student),
        *("--train_file", data, "--unlabelled_file", unlabelled, "--output_dir", tmp_path / "out", "--max_steps", 8),
        *("--bf16", "False", "--learning_rate", "1e-2", "--logging_steps", 1, "--do_eval", "--alpha_hard", 0),
        *("--export", tmp_path / "export"),
    )
    done = call_command(SCRIPT, *line)
    assert done.code == 0, done.stderr
    assert logged(tmp_path / "out")[-1] < logged(tmp_path / "out")[0]
    assert ClassifierSettings.load(tmp_path / "out").max_length == 20
    card = HubCard.load(tmp_path / "export" / "README.md")
    assert card.data.pipeline_tag == "text-classification" and card.data.eval_results[0].metric_name == "f1_micro"
    served = call_command("predict.py", "--model_name_or_path", tmp_path / "out", "--input_file", unlabelled)
    assert served.code == 0 and set(json.loads(served.stdout.splitlines()[0])["scores"]) == set(COLOURS)
    done = call_command(SCRIPT, *line, "--output_dir", tmp_path / "kept", "--cache_teacher", 2)
    assert done.code == 2 and "one label out of several" in str(done.last["reason"])


@pytest.mark.parametrize(
    ("further", "expected"),
    [
        (("--teacher_name", "other"), "the data has the label 'B-LOC', which the model in other does not know"),
        (("--teacher_name", "encoder"), "the teacher is a BertModel"),
        (("--student_name", "turned"), "they stand in another order"),
        (("--student_name", "fewer"), "the teacher does not know its B-GOD"),
        (("--student_config", "small.json"), "100 entries in its vocabulary, the teacher 30,522"),
        (("--student_config", "short.json"), "32 positions, and the input is up to 48 subwords"),
        (("--alpha_ce", 0, "--alpha_hard", 0), "nothing would be learnt"),
        (("--task", "tokens"), "tokens"),
    ],
)
def test_bad_input_is_told(
    tagger, tiny_bert, student, unlabelled, tmp_path, call_command, monkeypatch, further, expected
):
    monkeypatch.chdir(tmp_path)
    shape = json.loads(student.read_text())
    Path("small.json").write_text(json.dumps(shape | {"vocab_size": 100}))
    Path("short.json").write_text(json.dumps(shape | {"max_position_embeddings": 32}))
    Path("encoder").symlink_to(tiny_bert)
    for name, labels in {"other": ["O", "B-GOD", "I-GOD"], "turned": TAGS[::-1], "fewer": ["O", "B-GOD"]}.items():
        if name in further:
            save_teacher(BertForTokenClassification, tiny_bert, Path(name), labels)
    line = tagging_flags(tagger, student, unlabelled, tmp_path / "out")
    if "--student_name" in further:
        line = tuple(word for word in line if word not in ("--student_config", student))
    done = call_command(SCRIPT, *line, *further)
    assert done.code == 2 and expected in str(done.last["reason"])
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_processes_with_half_the_batch_are_one(
    tagger, student, unlabelled, tmp_path, call_command, run_two_processes
):
    one, two = tmp_path / "one", tmp_path / "two"
    more = ("--alpha_hidden", 0.1, "--alpha_relation", 0.1, "--do_eval", "--learning_rate", 1e-3)
    more += ("--max_train_samples", 62)  # with 21 more rows: 3 are left for the last step, and each process has one
    halves = (*tagging_flags(tagger, student, unlabelled, two), *more, "--per_device_train_batch_size", 8)
    done = run_two_processes(SCRIPT, *halves)
    assert done.code == 0, done.stderr
    alone = call_command(SCRIPT, *tagging_flags(tagger, student, unlabelled, one), *more)
    assert alone.code == 0, alone.stderr
    assert len(logged(one)) == 12 and logged(two) == pytest.approx(logged(one), rel=1e-5)
    name = "predictions.validation.conll"
    assert (two / name).read_bytes() == (one / name).read_bytes()
    scores = [json.loads((folder / "metrics.json").read_text())["validation"] for folder in (one, two)]
    assert scores[0].pop("loss") == pytest.approx(scores[1].pop("loss"), rel=1e-5) and scores[0] == scores[1]
    assert done.stdout.count('"status"') == 1 and done.stderr.count("***** Running training *****") == 1


@pytest.mark.slow
def test_killed_and_run_again_equals_undisturbed(
    tagger, student, unlabelled, tmp_path, call_command, stop_command, resumed_step
):
    """A student with dropout; batches of labelled and unlabelled texts go on where they were."""
    dropping = tmp_path / "dropping.json"
    dropping.write_text(json.dumps({**json.loads(student.read_text()), "dropout": 0.2}))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    more = ("--max_steps", 60, "--save_strategy", "steps", "--save_steps", 5)
    done = call_command(SCRIPT, *tagging_flags(tagger, dropping, unlabelled, whole), *more)
    assert done.code == 0, done.stderr
    words = (*tagging_flags(tagger, dropping, unlabelled, cut), *more)
    assert stop_command(SCRIPT, *words, once=cut / "checkpoint-5" / "complete.json").code == -signal.SIGKILL
    again = call_command(SCRIPT, *words)
    assert again.code == 0, again.stderr
    assert 0 < resumed_step(cut) < 60
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
