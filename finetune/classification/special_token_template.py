"""What a tokenizer puts around one text or between two: `[CLS] A [SEP] B [SEP]`, `<s> A </s></s> B </s>`, and so on.

Fast tokenizers keep it in a post-processor, Python ones in methods, so it is read off an example.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from finetune.encoding.special_tokens import PROBES, find_special_tokens
from finetune.errors import DataError, Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Template:
    """Special tokens before, between and after texts, with the token type of each and of the texts' own subwords."""

    prefix: Ids
    middle: Ids
    suffix: Ids
    prefix_types: Ids
    middle_types: Ids
    suffix_types: Ids
    text_types: tuple[int, int]

    def __len__(self) -> int:
        return len(self.prefix) + len(self.middle) + len(self.suffix)


def find_template(tokenizer: PreTrainedTokenizerBase, *, pairs: bool) -> Template:
    """Read off what `tokenizer` puts around single texts, or around and between pairs.

    Raises:
        DataError: the tokenizer turns no text into subwords.
    """
    if not pairs:
        special = find_special_tokens(tokenizer)
        parts = (special.prefix, special.suffix, special.prefix_types, special.suffix_types)
        prefix, suffix, prefix_types, suffix_types = (np.asarray(part, dtype=np.int64) for part in parts)
        none = np.empty(0, dtype=np.int64)
        types = (special.body_type, special.body_type)
        return Template(prefix, none, suffix, prefix_types, none, suffix_types, types)
    ids, types_of_ids, owners = _probe_fast(tokenizer) if tokenizer.is_fast else _probe_python(tokenizer)
    first, second = np.flatnonzero(owners == 0), np.flatnonzero(owners == 1)
    places = (slice(0, first[0]), slice(first[-1] + 1, second[0]), slice(second[-1] + 1, len(ids)))
    prefix, middle, suffix = (ids[place] for place in places)
    prefix_types, middle_types, suffix_types = (types_of_ids[place] for place in places)
    text_types = (int(types_of_ids[first[0]]), int(types_of_ids[second[0]]))
    return Template(prefix, middle, suffix, prefix_types, middle_types, suffix_types, text_types)


def _probe_fast(tokenizer: PreTrainedTokenizerBase) -> tuple[Ids, Ids, Ids]:
    """Ids, token types, and the text that each subword belongs to (0, 1, or -1 for special tokens)."""
    for probe in PROBES:
        example = tokenizer(probe, probe, return_token_type_ids=True, truncation=False, padding=False)
        owners = np.array([-1 if owner is None else owner for owner in example.sequence_ids(0)])
        if (owners == 0).any() and (owners == 1).any():
            return np.array(example["input_ids"]), np.array(example["token_type_ids"]), owners
    kind = type(tokenizer).__name__
    raise DataError(
        Problem(f"the tokenizer {kind} turns no text into subwords", remedy="check --tokenizer_name_or_path")
    )


def _probe_python(tokenizer: PreTrainedTokenizerBase) -> tuple[Ids, Ids, Ids]:
    """Python tokenizers take ids, so stand-ins that no vocabulary has mark the two texts."""
    ids = np.array(tokenizer.build_inputs_with_special_tokens([-1], [-2]))
    types = np.resize(np.array(tokenizer.create_token_type_ids_from_sequences([-1], [-2])), len(ids))
    return ids, types, np.select([ids == -1, ids == -2], [0, 1], default=-1)
