"""Fine-tuning for surprisals, its tables: the tokens of every batch with their surprisals, and the losses of batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from finetune.encoding.padding import IGNORED
from finetune.lm_experiments.batches import TextBatches
from finetune.lm_experiments.growing_table import GrowingTable
from finetune.lm_experiments.loss_curves import write_loss_curves
from finetune.lm_experiments.losses import SplitLoss
from finetune.lm_experiments.parts import ExperimentParts
from finetune.lm_experiments.preprocessing import Batch
from finetune.lm_experiments.scored_batches import read_batch_tokens
from finetune.lm_experiments.texts import AnnotatedTexts
from finetune.lm_experiments.trainer import SeenBatch
from finetune.run.checkpoints import read_position, read_state
from finetune.surprisal.columns import COLUMNS
from finetune.surprisal.facts import FactKind, fact_column, name_apart_from, note_facts, tell_renamed
from finetune.surprisal.inference import ScoredTokens, SurprisalModel
from finetune.surprisal.row_inference import QueriedLogits, SlotScores
from finetune.surprisal.surprisal import LOG_2, row_sums, sentence_surprisals
from finetune.surprisal.table_files import FORMATS
from finetune.surprisal.tables import ScoredTexts, SurprisalTables
from finetune.surprisal.task import describe_words, make_tables

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
    labels: pa.Array | None = None  # (rows,) texts, where they are not those of the batch


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

    def score(self, arrays: Batch, logits: torch.Tensor) -> ScoredTokens:
        """The tokens of a batch's rows with their surprisals, from logits (rows, length, vocabulary)."""
        tokenizer, task = self.surprisal_model.tokenizer, self.surprisal_model.task
        tokens = read_batch_tokens(
            arrays,
            task,
            mask_id=tokenizer.mask_token_id,
            special_ids=tokenizer.all_special_ids,
            silent_ids=self.surprisal_model.silent_ids,
            has_start=bool(len(self.surprisal_model.prefix)),
        )
        scores = SlotScores.empty(tokens.slot_count)
        if len(tokens.places):
            places = torch.from_numpy(tokens.places).to(logits.device)
            with torch.no_grad():
                flat = QueriedLogits(logits.flatten(0, 1), places)
                self.surprisal_model.rows.answer(scores, flat, tokens.targets, tokens.slots)
        if task == "seq2seq":
            scores.log_border[len(tokens.ids) :] = 0.0  # labels hold the end of the text: nothing can follow it
        if task == "mlm":
            self.surprisal_model.counts["texts_without_masks"] += int(
                (row_sums(tokens.shown, tokens.offsets) == 0).sum()
            )
        starts = self.surprisal_model.borders.find_starts(tokens.ids, np.diff(tokens.offsets))
        return self.surprisal_model.collect(tokens.ids, tokens.offsets, starts, scores, tokens.shown)

    def build(self, arrays: Batch, own: AnnotatedTexts, scored: ScoredTokens, about: About) -> pa.Table:
        """The rows of a batch whose row i is of the text `own[i]`."""
        size = len(own)
        leading: dict[str, Any] = {"item": pa.array([line - 1 for line in own.lines], pa.int64())}
        leading |= {"original_text": pa.array(own.texts, pa.string()), "input_text": self._spell_inputs(arrays)}
        labels = about.labels if about.labels is not None else self.spell_labels(arrays, own)
        if self.surprisal_model.task == "seq2seq":
            leading |= {"generated_sequence_type": pa.array([about.sequence] * size), "label_text": labels}
        else:
            leading["input_label"] = labels
        of_words = describe_words(self.surprisal_model, scored, self._scored_texts(own, labels), self.detail)
        fields = {name: getattr(scored, name) for name in ScoredTexts.__dataclass_fields__ if hasattr(scored, name)}
        trailing = self._trailing(own, scored, about)
        return self.tables.build(ScoredTexts(leading, trailing, **of_words, **fields), self.detail)

    def _scored_texts(self, own: AnnotatedTexts, labels: pa.Array) -> list[str]:
        """What the tokens of each row are the tokens of: its text, or what a decoder or a mask is to say."""
        if self.surprisal_model.task == "seq2seq":
            return [str(label) for label in labels.to_pylist()]
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

    def _spell_inputs(self, arrays: Batch) -> pa.Array:
        rows = [ids[real] for ids, real in zip(arrays["input_ids"], arrays["attention_mask"].astype(bool), strict=True)]
        return pa.array(self.surprisal_model.tokenizer.batch_decode(rows), pa.string())

    def spell_labels(self, arrays: Batch, own: AnnotatedTexts) -> pa.Array:
        """The labels of the file (rows,), or what preprocessing made of the text."""
        if own.labels is not None and self.surprisal_model.task != "lm":
            return pa.array(own.labels, pa.string())
        rows = [ids[ids != IGNORED] for ids in arrays["labels"]]
        return pa.array(self.surprisal_model.tokenizer.batch_decode(rows), pa.string())


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

    def see(self, seen: SeenBatch) -> None:
        """Write the rows of a batch."""
        batches = self.texts[seen.split]
        about = About(seen.split, batches.texts.name, seen.epoch, seen.number, seen.losses)
        if self.tables.detail != "none":
            scored = self.tables.score(seen.made.arrays, seen.logits)
            own = batches.texts.take(seen.made.places.tolist())
            self.metrics.write(self.tables.build(seen.made.arrays, own, scored, about))
        facts = {"epoch": seen.epoch, "batch_number": seen.number, "dataset_type": seen.split, "loss": seen.loss}
        named = {name: pa.array([seen.losses.get(name)], pa.float64()) for name in self.tables.loss_names}
        self.losses.write(pa.table({**{name: [value] for name, value in facts.items()}, **named}))

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
