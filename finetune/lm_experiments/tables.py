"""Fine-tuning for surprisals, its tables: the tokens of every batch with their surprisals, and the losses of batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from finetune.encoding.padding import IGNORED
from finetune.lm_experiments.batches import TextBatches
from finetune.lm_experiments.growing_table import GrowingTable
from finetune.lm_experiments.loss_curves import write_loss_curves
from finetune.lm_experiments.losses import SplitLoss
from finetune.lm_experiments.parts import ExperimentParts
from finetune.lm_experiments.preprocessing import Batch
from finetune.lm_experiments.processes import gather_first
from finetune.lm_experiments.scored_batches import read_batch_tokens
from finetune.lm_experiments.texts import AnnotatedTexts
from finetune.lm_experiments.trainer import SeenBatch
from finetune.lm_experiments.windows import (
    PlacedRows,
    ScoredRows,
    TextWords,
    WholeText,
    group_windows,
    join_ids,
    place_rows,
)
from finetune.run.checkpoints import read_position, read_state
from finetune.surprisal.columns import COLUMNS
from finetune.surprisal.facts import FactKind, fact_column, name_apart_from, note_facts, tell_renamed
from finetune.surprisal.inference import ScoredTokens, SurprisalModel
from finetune.surprisal.row_inference import QueriedLogits, SlotScores
from finetune.surprisal.surprisal import LOG_2, row_sums, sentence_surprisals
from finetune.surprisal.table_files import FORMATS
from finetune.surprisal.tables import ScoredTexts, SurprisalTables
from finetune.surprisal.task import describe_words, make_tables, place_words

METRICS, LOSSES, CURVES = "metrics", "losses", "loss_curves.pdf"


@dataclass(frozen=True)
class About:
    """What is known of a batch beside its tokens; `losses` are those of the whole batch, by loss class."""

    dataset_type: str
    dataset_name: str
    epoch: int | None
    batch_number: int
    losses: Mapping[str, float] = field(default_factory=dict)
    sequence: str = "label_sequence"  # for encoder-decoders: whose tokens these are
    labels: list[str] | None = None  # (rows,) of the file, where other tokens than theirs are scored


@dataclass(frozen=True)
class ScoredBatch:
    """What tables say of a batch, one row a text, or a window of one: `inputs` and `labels` as the tokenizer spells them."""

    own: AnnotatedTexts
    inputs: list[str]
    labels: list[str]
    placed: PlacedRows
    scored: ScoredTokens


@dataclass
class BatchTables:
    """Makes tables of batches and their logits.

    `facts` are the metadata of all texts with types that hold each value; `loss_names` the losses that have a column.
    """

    surprisal_model: SurprisalModel
    tables: SurprisalTables
    detail: str
    seed: int
    facts: dict[str, FactKind]
    loss_names: list[str]

    def __post_init__(self) -> None:
        self.fact_names = name_apart_from(self.facts, {*COLUMNS, *self.loss_names})
        tell_renamed(self.fact_names)

    @classmethod
    def of(
        cls, parts: ExperimentParts, texts: Mapping[str, TextBatches], losses: Mapping[str, SplitLoss] | None = None
    ) -> BatchTables:
        facts = join_metadata(batches.texts for batches in texts.values())
        names = dict.fromkeys(name for split in (losses or {}).values() for name in split.losses)
        return cls.build_for(parts, facts, list(names))

    @classmethod
    def build_for(
        cls, parts: ExperimentParts, facts: dict[str, FactKind], loss_names: Sequence[str] = ()
    ) -> BatchTables:
        surprisal_model = SurprisalModel(parts.model, parts.tokenizer, parts.task, sparse_head=False)
        tables = make_tables(surprisal_model, parts.settings.model.model_name_or_path)
        return cls(
            surprisal_model, tables, parts.settings.results.metrics_detail, parts.settings.seed, facts, list(loss_names)
        )

    def read(self, arrays: Batch, logits: torch.Tensor) -> ScoredRows:
        """The tokens of a batch's rows and what logits (rows, length, vocabulary) say of them."""
        tokenizer, task = self.surprisal_model.tokenizer, self.surprisal_model.task
        tokens = read_batch_tokens(
            arrays,
            task,
            mask_id=tokenizer.mask_token_id,
            special_ids=sorted({*tokenizer.all_special_ids} - {tokenizer.unk_token_id}),  # an unknown word is a word
            silent_ids=self.surprisal_model.silent_ids,
            start_ids=self.surprisal_model.prefix.tolist(),
        )
        scores = SlotScores.empty(tokens.slot_count)
        if len(tokens.places):
            places = torch.from_numpy(tokens.places).to(logits.device)
            with torch.no_grad():
                flat = QueriedLogits(logits.flatten(0, 1), places)
                self.surprisal_model.rows.answer(scores, flat, tokens.targets, tokens.slots)
        if task == "seq2seq":
            scores.log_border[len(tokens.ids) :] = 0.0  # labels hold the end of the text: nothing can follow it
        return ScoredRows(tokens.ids, tokens.offsets, tokens.shown, scores)

    def join(self, rows: ScoredRows, arrays: Batch, own: AnnotatedTexts, *, whole_texts: bool = False) -> ScoredBatch:
        """A batch whose row i is of the text `own[i]`; `whole_texts`: all windows of a text are in it, and become one."""
        real = arrays["attention_mask"].astype(bool)
        inputs = [ids[kept] for ids, kept in zip(arrays["input_ids"], real, strict=True)]
        groups = group_windows(own.windows, [len(ids) for ids in inputs], whole=whole_texts)
        labels = [ids[ids != IGNORED] for ids in join_ids(list(arrays["labels"]), own.windows, groups)]
        inputs, texts = join_ids(inputs, own.windows, groups), own.take(groups[:-1].tolist())
        placed = self._place(rows, own, groups)
        scores, shown, offsets = placed.rows.scores, placed.rows.shown, placed.rows.offsets
        if self.surprisal_model.task == "mlm":
            self.surprisal_model.counts["texts_without_masks"] += int((row_sums(shown, offsets) == 0).sum())
        scored = self.surprisal_model.collect(placed.rows.ids, offsets, placed.starts, scores, shown)
        return ScoredBatch(texts, self._spell(inputs), self._spell(labels), placed, scored)

    def _place(self, rows: ScoredRows, own: AnnotatedTexts, groups: npt.NDArray[np.int64]) -> PlacedRows:
        find_starts = self.surprisal_model.borders.find_starts
        if own.windows is None:
            return PlacedRows(rows, find_starts(rows.ids, np.diff(rows.offsets)))

        def words_of(whole: WholeText, row: int) -> TextWords:
            if whole.words is None:
                starts = find_starts(whole.ids, np.array([len(whole.ids)]))
                text = own.take([row])
                places = place_words(self.surprisal_model, [whole.ids], [starts], self._scored_texts(text, text.texts))
                whole.words = TextWords(starts, places)
            return whole.words

        return place_rows(rows, own.windows, groups, words_of, find_starts)

    def build(self, batch: ScoredBatch, about: About) -> pa.Table:
        """The rows of the tables of a batch."""
        own, scored, placed, size = batch.own, batch.scored, batch.placed, len(batch.own)
        leading: dict[str, Any] = {"item": pa.array([line - 1 for line in own.lines], pa.int64())}
        leading |= {
            "original_text": pa.array(own.texts, pa.string()),
            "input_text": pa.array(batch.inputs, pa.string()),
        }
        labels = about.labels or self.spell_labels(batch)
        if self.surprisal_model.task == "seq2seq":
            leading |= {"generated_sequence_type": pa.array([about.sequence] * size), "label_text": labels}
        else:
            leading["input_label"] = labels
        texts = None if about.labels else self._scored_texts(own, labels)
        of_words = describe_words(self.surprisal_model, scored, texts, self.detail, places=placed.places)
        fields = {name: getattr(scored, name) for name in ScoredTexts.__dataclass_fields__ if hasattr(scored, name)}
        made = ScoredTexts(
            leading, self._trailing(own, scored, about), **of_words, **fields, first_words=placed.first_words
        )
        return self.tables.build(made, self.detail)

    def _scored_texts(self, own: AnnotatedTexts, labels: Sequence[str]) -> Sequence[str]:
        """What the tokens of each row are the tokens of: its text, or what a decoder or a mask is to say."""
        if self.surprisal_model.task == "seq2seq":
            return labels
        return own.texts if self.surprisal_model.task == "lm" or own.labels is None else own.labels

    def _trailing(self, own: AnnotatedTexts, scored: ScoredTokens, about: About) -> dict[str, Any]:
        """Metadata, then where the batch stands; `loss` is the mean over the text's scored tokens in nats."""
        size = len(own)
        mean = sentence_surprisals(np.where(shown_of(scored), scored.surprisal, np.nan), scored.offsets).mean * LOG_2
        columns = {
            self.fact_names[name]: fact_column([record.get(name) for record in own.metadata], kind)
            for name, kind in self.facts.items()
        }
        columns |= {
            "epoch": pa.array([about.epoch] * size, pa.int64()),
            "batch_number": pa.array([about.batch_number] * size, pa.int64()),
            "dataset_type": pa.array([about.dataset_type] * size, pa.string()),
            "loss": pa.array(mean, mask=np.isnan(mean)),
            "dataset_name": pa.array([about.dataset_name] * size, pa.string()),
            "seed": pa.array([self.seed] * size, pa.int64()),
        }
        return columns | {name: pa.array([about.losses.get(name)] * size, pa.float64()) for name in self.loss_names}

    def _spell(self, rows: Sequence[npt.NDArray[np.integer]]) -> list[str]:
        return [*self.surprisal_model.tokenizer.batch_decode([ids.tolist() for ids in rows])]

    def spell_labels(self, batch: ScoredBatch) -> list[str]:
        """The labels of the file (rows,), or what preprocessing made of the text."""
        given = batch.own.labels if self.surprisal_model.task != "lm" else None
        return batch.labels if given is None else given


