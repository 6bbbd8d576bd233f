"""Fine-tuning for surprisals, its tests: every token of the test files with its surprisal, batch by batch."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from finetune.data.files import find_paths
from finetune.encoding.padding import IGNORED
from finetune.errors import ProblemList
from finetune.lm_experiments.arguments import SPLITS
from finetune.lm_experiments.batches import TextBatch, TextBatches
from finetune.lm_experiments.growing_table import GrowingTable
from finetune.lm_experiments.parts import ExperimentParts
from finetune.lm_experiments.processes import gather_all
from finetune.lm_experiments.settings import ExperimentSettings
from finetune.lm_experiments.tables import About, BatchTables, join_metadata, shown_of
from finetune.lm_experiments.texts import AnnotatedTexts, read_annotated_texts
from finetune.lm_experiments.trainer import as_tensors
from finetune.lm_experiments.windows import ScoredRows
from finetune.run.engines import Engine, Needs
from finetune.run.folder import Run
from finetune.run.launcher import is_main_process
from finetune.run.progress import Progress
from finetune.run.sharing import open_shares
from finetune.surprisal.chunks import tell_counts
from finetune.surprisal.inference import ScoredTokens
from finetune.surprisal.input import name_apart
from finetune.surprisal.shared_chunks import Totals
from finetune.surprisal.surprisal import row_sums
from finetune.surprisal.table_files import FORMATS, TableFile
from finetune.surprisal.tables_as_bytes import decode_tables, encode_tables
from finetune.surprisal.task import model_label

logger = logging.getLogger(__name__)

TEXTS_AT_ONCE = 1024
GENERATED_SHARE = 2  # a generated sequence may be so many times as long as the labels


def read_tests(settings: ExperimentSettings) -> list[AnnotatedTexts]:
    """The texts of every test file.

    Raises:
        DataError: with the problems of all files.
    """
    problems = ProblemList()
    patterns = settings.texts.test_file or []
    paths = [path for pattern in patterns for path in problems.attempt(find_paths, pattern, flag="--test_file") or ()]
    limit = settings.texts.max_test_samples
    found = [problems.attempt(read_annotated_texts, path, max_samples=limit) for path in paths]
    problems.raise_any()
    return [
        replace(texts, name=name) for texts, name in zip(found, name_apart(paths), strict=True) if texts is not None
    ]


@dataclass(frozen=True)
class ListedBatch:
    """A batch of the test files, the `number`-th of all and the `count`-th of its file, both from 1."""

    number: int
    count: int
    batches: TextBatches
    rows: list[int]
    name: str


@dataclass(frozen=True)
class ScoredTest:
    """What becomes of a batch of tests, the `number`-th of all: the rows of its tables, and its sums in one row."""

    number: int
    rows: list[pa.Table]
    sums: pa.Table

    def encode(self, counts: Counter[str]) -> bytes:
        return encode_tables({"number": self.number, "counts": counts}, [*self.rows, self.sums])

    @classmethod
    def decode(cls, content: bytes) -> tuple[ScoredTest, Counter[str]]:
        told, (*rows, sums) = decode_tables(content)
        return cls(told["number"], rows, sums), Counter(told["counts"])


class ResultFile:
    """Where the rows of tests go: straight to the file, or to a part for each batch that an interrupted test finds again.

    The sums of each batch are kept beside its rows. Of several processes the first `writes`; `held` are the numbers of the
    batches that an earlier, interrupted test scored, as it found them.
    """

    def __init__(self, path: Path, *, keeps_parts: bool, writes: bool) -> None:
        self.path = path
        self.parts = GrowingTable(path.parent / "test.parts") if keeps_parts else None
        self.sums = GrowingTable(path.parent / "test_sums.parts") if keeps_parts else None
        self.direct = TableFile(path) if writes and not keeps_parts else None
        self.all_sums: list[pa.Table] = []
        self.held = gather_all(self.sums.numbers() if self.sums else frozenset())[0]

    def add(self, scored: ScoredTest) -> None:
        for chunk in scored.rows:
            (self.direct or self.parts).write(chunk)  # type: ignore[union-attr]
        if self.parts is not None and self.sums is not None:
            self.parts.close_part(scored.number)
            self.sums.write(scored.sums)
            self.sums.close_part(scored.number)
        else:
            self.all_sums.append(scored.sums)

    def finish(self) -> pa.Table:
        """Give the file its name; the sums of all batches."""
        if self.direct is not None:
            self.direct.close()
        if self.parts is not None and self.sums is not None:
            self.all_sums = list(self.sums.read())
            self.parts.finish(self.path)
            self.sums.discard()
        return pa.concat_tables(self.all_sums)

    def stop(self) -> None:
        """Leave nothing unfinished behind but parts."""
        if self.direct is not None:
            self.direct.discard()


@dataclass
class Tester:
    """Scores test files with a model."""

    parts: ExperimentParts
    tables: BatchTables
    epoch: int | None  # of the state that is tested; None for a model that was not trained here
    batch: int = field(default=0, init=False)  # over all files

    @property
    def task(self) -> str:
        return self.parts.task

    @property
    def batch_size(self) -> int:
        return self.parts.settings.texts.per_device_test_batch_size

    def list_batches(self, tests: Sequence[AnnotatedTexts], held: Collection[int]) -> Iterator[ListedBatch]:
        """The batches of all files but those `held`; callbacks are called for each, whoever scores it."""
        for number, texts in enumerate(tests):
            yield from self._list_file(texts, number, held)

    def _list_file(self, texts: AnnotatedTexts, number: int, held: Collection[int]) -> Iterator[ListedBatch]:
        hooks = self.parts.hooks
        hooks.move(self.epoch or 0)
        hooks.call("pre_test_dataset")
        with Progress(f"Testing {texts.name}", total=len(texts), unit="texts") as progress:
            for count, (batches, rows) in enumerate(self._batches(texts, number), start=1):
                self.batch += 1
                hooks.move(self.epoch or 0, count)
                if self.batch not in held:
                    hooks.call("pre_test_batch")
                    yield ListedBatch(self.batch, count, batches, rows, texts.name)
                    hooks.call("post_test_batch")
                progress.advance(len(rows))
        hooks.call("post_test_dataset")

    def score_all(self, tests: Sequence[AnnotatedTexts], into: ResultFile, shares: Engine | None) -> None:
        """Score the batches that `into` does not hold; of several processes the first adds those of all."""
        listed = self.list_batches(tests, into.held)
        if shares is None:
            for item in listed:
                into.add(self.score(item))
            return
        model, counts = self.tables.surprisal_model, self.tables.surprisal_model.counts

        total = counts.copy()
        for content in shares.work_on(TestingJob(self, listed), Needs()):
            scored, counted = ScoredTest.decode(content)
            total += counted
            into.add(scored)
        model.counts = total

    def _batches(self, texts: AnnotatedTexts, number: int) -> Iterator[tuple[TextBatches, list[int]]]:
        """Batches of a file, of which only some texts are encoded at once."""
        recipe = self.parts.recipe("test")
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            chunk = texts.take(range(start, min(start + TEXTS_AT_ONCE, len(texts))))
            place = replace(recipe, split=SPLITS.index("test") + number, first=start)
            batches = TextBatches(chunk, place)
            for rows in batches.in_order(self.batch_size, whole_texts=True):
                yield batches, rows

    @torch.inference_mode()
    def score(self, item: ListedBatch) -> ScoredTest:
        """The rows of a batch, and their sums."""
        made, texts = item.batches.make(item.rows), item.batches.texts
        self.parts.model.eval()
        own, arrays = texts.take(made.places.tolist()), made.arrays
        inputs = {key: tensor.to(self.parts.model.device) for key, tensor in as_tensors(made).items()}
        step = self.batch_size if own.windows else len(own)  # a text may have more windows than a batch has rows
        read = [
            self.tables.read(_part(arrays, start, step), self.parts.model(**_part(inputs, start, step)).logits)
            for start in range(0, len(own), step)
        ]
        # a text of which preprocessing made several rows has several in the tables
        whole = len(np.unique(made.places)) == len(made.places)
        batch = self.tables.join(ScoredRows.join(read), arrays, own, whole_texts=whole)
        about = About("test", item.name, self.epoch, item.count)
        if self.tables.detail == "none":
            return ScoredTest(item.number, [], sum_up(item.name, batch.scored))
        rows = [self.tables.build(batch, about)]
        if self.task == "seq2seq":
            labels = self.tables.spell_labels(batch)
            rows.append(self._generate(made, own, replace(about, sequence="generated_sequence", labels=labels)))
        return ScoredTest(item.number, rows, sum_up(item.name, batch.scored))

    def _generate(self, made: TextBatch, own: AnnotatedTexts, about: About) -> pa.Table:
        """Rows of what the model itself says to a text, by greedy search, at most twice as long as the labels."""
        model, limits = self.parts.model, GENERATED_SHARE * (made.arrays["labels"] != IGNORED).sum(1)
        names = ("input_ids", "attention_mask")
        inputs = {name: torch.from_numpy(made.arrays[name]).to(model.device) for name in names}
        longest = max(int(limits.max(initial=1)), 1)
        options = {"max_new_tokens": longest, **self.tables.surprisal_model.language_options()}
        found = model.generate(**inputs, **options, do_sample=False, num_beams=1)  # type: ignore[operator]
        labels = cut_generated(found[:, 1:].cpu().numpy(), limits, model.generation_config.eos_token_id)  # type: ignore[union-attr]
        arrays = {**{name: made.arrays[name] for name in names}, "labels": labels}
        logits = model(**inputs, labels=torch.from_numpy(labels).to(model.device)).logits
        return self.tables.build(self.tables.join(self.tables.read(arrays, logits), arrays, own), about)


@dataclass(frozen=True)
class TestingJob:
    """The batches of all test files, of which this process scores its own."""

    tester: Tester
    listed: Iterator[ListedBatch]

    def read(self) -> Iterator[ListedBatch]:
        return self.listed

    def work(self, items: Iterator[ListedBatch]) -> Iterator[bytes]:
        counts = self.tester.tables.surprisal_model.counts
        for item in items:
            before = counts.copy()
            yield self.tester.score(item).encode(counts - before)


def _part(arrays: dict[str, Any], start: int, size: int) -> dict[str, Any]:
    """Some rows of a batch."""
    return {name: values[start : start + size] for name, values in arrays.items()}


def cut_generated(ids: np.ndarray, limits: np.ndarray, end: int | list[int] | None) -> np.ndarray:
    """Generated ids (rows, length) as labels: -100 after the end token, and after `limits` (rows,) tokens."""
    ends = np.isin(ids, [] if end is None else end)
    after_end = np.cumsum(ends, axis=1) - ends > 0
    beyond = np.arange(ids.shape[1])[None, :] >= limits[:, None]
    return np.where(after_end | beyond, IGNORED, ids)


def sum_up(name: str, scored: ScoredTokens) -> pa.Table:
    """One row: texts, scored tokens and bits of a batch."""
    counted = shown_of(scored) & ~np.isnan(scored.surprisal)
    texts = int((row_sums(counted, scored.offsets) > 0).sum())
    surprisal = float(scored.surprisal[counted].sum())
    values = {"dataset_name": name, "texts": texts, "tokens": int(counted.sum()), "surprisal": surprisal}
    return pa.table({key: [value] for key, value in values.items()})


def run_tests(
    parts: ExperimentParts, tests: Sequence[AnnotatedTexts], run: Run, *, epoch: int | None
) -> dict[str, Any]:
    """Score all test files into one table, `<model>-test_results.csv.gz`; the metrics of each file by its name.

    Several processes share batches out; the first writes and returns what comes of them, the others nothing.

    Raises:
        Preempted: a signal asked to stop; what `save_tmp_test_files` keeps stays.
        DataError, UsageError: texts, labels and preprocessing do not go together.
    """
    assert run.folder is not None
    results = parts.settings.results
    tables = BatchTables.build_for(parts, join_metadata(tests))
    name = results.test_output_file_prefix or model_label(parts.settings.model.model_name_or_path)
    path = run.folder / f"{name}-test_results{FORMATS[results.metrics_format]}"
    into = ResultFile(path, keeps_parts=results.save_tmp_test_files, writes=is_main_process())
    tester = Tester(parts, tables, epoch)
    parts.hooks.move(epoch or 0)
    parts.hooks.call("pre_test")
    try:
        with open_shares(path) as shares:
            tester.score_all(tests, into, shares)
        if not is_main_process():
            return {}
        sums = into.finish()
    except BaseException:
        into.stop()
        raise
    tell_counts(tables.surprisal_model)
    return {texts.name: total_of(sums, texts.name).metrics() for texts in tests}


def total_of(sums: pa.Table, name: str) -> Totals:
    rows = [row for row in sums.to_pylist() if row["dataset_name"] == name]
    keys = ("texts", "tokens", "surprisal")
    return Totals(*(sum(row[key] for row in rows) for key in keys))
