"""GPUs that the environment asks for and the machine has not are told, once, in words."""

from __future__ import annotations

import pytest
import torch

from finetune.models.prediction import choose_device


@pytest.mark.parametrize(("value", "said"), [("1,2", True), ("0", True), ("", False), ("-1", False), (None, False)])
def test_gpus_that_are_asked_for_and_missing_are_told(monkeypatch, caplog, value, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if value is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert choose_device("auto").type == "cpu"
    assert ("the CPU is used" in caplog.text) is said
    if said:
        assert f"CUDA_VISIBLE_DEVICES is {value}," in caplog.text
