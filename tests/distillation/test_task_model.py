from __future__ import annotations

import copy

import pytest
import torch
from transformers import BertForMaskedLM, BertForSequenceClassification, BertForTokenClassification, DistilBertConfig
from transformers import DistilBertForTokenClassification as NarrowTagger

from finetune.arguments.fast_path import FastPathArguments
from finetune.classification.losses import SequenceLoss
from finetune.distillation.collators import DistillationClassificationCollator, DistillationTaggingCollator
from finetune.distillation.model import Weights
from finetune.distillation.task_model import TaskDistillation, TaskDistillationLoss, count_decisions
from finetune.models.native.building import load_library
from finetune.models.native.serving import is_native, why_no_kernels
from finetune.training.fast_path import prepare_frozen_model
from finetune.training.losses import TokenLoss
from tests.tiny import bert_config

ALL = Weights(ce=1.0, mse=1.0, cos=1.0, hidden=1.0, relation=1.0)
NAMES = ("input_ids", "attention_mask", "token_type_ids")
SENTENCES = [
    {"input_ids": [2, 7, 8, 9, 3], "labels": [-100, 1, -100, 0, -100], "word_positions": [-100, 0, -100, 1, -100]},
    {"input_ids": [2, 5, 3], "labels": [-100] * 3, "word_positions": [-100, 0, -100]},  # nobody has labelled it
]
TEXTS = [{"input_ids": [2, 7, 8, 3]}, {"input_ids": [2, 5, 3]}]


def make_bert(model_class: type, **more: object):
    torch.manual_seed(0)
    shape = {"hidden_size": 8, "num_hidden_layers": 2, "intermediate_size": 12}
    return model_class(bert_config(20, **shape, **more)).eval()


