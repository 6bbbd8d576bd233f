"""The sequences of a token store that distillation trains on: long ones split, short and unknown ones left out.

The rules of the DistilBERT scripts: sequences longer than the model are split, those of at most 11 ids are left out, and
so are those of which half or more are unknown subwords.
"""

from __future__ import annotations

import logging
from collections import Counter
from multiprocessing.sharedctypes import RawValue
from typing import Any

import numpy as np

from finetune.encoding.draws import draw_number
from finetune.encoding.special_tokens import SpecialTokens
from finetune.encoding.token_store import TokenStore
from finetune.errors import DataError, Problem

logger = logging.getLogger(__name__)

SHORTEST = 12
UNKNOWN_SHARE = 0.5


class DistillationExamples:
    """Examples with `input_ids` and a `draw` that seed, epoch and index decide; `set_epoch` draws other masks.

    Args:
        store: sequences with one special id at each end.
        template: those special ids; parts of a split sequence get them, too.
        max_length: ids of an example at most, special ones included.
        unknown_id: of the unknown subword, or None.
        seed: of the draws.
        static: the draws of the first epoch serve all.

    Raises:
        DataError: nothing is left.
    """

    def __init__(
        self,
        store: TokenStore,
        template: SpecialTokens,
        *,
        max_length: int,
        unknown_id: int | None,
        seed: int,
        static: bool = False,
    ) -> None:
        self.store, self.template, self.seed, self._epoch = store, template, seed, RawValue("q", 0)
        self.static = static
        self.counts: Counter[str] = Counter()
        parts = [part for index, length in enumerate(store.lengths) for part in self._split(index, length, max_length)]
        kept = [part for part in parts if self._is_kept(part, unknown_id)]
        self.places = np.array(kept, dtype=np.int64).reshape(-1, 3)  # sequence, start and end within it
        self._tell(max_length)
        if not kept:
            found = f"none of the {len(store):,} sequences can be trained on"
            raise DataError(Problem(found, f"they need {SHORTEST} ids and fewer than half of them unknown"))

    def _split(self, index: int, length: int, max_length: int) -> list[tuple[int, int, int]]:
        if length <= max_length:
            return [(index, 0, length)]
        self.counts["split"] += 1
        room = max_length - len(self.template)
        return [(index, start, min(start + room, length - 1)) for start in range(1, length - 1, room)]

    def _is_kept(self, part: tuple[int, int, int], unknown_id: int | None) -> bool:
        ids = self._ids(*part)
        if len(ids) < SHORTEST:
            self.counts["short"] += 1
            return False
        if unknown_id is not None and (ids == unknown_id).mean() >= UNKNOWN_SHARE:
            self.counts["unknown"] += 1
            return False
        return True

    def _ids(self, index: int, start: int, end: int) -> Any:
        ids = self.store[index]["input_ids"]
        if start == 0 and end == len(ids):
            return ids
        return np.concatenate([self.template.prefix, ids[start:end], self.template.suffix])

    def _tell(self, max_length: int) -> None:
        logger.info(f"{len(self.store):,} sequences became {len(self.places):,} examples.")
        if self.counts["split"]:
            logger.warning(f"Splitting {self.counts['split']:,} too long sequences (more than {max_length:,} ids).")
        if self.counts["short"]:
            logger.warning(f"Remove {self.counts['short']:,} too short (<={SHORTEST - 1} tokens) sequences.")
        if self.counts["unknown"]:
            logger.warning(f"Remove {self.counts['unknown']:,} sequences with a high level of unknown tokens (50%).")

    @property
    def lengths(self) -> Any:
        """Ids of each example."""
        sizes = self.places[:, 2] - self.places[:, 1]
        is_part = sizes < self.store.lengths[self.places[:, 0]]
        return sizes + is_part * len(self.template)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> dict[str, Any]:
        ids = self._ids(*self.places[index].tolist())
        return {"input_ids": ids, "draw": draw_number(self.seed, self._epoch.value, int(index))}

    def set_epoch(self, epoch: int) -> None:
        """Draw other masks from now on, unless they are to stay."""
        self._epoch.value = 0 if self.static else epoch
