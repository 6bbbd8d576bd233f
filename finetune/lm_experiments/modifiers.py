"""Changes of a model before it is trained: each takes model and tokenizer, and returns both."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


def add_new_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, added_tokens: str | Sequence[str]
) -> tuple[PreTrainedModel, Any]:
    """Add whole words to the vocabulary; their embeddings are drawn around the mean of the others (Hewitt 2021).

    Words that are tokens already are left alone, which is said.
    """
    words = [added_tokens] if isinstance(added_tokens, str) else list(added_tokens)
    known = [word for word in words if word in tokenizer.get_vocab()]
    if known:
        logger.warning("%d words are tokens already and are not added: %s.", len(known), ", ".join(known))
    tokenizer.add_tokens([word for word in words if word not in known])
    if len(tokenizer) > cast(nn.Embedding, model.get_input_embeddings()).weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer))
    return model, tokenizer
