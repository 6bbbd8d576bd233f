"""`--do_lower_case`: a tokenizer that lower-cases by itself, whatever kind it is, and goes on doing so once saved."""

from __future__ import annotations

import logging
from typing import Any

from tokenizers import normalizers
from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

PROBE = "HELLO World"


def lowers_case(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether upper and lower case make no difference to the subwords, also where Latin letters are unknown to it."""
    if getattr(tokenizer, "is_fast", False):
        normalizer = tokenizer.backend_tokenizer.normalizer
        return normalizer is not None and normalizer.normalize_str(PROBE) == normalizer.normalize_str(PROBE.lower())
    return tokenizer.tokenize(PROBE) == tokenizer.tokenize(PROBE.lower())


def set_casing(tokenizer: PreTrainedTokenizerBase, do_lower_case: bool) -> None:
    """Make `tokenizer` lower-case if that is asked for; one that does so by itself is left as it is, which is said."""
    if lowers_case(tokenizer):
        if not do_lower_case:
            logger.warning("This tokenizer lower-cases the text by itself, also without --do_lower_case.")
        return
    if not do_lower_case:
        return
    backend = tokenizer.backend_tokenizer
    backend.normalizer = _lower(backend.normalizer)
    if hasattr(tokenizer, "do_lower_case"):
        tokenizer.do_lower_case = tokenizer.init_kwargs["do_lower_case"] = True
    logger.info("The tokenizer was made to lower-case the text (--do_lower_case).")


def _lower(normalizer: Any) -> normalizers.Normalizer:
    """BERT's own switch also removes accents, as its uncased models expect; other tokenizers only lower-case."""
    if isinstance(normalizer, normalizers.BertNormalizer):
        return normalizers.BertNormalizer(
            clean_text=normalizer.clean_text,
            handle_chinese_chars=normalizer.handle_chinese_chars,
            strip_accents=normalizer.strip_accents,
            lowercase=True,
        )
    return (
        normalizers.Lowercase() if normalizer is None else normalizers.Sequence([normalizers.Lowercase(), normalizer])
    )
