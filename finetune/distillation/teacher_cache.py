"""Fills a teacher's cache before training: one pass of the teacher for each epoch whose examples differ."""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, Trainer

from finetune.distillation.losses import choose_top_k
from finetune.distillation.model import Distillation
from finetune.distillation.teacher_cache_files import (
    TeacherCache,
    TeacherCacheWriter,
    TeacherRows,
    estimate_bytes,
    name_of,
)
from finetune.errors import RunError
from finetune.run.record_lock import only_one_prepares
from finetune.training.length_batches import fill

logger = logging.getLogger(__name__)

TOKENS_AT_ONCE = 4096
CACHED_PROBLEM_TYPES = ("", "single_label_classification")  # one answer out of several; "" is a tagger


@dataclass(frozen=True)
class CacheRequest:
    """What is to be kept where.

    `answers` is how many there are to choose from: the vocabulary, or the labels; `count` of them are kept. `facts` decide
    what is answered, beside teacher, epoch and these; `numbers_of` tells from a batch how many positions each of its rows
    has, (rows,); `per_epoch` says that each epoch shows other examples.
    """

    folder: Path
    count: int
    answers: int
    temperature: float
    facts: Mapping[str, Any]
    numbers_of: Callable[[Mapping[str, Tensor]], Sequence[int]]
    per_epoch: bool

    @property
    def kept(self) -> int:
        return min(self.count, self.answers)


def prepare_caches(
    trainer: Trainer, module: Distillation, rows: TeacherRows, request: CacheRequest, epochs: int
) -> None:
    """Give `rows` their caches, those that are not there yet are made.

    Several processes of a run: the first that comes makes a cache, the others wait for it at its lock.
    """
    teacher = module.__dict__["teacher"]
    base = {"k": request.kept, "temperature": request.temperature, "teacher": hash_weights(teacher), **request.facts}
    base |= {"dtype": str(teacher.dtype), "autocast": trainer.args.bf16 or trainer.args.fp16}
    caches = []
    for epoch in range(epochs if request.per_epoch else 1):
        facts = {**base, "epoch": epoch if request.per_epoch else "every"}
        folder = request.folder / name_of(facts)
        cache = TeacherCache.find(folder)
        if cache is None:
            with only_one_prepares(folder):
                cache = TeacherCache.find(folder) or make_cache(trainer, module, rows, request, facts, epoch)
        else:
            logger.info("The teacher's answers are taken from %s.", folder)
        caches.append(cache)
    rows.set_epoch(0)
    rows.caches = caches


def hash_weights(model: PreTrainedModel) -> str:
    """Of all weights and the configuration of a model."""
    digest = hashlib.sha256(model.config.to_json_string(use_diff=False).encode())
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def make_cache(
    trainer: Trainer,
    module: Distillation,
    rows: TeacherRows,
    request: CacheRequest,
    facts: Mapping[str, Any],
    epoch: int,
) -> TeacherCache:
    """One pass of the teacher over the examples of an epoch."""
    folder, start = request.folder / name_of(facts), time.perf_counter()
    of_epoch = f" of epoch {epoch}" if request.per_epoch else ""
    logger.info("The teacher answers %s examples%s once; its answers go to %s.", f"{len(rows):,}", of_epoch, folder)
    rows.set_epoch(epoch)
    writer = TeacherCacheWriter(folder, examples=len(rows), count=request.kept, answers=request.answers)
    with writer.writing(facts):
        for indices, batch in draw_batches(trainer, rows):
            with trainer.accelerator.autocast():
                logits = module.teacher_logits(**{name: value for name, value in batch.items() if name != "labels"})
            ids, values = choose_top_k(logits, request.kept, request.temperature)
            if not writer.positions:  # the first batch tells how much it will be
                require_room(
                    folder, estimate_bytes(len(ids) * len(rows) // len(indices), request.kept, request.answers)
                )
            writer.add(indices, request.numbers_of(batch), ids.cpu().numpy(), values.cpu().numpy())
    seconds = time.perf_counter() - start
    logger.info(
        "%s positions with %d answers each, kept in %.1f seconds.", f"{writer.positions:,}", request.kept, seconds
    )
    return TeacherCache(folder)


def draw_batches(trainer: Trainer, rows: TeacherRows) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """All examples with their indices, longest first, in batches of about `TOKENS_AT_ONCE`, on the Trainer's device."""
    lengths = rows.lengths
    order = np.argsort(-lengths, kind="stable").tolist()
    for indices in fill(order, lengths, TOKENS_AT_ONCE, padded=True):
        batch = trainer.data_collator([rows[index] for index in indices])
        yield indices, {name: value.to(trainer.args.device) for name, value in batch.items()}


def require_room(folder: Path, size: int) -> None:
    """Raise a RunError where the disk has no room for a cache of about `size` bytes."""
    free = shutil.disk_usage(folder.parent).free
    if size > free:
        needed, there = f"{size / 2**30:.1f} GiB", f"{free / 2**30:.1f} GiB are free"
        raise RunError(
            f"{folder.parent}: the teacher's answers would take about {needed}, and {there}; "
            "give a smaller --cache_teacher K, --restrict_ce_to_mask, or another --teacher_cache_dir."
        )
