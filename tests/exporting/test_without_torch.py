"""An exported folder predicts where numpy, tokenizers and what runs its format are all there is, and gives the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, BertConfig, RobertaConfig

from finetune.exporting.arguments import ExportArguments
from finetune.exporting.task import export_run
from finetune.models.settings import ClassifierSettings, TaggerSettings
from tests import tiny

REPOSITORY = Path(__file__).resolve().parents[2]
# All that requirements.txt and our extras name, but for the three: `tokenizers` itself brings yaml, tqdm and the hub.
BARRED = (
    "torch", "transformers", "datasets", "accelerate", "peft", "safetensors", "xxhash", "sentencepiece", "google.protobuf",
    "scipy", "sklearn", "pyarrow", "pandas", "matplotlib", "jinja2", "markupsafe", "pythainlp", "sentencex", "regex",
    "tensorboard", "wandb", "optuna", "onnx", "onnxscript", "nncf",
)  # fmt: skip
HOOK = """
import sys

class Bar:
    def find_spec(self, name, path=None, target=None):
        if any(name == barred or name.startswith(barred + ".") for barred in BARRED):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Bar())
"""
TEXTS = [
    "Maria flew to Berlin , and the rain stopped .",
    "",
    "x" * 80,
    "the [SEP] of New York",
    " ".join(["Amsterdam"] * 60),
]
ANY_TEXTS = [*TEXTS, "สวัสดีครับ ผมชื่อสมชาย", "👩\u200d👩\u200d👧 Ärzte\u00a0und 😀", "नमस्ते दुनिया"]


@pytest.fixture
def bare(tmp_path):
    """Runs predict.py in a process that cannot import what is barred; `lacking` leaves some of it importable."""

    def run(*words: object, stdin: str = "", allowed: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        hooks = tmp_path / f"hooks{len(allowed)}"
        hooks.mkdir(exist_ok=True)
        barred = [name for name in BARRED if name not in allowed]
        (hooks / "sitecustomize.py").write_text(f"BARRED = {barred!r}\n{HOOK}", encoding="utf-8")
        path = os.pathsep.join((str(hooks), str(REPOSITORY)))
        command = [sys.executable, str(REPOSITORY / "scripts" / "predict.py"), *map(str, words)]
        return subprocess.run(
            command,
            check=False,
            input=stdin,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def make_tagger(folder: Path, tokenizer) -> Path:
    labels = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        id2label=dict(enumerate(labels)), label2id={name: index for index, name in enumerate(labels)},
        max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    tiny.save(scaled(AutoModelForTokenClassification.from_config(config)), tokenizer, folder)
    TaggerSettings(scheme="IOB2", max_length=32, stride=4, constrained_decoding=True).save(folder)
    return folder


def make_classifier(folder: Path, tokenizer, settings: ClassifierSettings) -> Path:
    labels = ["value"] if settings.problem_type == "regression" else ["good", "bad", "odd"]
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        id2label=dict(enumerate(labels)), label2id={name: index for index, name in enumerate(labels)}, pad_token_id=1,
        max_position_embeddings=66, problem_type=settings.problem_type,
    )  # fmt: skip
    torch.manual_seed(0)
    tiny.save(scaled(AutoModelForSequenceClassification.from_config(config)), tokenizer, folder)
    settings.save(folder)
    return folder


def scaled(model):
    for weight in model.parameters():  # so that answers differ from text to text
        weight.data.mul_(4)
    return model


def export(model: Path, kind: str, out: Path) -> Path:
    export_run(ExportArguments(run=str(model), output_dir=str(out), format=kind))
    return out


def lines_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def assert_alike(found: list[dict], expected: list[dict]) -> None:
    """Equal but for the last digit of rounded numbers."""
    assert len(found) == len(expected) > 0
    for ours, theirs in zip(found, expected, strict=True):
        assert list(ours) == list(theirs)
        for name, value in theirs.items():
            if name not in ("score", "scores", "value", "entities"):
                assert ours[name] == value
        assert list(numbers(ours)) == pytest.approx(list(numbers(theirs)), abs=2e-4)


def numbers(value):
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers(item)
    elif isinstance(value, float):
        yield value


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_a_tagger_tags_without_torch_as_with_it(tmp_path, call_command, bare, bert, kind):
    model = make_tagger(tmp_path / "model", bert)
    out = export(model, kind, tmp_path / "out")
    conll = "".join(f"{word}\tO\n" for word in TEXTS[0].split()) + "\nBerlin\tB-LOC\n"
    (tmp_path / "a.conll").write_text(conll, encoding="utf-8")
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"text": text, "id": 1}) + "\n" for text in TEXTS))
    (tmp_path / "c.csv").write_text("text,n\n" + "".join(f'"{text}",2\n' for text in TEXTS if text))
    sources = ("--input_file", *(tmp_path / name for name in ("a.conll", "b.jsonl", "c.csv")), "--bf16", "False")
    expected = call_command("predict.py", "--model_name_or_path", model, *sources)
    assert expected.code == 0, expected.stderr
    found = bare("--model_name_or_path", out, *sources, "--backend", kind)
    assert found.returncode == 0, found.stderr
    assert_alike(lines_of(found.stdout), lines_of(expected.stdout))
    assert any(line["entities"] for line in lines_of(found.stdout))
    assert "longer than --max_length" in found.stderr


@pytest.mark.slow
def test_texts_in_any_script_need_the_packages_that_find_words(tmp_path, call_command, bare, bert):
    model = make_tagger(tmp_path / "model", bert)
    out = export(model, "onnx", tmp_path / "out")
    (tmp_path / "texts.txt").write_text("\n".join(ANY_TEXTS) + "\n", encoding="utf-8")
    sources = ("--input_file", tmp_path / "texts.txt", "--bf16", "False")
    expected = call_command("predict.py", "--model_name_or_path", model, *sources)
    found = bare("--model_name_or_path", out, *sources, allowed=("regex", "pythainlp"))
    assert found.returncode == 0, found.stderr
    assert_alike(lines_of(found.stdout), lines_of(expected.stdout))
    lacking = bare("--model_name_or_path", out, *sources, allowed=("regex",))
    assert lacking.returncode == 1 and "Traceback" not in lacking.stderr
    assert "package pythainlp is needed for this and not installed (pip install pythainlp)" in lacking.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        (ClassifierSettings(max_length=24), "onnx"),
        (ClassifierSettings(long_text="windows", max_length=16, stride=4, temperature=1.7, lowercase=True), "openvino"),
        (
            ClassifierSettings(
                problem_type="multi_label_classification",
                thresholds={"good": 0.4, "bad": 0.6, "odd": 0.5},
                threshold_scope="per_label",
            ),
            "onnx",
        ),
        (ClassifierSettings(problem_type="regression"), "onnx"),
        (ClassifierSettings(pairs=True, max_length=30), "openvino"),
    ],
)
def test_a_classifier_predicts_without_torch_as_with_it(tmp_path, call_command, bare, roberta, settings, kind):
    model = make_classifier(tmp_path / "model", roberta, settings)
    out = export(model, kind, tmp_path / "out") if not settings.pairs else export_pairs(model, kind, tmp_path)
    second = "\tand a second text" if settings.pairs else ""
    text = "".join(f"{text}{second}\n" for text in ANY_TEXTS)
    (tmp_path / "texts.txt").write_text(text, encoding="utf-8")
    sources = ("--input_file", tmp_path / "texts.txt", "--bf16", "False")
    expected = call_command("predict.py", "--model_name_or_path", model, *sources)
    assert expected.code == 0, expected.stderr
    for words, stdin in ((sources, ""), (("--bf16", "False"), text)):
        found = bare("--model_name_or_path", out, *words, stdin=stdin)
        assert found.returncode == 0, found.stderr
        assert_alike(lines_of(found.stdout), lines_of(expected.stdout))


def export_pairs(model: Path, kind: str, folder: Path) -> Path:
    """With texts of pairs to compare on."""
    (folder / "pairs.txt").write_text("one\ttwo\nthree of them\tfour\n")
    asked = ExportArguments(
        run=str(model), output_dir=str(folder / "out"), format=kind, input_file=str(folder / "pairs.txt")
    )
    export_run(asked)
    return folder / "out"


@pytest.mark.slow
def test_what_is_written_to_a_file_is_known_as_done_without_torch(tmp_path, bare, bert):
    out = export(make_tagger(tmp_path / "model", bert), "onnx", tmp_path / "out")
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    words = ("--model_name_or_path", out, "--input_file", tmp_path / "texts.txt", "--output_file", tmp_path / "r.jsonl")
    first, again = bare(*words), bare(*words)
    assert first.returncode == again.returncode == 0, first.stderr + again.stderr
    assert [json.loads(one.stdout.splitlines()[-1])["status"] for one in (first, again)] == ["done", "already_done"]
    assert len(lines_of((tmp_path / "r.jsonl").read_text())) == len(TEXTS)


def test_a_folder_of_torch_needs_torch_and_says_so(tmp_path, bare, bert):
    model = make_tagger(tmp_path / "model", bert)
    done = bare("--model_name_or_path", model, stdin="a\n")
    assert done.returncode == 2 and "torch is not installed" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_backend_that_the_folder_is_not_for_is_refused(tmp_path, call_command, bert):
    model = make_tagger(tmp_path / "model", bert)
    out = export(model, "onnx", tmp_path / "out")
    for folder, backend, words in (
        (model, "openvino", "this folder holds no exported model"),
        (out, "openvino", "exported to onnx"),
        (out, "torch", "exported to onnx"),
    ):
        done = call_command("predict.py", "--model_name_or_path", folder, "--backend", backend)
        assert done.code == 2 and words in done.stderr
