"""Exported models: the same answers as the original, folders that predict.py takes, eight bits judged by scores."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import onnx
import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoModelForTokenClassification

from finetune.errors import RunError
from finetune.exporting.arguments import ExportArguments
from finetune.exporting.comparing import Batch, Comparison, find_difference, recorded
from finetune.exporting.task import require_close, require_scores
from tests import tiny
from tests.invariants.test_family_matrix import (
    assert_alike,
    make_sentences,
    make_tokenizer,
    predict,
    without_dropout,
    write_tags,
)
from tests.tiny_families import make_config

HEADS = {
    "tagger": AutoModelForTokenClassification,
    "classifier": AutoModelForSequenceClassification,
    "masked": AutoModelForMaskedLM,
}


def make_model(family: str, head: str, folder: Path) -> Path:
    labels = {0: "O", 1: "B-X"} if head == "tagger" else {0: "even", 1: "odd"}
    config = without_dropout(make_config(family))
    if head != "masked":
        config.id2label, config.label2id = labels, {name: index for index, name in labels.items()}
    torch.manual_seed(0)
    model = HEADS[head].from_config(config)
    for weight in model.parameters():  # so that labels differ from text to text
        weight.data.mul_(3)
    return tiny.save(model, make_tokenizer(family), folder)


def write_lines(path: Path) -> Path:
    path.write_text("\n".join(" ".join(words) for words in make_sentences()) + "\n", encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "head", "kind"),
    [
        ("bert", "tagger", "onnx"),
        ("deberta-v2", "tagger", "onnx"),
        ("modernbert", "tagger", "onnx"),
        ("roberta", "classifier", "onnx"),
        ("distilbert", "classifier", "openvino"),
        ("electra", "tagger", "openvino"),
    ],
)
def test_an_exported_model_answers_as_the_original(tmp_path, call_command, family, head, kind):
    """On texts of 1 to 60 words, longer than those that were traced; in batches of any size."""
    model, out = make_model(family, head, tmp_path / "model"), tmp_path / "out" / "exported"
    done = call_command("export.py", model, "--output_dir", out, "--format", kind)
    assert done.code == 0, done.stderr
    assert done.last["largest_difference_of_logits"] < 1e-4
    assert json.loads((out / "export_report.json").read_text())["format"] == kind
    assert [path.name for path in out.parent.iterdir()] == ["exported"]
    texts = write_lines(tmp_path / "texts.txt")
    expected = predict(call_command, model, texts, 4)
    for batch_size in (1, 32):
        assert_alike(predict(call_command, out, texts, batch_size), expected, rtol=2e-4, atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_a_masked_language_model_keeps_its_logits(tmp_path, call_command, family):
    model, out = make_model(family, "masked", tmp_path / "model"), tmp_path / "exported"
    texts = write_lines(tmp_path / "texts.txt")
    done = call_command("export.py", model, "--output_dir", out, "--input_file", texts)
    assert done.code == 0, done.stderr
    assert done.last["rows"] == 8 and done.last["largest_difference_of_logits"] < 1e-4
    refused = call_command(
        "export.py", model, "--output_dir", tmp_path / "b", "--int8", "dynamic", "--input_file", texts
    )
    assert refused.code == 2 and "export a masked language model without it" in refused.last["reason"]
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["dynamic", "static"])
def test_eight_bits_are_judged_by_the_score(tmp_path, call_command, how):
    model, out = make_model("bert", "tagger", tmp_path / "model"), tmp_path / "exported"
    tags = write_tags(tmp_path / "tags.conll")
    words = ("export.py", model, "--output_dir", out, "--int8", how, "--input_file", tags, "--allow_loss")
    done = call_command(*words)
    assert done.code == 0, done.stderr
    again = [
        call_command(
            "predict.py", "--model_name_or_path", folder, "--input_file", tags, "--score", "--bf16", "False"
        ).stderr
        for folder in (model, out)
    ]
    scores = [json.loads(text.splitlines()[-1])["input"]["f1_micro"] for text in again]
    assert scores == [done.last["original"], done.last["exported"]]
    program = onnx.load(out / "model.onnx", load_external_data=False)
    kinds = {
        onnx.TensorProto.DataType.Name(item.data_type) for item in program.graph.initializer if len(item.dims) == 2
    }
    assert kinds & {"INT8", "UINT8"}


def test_a_loss_of_more_than_half_a_point_is_refused_unless_allowed():
    asked = ExportArguments(run="a", output_dir="b", int8="dynamic", input_file="c")
    require_scores(Comparison(0.3, 10, "f1_micro", (0.9, 0.8951)), asked)
    worse = Comparison(0.3, 10, "f1_micro", (0.9, 0.8949))
    with pytest.raises(RunError, match=r"f1_micro falls from 0.9000 to 0.8949 on 10 texts.*--allow_loss"):
        require_scores(worse, asked)
    require_scores(worse, ExportArguments(run="a", output_dir="b", allow_loss=True))
    with pytest.raises(RunError, match="logits differ by"):
        require_close(Comparison(1e-3, 10))


def test_padding_is_no_part_of_the_comparison():
    class Network(torch.nn.Module):
        def forward(self, values, attention_mask):
            return {"logits": values[..., None]}

    mask = torch.tensor([[1, 1, 0]])
    network = Network()
    with recorded(network) as batches:
        network(values=torch.tensor([[1.0, 2.0, 3.0]]), attention_mask=mask)
    assert [batch.logits.shape for batch in batches] == [(1, 3, 1)]
    other = Batch({"values": torch.tensor([[1.0, 2.5, 9.0]]), "attention_mask": mask}, batches[0].logits)
    assert find_difference(network, batches) == 0
    assert find_difference(network, [other]) == pytest.approx(0.5 / 3)


def test_what_cannot_be_exported_is_said_before_anything_is_loaded(tmp_path, call_command, tiny_bert, monkeypatch):
    there = tmp_path / "there"
    there.mkdir()
    (there / "file").touch()
    done = call_command("export.py", tiny_bert, "--output_dir", there, "--int8", "dynamic")
    assert done.code == 2
    assert "not empty" in done.last["reason"] and "give the validation data with --input_file" in done.last["reason"]
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr("finetune.models.exported.find_spec", lambda name: None)
    missing = call_command("export.py", tiny_bert, "--output_dir", tmp_path / "new")
    assert missing.code == 2 and "pip install 'finetune[onnx]'" in missing.last["reason"]
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("manifest", ["{", "[]", '{"export_format": "executorch"}'])
def test_a_broken_manifest_is_a_sentence(tmp_path, call_command, tiny_bert, manifest):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in tiny_bert.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "export.json").write_text(manifest)
    done = call_command("predict.py", "--model_name_or_path", folder, "--input_file", tmp_path / "no.txt")
    assert done.code == 2 and "Traceback" not in done.stderr and "export.json" in done.last["reason"]
