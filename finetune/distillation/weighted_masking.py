"""Masking that predicts rare subwords more often: positions are drawn by max(count, 1) ** -smoothing of what stands there.

Mikolov et al. 2013 smooth counts so for word2vec, Conneau & Lample 2019 (XLM) and Sanh et al. 2019 (DistilBERT) for
masking. Positions are drawn without replacement by exponential keys (Efraimidis & Spirakis 2006), row by row, so that an
example is masked the same way in any batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finetune.encoding.draws import as_fraction, below, draw_bits
from finetune.encoding.masking import Ids
from finetune.encoding.padding import IGNORED


@dataclass(frozen=True)
class WeightedMasker:
    """Masks batches of padded ids.

    `weights` (vocabulary,) are 0 for special ids, which are never predicted and never a random replacement. `shares` are
    those of predicted positions that show the mask, stay, and show a random subword; `probability` that of all positions.
    """

    mask_id: int
    weights: npt.NDArray[np.float64]
    probability: float = 0.15
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)

    def mask(self, ids: Ids, draws: npt.ArrayLike, lengths: npt.NDArray[np.integer]) -> tuple[Ids, Ids]:
        """Inputs and labels (both (batch, length)) for ids (batch, length), draws (batch,), row lengths (batch,).

        A row has `probability * length` predicted positions on average, rounded up or down at random, at least one.
        """
        bits = draw_bits(draws, ids.shape[1] + 1)
        of_row, of_places = bits[:, 0], bits[:, 1:]  # in this order: the width of the batch decides nothing of a row
        wanted = np.maximum(np.floor(self.probability * lengths + as_fraction(of_row)), 1)
        weights = self.weights[ids]
        with np.errstate(divide="ignore"):
            keys = -np.log1p(-as_fraction(of_places)) / weights  # infinite where the weight is 0
        ranks = keys.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
        is_predicted = (ranks < wanted[:, None]) & (weights > 0)
        inputs = ids.copy()
        inputs[is_predicted] = self._replace(ids[is_predicted], of_places[is_predicted])
        return inputs, np.where(is_predicted, ids, IGNORED)

    def _replace(self, ids: Ids, bits: npt.NDArray[np.uint64]) -> Ids:
        fresh = draw_bits(bits, 2)
        ordinary = np.flatnonzero(self.weights > 0)
        kind = as_fraction(fresh[:, 0])
        masked, kept = self.shares[0], self.shares[0] + self.shares[1]
        random_ids = ordinary[below(fresh[:, 1], len(ordinary))]
        return np.where(kind < masked, self.mask_id, np.where(kind < kept, ids, random_ids))


def smooth_counts(counts: npt.NDArray[np.integer], smoothing: float, special_ids: list[int]) -> npt.NDArray[np.float64]:
    """Weights (vocabulary,) of drawing a position: max(count, 1) ** -smoothing, 0 for special ids."""
    weights = np.maximum(counts, 1).astype(np.float64) ** -smoothing
    weights[special_ids] = 0.0
    return weights
