"""`--do_lower_case`: a tokenizer that lower-cases by itself, whatever kind it is, and goes on doing so once saved."""

from __future__ import annotations

import logging
from typing import Any

from tokenizers import AddedToken, normalizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from finetune.errors import Problem, UsageError

logger = logging.getLogger(__name__)

PROBE = "HELLO World"


def lowers_case(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether upper and lower case make no difference to the subwords, also where Latin letters are unknown to it."""
    if getattr(tokenizer, "is_fast", False):
        normalizer = tokenizer.backend_tokenizer.normalizer
        return normalizer is not None and normalizer.normalize_str(PROBE) == normalizer.normalize_str(PROBE.lower())
    return tokenizer.tokenize(PROBE) == tokenizer.tokenize(PROBE.lower())


def set_casing(tokenizer: PreTrainedTokenizerBase, do_lower_case: bool) -> PreTrainedTokenizerBase:
    """The tokenizer, made to lower-case if that is asked for; one that does so by itself stays as it is, which is said.

    Raises:
        UsageError: it is asked for, and the tokenizer, written in Python, has no such switch.
    """
    if lowers_case(tokenizer):
        if not do_lower_case:
            logger.warning("This tokenizer lower-cases the text by itself, also without --do_lower_case.")
        return tokenizer
    if not do_lower_case:
        return tokenizer
    has_switch = hasattr(tokenizer, "do_lower_case")
    if has_switch:
        tokenizer.do_lower_case = tokenizer.init_kwargs["do_lower_case"] = True
    if getattr(tokenizer, "is_fast", False):
        backend = tokenizer.backend_tokenizer
        backend.normalizer = _lower(backend.normalizer)
    if not lowers_case(tokenizer):
        found = f"--do_lower_case: the tokenizer {type(tokenizer).__name__} cannot be made to lower-case"
        raise UsageError(Problem(found, remedy="lower-case the text before, or take another tokenizer"))
    logger.info("The tokenizer was made to lower-case the text (--do_lower_case).")
    return tokenizer if has_switch or type(tokenizer) is PreTrainedTokenizerFast else _without_class(tokenizer)


def _without_class(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerFast:
    """The same under the name of no family: under that of RoBERTa or T5 transformers would build it anew, from its
    vocabulary alone, without the normalizer that was saved.
    """
    known = {token.content: token for token in tokenizer.added_tokens_decoder.values()}
    roles = {name: known.get(str(token), token) for name, token in tokenizer.special_tokens_map.items()}
    extra = [known.get(name, name) for name in tokenizer.all_special_tokens if name not in map(str, roles.values())]
    kept = ("model_max_length", "padding_side", "truncation_side", "model_input_names", "name_or_path")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        extra_special_tokens=extra,
        **{name: getattr(tokenizer, name) for name in kept},
        **{name: token for name, token in roles.items() if isinstance(token, str | AddedToken)},
    )


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
