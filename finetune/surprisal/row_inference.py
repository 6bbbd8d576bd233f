"""A language model over scoring rows: the log-probability of each target, the best guess, and that of a word's end.

The vocabulary's logits of a batch are read in blocks: their exponentials are summed twice by one matrix product, over the
whole vocabulary and over the subwords that can follow a finished word, so that the corrected probabilities of words cost
no pass of their own and no log-softmax is ever stored.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from finetune.models.inference import inference
from finetune.models.prediction import TOKENS_AT_ONCE
from finetune.models.sparse_mlm_head import is_sparse
from finetune.surprisal.rows import NO_TARGET, ScoringRows

logger = logging.getLogger(__name__)

LARGEST_LOGITS = 1 << 27  # elements of a batch: 512 MiB of float32
MOST_TOKENS = 1 << 14  # of a batch whose logits are few
BLOCK = {"cpu": 64, "cuda": 4096}  # queries
ROUNDING, ROUNDING_BF16 = 1e-3, 0.1  # logits of one row that differ by more are not the same


@dataclass
class SlotScores:
    """What the queries of a chunk gave, by slot, (slots,) each; nan and -1 where nothing was asked."""

    log_probability: npt.NDArray[np.float32]  # natural logarithm of p(target | context)
    best_id: npt.NDArray[np.int32]
    best_log_probability: npt.NDArray[np.float32]
    log_border: npt.NDArray[np.float32]  # of the probability that a word begins or the text ends at this slot

    @classmethod
    def empty(cls, slots: int) -> SlotScores:
        floats = [np.full(slots, np.nan, dtype=np.float32) for _ in range(3)]
        return cls(floats[0], np.full(slots, -1, dtype=np.int32), floats[1], floats[2])


@dataclass(frozen=True)
class EncoderInputs:
    """What the encoder of a sequence-to-sequence model reads: ragged ids, one row for each text."""

    ids: npt.NDArray[np.integer]
    offsets: npt.NDArray[np.int64]

    def read(self, texts: npt.NDArray[np.int64], pad: int) -> tuple[npt.NDArray, npt.NDArray]:
        lengths = np.diff(self.offsets)[texts]
        places = np.arange(max(int(lengths.max(initial=1)), 1))[None, :]
        real = places < lengths[:, None]
        batch = np.full(real.shape, pad, dtype=np.int64)
        batch[real] = self.ids[(self.offsets[:-1][texts][:, None] + places)[real]]
        return batch, real


@dataclass
class RowInference:
    """A model, and how its rows are filled.

    `follows` (vocabulary,) are the ids that can only come after a finished word, or None where that is not asked. A few
    families (FNet, ConvBERT, Nystromformer) compute with the padding behind a text, whatever the attention mask says;
    their rows are never padded. It is found out on the first rows of unequal widths, not read from a list.
    """

    model: PreTrainedModel
    pad: int
    mask: int = -1
    follows: npt.NDArray[np.bool_] | None = None
    batch_size: int = 32
    bf16: bool = False
    reads_padding: bool | None = field(default=None, init=False)  # None: not known yet

    def score(
        self,
        rows: ScoringRows,
        ids: npt.NDArray[np.integer],
        *,
        slots: int,
        encoder: EncoderInputs | None = None,
    ) -> SlotScores:
        """Answer every query, in batches of rows of like length."""
        scores = SlotScores.empty(slots)
        with inference(self.model, bf16=self.bf16):
            for batch in self._batches(rows, ids, encoder):
                queries, _ = rows.queries_of(batch)
                logits = self._read_logits(rows, ids, batch, encoder)
                self.answer(scores, logits, rows.query_targets[queries], rows.query_slots[queries])
        return scores

    def _batches(
        self, rows: ScoringRows, ids: npt.NDArray[np.integer], encoder: EncoderInputs | None
    ) -> Iterator[npt.NDArray[np.int64]]:
        asked = np.flatnonzero(np.diff(rows.query_offsets) > 0)
        widths = rows.widths[asked]
        if encoder is not None:
            widths = np.maximum(widths, np.diff(encoder.offsets)[rows.texts[asked]])
        order = asked[np.argsort(-widths, kind="stable")]
        widths = np.sort(widths)[::-1]
        most = (
            MOST_TOKENS if self._is_sparse else max(LARGEST_LOGITS // self.model.config.get_text_config().vocab_size, 1)
        )
        alike = self._reads_padding(rows, ids, order) if encoder is None else False
        start = 0
        while start < len(order):
            width = max(int(widths[start]), 1)
            rows_asked = max(self.batch_size, TOKENS_AT_ONCE // width) if self._is_sparse else self.batch_size
            size = max(min(rows_asked, most // width), 1)
            same = int(np.searchsorted(-widths, -widths[start], side="right")) - start
            size = min(size, same) if alike else size
            yield order[start : start + size]
            start += size

    def _reads_padding(self, rows: ScoringRows, ids: npt.NDArray[np.integer], order: npt.NDArray[np.int64]) -> bool:
        """Whether the narrowest row has other logits beside the widest one than alone."""
        if self.reads_padding is None and len(order) and rows.widths[order[0]] > rows.widths[order[-1]]:
            asked = len(rows.queries_of(order[-1:])[0])
            alone = self._read_logits(rows, ids, order[-1:], None).take(0, asked)
            beside = self._read_logits(rows, ids, order[[-1, 0]], None).take(0, asked)
            rounding = ROUNDING_BF16 if self.bf16 else ROUNDING
            self.reads_padding = not torch.allclose(alone, beside, rtol=0.0, atol=rounding)
            if self.reads_padding:
                name = self.model.config.model_type
                logger.info("%s models read the padding behind a text, so only rows of one length go together.", name)
        return bool(self.reads_padding)

    @property
    def _is_sparse(self) -> bool:
        """Whether the model's head computes logits at single positions (`use_sparse_mlm_head`)."""
        return is_sparse(self.model)

    def _read_logits(
        self,
        rows: ScoringRows,
        ids: npt.NDArray[np.integer],
        batch: npt.NDArray[np.int64],
        encoder: EncoderInputs | None,
    ) -> QueriedLogits:
        """Run the model on a batch; the logits of its queries."""
        queries, of_row = rows.queries_of(batch)
        positions = rows.query_positions[queries]
        device = self.model.device
        matrix, real = rows.read(batch, ids, pad=self.pad, mask=self.mask)
        places = torch.from_numpy(of_row * matrix.shape[1] + positions).to(device)
        inputs = {"input_ids": matrix, "attention_mask": real.astype(np.int64)}
        if encoder is not None:
            source, source_real = encoder.read(rows.texts[batch], self.pad)
            inputs = {
                "input_ids": source,
                "attention_mask": source_real.astype(np.int64),
                "decoder_input_ids": matrix,
                "decoder_attention_mask": real.astype(np.int64),
            }
        tensors = {name: torch.from_numpy(array).to(device) for name, array in inputs.items()}
        if self._is_sparse:
            tensors["labelled_positions"] = places[None]
        elif encoder is None and not getattr(self.model.config, "is_encoder_decoder", False) and self.mask < 0:
            tensors["use_cache"] = False  # type: ignore[assignment]
        logits = self.model(**tensors).logits
        return QueriedLogits(logits.flatten(0, 1), None if self._is_sparse else places)

    def answer(
        self, scores: SlotScores, logits: QueriedLogits, targets: npt.NDArray[np.int64], slots: npt.NDArray[np.int64]
    ) -> None:
        """Put into `scores` what the logits of the queries say; `targets` and `slots` are (queries,)."""
        device = self.model.device
        sums = self._columns(logits.flat.shape[-1], device)
        wanted = torch.from_numpy(np.maximum(targets, 0)).to(device)
        block = BLOCK.get(device.type, BLOCK["cpu"])
        parts = [_read_block(logits.take(start, block), wanted[start : start + block], sums)
                 for start in range(0, len(targets), block)]  # fmt: skip
        answers, best = torch.cat([part[0] for part in parts]).cpu().numpy(), torch.cat([part[1] for part in parts])
        has_target = targets != NO_TARGET
        scores.log_probability[slots[has_target]] = answers[has_target, 0]
        scores.best_log_probability[slots[has_target]] = answers[has_target, 1]
        scores.best_id[slots[has_target]] = best.cpu().numpy()[has_target]
        if self.follows is not None:
            scores.log_border[slots] = answers[:, 2]

    def _columns(self, vocabulary: int, device: torch.device) -> torch.Tensor:
        """(vocabulary, 2): ones, and ones where a subword can follow a finished word."""
        columns = torch.ones(vocabulary, 2)
        columns[:, 1] = 0.0
        if self.follows is not None:
            columns[: min(len(self.follows), vocabulary), 1] = torch.from_numpy(self.follows[:vocabulary]).float()
        return columns.to(device)


@dataclass(frozen=True)
class QueriedLogits:
    """Logits (places, vocabulary) of a batch, and which of them the queries ask for (None: all, in order)."""

    flat: torch.Tensor
    places: torch.Tensor | None

    def take(self, start: int, size: int) -> torch.Tensor:
        """A copy in float32 of the logits of some queries."""
        if self.places is None:
            return self.flat[start : start + size].to(torch.float32, copy=True)
        return self.flat.index_select(0, self.places[start : start + size]).float()


def _read_block(
    logits: torch.Tensor, targets: torch.Tensor, columns: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(queries, 3): ln p of the target, of the best guess, of the border; and the best ids (queries,). Uses up `logits`."""
    highest, best = logits.max(dim=-1)
    of_target = logits.gather(1, targets[:, None])[:, 0] - highest
    sums = logits.sub_(highest[:, None]).exp_() @ columns  # (queries, 2)
    log_total = sums[:, 0].log()
    return torch.stack([of_target - log_total, -log_total, sums[:, 1].log() - log_total], dim=1), best
