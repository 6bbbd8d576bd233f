"""What a model predicts, by its architecture's name."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    BertConfig,
    GPT2Config,
    PretrainedConfig,
    T5Config,
)

from finetune.errors import DataError
from finetune.surprisal.heads import check_language_model, find_task, task_of


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


@pytest.mark.parametrize(
    ("family", "architecture", "task"),
    [
        ("gemma3", "Gemma3ForConditionalGeneration", "lm"),
        ("t5", "T5WithLMHeadModel", "seq2seq"),
        ("marian", "MarianMTModel", "seq2seq"),
        ("bart", "BartForConditionalGeneration", "seq2seq"),
        ("bert", "BertLMHeadModel", "lm"),
        ("albert", "AlbertForPreTraining", "mlm"),
    ],
)
def test_the_task_comes_from_the_tables_of_transformers(family, architecture, task):
    config = AutoConfig.for_model(family)
    config.architectures = [architecture]
    assert find_task(config, None, "folder") == task


@pytest.mark.parametrize(
    ("family", "architecture"), [("electra", "ElectraForPreTraining"), ("funnel", "FunnelForPreTraining")]
)
def test_a_discriminator_predicts_no_tokens(family, architecture):
    config = AutoConfig.for_model(family)
    config.architectures = [architecture]
    with pytest.raises(DataError, match="no head that predicts tokens"):
        find_task(config, None, "folder")


@pytest.mark.parametrize(
    ("family", "more", "said"),
    [
        ("xlnet", {}, "permutation"),
        ("xlm", {"causal": False}, "both sides"),
        ("xlm", {"causal": True}, ""),
        ("bert", {}, "both sides"),
        ("bert", {"is_decoder": True}, ""),
        ("roberta", {}, "both sides"),
        ("gpt2", {}, ""),
    ],
)
def test_causal_heads_on_models_that_see_both_sides_are_refused(family, more, said):
    problems = check_language_model(AutoConfig.for_model(family, **more), "lm", None)
    assert bool(problems) == bool(said) and said in "".join(problem.found for problem in problems)
