"""What the checksums in complete.json cost beside a save: a MiniLM tagger with AdamW's moments, saved with them and without.

    python benchmarks/bench_checkpoint.py --folder /var/tmp --rounds 15

Both are saved in turns, every second round in the other order. What is written, flushed and named is the same: weights,
optimizer, the marker. The share is that of the medians of their differences in wall time, its interval by the bootstrap over
rounds; beside it what one core computes for the checksums, all of it, if nothing were waited for meanwhile.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from measure import hardware_line, minilm_folder
from transformers import AutoModelForTokenClassification

from finetune.run import checkpoints
from finetune.run.checksums import checksum

DRAWS = 10_000


class Saver:
    """Saves a model and its optimizer as a checkpoint of a training."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkpoint-1"
        self.model = AutoModelForTokenClassification.from_pretrained(minilm_folder(), num_labels=9)
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        for parameter in self.model.parameters():
            parameter.grad = torch.randn_like(parameter)
        self.optimizer.step()

    def save(self) -> float:
        """Seconds of a save, whatever it computes."""
        shutil.rmtree(self.folder, ignore_errors=True)
        start = time.perf_counter()
        self.model.save_pretrained(self.folder)
        torch.save(self.optimizer.state_dict(), self.folder / "optimizer.pt")
        checkpoints.mark_complete(self.folder)
        return time.perf_counter() - start


class NoChecksums:
    """In the place of checksums."""

    def get(self, name: str) -> str:
        return name


@contextmanager
def without_checksums(*_: object) -> Iterator[NoChecksums]:
    yield NoChecksums()


def save_without(saver: Saver) -> float:
    """Seconds of a save whose marker holds names and sizes alone."""
    known = checkpoints.start_checksums
    checkpoints.start_checksums = without_checksums  # type: ignore[assignment]
    try:
        return saver.save()
    finally:
        checkpoints.start_checksums = known


def interval(differences: list[float], plain: list[float]) -> tuple[float, float]:
    """The 95 % interval of the median difference by the median save, over rounds."""
    draws = np.random.default_rng(1).integers(0, len(plain), (DRAWS, len(plain)))
    shares = np.median(np.array(differences)[draws], axis=1) / np.median(np.array(plain)[draws], axis=1)
    return float(np.percentile(shares, 2.5)), float(np.percentile(shares, 97.5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to save; by default the folder for temporary files")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        saver = Saver(Path(folder))
        saver.save()
        kept, plain = [], []
        for number in range(options.rounds):
            for own in (True, False) if number % 2 == 0 else (False, True):
                (kept if own else plain).append(saver.save() if own else save_without(saver))
        files = [path for path in saver.folder.iterdir() if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        start = time.thread_time()
        for path in files:
            checksum(path)
        computed = time.thread_time() - start
    differences = [a - b for a, b in zip(kept, plain, strict=True)]
    low, high = interval(differences, plain)
    median = statistics.median(plain)
    print(hardware_line("cpu"))
    print(f"a save of {size / 1e6:.0f} MB: {median:.3f} s without checksums, {statistics.median(kept):.3f} s with them")
    print(
        f"difference: {statistics.median(differences) / median:.1%} of it ({low:.1%} to {high:.1%}, {options.rounds} rounds)"
    )
    print(f"computed for them on one core: {computed * 1000:.0f} ms, {computed / median:.1%} of a save")


if __name__ == "__main__":
    main()
