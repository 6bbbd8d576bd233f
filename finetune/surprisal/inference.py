"""Texts -> surprisals of their tokens and words, with a causal, a masked or a sequence-to-sequence model."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from finetune.arguments.model import ModelArguments
from finetune.encoding.ragged import offsets_of
from finetune.encoding.special_tokens import find_special_tokens, find_start_names, find_start_token, strip_start
from finetune.encoding.subwords import SubwordEncoder
from finetune.errors import DataError, Problem, ProblemList
from finetune.models.families import find_position_limit
from finetune.models.loading import check_weights, load_config, load_model
from finetune.models.native.serving import use_native_encoder
from finetune.models.prediction import choose_device
from finetune.models.sparse_mlm_head import use_sparse_mlm_head
from finetune.models.unpadding.hooks import unpad_encoder
from finetune.surprisal.arguments import ScoreArguments
from finetune.surprisal.heads import HEADS, check_language_model, find_task
from finetune.surprisal.row_inference import EncoderInputs, RowInference, SlotScores
from finetune.surprisal.rows import NO_TARGET, plan_given_masks, plan_left_to_right, plan_masked
from finetune.surprisal.surprisal import WordSurprisals, to_bits, word_surprisals
from finetune.surprisal.word_borders import WordBorders, find_word_borders
from finetune.tokenization.languages import list_languages, list_target_tokens, set_languages, target_side
from finetune.tokenization.loading import load_tokenizer
from finetune.training.precision import choose_precision

logger = logging.getLogger(__name__)

UNLIMITED = 100_000  # a tokenizer without a limit says 1e30


@dataclass(frozen=True)
class ScoredTokens:
    """Tokens of several texts, flat, with their surprisals in bits; `shown` are those that were asked for."""

    ids: npt.NDArray[np.integer]
    offsets: npt.NDArray[np.int64]
    starts: npt.NDArray[np.bool_]
    surprisal: npt.NDArray[np.float64]
    predicted_ids: npt.NDArray[np.integer]
    predicted_surprisal: npt.NDArray[np.float64]
    words: WordSurprisals
    shown: npt.NDArray[np.bool_] | None = None


@dataclass
class SurprisalModel:
    """A loaded model and tokenizer. `counts` says what was cut or could not be scored, over all texts so far.

    `sparse_head`: a masked model computes logits where it is asked, from now on; not so while it is trained.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    task: str
    masking: str = "within_word_l2r"
    max_length: int | None = None
    batch_size: int = 32
    bf16: bool = False
    sparse_head: bool = True
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.subwords = SubwordEncoder(
            self.tokenizer, kept=(self.tokenizer.mask_token,) if self.masking == "given" else ()
        )
        self.tokens = list_target_tokens(self.tokenizer)
        self.borders: WordBorders = find_word_borders(self.tokenizer, self.tokens).widen(self.vocabulary)
        self.start_names = find_start_names(self.tokenizer)
        special = find_special_tokens(self.tokenizer)
        self.prefix: npt.NDArray[np.integer] = special.prefix
        self.suffix: npt.NDArray[np.integer] = special.suffix
        with target_side(self.tokenizer) if self.task == "seq2seq" else nullcontext():
            self.target = find_special_tokens(self.tokenizer)
        self.width = _row_width(self.model.config.get_text_config(), self.tokenizer, self.max_length)
        if self.task == "lm":
            self.prefix, self.suffix = self._beginning(), special.suffix[:0]
        if self.task == "mlm" and self.sparse_head:
            use_sparse_mlm_head(self.model)
            # Rows of a batch have like lengths, but the last layer is read at the masks alone.
            if unpad_encoder(self.model) is None and self.model.device.type == "cpu":
                reason = use_native_encoder(self.model)
                logger.info("Encoder: %s.", f"no native step ({reason})" if reason else "native step")
        mask = self.tokenizer.mask_token_id if self.task == "mlm" else -1
        if mask is None:
            raise DataError(Problem("the tokenizer of this masked model has no mask token"))
        pad = self.tokenizer.pad_token_id
        self.rows = RowInference(
            self.model,
            pad=0 if pad is None else pad,
            mask=mask,
            follows=self._border_ids(),
            batch_size=self.batch_size,
            bf16=self.bf16,
        )

    @property
    def vocabulary(self) -> int:
        """Ids that the model predicts among, also those that stand for no token."""
        config = self.model.config.get_text_config()
        has_two = self.task == "seq2seq" and not getattr(config, "share_encoder_decoder_embeddings", True)
        return int(max(config.decoder_vocab_size if has_two else config.vocab_size, len(self.tokens)))

    @property
    def silent_ids(self) -> list[int]:
        """What stands around labels and is no part of them: tokens of the beginning and of languages, but not the end."""
        around = {*self.target.prefix.tolist(), *self.target.suffix.tolist()}
        return sorted(around - {self.tokenizer.eos_token_id}) if self.task == "seq2seq" else []

    def decoder_start(self) -> int:
        """What the decoder reads first, as the model makes its input of labels: mBART begins with their language."""
        config = self.model.config
        start, pad = getattr(config, "decoder_start_token_id", None), self.tokenizer.pad_token_id
        make = getattr(self.model, "prepare_decoder_input_ids_from_labels", None)
        if make is None or (start is None and not self._has_languages):
            return int(pad if start is None else start)
        labels = [[*self.target.prefix.tolist(), self.tokenizer.unk_token_id or 0, *self.target.suffix.tolist()]]
        return int(make(labels=torch.tensor(labels, device=self.model.device))[0, 0])

    @property
    def _has_languages(self) -> bool:
        return bool(list_languages(self.tokenizer))

    def language_options(self) -> dict[str, int]:
        """Keywords of `generate` for a text in the language of the labels."""
        if self.task != "seq2seq" or not self._has_languages:
            return {}
        first = {"forced_bos_token_id": int(self.target.prefix[0])} if len(self.target.prefix) else {}
        return {"decoder_start_token_id": self.decoder_start(), **first}

    def _beginning(self) -> npt.NDArray[np.integer]:
        """What stands before a text: what the tokenizer puts there, else its beginning-of-text token, else its end."""
        if len(self.prefix):
            return self.prefix
        start = find_start_token(self.tokenizer)
        if start is not None:
            return np.array([start])
        logger.warning("The tokenizer has no token for the beginning of a text, so first tokens have no surprisal.")
        return np.zeros(0, dtype=np.int64)

    def _border_ids(self) -> npt.NDArray[np.bool_] | None:
        """Ids that follow only finished words, for models that read from left to right."""
        if self.task == "mlm" or not self.borders.needs_correction:
            return None
        ends = {self.tokenizer.eos_token_id, self.tokenizer.sep_token_id, *map(int, self.suffix)} - {None}
        return self.borders.next_word_ids(sorted(ends))  # type: ignore[type-var]

    @property
    def parameters(self) -> int:
        return self.model.num_parameters()

    def score(self, texts: Sequence[str], labels: Sequence[str | None] | None = None) -> ScoredTokens:
        """Score the tokens of texts; of their labels for sequence-to-sequence models.

        Args:
            texts: what is scored, or what the encoder reads.
            labels: for sequence-to-sequence models, and for `given` masks what the texts say in full.

        Raises:
            DataError: labels are missing, or have another number of tokens than a masked text.
        """
        if self.task == "seq2seq":
            return self._score_labels(texts, labels)
        ids, offsets = self._encode(texts)
        starts = self.borders.find_starts(ids, np.diff(offsets))
        if self.task == "lm":
            return self._score_left_to_right(ids, offsets, starts)
        around: dict[str, Any] = {"prefix": self.prefix, "suffix": self.suffix, "width": self.width}
        if self.masking == "given":
            return self._score_given(ids, offsets, starts, labels, around)
        word_starts = starts if self.masking == "within_word_l2r" else None
        scores = self.rows.score(plan_masked(ids, offsets, word_starts=word_starts, **around), ids, slots=len(ids))
        return self.collect(ids, offsets, starts, scores)

    def _encode(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        if self.task == "lm":
            texts, brought = strip_start(texts, self.start_names)
            self.counts["texts_with_own_start"] += int(brought.sum())
        subwords = self.subwords.encode(texts)
        self.counts["texts_with_control_tokens"] += subwords.control_texts
        if self.width is not None:
            room = self.width - len(self.prefix) - (len(self.suffix) if self.task == "mlm" else 0)
            self.counts["texts_windowed"] += int((subwords.lengths > room).sum()) if self.task != "seq2seq" else 0
        self.counts["texts_without_tokens"] += int((subwords.lengths == 0).sum())
        return subwords.ids.astype(np.int64), offsets_of(subwords.lengths)

    def _score_left_to_right(
        self, ids: npt.NDArray, offsets: npt.NDArray, starts: npt.NDArray[np.bool_]
    ) -> ScoredTokens:
        rows = plan_left_to_right(ids, offsets, prefix=self.prefix, width=self.width)
        scores = self.rows.score(rows, ids, slots=len(ids) + len(offsets) - 1)
        return self.collect(ids, offsets, starts, scores)

    def _score_labels(self, texts: Sequence[str], labels: Sequence[str | None] | None) -> ScoredTokens:
        """Label sequences with their end token, which the loss counts too, after the decoder's start token."""
        given = [label for label in labels or () if label is not None]
        if len(given) != len(texts):
            remedy = 'give a .json file of objects with "text" and "labels"'
            raise DataError(
                Problem("a sequence-to-sequence model scores labels, and not every text has some", remedy=remedy)
            )
        sources, source_offsets = self._with_ends(texts, "texts_cut", self.prefix, self.suffix)
        with target_side(self.tokenizer):
            ids, offsets = self._with_ends(given, "labels_cut", self.target.prefix, self.target.suffix)
        rows = plan_left_to_right(ids, offsets, prefix=[self.decoder_start()], width=None)
        encoder = EncoderInputs(sources, source_offsets)
        scores = self.rows.score(rows, ids, slots=len(ids) + len(offsets) - 1, encoder=encoder)
        return self.collect(*self._without_silent(ids, offsets, scores))

    def _without_silent(
        self, ids: npt.NDArray, offsets: npt.NDArray, scores: SlotScores
    ) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray[np.bool_], SlotScores]:
        """Labels without what is no part of them: ids, offsets, where words begin, and scores of tokens and ends."""
        kept = ~np.isin(ids, self.silent_ids)
        lengths = np.array([kept[start:end].sum() for start, end in pairwise(offsets)], dtype=np.int64)
        slots = np.append(kept, np.ones(len(lengths), dtype=bool))
        chosen = SlotScores(**{name: values[slots] for name, values in vars(scores).items()})
        return ids[kept], offsets_of(lengths), self.borders.find_starts(ids[kept], lengths), chosen

    def _with_ends(
        self, texts: Sequence[str], counted: str, prefix: npt.NDArray[np.integer], suffix: npt.NDArray[np.integer]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Ids with the special tokens around them, cut where the model takes no more (counted)."""
        subwords = self.subwords.encode(texts)
        self.counts["texts_with_control_tokens"] += subwords.control_texts
        bodies = np.split(subwords.ids.astype(np.int64), offsets_of(subwords.lengths)[1:-1]) if texts else []
        room = None if self.width is None else max(self.width - len(prefix) - len(suffix) - 1, 1)
        self.counts[counted] += 0 if room is None else int((subwords.lengths > room).sum())
        rows = [np.concatenate([prefix, body[:room], suffix]) for body in bodies]
        flat = np.fromiter(chain.from_iterable(rows), np.int64)
        return flat, offsets_of([len(row) for row in rows])

    def _score_given(
        self,
        ids: npt.NDArray,
        offsets: npt.NDArray,
        starts: npt.NDArray[np.bool_],
        labels: Sequence[str | None] | None,
        around: dict[str, Any],
    ) -> ScoredTokens:
        targets = self._targets_of(offsets, labels)
        mask = self.tokenizer.mask_token_id
        self.counts["texts_without_masks"] += int(sum(not (ids[a:b] == mask).any() for a, b in pairwise(offsets)))
        rows = plan_given_masks(ids, offsets, targets, mask=mask, **around)
        scores = self.rows.score(rows, ids, slots=len(ids))
        shown = ids == mask
        behind = np.where(shown & (targets != NO_TARGET), targets, ids)
        return self.collect(behind, offsets, self.borders.find_starts(behind, np.diff(offsets)), scores, shown)

    def _targets_of(self, offsets: npt.NDArray, labels: Sequence[str | None] | None) -> npt.NDArray[np.int64]:
        """The ids (tokens,) of labels, NO_TARGET where a text has none; they must be as long as their texts."""
        targets = np.full(offsets[-1], NO_TARGET, dtype=np.int64)
        known = [index for index, label in enumerate(labels or ()) if label is not None]
        subwords = self.subwords.encode([str((labels or ())[index]) for index in known])
        bodies = np.split(subwords.ids.astype(np.int64), offsets_of(subwords.lengths)[1:-1]) if known else []
        problems = ProblemList()
        for index, body in zip(known, bodies, strict=True):
            if len(body) == offsets[index + 1] - offsets[index]:
                targets[offsets[index] : offsets[index + 1]] = body
                continue
            found = (
                f"the labels {(labels or ())[index]!r} have {len(body)} tokens, their text {np.diff(offsets)[index]}"
            )
            problems.append(Problem(found, "one mask for each token of the labels is needed"))
        problems.raise_any()
        return targets

    def collect(
        self,
        ids: npt.NDArray,
        offsets: npt.NDArray,
        starts: npt.NDArray[np.bool_],
        scores: SlotScores,
        shown: npt.NDArray[np.bool_] | None = None,
    ) -> ScoredTokens:
        """What the answers to all queries of some texts say, tokens (tokens,) and words; `shown` are those asked for."""
        surprisal = to_bits(scores.log_probability[: len(ids)])
        words = word_surprisals(surprisal, starts, **self._borders_of_words(ids, offsets, starts, scores))
        best, predicted = to_bits(scores.best_log_probability[: len(ids)]), scores.best_id[: len(ids)]
        asked = np.ones(len(ids), dtype=bool) if shown is None else shown
        self.counts["tokens"] += int(asked.sum())
        self.counts["tokens_without_surprisal"] += int((asked & np.isnan(surprisal)).sum())
        return ScoredTokens(ids, offsets, starts, surprisal, predicted, best, words, shown)

    def _borders_of_words(
        self, ids: npt.NDArray, offsets: npt.NDArray, starts: npt.NDArray[np.bool_], scores: SlotScores
    ) -> dict[str, npt.NDArray[np.float64]]:
        """The border before and after each word in bits; 0 where there is no mark or no doubt."""
        if self.rows.follows is None or not len(ids):
            return {}
        bits = to_bits(scores.log_border)
        first = np.flatnonzero(starts)
        text = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[first]
        last = np.append(text[1:] != text[:-1], True)
        closed = self.borders.closes(ids[np.append(first[1:], len(ids)) - 1])  # words whose own end is white space
        opened = np.append(False, closed[:-1] & ~last[:-1])
        before = np.where(self.rows.follows[ids[first]] & ~opened & ~np.isnan(bits[first]), bits[first], 0.0)
        after = np.where(last, np.where(closed, 0.0, bits[len(ids) + text]), np.append(before[1:], 0.0))
        return {"border_before": before, "border_after": after}


def _row_width(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, asked: int | None) -> int | None:
    """Most ids in a row: what was asked, what positions the model has, what the tokenizer says; None: no limit."""
    limits = [limit for limit in (asked, find_position_limit(config)) if limit]
    if not limits and tokenizer.model_max_length < UNLIMITED:
        limits = [tokenizer.model_max_length]
    return min(limits) if limits else None


def open_surprisal_model(arguments: ModelArguments, options: ScoreArguments) -> SurprisalModel:
    """Load a model for scoring, everything about it checked first.

    Raises:
        DataError: the model has no head for tokens, no weights, or cannot be read.
        UsageError: there is no such device.
    """
    problems = ProblemList()
    config = problems.attempt(load_config, arguments)
    tokenizer = problems.attempt(load_tokenizer, arguments)
    problems.add(check_weights(arguments))
    task = problems.attempt(find_task, config, options.model_task, arguments.model_name_or_path) if config else None
    if config is not None and task is not None:
        problems.extend(check_language_model(config, task, tokenizer))
    if tokenizer is not None and task == "seq2seq":
        problems.extend(set_languages(tokenizer, options.source_lang, options.target_lang))
    device = problems.attempt(choose_device, options.device)
    problems.raise_any()
    assert config is not None and tokenizer is not None and task is not None and device is not None
    complete = options.model_task is None  # a task that was asked for has its warning already
    model = load_model(arguments, config, tokenizer, task=HEADS[task], new_head=False, complete=complete)
    model.to(device)  # type: ignore[arg-type]
    bf16 = options.bf16 and choose_precision({"bf16": True}, [config]).dtype == "bf16"
    if bf16 != options.bf16:
        logger.warning("--bf16 is passed over: transformers' code of %s models fails in bfloat16.", config.model_type)
    return SurprisalModel(model, tokenizer, task, options.masking, options.max_length, options.batch_size, bf16)
