"""What a tokenizer puts around one sequence: `[CLS] ... [SEP]`, `<s> ... </s>`, nothing, or XLNet's `... <sep> <cls>`.

Fast tokenizers keep it in a post-processor, Python ones in a method, so it is read off an example.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from finetune.errors import DataError, Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROBES = ("a", "1", "the", ".", "ก")


@dataclass(frozen=True)
class SpecialTokens:
    """Ids before and after the body of a sequence, and the token type of each part."""

    prefix: npt.NDArray[np.int32]
    suffix: npt.NDArray[np.int32]
    prefix_types: npt.NDArray[np.int8]
    suffix_types: npt.NDArray[np.int8]
    body_type: int

    def __len__(self) -> int:
        return len(self.prefix) + len(self.suffix)


def find_special_tokens(tokenizer: PreTrainedTokenizerBase) -> SpecialTokens:
    """Read the special tokens that `tokenizer` puts around a single sequence.

    Raises
    ------
    DataError
        The tokenizer turns no text at all into subwords.
    """
    ids, types, is_special = _probe_fast(tokenizer) if tokenizer.is_fast else _probe_python(tokenizer)
    body = np.flatnonzero(is_special == 0)
    first, last = body[0], body[-1] + 1
    return SpecialTokens(
        prefix=ids[:first].astype(np.int32),
        suffix=ids[last:].astype(np.int32),
        prefix_types=types[:first].astype(np.int8),
        suffix_types=types[last:].astype(np.int8),
        body_type=int(types[first]),
    )


def find_start_token(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """What can stand for the beginning of a text: the token made for it, else the one for its end (GPT-2)."""
    known = (tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.eos_token_id)
    return next((index for index in known if index is not None), None)


def find_start_names(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """How a text can spell its beginning: as the tokens that the tokenizer puts there, or that can stand for it.

    With the space behind it where the tokenizer puts a space in front of every text (`<s> The` is Llama 2's spelling of
    what it reads for `The`).
    """
    first = find_start_token(tokenizer)
    ids = [*find_special_tokens(tokenizer).prefix.tolist(), *([] if first is None else [first])]
    names = [str(name) for name in tokenizer.convert_ids_to_tokens(ids)]
    spaced = [f"{name} " for name in names] if "".join(tokenizer.tokenize("a")).startswith("▁") else []
    return tuple(dict.fromkeys([*spaced, *names]))


def strip_start(texts: Sequence[str], names: tuple[str, ...]) -> tuple[list[str], npt.NDArray[np.bool_]]:
    """Texts without the beginning that they spell, one of `names`, as some files keep them; which did, (texts,).

    For causal models: such a text has its beginning already, and is to have one, not two.
    """
    found = np.fromiter((bool(names) and text.startswith(names) for text in texts), bool, len(texts))
    return [_without_any(text, names) if spells else text for text, spells in zip(texts, found, strict=True)], found


def _without_any(text: str, names: tuple[str, ...]) -> str:
    for name in names:
        text = text.removeprefix(name)
    return text


def _probe_fast(tokenizer: PreTrainedTokenizerBase) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray]:
    for probe in _probes(tokenizer):
        example = tokenizer(
            [probe], is_split_into_words=True, return_token_type_ids=True, return_special_tokens_mask=True
        )
        mask = np.array(example["special_tokens_mask"])
        if not mask.all():
            return np.array(example["input_ids"]), np.array(example["token_type_ids"]), mask
    raise DataError(
        Problem(
            f"the tokenizer {type(tokenizer).__name__} turns no text into subwords",
            "a tokenizer with a vocabulary is needed",
            "check --tokenizer_name_or_path and --tokenizer_type",
        )
    )


def _probes(tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """Short texts, then texts that the vocabulary itself holds."""
    yield from PROBES
    special = set(tokenizer.all_special_ids)
    for index in range(min(len(tokenizer), 1000)):
        if index not in special:
            yield str(tokenizer.decode([index])).strip() or "a"


def _probe_python(tokenizer: PreTrainedTokenizerBase) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray]:
    """Python tokenizers take ids, so a stand-in that no vocabulary has marks the body."""
    body = -1
    ids = np.array(tokenizer.build_inputs_with_special_tokens([body]))
    types = tokenizer.create_token_type_ids_from_sequences([body])
    return ids, np.resize(np.array(types), len(ids)), (ids != body).astype(np.int8)
