"""Text -> the same text with the mark `<|>` between its words, by SEFR CUT, for FakeSefrCutTokenizer.

SEFR CUT (Limkonchotiwat et al. 2020, "Domain Adaptation of Thai Word Segmentation Models using Stacked Ensemble") runs
a neural network for every line, so it is run once, beforehand. A line `hello world` becomes `hello<|><_><|>world`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from finetune.data.files import iterate_lines
from finetune.data.pickles import read_pickle
from finetune.errors import DataError, Problem, UsageError
from finetune.run.atomic_files import atomic_text_file
from finetune.run.workers import map_in_order
from finetune.tokenization.segmentation import MARK
from finetune.tokenization.vocabulary import CONTROL_TOKENS, NEWLINE, SPACE

logger = logging.getLogger(__name__)

ENGINE = "best"
KEPT_WHOLE = re.compile("(" + "|".join(map(re.escape, (*CONTROL_TOKENS, NEWLINE))) + ")")


def require_sefr_cut() -> None:
    """Raise a UsageError where the package is not installed."""
    if importlib.util.find_spec("sefr_cut") is None:
        remedy = "install it with: pip install sefr_cut (it brings TensorFlow)"
        raise UsageError(Problem("the package sefr_cut is not installed", remedy=remedy))


@dataclass(frozen=True)
class SefrCutter:
    """The work of one process: lines -> lines with marks; those that SEFR CUT would change stay as they are."""

    engine: str = ENGINE

    def __call__(self, lines: Sequence[str]) -> tuple[list[str], int]:
        marked = [mark_line(line, self._cut) for line in lines]
        changed = [text.replace(MARK, "") != line.replace(" ", SPACE) for text, line in zip(marked, lines, strict=True)]
        kept = [
            line.replace(" ", SPACE) if is_changed else text
            for text, line, is_changed in zip(marked, lines, changed, strict=True)
        ]
        return kept, sum(changed)

    def _cut(self, text: str) -> list[str]:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints a bar for every text
            return list(_load_engine(self.engine).tokenize(text)[0])


_loaded: dict[str, Any] = {}  # of this process


def _load_engine(engine: str) -> Any:
    if engine not in _loaded:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        module = importlib.import_module("sefr_cut")
        module.load_model(engine=engine)
        _loaded.clear()
        _loaded[engine] = module
    return _loaded[engine]


def mark_line(line: str, cut: Any) -> str:
    """A line with marks between its words, spaces written as `<_>`, special tokens whole.

    >>> mark_line("ab c</s>", list)
    'a<|>b<|><_><|>c<|></s>'
    """
    words: list[str] = []
    for part in KEPT_WHOLE.split(line.replace(SPACE, " ")):
        if not part:
            continue
        words += [part] if KEPT_WHOLE.fullmatch(part) else _separate_spaces(cut(part))
    return MARK.join(words)


def _separate_spaces(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        for part in re.split("( )", word):
            if part:
                yield SPACE if part == " " else part


@dataclass(frozen=True)
class MarkedFile:
    """What became of one file."""

    path: Path
    lines: int
    unmarked: int


def mark_file(source: Path, target: Path, *, chunk_size: int, workers: int) -> MarkedFile:
    """Segment the lines of a file, in processes of `chunk_size` lines at a time; empty lines are dropped.

    Raises:
        DataError: the file cannot be read or is not UTF-8.
    """
    lines = (stripped for line in iterate_lines(source) if (stripped := line.strip()))
    count = unmarked = 0
    with atomic_text_file(target) as output:
        for marked, changed in map_in_order(SefrCutter(), _batches(lines, chunk_size), workers=workers):
            output.writelines(f"{line}\n" for line in marked)
            count, unmarked = count + len(marked), unmarked + changed
    if unmarked:
        logger.warning("%s: %s of %s lines stay unmarked, because SEFR CUT changes them.", source, unmarked, count)
    return MarkedFile(target, count, unmarked)


def _batches(lines: Iterator[str], size: int) -> Iterator[list[str]]:
    while batch := list(islice(lines, size)):
        yield batch


def read_pickled_cache(path: Path) -> dict[str, list[str]]:
    """The segmentations of an old `sefr_cache_tokenizer_dict.pkl`, without running anything that it may hold.

    Raises:
        DataError: not a pickle of a plain dictionary from texts to lists of texts.
    """
    cache = read_pickle(path, "a plain dictionary", "texts with lists of their segments")
    if not isinstance(cache, dict) or not all(_is_entry(text, segments) for text, segments in cache.items()):
        raise DataError(Problem("this is not a dictionary of texts with lists of their segments", path=path))
    return cache


def _is_entry(text: object, segments: object) -> bool:
    return isinstance(text, str) and isinstance(segments, list) and all(isinstance(item, str) for item in segments)
