"""A folder of pregenerated epochs -> one data set of all of them, checked against the tokenizer that will be used.

Epochs differ in length by a little. Row `i` of epoch `e` has the index `e * stride + i`, so an index alone, in whatever data
loader worker, tells epoch and row.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from finetune.encoding.subwords import tokenizer_fingerprint
from finetune.errors import DataError, Problem, ProblemList
from finetune.pregeneration.epoch_files import (
    EpochArrays,
    OutputFormat,
    PregeneratedEpoch,
    read_arrays,
    read_metrics,
)
from finetune.pregeneration.epoch_json import convert_lines, read_lines

logger = logging.getLogger(__name__)


class PregeneratedEpochs:
    """All epochs of a folder; `epochs[index]` is an example as `PregeneratedEpoch` has them."""

    def __init__(self, epochs: Sequence[PregeneratedEpoch], max_seq_len: int) -> None:
        self.epochs, self.max_seq_len = epochs, max_seq_len
        self.stride = max(len(epoch) for epoch in epochs)

    def __len__(self) -> int:
        """Examples of the longest epoch: an epoch of training has as many."""
        return self.stride

    def __getitem__(self, index: int) -> dict[str, Any]:
        epoch, row = divmod(int(index), self.stride)
        return self.epochs[epoch][row]

    def draw_order(self, epoch: int, seed: int) -> npt.NDArray[np.int64]:
        """Indices of one epoch of training, shuffled: each of its examples once, and a few twice to fill it up."""
        number = epoch % len(self.epochs)
        size = len(self.epochs[number])
        generator = np.random.default_rng((seed, epoch))
        order = generator.permutation(size)
        extra = generator.permutation(size)[: self.stride - size]
        return number * self.stride + np.concatenate([order, extra])


def find_epoch_files(folder: Path, epochs: int) -> list[Path]:
    """The files of up to `epochs` epochs, from 0 on without a gap; the compact format where both are there.

    Raises:
        DataError: there is no such folder, or no first epoch in it.
    """
    if not folder.is_dir():
        remedy = "give the --output_dir of pregenerate_training_data.py"
        raise DataError(Problem("there is no such folder of pregenerated data", remedy=remedy, path=folder))
    files = []
    for epoch in range(epochs):
        names = [folder / f"epoch_{epoch}{kind.suffix}" for kind in OutputFormat]
        there = [path for path in names if path.is_file()]
        if not there:
            break
        files.append(there[0])
    if not files:
        found = "no training data was found: neither epoch_0.safetensors nor epoch_0.json is there"
        raise DataError(Problem(found, "", "make them with pregenerate_training_data.py", folder))
    return files


def open_epochs(
    folder: Path, tokenizer: PreTrainedTokenizerBase, *, epochs: int, work: Path | None = None
) -> PregeneratedEpochs:
    """Open the pregenerated epochs of a folder for `epochs` epochs of training; fewer are gone through again.

    `work` is a folder for JSON lines turned into the compact format, so that memory stays flat; None keeps them in memory.

    Raises:
        DataError: data missing, damaged, disagreeing with its metrics, or made with another tokenizer; all of it at once.
    """
    files = find_epoch_files(folder, epochs)
    problems = ProblemList()
    lengths = {problems.attempt(check_metrics, folder, epoch, tokenizer) for epoch in range(len(files))}
    problems.raise_any()
    opened = [problems.attempt(open_epoch, path, epoch, tokenizer, work) for epoch, path in enumerate(files)]
    problems.raise_any()
    if len(files) < epochs:
        logger.warning(
            f"There are fewer epochs of pregenerated data ({len(files)}) than training epochs ({epochs}): training goes "
            "through the available data again, which may make it less varied."
        )
    return PregeneratedEpochs([epoch for epoch in opened if epoch], max(length or 0 for length in lengths))


def check_metrics(folder: Path, epoch: int, tokenizer: PreTrainedTokenizerBase) -> int:
    """The longest instance of an epoch, if its metrics name no other tokenizer.

    Raises:
        DataError: metrics that are missing or broken, or of another tokenizer or casing (both are named).
    """
    metrics = read_metrics(folder, epoch)
    made_with = metrics.get("tokenizer")
    if isinstance(made_with, dict) and made_with.get("sha256") != tokenizer_fingerprint(tokenizer):
        casing = {True: "lower-casing", False: "not lower-casing"}
        theirs = f"{made_with.get('name')} ({made_with.get('class')}, {casing[bool(made_with.get('lowercase'))]})"
        lowers = bool(getattr(tokenizer, "do_lower_case", False))
        ours = f"{tokenizer.name_or_path} ({type(tokenizer).__name__}, {casing[lowers]})"
        found = f"the data was made with the tokenizer {theirs}, and this model's is {ours}"
        remedy = "use the same --bert_model and --do_lower_case for both commands"
        raise DataError(Problem(found, "they must be the same", remedy, folder / f"epoch_{epoch}_metrics.json"))
    return int(metrics["max_seq_len"])


def open_epoch(path: Path, epoch: int, tokenizer: PreTrainedTokenizerBase, work: Path | None) -> PregeneratedEpoch:
    """One epoch, checked against its metrics.

    Raises:
        DataError: the file is damaged, or its metrics say something else.
    """
    arrays = _read(path, tokenizer, work)
    metrics = read_metrics(path.parent, epoch)
    said, found = metrics["num_training_examples"], len(arrays.lengths)
    problems = []
    if said != found:
        problems.append(Problem(f"the file holds {found:,} instances and its metrics say {said:,}", path=path))
    longest = int(arrays.lengths.max(initial=0))
    if longest > metrics["max_seq_len"]:
        text = f"an instance has {longest} subwords, and the metrics say at most {metrics['max_seq_len']}"
        problems.append(Problem(text, path=path))
    if arrays.ids.max(initial=0) >= len(tokenizer):
        problems.append(Problem("the data has ids that the tokenizer does not have", path=path))
    if problems:
        raise DataError(*problems)
    return PregeneratedEpoch(arrays)


def _read(path: Path, tokenizer: PreTrainedTokenizerBase, work: Path | None) -> EpochArrays:
    if path.suffix == OutputFormat.BINARY.suffix:
        return read_arrays(path)
    if work is None:
        return read_lines(path, tokenizer)
    target = work / f"{path.stem}.safetensors"
    convert_lines(path, target, tokenizer)
    return read_arrays(target)
