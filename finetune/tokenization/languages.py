"""Tokenizers of encoder-decoders that read texts and labels differently: two vocabularies (Marian), or tokens that name the
language (mBART, NLLB, M2M100).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import PreTrainedTokenizerBase

from finetune.arguments.nearest import allowed_values
from finetune.errors import Problem

ROLES = ("bos_token", "eos_token", "unk_token", "pad_token", "cls_token", "sep_token", "mask_token")


@contextmanager
def target_side(tokenizer: Any) -> Iterator[None]:
    """Within, the tokenizer reads labels, as `tokenizer(text_target=...)` does; others than those above read all alike."""
    if not hasattr(tokenizer, "_switch_to_target_mode"):
        yield
        return
    before = getattr(tokenizer, "_in_target_context_manager", False)
    tokenizer._in_target_context_manager = True  # or each call would switch it back
    tokenizer._switch_to_target_mode()
    try:
        yield
    finally:
        tokenizer._in_target_context_manager = before
        tokenizer._switch_to_input_mode()


def list_target_tokens(tokenizer: Any) -> list[str]:
    """How each id of a label is spelled: by the vocabulary of its own that a Marian model may have, else as texts are."""
    if getattr(tokenizer, "separate_vocabs", False):
        by_id = {index: token for token, index in tokenizer.target_encoder.items()}
        return [by_id.get(index, "") for index in range(max(by_id) + 1)]
    return [token or "" for token in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))]


def list_languages(tokenizer: Any) -> list[str]:
    """The languages that a tokenizer has tokens for, as it calls them; none where it has no such tokens."""
    if not hasattr(tokenizer, "set_tgt_lang_special_tokens"):
        return []
    for name in ("lang_code_to_token", "lang_code_to_id"):
        if getattr(tokenizer, name, None):
            return sorted(getattr(tokenizer, name))
    roles = {getattr(tokenizer, role, None) for role in ROLES}
    return sorted(set(tokenizer.all_special_tokens) - {str(role) for role in roles})


def set_languages(tokenizer: PreTrainedTokenizerBase, source: str | None, target: str | None) -> list[Problem]:
    """Let the tokenizer put these languages around texts and labels; nothing is changed where there are problems."""
    known: list[str] = list_languages(tokenizer)
    spell = getattr(tokenizer, "_convert_lang_code_special_format", str)  # PLBart's "java" is its token "__java__"
    source, target = (value and spell(value) for value in (source, target))
    asked = {"--source_lang": source, "--target_lang": target}
    if not known:
        found = [flag for flag, value in asked.items() if value]
        about = f"the tokenizer {type(tokenizer).__name__} has no tokens for languages"
        return [Problem(about, remedy=f"drop {' and '.join(found)}")] if found else []
    problems = [
        Problem(f"{flag} {value} is no language of this tokenizer", allowed_values(value, known))
        for flag, value in asked.items()
        if value and value not in known
    ]
    wanted = target or getattr(tokenizer, "tgt_lang", None)
    if wanted is None:
        found_text = f"the tokenizer {type(tokenizer).__name__} puts a language around labels, and it is not said which"
        problems.append(Problem(found_text, f"it knows {', '.join(known[:8])}", "give --target_lang"))
    if not problems:
        _settle(tokenizer, source, wanted)
    return problems


def _settle(tokenizer: Any, source: str | None, target: str | None) -> None:
    tokenizer.tgt_lang = target
    if source:
        tokenizer.src_lang = source  # its setter puts the tokens in place
