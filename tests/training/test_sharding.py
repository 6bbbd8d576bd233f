"""`--fsdp`: where it would have no effect, and what does not go with it, is told."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForTokenClassification,
    GPT2Config,
    GPT2LMHeadModel,
    TrainingArguments,
)

from finetune.arguments.adapters import AdapterArguments
from finetune.arguments.averaging import AveragingArguments
from finetune.arguments.fast_path import FastPathArguments
from finetune.arguments.groups import Adapting
from finetune.errors import UsageError
from finetune.models.sparse_embedding import use_sparse_embedding
from finetune.run.folder import Run
from finetune.training.sharding import check_sharding, require_same_rows, require_sharded, without_fast_path


@pytest.mark.parametrize(
    ("values", "accelerator", "processes", "said"),
    [
        ({}, False, "1", None),
        ({"fsdp": False}, False, "2", None),
        ({"fsdp": True}, False, "2", None),
        ({"fsdp": "full_shard"}, True, "2", None),
        ({"fsdp": True, "use_cpu": True}, False, "2", None),
        ({"fsdp": True, "use_cpu": True}, True, "2", "on the processor; hide them"),
        ({"fsdp": True}, True, "1", "this training is one; add --nproc N"),
        ({"fsdp": True, "do_train": False}, False, "2", "nothing is trained"),
    ],
)
def test_sharding_without_effect_is_told(monkeypatch, values, accelerator, processes, said):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator)
    monkeypatch.setenv("WORLD_SIZE", processes)
    problems = [str(problem) for problem in check_sharding(values)]
    assert (not problems) if said is None else (len(problems) == 1 and said in problems[0])


def small_model() -> BertForTokenClassification:
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return BertForTokenClassification(BertConfig(vocab_size=40, **shape))


def test_all_that_does_not_go_with_parts_is_told_at_once(tmp_path):
    config = {"version": 1, "state_dict_type": "SHARDED_STATE_DICT"}
    asked = TrainingArguments(output_dir=str(tmp_path), fsdp=True, fsdp_config=config, use_cpu=True)
    adapting = Adapting(adapter=AdapterArguments(peft="lora"), averaging=AveragingArguments(ema=0.9))
    with pytest.raises(UsageError) as raised:
        require_sharded(asked, nn.Linear(2, 2), adapting, FastPathArguments(length_window=3))
    said = [str(problem) for problem in raised.value.problems]
    words = ("version", "state_dict_type", "teacher", "--peft", "--ema", "--length_window")
    assert len(said) == len(words) and all(word in line for word, line in zip(words, said, strict=True))
    plain = TrainingArguments(output_dir=str(tmp_path), fsdp=True, use_cpu=True)
    require_sharded(plain, small_model(), Adapting(), FastPathArguments())
    assert without_fast_path(FastPathArguments()).no_fast_path


def test_a_head_that_shares_its_bias_is_refused(tmp_path):
    asked = TrainingArguments(output_dir=str(tmp_path), fsdp=True, use_cpu=True)
    masked = BertForMaskedLM(small_model().config)
    with pytest.raises(UsageError, match="shares the bias of its vocabulary layer"):
        require_sharded(asked, masked, Adapting(), FastPathArguments())
    causal = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=1))
    require_sharded(asked, causal, Adapting(), FastPathArguments())


def test_an_optimizer_of_some_rows_goes_on_with_those(tmp_path):
    whole, some = small_model(), small_model()
    reason = use_sparse_embedding(some, range(9))
    assert reason is None, reason
    run = Run()
    require_same_rows(run, some)
    run.checkpoint = tmp_path
    require_same_rows(run, some)
    with pytest.raises(UsageError, match="begin it with --no_trim_vocabulary"):
        require_same_rows(run, whole)
