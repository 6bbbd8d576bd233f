"""A corpus of documents -> several epochs of BERT instances on disk, in parallel, in flat memory; killed, it goes on.

The work lies in `<output_dir>/.pregeneration/` until it is done: the tokenized sentences, then the shards of each epoch.
What is there is used again only if it was begun with the same content, tokenizer and settings.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from finetune.data.files import fingerprint
from finetune.data.text import TextChunk, read_chunks
from finetune.encoding.corpus import describe_tokenizer, known_size, no_text, useful_workers
from finetune.encoding.lines import LineEncoder, LineRules, encode_lines, tell_lines
from finetune.encoding.subwords import SubwordEncoder
from finetune.errors import DataError, Problem
from finetune.pregeneration.epoch_files import OutputFormat, join_arrays, metrics_path, read_metrics, write_shard_arrays
from finetune.pregeneration.epoch_json import join_lines, write_shard_lines
from finetune.pregeneration.instances import InstanceSettings, InstanceTokens, build_instances
from finetune.pregeneration.sentence_store import DESCRIPTION, SHARD_TOKENS, SentenceStore, SentenceStoreWriter
from finetune.run.atomic_files import atomic_text_file
from finetune.run.engines import Needs, Reread
from finetune.run.launcher import count_local_processes
from finetune.run.manifest import write_json_atomically
from finetune.run.progress import Progress
from finetune.run.sharing import Shares
from finetune.run.workers import map_in_order

logger = logging.getLogger(__name__)

WORK_FOLDER = ".pregeneration"
KEY_FILE = "key"
EPOCH_FILE = re.compile(r"epoch_\d+(_metrics\.json|\.json|\.safetensors)")
FORMAT = 1
TOKENS_WORTH_A_WORKER = 1 << 21  # below, starting a process takes longer than what it saves


@dataclass(frozen=True)
class ShardJob:
    """The work of one process: (epoch, number of a shard) -> its file in the work folder, unless it is there."""

    store: Path
    work: Path
    settings: InstanceSettings
    tokens: InstanceTokens
    output_format: OutputFormat
    subwords: tuple[str, ...]  # by id, for JSON
    reduce_memory: bool

    def __call__(self, task: tuple[int, int]) -> int:
        """Returns the number of ids of the shard."""
        epoch, number = task
        store = SentenceStore(self.store, reduce_memory=self.reduce_memory)
        shard = store.shards[number]
        path = self.path_of(epoch, number)
        if not path.is_file():
            batches = build_instances(store, shard, epoch, self.settings, self.tokens)
            if self.output_format is OutputFormat.BINARY:
                write_shard_arrays(path, batches)
            else:
                write_shard_lines(path, batches, self.subwords)
        return shard.end - shard.first

    def path_of(self, epoch: int, number: int) -> Path:
        suffix = ".npz" if self.output_format is OutputFormat.BINARY else ".json"
        return self.work / f"epoch_{epoch}" / f"{number:06d}{suffix}"


@dataclass(frozen=True)
class Pregeneration:
    """What to make of a corpus, and how."""

    paths: Sequence[Path]
    output_dir: Path
    epochs: int
    settings: InstanceSettings
    output_format: OutputFormat = OutputFormat.BINARY
    lowercase: bool = False
    workers: int = 1
    reduce_memory: bool = False
    shard_tokens: int = SHARD_TOKENS


def pregenerate(
    task: Pregeneration, tokenizer: PreTrainedTokenizerBase, shares: Shares | None = None
) -> dict[str, Any]:
    """Write all epochs; returns counts of the corpus and the number of instances of each epoch.

    The files are the same for any number of workers and with or without `reduce_memory`. Of several processes, which share
    out the shards of all epochs, the first tokenizes and puts the epochs together; the others know of no instances.

    Raises:
        DataError: no text, fewer than two documents, text that is not UTF-8; nothing is left of the work then.
    """
    encoder = SubwordEncoder(tokenizer, words=task.settings.whole_words)
    work = task.output_dir / WORK_FOLDER

    def prepare() -> bytes:
        claim_work_folder(work, work_key(task, encoder.fingerprint), task.output_dir)
        try:
            tell_sentences(tokenize_sentences(task, encoder, work / "sentences"), task.settings)
        except DataError:  # nothing to go on from
            shutil.rmtree(work)
            raise
        return json.dumps([epoch for epoch in range(task.epochs) if not is_complete(task, epoch)]).encode()

    missing = json.loads(prepare() if shares is None else shares.begin_with(prepare))
    store = SentenceStore(work / "sentences", reduce_memory=task.reduce_memory)
    is_json = task.output_format is OutputFormat.JSON
    job = ShardJob(
        store=store.folder,
        work=work,
        settings=task.settings,
        tokens=InstanceTokens.of(tokenizer),
        output_format=task.output_format,
        subwords=tuple(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))) if is_json else (),
        reduce_memory=task.reduce_memory,
    )
    made_with = {
        "format": FORMAT,
        **asdict(task.settings),
        "tokenizer": describe_tokenizer(tokenizer, encoder.fingerprint) | {"lowercase_text": task.lowercase},
    }
    instances = make_epochs(task, job, store, missing, made_with, shares)
    if shares is None or shares.rank == 0:
        shutil.rmtree(work)
    return {
        **store.description["counts"],
        "sentences": store.sentences,
        "pieces": len(store.tokens),
        "instances": instances,
    }


def work_key(task: Pregeneration, tokenizer: str) -> str:
    """A hash of everything that decides what is written."""
    parts = {
        "format": FORMAT,
        "files": [fingerprint(path)["sha256"] for path in task.paths],
        "tokenizer": tokenizer,
        "lowercase": task.lowercase,
        "output_format": task.output_format,
        "shard_tokens": task.shard_tokens,
        **asdict(task.settings),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def claim_work_folder(work: Path, key: str, output_dir: Path) -> None:
    """Keep what an interrupted run of the same work left; remove the work and the epochs of any other."""
    for half_written in output_dir.glob(".epoch_*"):
        half_written.unlink()
    key_file = work / KEY_FILE
    if key_file.is_file() and key_file.read_text(encoding="utf-8") == key:
        logger.info("Going on with the work of an interrupted run in %s.", work)
        return
    if work.exists():
        shutil.rmtree(work)
    for path in output_dir.glob("epoch_*"):
        if EPOCH_FILE.fullmatch(path.name):
            path.unlink()
    work.mkdir(parents=True)
    with atomic_text_file(key_file) as file:
        file.write(key)


def tokenize_sentences(task: Pregeneration, encoder: SubwordEncoder, folder: Path) -> SentenceStore:
    """All sentences as ids on disk, from where an interrupted run stopped.

    Raises:
        DataError: no text, or only one document.
    """
    if not (folder / DESCRIPTION).is_file():
        with SentenceStoreWriter(folder, dtype=encoder.dtype, has_words=encoder.words) as writer:
            _tokenize(task, encoder, writer)
            require_documents(writer, task.paths)
            writer.commit(shard_tokens=task.shard_tokens)
    return SentenceStore(folder, reduce_memory=task.reduce_memory)


def _tokenize(task: Pregeneration, encoder: SubwordEncoder, writer: SentenceStoreWriter) -> None:
    lines = LineEncoder(encoder, LineRules(lowercase=task.lowercase))
    chunks = Reread(read_rest, (task.paths, writer.chunks_done), task.paths)
    workers = useful_workers(task.paths, max(task.workers, count_local_processes()))  # the others wait for this
    batches = encode_lines(chunks, lines, paths=task.paths, workers=workers, border_waits=writer.border_waits)
    with Progress("Tokenizing", total=known_size(task.paths), unit="B") as progress:
        progress.advance(writer.counts["bytes"])
        for batch in batches:
            writer.add(batch)
            progress.advance(batch.bytes_read)


def read_rest(paths: Sequence[Path], chunks_done: int) -> Iterator[TextChunk]:
    """The text behind that of an interrupted run."""
    return islice(read_chunks(paths), chunks_done, None)


def require_documents(writer: SentenceStoreWriter, paths: Sequence[Path]) -> None:
    """A next sentence from another document needs another document.

    Raises:
        DataError: there is none, or no text at all.
    """
    if not writer.sentences:
        raise DataError(no_text(paths))
    if writer.counts["documents"] < 2:
        raise DataError(
            Problem(
                f"the corpus is a single document of {writer.sentences:,} sentences",
                "at least two are needed, because random next sentences are taken from another document than the first",
                "put an empty line wherever a document, chapter, section or paragraph ends",
                paths[0],
            )
        )


def tell_sentences(store: SentenceStore, settings: InstanceSettings) -> None:
    """Say what the corpus holds, and what of it will not fit."""
    counts = store.description["counts"]
    logger.info(
        f"{store.sentences:,} sentences of {counts['documents']:,} documents, {len(store.tokens):,} subwords; the longest "
        f"sentence has {counts['longest']:,}."
    )
    tell_lines(counts)
    if counts["longest"] > settings.subwords_per_pair - 1:
        logger.warning(
            f"The longest sentence has more subwords than an instance of {settings.max_seq_len} has room for: "
            "such sentences are cut, at either end by chance."
        )


def make_epochs(
    task: Pregeneration,
    job: ShardJob,
    store: SentenceStore,
    missing: Sequence[int],
    made_with: dict[str, Any],
    shares: Shares | None,
) -> list[int]:
    """Write `epoch_N` and its metrics for every epoch that is `missing`; returns the numbers of instances of all."""
    shards = range(len(store.shards))
    workers = min(task.workers, 1 + len(missing) * len(store.tokens) // TOKENS_WORTH_A_WORKER)
    todo = Reread(list_shards, (missing, len(shards)), [job.store, job.work])
    done = make_shards(job, todo, workers, shares)
    if shares is not None and shares.rank:
        deque(done, maxlen=0)
        return []
    with Progress("Building instances", total=len(missing) * store.sentences, unit="sentences") as progress:
        for epoch in missing:
            for sentences in islice(done, len(shards)):
                progress.advance(sentences)
            finish_epoch(task, [job.path_of(epoch, number) for number in shards], epoch, made_with)
        deque(done, maxlen=0)  # until the others have ended
    return [read_metrics(task.output_dir, epoch)["num_training_examples"] for epoch in range(task.epochs)]


def list_shards(epochs: Sequence[int], shards: int) -> Iterator[tuple[int, int]]:
    """Epoch and number of each shard, in the order in which they are joined."""
    return product(epochs, range(shards))


@dataclass(frozen=True)
class SharedShards:
    """The shards that one of several processes makes, by workers of its own; the first is told their sizes."""

    job: ShardJob
    todo: Reread
    workers: int

    def read(self) -> Iterator[tuple[int, int]]:
        return iter(self.todo)

    def work(self, items: Iterator[tuple[int, int]]) -> Iterator[bytes]:
        return (str(size).encode() for size in map_in_order(self.job, items, workers=self.workers))


def make_shards(job: ShardJob, todo: Reread, workers: int, shares: Shares | None) -> Iterator[int]:
    """The sizes of shards in order, once each is there; in a process that is not the first of several, its own are made."""
    if shares is None:
        return map_in_order(job, todo, workers=workers)
    return map(int, shares.work_on(SharedShards(job, todo, workers), Needs()))


def is_complete(task: Pregeneration, epoch: int) -> bool:
    """Whether an epoch was finished: its metrics are written last."""
    return metrics_path(task.output_dir, epoch).is_file()


def finish_epoch(task: Pregeneration, shards: Sequence[Path], epoch: int, made_with: dict[str, Any]) -> None:
    """Join the shards of an epoch, then write its metrics."""
    join = join_arrays if task.output_format is OutputFormat.BINARY else join_lines
    instances = join(task.output_dir / f"epoch_{epoch}{task.output_format.suffix}", shards)
    sizes = {"num_training_examples": instances, "max_seq_len": task.settings.max_seq_len}
    write_json_atomically(metrics_path(task.output_dir, epoch), sizes | made_with | {"epoch": epoch})
    shutil.rmtree(shards[0].parent)
    logger.info(f"Epoch {epoch}: {instances:,} instances.")
