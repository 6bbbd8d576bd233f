from __future__ import annotations

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DistilBertForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    RobertaConfig,
    RobertaForMaskedLM,
)

from finetune.distillation.students import PUBLISHED_LAYERS, choose_layers, extract_student
from finetune.errors import DataError

SHAPE = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
}
TEACHERS = {
    "bert": lambda: BertForMaskedLM(BertConfig(**SHAPE)),
    "roberta": lambda: RobertaForMaskedLM(RobertaConfig(**SHAPE)),
    "electra": lambda: ElectraForMaskedLM(ElectraConfig(**SHAPE, embedding_size=16)),
}
IDS = torch.arange(5, 17)[None]


def build_teacher(family: str):
    torch.manual_seed(0)
    teacher = TEACHERS[family]().eval()
    for parameter in teacher.parameters():  # biases and norms too, so that none can be confused
        torch.nn.init.normal_(parameter, std=0.3)
    return teacher


@pytest.mark.parametrize("family", TEACHERS)
def test_a_distilbert_of_all_layers_is_its_teacher(family):
    teacher = build_teacher(family)
    teacher.tie_weights()
    student = extract_student(teacher, range(4), vocab_transform=True)
    model = DistilBertForMaskedLM(student.config).eval()
    result = model.load_state_dict(student.weights, strict=False)
    assert not result.unexpected_keys and not result.missing_keys
    torch.testing.assert_close(model(IDS).logits, teacher(IDS).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", TEACHERS)
def test_layers_are_taken_in_the_order_asked_for(family):
    teacher = build_teacher(family)
    student = extract_student(teacher, [1, 3], vocab_transform=False)
    layers = teacher.base_model.encoder.layer
    for place, number in enumerate([1, 3]):
        taken = student.weights[f"distilbert.transformer.layer.{place}.ffn.lin1.weight"]
        assert torch.equal(taken, layers[number].intermediate.dense.weight)
    assert student.config.n_layers == 2 and "vocab_transform.weight" not in student.weights


@pytest.mark.parametrize("family", TEACHERS)
def test_a_student_of_the_same_family_with_all_layers_is_its_teacher(family):
    teacher = build_teacher(family)
    whole = extract_student(teacher, range(4), family="same", vocab_transform=False)
    model = type(teacher)(whole.config).eval()
    model.load_state_dict(whole.weights)
    torch.testing.assert_close(model(IDS).logits, teacher(IDS).logits)
    part = extract_student(teacher, [0, 3], family="same", vocab_transform=False)
    shallow = type(teacher)(part.config)
    shallow.load_state_dict(part.weights)
    assert len(shallow.base_model.encoder.layer) == 2 and teacher.config.num_hidden_layers == 4


def test_gpt2_gives_a_student_of_its_own_family_only():
    teacher = GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=16, n_layer=4, n_head=2, n_positions=20))
    student = extract_student(teacher, [0, 2], family="same", vocab_transform=False)
    model = GPT2LMHeadModel(student.config)
    model.load_state_dict(student.weights)
    assert torch.equal(model.transformer.h[1].mlp.c_fc.weight, teacher.transformer.h[2].mlp.c_fc.weight)
    with pytest.raises(DataError, match="gpt2"):
        extract_student(teacher, [0], vocab_transform=False)


def test_layers_that_do_not_exist_are_all_named():
    with pytest.raises(DataError) as caught:
        extract_student(build_teacher("bert"), [0, 4, 9, -1], vocab_transform=False)
    text = str(caught.value)
    assert "no layer 4" in text and "no layer 9" in text and "no layer -1" in text and "from 0 to 3" in text


def test_narrow_embeddings_are_refused_for_distilbert():
    teacher = ElectraForMaskedLM(ElectraConfig(**SHAPE, embedding_size=8))
    with pytest.raises(DataError, match="8 wide"):
        extract_student(teacher, [0], vocab_transform=False)
    assert extract_student(teacher, [0], family="same", vocab_transform=False).config.num_hidden_layers == 1


def test_default_layers_are_the_published_ones_or_half_of_them_evenly():
    assert choose_layers(12) == PUBLISHED_LAYERS
    for depth in range(1, 40):
        layers = choose_layers(depth)
        assert len(set(layers)) == max(depth // 2, 1) and 0 <= min(layers) <= max(layers) < depth
