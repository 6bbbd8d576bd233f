from __future__ import annotations

import sys
import types

import pytest

from finetune.classification.thai_texts import mark_words
from finetune.data.corpus import Corpus, build_dataset
from finetune.errors import UsageError
from finetune.tokenization import sefr


def corpus(*texts: str) -> Corpus:
    return Corpus("x", {"train": build_dataset({"text": list(texts), "label": ["a"] * len(texts)})})


def test_words_are_marked_by_sefr_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("sefr_cut")
    module.load_model = lambda engine: None  # type: ignore[attr-defined]
    module.tokenize = lambda text: [[text[start : start + 2] for start in range(0, len(text), 2)]]  # type: ignore[attr-defined]
    module.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "sefr_cut", module)
    sefr._loaded.clear()
    marked = corpus("abcd")
    mark_words(marked, workers=1)
    sefr._loaded.clear()
    assert marked.splits["train"]["text"][:] == ["ab<|>cd"]


def test_marked_texts_need_no_sefr_cut_and_others_do() -> None:
    marked = corpus("ab<|>cd")
    mark_words(marked, workers=1)
    assert marked.splits["train"]["text"][:] == ["ab<|>cd"]
    with pytest.raises(UsageError, match="the package sefr_cut is not installed"):
        mark_words(corpus("abcd"), workers=1)
