from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch

from finetune.models import rows_without_gradient as rows_without_gradient
from finetune.models.rows_without_gradient import move_to_file


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(rows_without_gradient, "WORTHWHILE", 1000)
    return tmp_path


def test_a_large_matrix_moves_and_leaves_no_file_behind(folder):
    matrix = torch.randn(40, 30)
    moved = move_to_file(matrix)
    assert moved.data_ptr() != matrix.data_ptr() and torch.equal(moved, matrix)
    moved.mul_(2)
    assert torch.equal(moved, matrix * 2)
    assert list(folder.iterdir()) == []
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert "finetune-rows-without-gradient" in maps.read_text()


def test_small_matrices_stay(folder):
    matrix = torch.randn(4, 3)
    assert move_to_file(matrix) is matrix


def test_without_room_the_matrix_stays_and_the_log_says_so(folder, monkeypatch, caplog):
    monkeypatch.setattr(rows_without_gradient, "_ROOM", 2**60)
    matrix = torch.randn(40, 30)
    with caplog.at_level("INFO"):
        assert move_to_file(matrix) is matrix
    assert "no room" in caplog.text
