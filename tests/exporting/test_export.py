"""Exported models: the same answers as the original, folders that predict.py takes, eight bits judged by scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from finetune.arguments.model import ModelArguments
from finetune.arguments.prediction import PredictArguments
from finetune.errors import RunError, UsageError
from finetune.exporting.arguments import ExportArguments
from finetune.exporting.comparing import Comparison, cut_padding, find_difference
from finetune.exporting.task import export_run, require_close, require_scores
from finetune.models.exported import open_onnx
from finetune.prediction.exported import open_exported
from finetune.prediction.task import open_predictor
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
    "several": AutoModelForSequenceClassification,
    "number": AutoModelForSequenceClassification,
    "masked": AutoModelForMaskedLM,
}
LABELS = {
    "tagger": ["O", "B-X"],
    "classifier": ["even", "odd"],
    "several": ["long", "short", "other"],
    "number": ["value"],
    "masked": [],
}
KINDS = {"several": "multi_label_classification", "number": "regression"}
WHOLE = json.dumps(
    {"format": "onnx", "task": "tagger", "model_type": "bert", "labels": [], "longest": 8, "limit": 8, "inputs": []}
)


def make_model(family: str, head: str, folder: Path) -> Path:
    config = without_dropout(make_config(family))
    if head != "masked":
        config.id2label = dict(enumerate(LABELS[head]))
        config.label2id = {name: index for index, name in enumerate(LABELS[head])}
        config.problem_type = KINDS.get(head)
    torch.manual_seed(0)
    model = HEADS[head].from_config(config)
    for weight in model.parameters():  # so that labels differ from text to text
        weight.data.mul_(3)
    return tiny.save(model, make_tokenizer(family), folder)


def write_lines(path: Path) -> Path:
    path.write_text("\n".join(" ".join(words) for words in make_sentences()) + "\n", encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_an_exported_model_answers_as_the_original(tmp_path, call_command, kind):
    """On texts of 1 to 60 words, longer than those that were traced; in batches of any size."""
    model, out = make_model("bert", "tagger", tmp_path / "model"), tmp_path / "out" / "exported"
    done = call_command("export.py", model, "--output_dir", out, "--format", kind)
    assert done.code == 0, done.stderr
    assert done.last["largest_difference_of_logits"] < 1e-4
    assert json.loads((out / "export_report.json").read_text())["format"] == kind
    assert [path.name for path in out.parent.iterdir()] == ["exported"]
    assert done.stdout.count("\n") == 1  # the last line: torch tells its progress elsewhere
    texts = write_lines(tmp_path / "texts.txt")
    expected = predict(call_command, model, texts, 4)
    for batch_size in (1, 32):
        assert_alike(predict(call_command, out, texts, batch_size), expected, rtol=2e-4, atol=2e-4)


MATRIX = [  # every family with every head, and every family in both formats
    (family, head, ("onnx", "openvino")[(row + column) % 2])
    for row, family in enumerate(("bert", "roberta", "distilbert", "electra", "modernbert", "deberta", "deberta-v2"))
    for column, head in enumerate(("tagger", "classifier", "masked"))
]
MATRIX += [("bert", "several", "onnx"), ("bert", "number", "openvino"), ("deberta-v2", "several", "openvino")]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "head", "kind"), MATRIX)
def test_every_family_and_head_keeps_its_logits(tmp_path, family, head, kind):
    model, texts = make_model(family, head, tmp_path / "model"), write_lines(tmp_path / "texts.txt")
    out = tmp_path / "exported"
    done = export_run(ExportArguments(run=str(model), output_dir=str(out), format=kind, input_file=str(texts)))
    assert done["rows"] == 8 and done["largest_difference_of_logits"] < 1e-4
    assert json.loads((out / "finetune_export.json").read_text())["tokenizer"] is not None
    if head == "masked":
        with pytest.raises(UsageError, match="which labels no texts"):
            open_exported(out, PredictArguments())
        return
    options = PredictArguments(input_file=[str(texts)], bf16=False, device="cpu")
    ours, theirs = (open_predictor(ModelArguments(model_name_or_path=str(folder)), options) for folder in (out, model))
    found, expected = (list(one.tag(list(one.read()))) for one in (ours, theirs))
    assert_alike(found, expected, rtol=2e-4, atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "kind", "how"),
    [
        ("tagger", "onnx", "dynamic"),
        ("tagger", "onnx", "static"),
        ("tagger", "openvino", "static"),
        ("number", "openvino", "dynamic"),
        ("masked", "onnx", "dynamic"),
    ],
)
def test_eight_bits_are_judged_by_the_score(tmp_path, call_command, head, kind, how):
    if kind == "openvino":
        pytest.importorskip("nncf", reason="OpenVINO's eight bits are made by the package nncf")
    model, out = make_model("bert", head, tmp_path / "model"), tmp_path / "exported"
    data = {"tagger": write_tags, "number": write_numbers, "masked": write_lines}[head](
        tmp_path / {"tagger": "tags.conll", "number": "rows.csv", "masked": "texts.txt"}[head]
    )
    words = ("--output_dir", out, "--format", kind, "--int8", how, "--input_file", data, "--allow_loss")
    done = call_command("export.py", model, *words)
    assert done.code == 0, done.stderr
    metric = {"tagger": "f1_micro", "number": "pearson", "masked": "masked_accuracy"}[head]
    assert done.last["metric"] == metric and done.last["largest_difference_of_logits"] > 1e-6
    if head == "tagger":
        flags = ("--input_file", data, "--score", "--bf16", "False")
        again = [call_command("predict.py", "--model_name_or_path", one, *flags).stderr for one in (model, out)]
        scores = [json.loads(text.splitlines()[-1])["input"][metric] for text in again]
        assert scores == [done.last["original"], done.last["exported"]]
    assert holds_eight_bits(out, kind)


def write_numbers(path: Path) -> Path:
    rows = [f"{' '.join(words)},{len(words) / 7:.2f}\n" for words in make_sentences()]
    path.write_text("text,label\n" + "".join(rows), encoding="utf-8")
    return path


def holds_eight_bits(folder: Path, kind: str) -> bool:
    if kind == "openvino":
        text = (folder / "openvino_model.xml").read_text()
        return 'element_type="i8"' in text or 'element_type="u8"' in text
    program = onnx.load(folder / "model.onnx", load_external_data=False)
    names = onnx.TensorProto.DataType.Name
    return bool(
        {names(item.data_type) for item in program.graph.initializer if len(item.dims) == 2} & {"INT8", "UINT8"}
    )


@pytest.mark.slow
@pytest.mark.parametrize("head", ["tagger", "masked"])
def test_an_adapter_is_merged_before_it_is_exported(tmp_path, head):
    base, folder = make_model("bert", head, tmp_path / "base"), tmp_path / "adapter"
    model = HEADS[head].from_pretrained(base)
    torch.manual_seed(1)
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules=["query", "value"], init_lora_weights=False))
    tuned.save_pretrained(folder)
    make_tokenizer("bert").save_pretrained(folder)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    out, texts = tmp_path / "exported", write_lines(tmp_path / "texts.txt")
    done = export_run(ExportArguments(run=str(folder), output_dir=str(out), input_file=str(texts)))
    assert done["largest_difference_of_logits"] < 1e-4
    ids = np.array([[1, 7, 9, 12, 2]])
    given = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.ones(1, 5, dtype=torch.long)}
    with torch.no_grad():
        expected, plain = (one.eval()(**given).logits.numpy() for one in (tuned, HEADS[head].from_pretrained(base)))
    found = open_onnx(out / "model.onnx")({name: value.numpy() for name, value in given.items()})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(found - plain).max() > 1e-2  # the adapter does something


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
    padded = [np.array([[1.0], [2.0], [9.0]]), np.array([[4.0], [5.0], [6.0]])]
    other = [np.array([[1.0], [2.5]]), np.array([[4.0], [5.0], [6.0]])]
    assert find_difference(cut_padding(padded, [2, 3], "right"), other) == pytest.approx(0.5 / 6)
    left = [np.array([[9.0], [1.0], [2.0]]), padded[1]]
    assert find_difference(cut_padding(left, [2, 3], "left"), other) == pytest.approx(0.5 / 6)
    with pytest.raises(RunError, match="logits differ by nan"):
        require_close(Comparison(find_difference([np.array([np.nan])], [np.array([1.0])]), 1))


@pytest.mark.slow
def test_the_same_export_is_done_once_and_what_a_killed_one_left_goes(tmp_path, call_command):
    model, out = make_model("bert", "tagger", tmp_path / "model"), tmp_path / "out"
    (tmp_path / ".out-0badcafe.lock").touch()
    (tmp_path / ".out-0badcafe.partial").mkdir()
    (tmp_path / ".out-mine.partial").mkdir()
    first = call_command("export.py", model, "--output_dir", out)
    assert first.code == 0, first.stderr
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    again = call_command("export.py", model, "--output_dir", out)
    assert (again.code, again.last["status"]) == (0, "already_done") and "is the output of this command" in again.stderr
    assert {name: again.last[name] for name in ("format", "rows")} == {"format": "onnx", "rows": first.last["rows"]}
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out-mine.partial", "model", "out"]
    other = call_command("export.py", model, "--output_dir", out, "--max_samples", 3)
    assert other.code == 2 and "is there and not empty" in other.stderr
    (out / "model.onnx").write_bytes(b"damaged")
    assert call_command("export.py", model, "--output_dir", out).code == 2


def test_what_cannot_be_exported_is_said_before_anything_is_loaded(tmp_path, call_command, tiny_bert, monkeypatch):
    there = tmp_path / "there"
    there.mkdir()
    (there / "file").touch()
    done = call_command("export.py", tiny_bert, "--output_dir", there, "--int8", "dynamic")
    assert done.code == 2
    assert "not empty" in done.last["reason"] and "give the validation data with --input_file" in done.last["reason"]
    monkeypatch.setattr("finetune.models.exported.find_spec", lambda name: None)
    missing = call_command("export.py", tiny_bert, "--output_dir", tmp_path / "new")
    assert missing.code == 2 and "pip install 'finetune[onnx]'" in missing.last["reason"]
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("manifest", ["{", "[]", '{"format": "executorch"}', WHOLE.replace("onnx", "executorch")])
def test_a_broken_manifest_is_a_sentence(tmp_path, call_command, tiny_bert, manifest):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in tiny_bert.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "finetune_export.json").write_text(manifest)
    done = call_command("predict.py", "--model_name_or_path", folder, "--input_file", tmp_path / "no.txt")
    assert done.code == 2 and "Traceback" not in done.stderr and "finetune_export.json" in done.last["reason"]


def test_static_eight_bits_leave_sums_and_wide_products_alone(tiny_bert, tmp_path, call_command):
    """A mask of the smallest float among the scores of a sum, or a rare great value behind GELU, would cost all others."""
    model = save_model(tiny_bert, tmp_path / "model")
    file = tmp_path / "dev.conll"
    file.write_text("".join(f"Maria\tB-PER\nflew\tO\nto\tO\nnumber{n}\tB-LOC\n\n" for n in range(40)), encoding="utf-8")
    words = ("--int8", "static", "--input_file", file, "--allow_loss", "--output_dir", tmp_path / "out")
    done = call_command("export.py", model, *words)
    assert done.code == 0, done.stderr
    graph = onnx.load(tmp_path / "out" / "model.onnx").graph
    makers = {name: node for node in graph.node for name in node.output}
    products = [node for node in graph.node if node.op_type in ("MatMul", "Gemm")]
    eight = [
        node for node in products if {makers[n].op_type for n in node.input if n in makers} == {"DequantizeLinear"}
    ]
    assert len(eight) == 2 * 7  # queries, keys, values, scores, mixing, their output, the first product of each layer
    assert len(products) - len(eight) == 2 + 1  # the second product of each layer, and the head
    masked = {node.output[0] for node in graph.node if node.op_type in ("Add", "Where", "Softmax")}
    ranges = [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] in masked]
    assert all(reader in eight for node in ranges for reader in read_by(graph, read_by(graph, [node])))


def read_by(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    outputs = {name for node in nodes for name in node.output}
    return [node for node in graph.node if outputs & set(node.input)]


def save_model(base: Path, folder: Path) -> Path:
    labels = dict(enumerate(["O", "B-PER", "B-LOC"]))
    config = AutoConfig.from_pretrained(base, id2label=labels, label2id={name: n for n, name in labels.items()})
    torch.manual_seed(1)
    AutoModelForTokenClassification.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder
