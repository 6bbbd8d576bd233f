"""Texts in chunks of bounded size, and what is said of all of them at the end."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from finetune.surprisal.inference import SurprisalModel
from finetune.surprisal.input import ScoringExample

logger = logging.getLogger(__name__)

CHUNK_CHARACTERS = 100_000
CHUNK_TEXTS = 2000
SAID = {
    "texts_windowed": "%d texts are longer than the model reads at once and were scored in overlapping windows.",
    "texts_cut": "%d texts are longer than the encoder takes and were cut at their ends.",
    "labels_cut": "%d labels are longer than the decoder takes and were cut at their ends.",
    "texts_without_tokens": "%d texts have no tokens and so no surprisal.",
    "texts_with_own_start": "%d texts brought a begin-of-text token of their own; none has a second one.",
    "texts_with_control_tokens": "%d texts spell a control token of the tokenizer (as </s>); it is scored as text.",
    "texts_without_masks": "%d texts hold no mask, so nothing in them was scored.",
    "tokens_without_surprisal": "%d tokens have no surprisal: nothing stands before them, or masks without labels.",
}


def in_chunks(examples: Iterable[ScoringExample]) -> Iterator[list[ScoringExample]]:
    """Examples in lists that hold a bounded number of characters: enough to batch by length, little to hold."""
    chunk: list[ScoringExample] = []
    size = 0
    for example in examples:
        chunk.append(example)
        size += len(example.text) + len(example.labels or "")
        if size >= CHUNK_CHARACTERS or len(chunk) >= CHUNK_TEXTS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def tell_counts(surprisal_model: SurprisalModel) -> None:
    """Say what was cut, windowed or left without a score, once, with its number."""
    for name, sentence in SAID.items():
        if surprisal_model.counts[name]:
            logger.warning(sentence, surprisal_model.counts[name])
