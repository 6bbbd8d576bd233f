"""Switches of the fast path: the same results with less arithmetic. Everything is on where it is supported."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.arguments.fields import argument
from finetune.errors import Problem


@dataclass
class FastPathArguments:
    """Fast path: equal results, less arithmetic."""

    no_fast_path: bool = argument(False, help="switch off everything of this group: the plain recipe, in float32")
    no_unpad: bool = argument(False, help="let the encoder compute padding, too")
    no_native: bool = argument(False, help="let torch compute an encoder's layers one by one, and AdamW, on a CPU")
    no_fast_dropout: bool = argument(False, help="draw dropout masks with torch's generator on a CPU, too")
    no_trim_vocabulary: bool = argument(False, help="train embedding rows that the data cannot reach, too")
    no_sparse_head: bool = argument(False, help="compute vocabulary logits where no label is, too")
    max_tokens_per_batch: int | None = argument(
        None,
        minimum=1,
        help="fill training batches up to so many tokens instead of --per_device_train_batch_size texts",
    )
    length_window: int = argument(
        0, minimum=0, help="sort the texts of N batches by length together, after shuffling; 0 draws batches at random"
    )

    def problems(self) -> list[Problem]:
        if self.no_fast_path and (self.max_tokens_per_batch or self.length_window):
            return [Problem("--no_fast_path and batches by length contradict each other", remedy="drop one of them")]
        return []
