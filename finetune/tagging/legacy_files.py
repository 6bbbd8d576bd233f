"""The files that run_ner.py of transformers 2 to 3 wrote, for the wrappers and notebooks that read them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from finetune.report.files import write_results, write_text
from finetune.tagging.formats.sentences import spell_visibly
from finetune.tagging.metrics import TagScores

logger = logging.getLogger(__name__)

FILES = {"validation": ("eval_results.txt", "Eval results"), "test": ("test_results.txt", "Test results")}


def write_legacy_results(
    folder: Path,
    split: str,
    scores: TagScores,
    *,
    loss: float | None = None,
    epoch: float | None = None,
    total_flos: float | None = None,
) -> Path:
    """Write `eval_results.txt` or `test_results.txt` (`key = value`) and log the same, for the split validation or test.

    The metrics are those of words (lenient, for entities); the keys begin with `eval_` in both files, as they did.
    """
    micro = scores.micro
    metrics = {
        "eval_loss": loss,
        "eval_accuracy_score": scores.accuracy,
        "eval_precision": micro.precision,
        "eval_recall": micro.recall,
        "eval_f1": micro.f1,
        "epoch": epoch,
        "total_flos": total_flos,
    }
    name, title = FILES[split]
    return write_results(
        folder / name, {key: value for key, value in metrics.items() if value is not None}, title=title
    )


def write_legacy_predictions(
    path: Path, words: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], *, source: Path | None = None
) -> Path:
    """Write `test_predictions.txt` as legacy run_ner: "word tag" lines, with the blank and -DOCSTART- lines of `source`.

    Spaces, tabs and line ends inside a word are written as their visible signs. Where `source` is None or holds other
    words than were predicted, sentences are separated by one blank line.
    """
    rows = [list(zip(*sentence, strict=True)) for sentence in zip(words, predicted, strict=True)]
    lines = _like_source(source, list(chain.from_iterable(rows))) if source else None
    if lines is None:
        lines = [line for row in rows for line in (*(_line(word, tag) for word, tag in row), "\n")]
    return write_text(path, "".join(lines))


def _line(word: str, tag: str | None) -> str:
    return f"{spell_visibly(word, spaces=True)} {tag}\n"


def _like_source(source: Path, pairs: list[tuple[str, str]]) -> list[str] | None:
    """The lines of a CoNLL file with each word's line replaced by word and tag; None if the words are not the same."""
    lines: list[str] = []
    remaining: Iterator[tuple[str, str]] = iter(pairs)
    with source.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            if not line.strip() or line.startswith("-DOCSTART-"):
                lines.append(line)
                continue
            word, tag = next(remaining, (None, None))
            if word is None or line.split()[0] != word:
                logger.info("%s holds other words than were predicted; its blank lines are not copied.", source)
                return None
            lines.append(_line(word, tag))
    return lines if next(remaining, None) is None else None
