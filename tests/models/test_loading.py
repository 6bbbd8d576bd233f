"""Weights are loaded as float32 under the right head; what is missing is told in one sentence."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForTokenClassification

from finetune.errors import DataError, UsageError
from finetune.models.checks import name_labels
from finetune.models.loading import check_weights, load_config, load_model
from finetune.models.saving import save_pretrained
from finetune.models.whole_weights import record_weights


def make_arguments(name, **changes) -> SimpleNamespace:
    values = {
        "model_name_or_path": str(name),
        "config_name": None,
        "config_overrides": None,
        "cache_dir": None,
        "model_revision": "main",
        "token": None,
        "trust_remote_code": False,
        "ignore_mismatched_sizes": False,
    }
    return SimpleNamespace(**{**values, **changes})


def test_a_half_precision_checkpoint_is_trained_in_float32(tiny_bert, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    config = BertConfig.from_pretrained(tiny_bert)
    BertForTokenClassification(config).to(torch.float16).save_pretrained(tmp_path)
    arguments = make_arguments(tmp_path)
    model = load_model(arguments, load_config(arguments), tokenizer, task="token_classification", new_head=False)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_head_of_other_labels_is_made_anew_and_the_encoder_kept(tiny_bert, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    config = BertConfig.from_pretrained(tiny_bert)
    name_labels(config, ["O", "B-X", "I-X"])
    old = BertForTokenClassification(config)
    old.save_pretrained(tmp_path)
    arguments = make_arguments(tmp_path)
    config = load_config(arguments)
    name_labels(config, ["O", "B-A", "I-A", "B-B", "I-B"])
    model = load_model(arguments, config, tokenizer, task="token_classification", new_head=True)
    assert model.classifier.out_features == 5
    words = model.get_input_embeddings().weight
    assert torch.equal(words, old.get_input_embeddings().weight)


def test_a_head_of_as_many_other_labels_is_made_anew_too(tiny_bert, tmp_path):
    """The shapes fit, so that transformers alone would go on with the head of the other labels."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    config = BertConfig.from_pretrained(tiny_bert)
    name_labels(config, ["O", "B-X", "I-X"])
    old = BertForTokenClassification(config)
    torch.nn.init.constant_(old.classifier.bias, 5.0)
    old.save_pretrained(tmp_path)
    arguments = make_arguments(tmp_path)
    kept = load_model(arguments, load_config(arguments), tokenizer, task="token_classification", new_head=False)
    renewed = load_model(arguments, load_config(arguments), tokenizer, task="token_classification", new_head=True)
    assert torch.equal(kept.classifier.weight, old.classifier.weight)
    assert not torch.equal(renewed.classifier.weight, old.classifier.weight)
    assert (kept.classifier.bias == 5).all() and (renewed.classifier.bias == 0).all()
    assert torch.equal(renewed.bert.encoder.layer[0].output.dense.weight, old.bert.encoder.layer[0].output.dense.weight)


@pytest.mark.parametrize("new_head", [False, True])
def test_weights_of_another_shape_are_told_by_name_unless_asked_for(tiny_bert, tmp_path, new_head):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    shutil.copytree(tiny_bert, tmp_path, dirs_exist_ok=True)
    asked = {"config_overrides": "intermediate_size=128"}
    arguments = make_arguments(tmp_path, **asked)
    options = {"task": "token_classification", "new_head": new_head}
    with pytest.raises(DataError, match=r"intermediate\.dense\.bias has the shape \(64,\).* asks for \(128,\)"):
        load_model(arguments, load_config(arguments), tokenizer, **options)
    arguments = make_arguments(tmp_path, ignore_mismatched_sizes=True, **asked)
    model = load_model(arguments, load_config(arguments), tokenizer, **options)
    assert model.bert.encoder.layer[0].intermediate.dense.out_features == 128


def test_damaged_weights_and_pickled_objects_are_sentences(tiny_bert, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    shutil.copytree(tiny_bert, tmp_path, dirs_exist_ok=True)
    arguments = make_arguments(tmp_path)
    options = {"task": "token_classification", "new_head": False}
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(DataError, match="the weights cannot be read"):
        load_model(arguments, load_config(arguments), tokenizer, **options)
    weights.unlink()
    torch.save({"cls": SimpleNamespace()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match="holds objects beside numbers"):
        load_model(arguments, load_config(arguments), tokenizer, **options)


def test_a_flipped_bit_in_weights_is_found_when_they_are_loaded(tiny_bert, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    arguments = make_arguments(tiny_bert)
    model = load_model(arguments, load_config(arguments), tokenizer, task="token_classification", new_head=True)
    arguments = make_arguments(save_pretrained(model, tokenizer, tmp_path))

    def load():
        return load_model(
            arguments, load_config(arguments), tokenizer, task="token_classification", new_head=False, complete=True
        )

    load()
    weights = tmp_path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1000] ^= 4
    weights.write_bytes(content)
    with pytest.raises(
        DataError, match=r"model\.safetensors is damaged: its checksum is another.*copy the model again"
    ):
        load()
    recorded = tmp_path / "checksums.json"
    recorded.write_text("[[[")
    with pytest.raises(DataError, match="these checksums cannot be read"):
        load()
    recorded.rename(tmp_path / "complete.json")  # as in a checkpoint
    record_weights(tmp_path)
    load()
    recorded.unlink()
    (tmp_path / "complete.json").write_text("[]")  # of another program
    load()


def test_added_tokens_grow_the_embedding(tiny_bert):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    before = len(tokenizer)
    tokenizer.add_tokens(["<_>"])
    arguments = make_arguments(tiny_bert)
    model = load_model(arguments, load_config(arguments), tokenizer, task="token_classification", new_head=True)
    assert model.get_input_embeddings().num_embeddings == before + 1


def test_config_overrides_take_the_fields_type(tiny_bert):
    config = load_config(make_arguments(tiny_bert, config_overrides="hidden_dropout_prob=0.3,num_hidden_layers=1"))
    assert (config.hidden_dropout_prob, config.num_hidden_layers) == (0.3, 1)
    with pytest.raises(UsageError, match="hidden_dropuot"):
        load_config(make_arguments(tiny_bert, config_overrides="hidden_dropuot=0.3"))


def test_a_folder_without_configuration_or_weights_says_what_it_holds(tiny_bert, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"no config\.json \(it holds notes\.txt\)"):
        load_config(make_arguments(tmp_path))
    shutil.copy(tiny_bert / "config.json", tmp_path)
    (problem,) = check_weights(make_arguments(tmp_path))
    assert "no weights" in str(problem) and str(tmp_path) in str(problem)
    assert check_weights(make_arguments(tiny_bert)) == []


def test_a_name_out_of_reach_says_what_to_give(monkeypatch):
    with pytest.raises(DataError, match="no model folder 'no-such/model'"):
        load_config(make_arguments("no-such/model"))
