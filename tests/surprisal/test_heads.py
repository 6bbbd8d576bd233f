"""What a model predicts, by its architecture's name."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    BertConfig,
    GPT2Config,
    PretrainedConfig,
    T5Config,
)

from finetune.errors import DataError
from finetune.surprisal.heads import find_task, task_of


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("GPT2LMHeadModel", "lm"),
        ("LlamaForCausalLM", "lm"),
        ("MambaForCausalLM", "lm"),
        ("BertForMaskedLM", "mlm"),
        ("BertForPreTraining", "mlm"),
        ("T5ForConditionalGeneration", "seq2seq"),
    ],
)
def test_the_task_is_read_from_the_configuration(architecture, task):
    assert find_task(PretrainedConfig(architectures=[architecture]), None, "folder") == task
    assert find_task(PretrainedConfig(architectures=["BertModel"]), "mlm", "folder") == "mlm"
    with pytest.raises(DataError, match="BertModel"):
        find_task(PretrainedConfig(architectures=["BertModel"]), None, "folder")


@pytest.mark.parametrize(
    ("auto", "config", "task"),
    [
        (AutoModelForCausalLM, GPT2Config(n_layer=1), "lm"),
        (AutoModelForMaskedLM, BertConfig(num_hidden_layers=1), "mlm"),
        (AutoModelForSeq2SeqLM, T5Config(num_layers=1), "seq2seq"),
        (AutoModelForCausalLM, BertConfig(num_hidden_layers=1, is_decoder=True), "lm"),
    ],
)
def test_the_task_of_a_loaded_model(auto, config, task):
    with torch.device("meta"):
        assert task_of(auto.from_config(config)) == task
