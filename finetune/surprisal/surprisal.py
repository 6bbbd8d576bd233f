"""Surprisal in bits: of tokens, of words, of sentences. All arrays are flat over the tokens of several texts.

The surprisal of a token is -log2 p(token | context) (Hale 2001; Levy 2008). That of a word is the sum over its subwords by
the chain rule; for tokenizers that put a word's space into its first subword this leaves open whether the word has ended,
which `word_surprisals` corrects (Pimentel & Meister 2024, theorem 2; Oh & Schuler 2024 by the trailing space). For masked
models the sum over a sentence is its pseudo-log-likelihood (Salazar et al. 2020) with the sign turned, in bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer]
LOG_2 = float(np.log(2.0))


def to_bits(log_probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Surprisals in bits from natural logarithms of probabilities: -ln p / ln 2 (Hale 2001). nan stays nan."""
    bits = np.asarray(log_probabilities, dtype=np.float64) / -LOG_2
    return bits + 0.0  # the surprisal of a certain token is 0, not -0


def group_sums(values: npt.ArrayLike, starts: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Sums (groups,) of flat values (items,) over groups that begin where `starts` is True; the first item begins one."""
    values = np.asarray(values, dtype=np.float64)
    first = np.flatnonzero(starts)
    return np.add.reduceat(values, first) if len(first) else np.zeros(0)


def row_sums(values: npt.ArrayLike, offsets: IntArray) -> npt.NDArray[np.float64]:
    """Sums (rows,) of ragged rows `values[offsets[i]:offsets[i + 1]]`; an empty row sums to 0."""
    values = np.asarray(values, dtype=np.float64)
    sums = np.zeros(len(offsets) - 1)
    filled = np.diff(offsets) > 0
    if filled.any():  # reduceat would give an empty row the next row's first value
        sums[filled] = np.add.reduceat(values, offsets[:-1][filled])
    return sums


@dataclass(frozen=True)
class WordSurprisals:
    """Words (words,) of several texts: the place of their first token, how many they have, and their surprisals."""

    first_token: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]
    surprisal: npt.NDArray[np.float64]  # sum over subwords
    corrected: npt.NDArray[np.float64]  # of the whole word and nothing longer; equal where no correction applies


def word_surprisals(
    surprisals: npt.ArrayLike,
    starts: npt.NDArray[np.bool_],
    *,
    border_before: npt.ArrayLike | None = None,
    border_after: npt.ArrayLike | None = None,
) -> WordSurprisals:
    """Surprisals of words from those of their tokens, in bits.

    A tokenizer that writes " dog" as one subword gives p("dog") without saying that the word ends there: "dogs" begins
    alike. By theorem 2 of Pimentel & Meister (2024, How to Compute the Probability of a Word),

        p(word | before) = p(subwords | before) * P(border | before, subwords) / P(border | before),

    where P(border | .) is the probability that the next subword begins a word or ends the text. Oh & Schuler (2024, Leading
    Whitespaces of Language Models' Subword Vocabulary ...) derive the same as the trailing space. In bits, with
    border = -log2 P(border): corrected = sum + after - before. Over a sentence the terms of inner borders cancel.

    Args:
        surprisals: (tokens,) bits.
        starts: (tokens,) where words begin; the first token of each text must.
        border_before: (words,) bits of the border before each word; 0 where a text begins without a space, because
            every first subword begins a word. None: no correction.
        border_after: (words,) bits of the border after each word.

    Raises:
        ValueError: the arrays do not fit each other.
    """
    first = np.flatnonzero(starts)
    total = group_sums(surprisals, starts)
    counts = np.diff(np.append(first, len(starts)))
    if border_before is None or border_after is None:
        return WordSurprisals(first, counts, total, total.copy())
    before, after = np.asarray(border_before, np.float64), np.asarray(border_after, np.float64)
    if before.shape != total.shape or after.shape != total.shape:
        raise ValueError(f"{len(total)} words, but borders of {before.shape} and {after.shape}")
    return WordSurprisals(first, counts, total, total + after - before)


@dataclass(frozen=True)
class SentenceSurprisals:
    """Sentences (texts,): sums in bits, numbers of scored tokens, means, and perplexities."""

    surprisal: npt.NDArray[np.float64]  # the sum; turned in sign and times ln 2 the (pseudo-)log-likelihood
    tokens: npt.NDArray[np.int64]
    mean: npt.NDArray[np.float64]  # bits a token, nan for a text without tokens
    perplexity: npt.NDArray[np.float64]  # 2 ** mean (Jelinek et al. 1977); pseudo-perplexity for masked models


def sentence_surprisals(surprisals: npt.ArrayLike, offsets: IntArray) -> SentenceSurprisals:
    """Surprisals of texts from those of their tokens; tokens without one (nan) are left out and not counted.

    For causal models the sum is the negative log-likelihood, for masked ones the negative pseudo-log-likelihood of
    Salazar et al. (2020, Masked Language Model Scoring), and 2 ** mean the (pseudo-)perplexity, both in bits.
    """
    values = np.asarray(surprisals, dtype=np.float64)
    scored = ~np.isnan(values)
    total = row_sums(np.where(scored, values, 0.0), offsets)
    counts = row_sums(scored, offsets).astype(np.int64)
    mean = np.full(len(total), np.nan)
    np.divide(total, counts, out=mean, where=counts > 0)
    return SentenceSurprisals(total, counts, mean, np.exp2(mean))
