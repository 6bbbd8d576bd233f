from __future__ import annotations

from pathlib import Path

import pytest

from finetune.data import sources
from finetune.language_modeling.arguments import TextArguments
from finetune.language_modeling.text import find_cache
from finetune.run import cache

BASES = ("FINETUNE_CACHE_DIR", "FINETUNE_CACHE", "XDG_CACHE_HOME")


@pytest.mark.parametrize(
    ("variables", "folder", "said"),
    [
        ({}, "/home/me/.cache/finetune", []),
        ({"XDG_CACHE_HOME": "/x"}, "/x/finetune", []),
        ({"FINETUNE_CACHE_DIR": "~/c", "XDG_CACHE_HOME": "/x"}, "/home/me/c", []),
        (
            {"FINETUNE_CACHE": "/old"},
            "/old/finetune",
            ["is called FINETUNE_CACHE_DIR today: set that to /old/finetune"],
        ),
        ({"FINETUNE_CACHE": "/old", "FINETUNE_CACHE_DIR": "/new"}, "/new", ["FINETUNE_CACHE is ignored"]),
        ({"FINETUNE_CACHE": "", "FINETUNE_CACHE_DIR": ""}, "/home/me/.cache/finetune", []),
    ],
)
def test_one_folder_for_tokenized_text_and_fetched_corpora(variables, folder, said, monkeypatch, caplog):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr(cache, "_said", set())
    for name in BASES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find_cache(TextArguments()) == Path(folder)
    assert sources._fetched("wnut17") == Path(folder) / "data" / "wnut17"
    assert [line in record for line, record in zip(said, caplog.messages, strict=True)] == [True] * len(said)
