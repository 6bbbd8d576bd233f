"""Control tokens that a text spells (`[SEP]`, `</s>`, `<mask>`) are text, never the ids that steer a model.

A tokenizer looks for its special tokens in every text before anything else, and a SentencePiece model even holds them
among its subwords; a text about `</s>` would then end a sequence, which BART and T5 refuse, or hide a word from BERT.
Further special tokens (`<_>`, `[NAME]`, T5's `<extra_id_0>`) are content that people put into texts on purpose; they,
and the unknown token, stay what they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CONTROL_ROLES = ("bos_token", "eos_token", "cls_token", "sep_token", "pad_token", "mask_token")
UNSPELLABLE = "\ufdd0control {}\ufdd1"  # Unicode's noncharacters: no text is meant to hold them


class ControlTokens:
    """The control tokens of a tokenizer: their spelling and ids.

    `kept` are spellings that stay tokens. `unknown` is the id that stands for what the tokenizer does not know: where it
    is also a control token (GPT-2's end of text), only its spelling shows which of both is meant.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, kept: Collection[str | None] = ()) -> None:
        names = {str(getattr(tokenizer, role, None) or "") for role in CONTROL_ROLES} - {"", *kept}
        known = {name: cast(int | None, tokenizer.convert_tokens_to_ids(name)) for name in sorted(names)}
        self.spelled: dict[str, int] = {name: int(index) for name, index in known.items() if index is not None}
        self.unknown: int | None = tokenizer.unk_token_id
        self.ids = set(self.spelled.values())

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Whichever of them stands in a text, longest first, in any case: some tokenizers lower-case first."""
        longest_first = sorted(self.spelled, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)", re.IGNORECASE)

    def find_spelling(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which texts spell one, (texts,)."""
        names = tuple(self.spelled)
        return np.fromiter((any(name in text for name in names) for text in texts), bool, len(texts))

    def are_spelled(self, text: str, ids: npt.NDArray[np.integer]) -> bool:
        """Whether `ids` of `text` hold a control token that the text spells."""
        found = self.ids.intersection(ids.tolist())
        return bool(found - {self.unknown}) or (bool(found) and bool(self.pattern.search(text)))

    def cut(self, text: str) -> list[str]:
        """The text in parts that spell none: each spelling is cut behind its first character."""
        cuts = [0, *(match.start() + 1 for match in self.pattern.finditer(text)), len(text)]
        return [text[start:end] for start, end in pairwise(cuts) if start < end]

    def strip_rust(self, rust_json: str) -> str:
        """The same Rust tokenizer, whose control tokens keep their ids under names that no text spells.

        What is put around a sequence goes with them: it is for texts without special tokens.
        """
        state = json.loads(rust_json)
        new_names = {name: UNSPELLABLE.format(index) for name, index in self.spelled.items()}
        for token in state["added_tokens"]:
            token["content"] = new_names.get(token["content"], token["content"])
        _rename_in_model(state["model"], new_names)
        state["post_processor"] = None
        return json.dumps(state, ensure_ascii=False)


def _rename_in_model(model: dict[str, Any], new_names: dict[str, str]) -> None:
    """The entries of a Rust model's vocabulary under their new names, ids and scores as they were."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):  # Unigram: [[subword, score], ...]
        model["vocab"] = [[new_names.get(subword, subword), score] for subword, score in vocabulary]
    else:
        model["vocab"] = {new_names.get(subword, subword): index for subword, index in vocabulary.items()}
    if "merges" in model:
        model["merges"] = [merge for merge in model["merges"] if new_names.keys().isdisjoint(_parts(merge))]
    if model.get("unk_token") in new_names:
        model["unk_token"] = new_names[model["unk_token"]]


def _parts(merge: str | list[str]) -> tuple[str, ...]:
    """The sides of a merge and what it makes; the library writes the two sides as a list, older files as one string."""
    sides = merge.split(" ") if isinstance(merge, str) else merge
    return (*sides, "".join(sides))
