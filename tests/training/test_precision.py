from __future__ import annotations

import pytest
import torch

from finetune.arguments.fast_path import FastPathArguments
from finetune.training.allocator import keep_freed_memory
from finetune.training.fast_path import resolve_precision
from finetune.training.precision import choose_precision
from tests.tiny_families import make_config


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def give_gpus(monkeypatch, *capabilities: tuple[int, int]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: capabilities[number])
    monkeypatch.setattr(torch.version, "hip", None)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ({"bf16": True}, "bf16"),
        ({"fp16": True}, "fp16"),
        ({"bf16": False}, "fp32"),
        ({"fp16": False, "bf16": False}, "fp32"),
        ({"fp16": True, "bf16": False}, "fp16"),
    ],
)
def test_what_was_typed_wins_on_any_hardware(monkeypatch, values, dtype):
    give_gpus(monkeypatch, (8, 0))
    choice = choose_precision(values)
    assert choice.dtype == dtype and "was given" in choice.reason


def test_float16_on_a_cpu_is_float32_and_said(no_gpu, monkeypatch):
    assert str(choose_precision({"fp16": True})).startswith("Training in float32 because --fp16 was given, but")
    give_gpus(monkeypatch, (8, 0))
    assert choose_precision({"fp16": True, "use_cpu": True}).dtype == "fp32"
    assert choose_precision({"bf16": True, "use_cpu": True}).dtype == "bf16"


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ([(8, 0)], "bf16"),
        ([(9, 0), (8, 9)], "bf16"),
        ([(7, 5)], "fp16"),
        ([(8, 0), (7, 0)], "fp16"),
        ([(6, 1)], "fp32"),
    ],
)
def test_the_weakest_gpu_decides(monkeypatch, capabilities, dtype):
    give_gpus(monkeypatch, *capabilities)
    choice = choose_precision({"learning_rate": 1e-4})
    assert choice.dtype == dtype and "Some GPU" in str(choice)


@pytest.mark.parametrize(
    ("units", "dtype"),
    [({"amx_bf16": True}, "bf16"), ({"avx512_bf16": True}, "bf16"), ({"avx2": True}, "fp32"), ({}, "fp32")],
)
def test_a_cpu_trains_in_bfloat16_only_where_it_multiplies_it(monkeypatch, no_gpu, units, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units)
    assert choose_precision({}).dtype == dtype


def test_the_cpu_is_judged_when_it_is_asked_for(monkeypatch):
    give_gpus(monkeypatch, (8, 0))
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    choice = choose_precision({"use_cpu": True})
    assert choice.training_values == {"bf16": False, "fp16": False}
    assert str(choice) == "Training in float32 because neither a GPU nor a CPU with bfloat16 units was found."


def test_the_allocator_can_be_told():
    assert keep_freed_memory() in (True, False)
    torch.ones(50_000_000).add_(1)  # memory still comes and goes


def test_evaluation_in_float16_does_not_go_with_training_in_bfloat16_on_a_cpu(monkeypatch, caplog):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    settled = resolve_precision({"bf16": True, "fp16_full_eval": True}, FastPathArguments())
    assert settled["fp16_full_eval"] is False and "--fp16_full_eval is passed over" in caplog.text
    assert resolve_precision({"bf16": False, "fp16_full_eval": True}, FastPathArguments())["fp16_full_eval"] is True


@pytest.mark.parametrize("values", [{}, {"bf16": True}, {"fp16": True}])
@pytest.mark.parametrize("family", ["deberta", "xmod"])
def test_families_that_fail_in_short_formats_are_computed_in_float32(monkeypatch, values, family):
    give_gpus(monkeypatch, (8, 0))
    configs = [make_config("bert"), make_config(family)]
    choice = choose_precision(values, configs)
    assert choice.dtype == "fp32" and f"{family} models" in choice.reason
    assert choose_precision(values, configs[:1]).dtype != "fp32"