def sums_of(module: TaskDistillation, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    module.training = True  # dropout of the models stays off
    return module(**{name: value for name, value in batch.items() if name != "labels"})["sums"]


def tagging_batch() -> dict[str, torch.Tensor]:
    rows = [{**row, "token_type_ids": [0] * len(row["input_ids"])} for row in SENTENCES]
    return DistillationTaggingCollator(pad_token_id=0, model_input_names=NAMES)(rows)


def test_a_tagger_that_is_its_teacher_has_nothing_to_learn():
    teacher = make_bert(BertForTokenClassification, num_labels=3)
    sums = sums_of(TaskDistillation(copy.deepcopy(teacher), teacher, ALL), tagging_batch())
    assert set(sums) == {"ce", "mse", "cos", "hidden", "relation"}
    assert all(value.item() == pytest.approx(0.0, abs=1e-5) for value in sums.values())


@pytest.mark.parametrize(
    ("problem_type", "labels"),
    [("single_label_classification", [1, -100]), ("multi_label_classification", [[1.0, 0.0, 1.0], [-100.0] * 3]),
     ("regression", [0.5, -100.0])],
)  # fmt: skip
def test_a_classifier_that_is_its_teacher_has_nothing_to_learn(problem_type, labels):
    number = 1 if problem_type == "regression" else 3
    teacher = make_bert(BertForSequenceClassification, num_labels=number, problem_type=problem_type)
    rows = [{**row, "labels": label} for row, label in zip(TEXTS, labels, strict=True)]
    batch = DistillationClassificationCollator(pad_token_id=0, model_input_names=NAMES)(rows)
    module = TaskDistillation(copy.deepcopy(teacher), teacher, ALL, problem_type=problem_type)
    assert all(value.item() == pytest.approx(0.0, abs=1e-5) for value in sums_of(module, batch).values())
    decisions = 3 if problem_type.startswith("multi") else 1
    assert count_decisions(batch).tolist() == [2 * decisions, decisions, 7], "the unlabelled text is distilled, too"
    other = make_bert(BertForSequenceClassification, num_labels=number, problem_type=problem_type)
    torch.nn.init.normal_(other.classifier.weight)
    other = TaskDistillation(other, teacher, Weights(ce=1.0, hard=1.0), problem_type=problem_type)
    assert sums_of(other, batch)["ce"].item() > 0.0001
    loss = TaskDistillationLoss(other.weights, SequenceLoss(problem_type))
    outputs = other(**{name: value for name, value in batch.items() if name != "labels"})
    assert loss(outputs, batch["labels"], count_decisions(batch)).isfinite()


def test_what_is_compared_stands_where_words_are_decided():
    """A narrower student of another family, whose batch has token types that it does not know."""
    teacher = make_bert(BertForTokenClassification, num_labels=3)
    torch.manual_seed(1)
    shape = {"vocab_size": 20, "n_layers": 1, "dim": 4, "n_heads": 2, "hidden_dim": 6, "max_position_embeddings": 512}
    student = NarrowTagger(DistilBertConfig(num_labels=3, **shape)).eval()
    weights, batch = Weights(ce=0.7, mse=0.2, hard=0.3), tagging_batch()
    module = TaskDistillation(student, teacher, weights, temperature=1.0)
    sums, labels = sums_of(module, batch), batch.pop("labels")
    own = student(batch["input_ids"], batch["attention_mask"]).logits
    theirs = teacher(batch["input_ids"], batch["attention_mask"]).logits
    p, q = theirs.log_softmax(-1), own.log_softmax(-1)
    divergence = (p.exp() * (p - q)).sum(-1)
    expected = divergence[0, 1] + divergence[0, 3] + divergence[1, 1]
    squares = ((own - theirs) ** 2).sum(-1)
    assert sums["ce"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert sums["mse"].item() == pytest.approx((squares[0, 1] + squares[0, 3] + squares[1, 1]).item(), rel=1e-4)
    loss = TaskDistillationLoss(weights, TokenLoss())(module(**batch), labels, torch.tensor([3, 2, 8]))
    hard = -(q[0, 1, 1] + q[0, 3, 0]) / 2
    assert loss.item() == pytest.approx((0.7 * sums["ce"] / 3 + 0.2 * sums["mse"] / 3 + 0.3 * hard).item(), rel=1e-4)


def test_evaluated_it_is_the_student_alone():
    teacher = make_bert(BertForTokenClassification, num_labels=3)
    student, batch = make_bert(BertForTokenClassification, num_labels=3), tagging_batch()
    module = TaskDistillation(student, teacher, ALL).eval()
    labels = batch.pop("labels")
    outputs = module(**batch)
    del batch["loss_mask"]
    assert set(outputs) == {"logits"} and torch.equal(outputs["logits"], student(**batch).logits)
    loss = TaskDistillationLoss(ALL, TokenLoss())(outputs, labels, torch.tensor([3, 2, 8]))
    assert loss.item() == pytest.approx(TokenLoss()(outputs, labels).item())


@pytest.mark.parametrize("bf16", [False, True])
def test_a_teacher_as_a_native_step_says_the_same(bf16):
    if why_no_kernels() is not None or (bf16 and not load_library().encoder_has_bfloat16()):
        pytest.skip("no native step here")
    plain, native = (make_bert(BertForTokenClassification, num_labels=3, initializer_range=0.3) for _ in range(2))
    dtype = prepare_frozen_model(native, FastPathArguments(), {"bf16": bf16, "use_cpu": True}, reads_layers=False)
    assert dtype is torch.float32 and is_native(native)
    batch = tagging_batch()
    modules = [
        TaskDistillation(
            make_bert(BertForTokenClassification, num_labels=3), teacher, Weights(ce=1.0), teacher_dtype=dtype
        )
        for teacher in (plain, native)
    ]
    given = {name: value for name, value in batch.items() if name != "labels"}
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        expected, found = (module.teacher_logits(**given).float() for module in modules)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, **({"rtol": 0.05, "atol": 0.02} if bf16 else {}))


@pytest.mark.parametrize(
    ("options", "reads_layers"), [({"no_native": True}, False), ({"no_fast_path": True}, False), ({}, True)]
)
def test_a_teacher_whose_layers_are_read_one_by_one_has_the_runs_short_format(options, reads_layers):
    teacher = make_bert(BertForTokenClassification, num_labels=3)
    values = {"bf16": True, "use_cpu": True}
    dtype = prepare_frozen_model(teacher, FastPathArguments(**options), values, reads_layers=reads_layers)
    assert dtype is torch.bfloat16 and not is_native(teacher)


def test_the_vocabulary_of_a_native_teacher_is_rounded_once_and_its_embedding_stays():
    if why_no_kernels() is not None or not load_library().encoder_has_bfloat16():
        pytest.skip("no native step here")
    teacher = make_bert(BertForMaskedLM)
    expected = copy.deepcopy(teacher)
    values = {"bf16": True, "use_cpu": True}
    assert prepare_frozen_model(teacher, FastPathArguments(), values, reads_layers=False) is torch.float32
    assert teacher.get_input_embeddings().weight.dtype is torch.float32
    assert teacher.get_output_embeddings().weight.dtype is torch.bfloat16
    ids = torch.tensor([[2, 7, 8, 3], [2, 5, 9, 3]])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found, plain = (
            model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits for model in (teacher, expected)
        )
    torch.testing.assert_close(found, plain, rtol=0.05, atol=0.02)
