"""The machine's rate of matrix products: measured quickly, kept, and measured again where what was kept is of no use."""

from __future__ import annotations

import logging
import time

import pytest
import torch

from finetune.training import matrix_rate as module
from finetune.training.matrix_rate import matrix_rate

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_measured_once_in_less_than_a_second_and_said(tmp_path, monkeypatch, caplog, dtype):
    monkeypatch.setenv("FINETUNE_CACHE_DIR", str(tmp_path / "cache"))
    module.why_no_kernels()  # compiling them is another matter
    start = time.process_time()
    with caplog.at_level(logging.INFO):
        rate = matrix_rate(CPU, dtype)
    assert time.process_time() - start < 2 * torch.get_num_threads()
    assert 1e8 < rate < 1e14 and "measured now" in caplog.text
    monkeypatch.setattr(module, "measure", lambda *_: pytest.fail("it was kept"))
    assert matrix_rate(CPU, dtype) == rate


def test_formats_threads_and_damaged_files_are_measured_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("FINETUNE_CACHE_DIR", str(tmp_path / "cache"))
    rates = iter([1e9, 2e9, 3e9, 4e9, 5e9])
    monkeypatch.setattr(module, "measure", lambda *_: next(rates))
    threads = torch.get_num_threads()
    assert matrix_rate(CPU, torch.float32) == 1e9
    assert matrix_rate(CPU, torch.bfloat16) == 2e9
    try:
        torch.set_num_threads(threads + 1)
        assert matrix_rate(CPU, torch.float32) == 3e9
    finally:
        torch.set_num_threads(threads)
    for path in (tmp_path / "cache").glob("matrix-rate-*.json"):
        path.write_text('{"operations_per_second": "fast"', encoding="utf-8")
    assert matrix_rate(CPU, torch.float32) == 4e9
    monkeypatch.setenv("FINETUNE_CACHE_DIR", "/proc/nowhere")
    assert matrix_rate(CPU, torch.float32) == 5e9
