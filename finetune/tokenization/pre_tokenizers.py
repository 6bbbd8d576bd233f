"""How a Rust tokenizer cuts texts before its model sees them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def read_pre_tokenizers(tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
    """The steps of a Rust tokenizer's pre-tokenizer in their order; none where it has none or one written in Python."""
    if not tokenizer.is_fast or tokenizer.backend_tokenizer.pre_tokenizer is None:
        return []
    try:
        state = json.loads(tokenizer.backend_tokenizer.pre_tokenizer.__getstate__())
    except Exception:  # what the Rust library raises for a pre-tokenizer written in Python, which is no byte-level one
        return []
    return state.get("pretokenizers", [state])
