"""Predictions at subwords of windows -> one prediction per word of each sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from finetune.encoding.padding import IGNORED
from finetune.encoding.ragged import offsets_of, ranges

if TYPE_CHECKING:
    from finetune.tagging.encoding import EncodedTagging
    from finetune.tagging.window_rows import EncodedWindows


@dataclass(frozen=True)
class WordPredictions:
    """`values` (words,) or (words, labels) in the order of the split; sentence i begins at word `offsets[i]`."""

    values: npt.NDArray
    offsets: npt.NDArray[np.int64]

    def sentences(self) -> list[npt.NDArray]:
        """One array per sentence of the split, with one entry per word."""
        return np.split(self.values, self.offsets[1:])[:-1]


def collect_word_predictions(
    predictions: npt.NDArray | Sequence[npt.NDArray], encoded: EncodedTagging, *, padding_side: str = "right"
) -> WordPredictions:
    """Take each word's prediction from its subword in the loss mask.

    Parameters
    ----------
    predictions
        What the model said about the rows of `encoded.dataset`, in their order: (windows, width) label ids or
        (windows, width, labels) logits, padded; or a list with one array (at least as long as the row) per window.
    encoded
        The split as `encode_tagging` returned it.
    padding_side
        Where the collator padded. `Trainer.predict` then pads every batch with -100 on the right, to the widest of all;
        this is undone.

    Raises
    ------
    ValueError
        Number or width of the rows is not that of the encoded split.
    """
    table = encoded.dataset.with_format("arrow")[:]
    positions = table["word_positions"].combine_chunks()
    lengths = positions.value_lengths().to_numpy(zero_copy_only=False)
    column = (positions.flatten().to_numpy(), offsets_of(lengths))
    sentence = table["sentence"].to_numpy()
    return _place(predictions, column, sentence, encoded.sentence_lengths, padding_side)


def collect_from_windows(
    predictions: Sequence[npt.NDArray], windows: EncodedWindows, *, padding_side: str = "right"
) -> WordPredictions:
    """As `collect_word_predictions`, of what `encode_windows` returned."""
    column = windows.columns["word_positions"]
    return _place(predictions, column, windows.sentence, windows.sentence_lengths, padding_side)


def _place(
    predictions: npt.NDArray | Sequence[npt.NDArray],
    positions: tuple[npt.NDArray, npt.NDArray[np.int64]],
    sentence: npt.NDArray,
    sentence_lengths: npt.NDArray[np.int64],
    padding_side: str,
) -> WordPredictions:
    flat, lengths = positions[0], np.diff(positions[1])  # (subwords of all windows,), (windows,)
    if len(predictions) != len(lengths):
        raise ValueError(f"{len(predictions)} rows of predictions for {len(lengths)} encoded rows")
    masked_in = np.flatnonzero(flat != IGNORED)
    window = np.repeat(np.arange(len(lengths)), lengths)[masked_in]
    column = ranges(np.zeros(len(lengths)), lengths)[masked_in]
    chosen = _choose(predictions, window, column, lengths, padding_side)
    offsets = offsets_of(sentence_lengths)
    words = offsets[sentence[window]] + flat[masked_in]
    values = np.empty((offsets[-1], *chosen.shape[1:]), dtype=chosen.dtype)
    values[words] = chosen
    return WordPredictions(values, offsets)


def _choose(
    predictions: npt.NDArray | Sequence[npt.NDArray],
    window: npt.NDArray,
    column: npt.NDArray,
    lengths: npt.NDArray,
    padding_side: str,
) -> npt.NDArray:
    if not isinstance(predictions, np.ndarray):
        widths = np.array([len(row) for row in predictions])
        starts = offsets_of(widths)[:-1]
        shift = widths - lengths if padding_side == "left" else np.zeros_like(lengths)
        _check_widths(widths, lengths)
        flat = np.concatenate([np.asarray(row) for row in predictions]) if len(predictions) else np.empty(0, np.int64)
        return flat[starts[window] + shift[window] + column]
    widths = np.full(len(lengths), predictions.shape[1])
    if padding_side == "left":
        widths = _widths_without_padding(predictions)
    _check_widths(widths, lengths)
    shift = widths - lengths if padding_side == "left" else np.zeros_like(lengths)
    return predictions[window, shift[window] + column]


def _widths_without_padding(predictions: npt.NDArray) -> npt.NDArray:
    """Width of each row's own batch: what gathering appended on the right is -100 throughout."""
    filled = predictions != IGNORED
    filled = filled if filled.ndim == 2 else filled.any(axis=2)
    return predictions.shape[1] - np.argmax(filled[:, ::-1], axis=1)


def _check_widths(widths: npt.NDArray, lengths: npt.NDArray) -> None:
    short = np.flatnonzero(widths < lengths)
    if len(short):
        raise ValueError(f"row {short[0]} has {widths[short[0]]} predictions for {lengths[short[0]]} subwords")