def shown_of(scored: ScoredTokens) -> np.ndarray:
    return np.ones(len(scored.ids), dtype=bool) if scored.shown is None else scored.shown


def join_metadata(texts: Iterable[AnnotatedTexts]) -> dict[str, FactKind]:
    """The metadata of several files: name -> kind that holds each value."""
    joined: dict[str, FactKind] = {}
    for record in (record for item in texts for record in item.metadata):
        note_facts(joined, record)
    return joined


class TrainingTables:
    """What is written while a model is trained: `metrics.csv.gz`, `losses.csv.gz`, `loss_curves.pdf`.

    Kept in parts that end where checkpoints do, so that a training that was interrupted ends with the same tables.
    """

    def __init__(self, tables: BatchTables, texts: Mapping[str, TextBatches], folder: Path, suffix: str) -> None:
        self.tables, self.texts, self.folder, self.suffix = tables, texts, folder, suffix
        self.metrics, self.losses = GrowingTable(folder / "metrics.parts"), GrowingTable(folder / "losses.parts")

    def see(self, seen: SeenBatch | None) -> None:
        """Write the rows of a batch; of several processes the first writes those of all, in the order of batches."""
        for rows in gather_first(None if seen is None else self._build(seen)):
            for table, chunk in zip((self.metrics, self.losses), rows or (), strict=False):
                if chunk is not None:
                    table.write(chunk)

    def _build(self, seen: SeenBatch) -> tuple[pa.Table | None, pa.Table]:
        """Its rows in both tables."""
        batches = self.texts[seen.split]
        about = About(seen.split, batches.texts.name, seen.epoch, seen.number, seen.losses)
        metrics = None
        if self.tables.detail != "none":
            own, rows = batches.texts.take(seen.made.places.tolist()), self.tables.read(seen.made.arrays, seen.logits)
            metrics = self.tables.build(self.tables.join(rows, seen.made.arrays, own), about)
        facts = {"epoch": seen.epoch, "batch_number": seen.number, "dataset_type": seen.split, "loss": seen.loss}
        named = {name: pa.array([seen.losses.get(name)], pa.float64()) for name in self.tables.loss_names}
        return metrics, pa.table({**{name: [value] for name, value in facts.items()}, **named})

    def flush(self, checkpoint: Path) -> None:
        """Keep what was seen up to a checkpoint."""
        for table in (self.metrics, self.losses):
            table.close_part(part_number(checkpoint))

    def resume_from(self, checkpoint: Path | None) -> None:
        """Forget what was seen after a checkpoint; without one, everything."""
        for table in (self.metrics, self.losses):
            table.drop_after(part_number(checkpoint) if checkpoint else 0)

    def finish(self, *, whole: bool = False) -> None:
        """Make files of the parts; `whole`: what was seen since the last checkpoint counts, for there are none."""
        for table in (self.metrics, self.losses):
            if whole:
                table.close_part(0)
            table.drop_open()
        chunks = list(self.losses.read())
        if chunks:
            write_loss_curves(self.folder / CURVES, pa.concat_tables(chunks))
        self.metrics.finish(self.folder / f"{METRICS}{self.suffix}")
        self.losses.finish(self.folder / f"{LOSSES}{self.suffix}")


def part_number(checkpoint: Path) -> int:
    """Rises from checkpoint to checkpoint, and from that of an epoch's last step to that of the epoch's end."""
    state = read_state(checkpoint)
    return 2 * state.get("global_step", 0) + bool(read_position(state).get("epoch_ended", True))


def open_training_tables(
    parts: ExperimentParts, texts: Mapping[str, TextBatches], losses: Mapping[str, SplitLoss], folder: Path
) -> TrainingTables:
    """The tables of one training, for checkpoints in `folder`."""
    return TrainingTables(
        BatchTables.of(parts, texts, losses), texts, folder, FORMATS[parts.settings.results.metrics_format]
    )
