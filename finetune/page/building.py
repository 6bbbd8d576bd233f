"""The page of an output folder, step by step: its files are read, sections made of them, all written as `report.html`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from finetune.errors import FinetuneError
from finetune.page.classified import make_classified
from finetune.page.curves import make_curves
from finetune.page.data import make_data
from finetune.page.distilled import make_distilled
from finetune.page.environment import make_environment
from finetune.page.folder import RunFolder
from finetune.page.html import render
from finetune.page.parts import Figure, Section, Sentences, Table
from finetune.page.scores import table_of_scores
from finetune.page.searched import make_searched
from finetune.page.surprisals import make_surprisals
from finetune.page.tagged import make_tagged
from finetune.page.verdict import judge
from finetune.report.files import write_text
from finetune.run.atomic_files import AtomicFile
from finetune.run.failures import OF_THE_MACHINE

logger = logging.getLogger(__name__)

# What values raise that no run writes; whatever else is raised is a fault of ours.
NOT_DRAWN = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    TypeError,
    ValueError,
    FinetuneError,
    pa.ArrowException,
)
PAGE, PLOTS = "report.html", "plots"
Make = Callable[[RunFolder], Section | list[Section]]
MAKERS: tuple[Make, ...] = (make_searched, make_distilled, make_curves, make_tagged, make_classified, make_surprisals)


def has_scores(path: Path) -> bool:
    """Whether a folder holds what a page can be made of."""
    names = ("metrics.json", "training_history.json", "optimization_results.csv.gz", "parameters.json")
    return any((path / name).is_file() for name in names) or any(path.glob("*-test_results.*"))


def write_page(path: Path, ending: Mapping[str, Any] | None = None) -> list[Path]:
    """Write `report.html` and `plots/*.png` of a run's folder; returns the files.

    Args:
        path: the folder.
        ending: of a run that ends now, what its run.json does not say yet: status, result, time.
    """
    folder = RunFolder(path, ending)
    sections = make_sections(folder)
    text = render("page.html", title=path.resolve().name, kind=folder.manifest.get("program", "run"), sections=sections)
    figures = [figure for section in sections for figure in section.figures]
    return [write_text(path / PAGE, text), *_write_plots(path / PLOTS, figures)]


def make_sections(folder: RunFolder) -> list[Section]:
    """All sections that have something to show; one that cannot be made is said on the page and in the log."""
    summary = Section("summary", "Summary")
    further = [section for make in MAKERS for section in _attempt(make, folder)]
    sections = [*further, *_attempt(make_data, folder), *_attempt(make_environment, folder)]
    summary.blocks.extend(_attempt(judge, folder))
    summary.blocks.extend(_attempt(make_scores, folder))
    if folder.notes:
        summary.blocks.append(Sentences(folder.notes, title="Notes on the data and the run"))
    if folder.unread:
        summary.blocks.append(Sentences(list(dict.fromkeys(folder.unread)), "warning"))
    return [section for section in [summary, *sections] if section.blocks]


def make_scores(folder: RunFolder) -> list[Table]:
    """The table of the scores of all splits, where there are some."""
    table = table_of_scores(folder.metrics)
    return [] if table is None else [table]


def _attempt(make: Callable[[RunFolder], Any], folder: RunFolder) -> list[Any]:
    try:
        made = make(folder)
    except NOT_DRAWN as error:
        name = make.__name__.removeprefix("make_")
        folder.unread.append(f"The part of the page on {name} could not be made: {type(error).__name__}: {error}.")
        logger.warning("%s", folder.unread[-1])
        return []
    return made if isinstance(made, list) else [made]


def _write_plots(folder: Path, figures: list[Figure]) -> list[Path]:
    for figure in figures:
        with AtomicFile(folder / f"{figure.name}.png") as file:
            file.stream.write(figure.png)
    return [folder / f"{figure.name}.png" for figure in figures]


def try_page(path: Path, ending: Mapping[str, Any]) -> None:
    """The page of a run that has just ended. What cannot be drawn is said, and is no failure of the run.

    Raises:
        OSError: the disk is full, or fails: as any other file of the run, the page is missing then.
    """
    try:
        if has_scores(path):
            write_page(path, ending)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
            raise
        logger.warning(
            "%s of %s could not be written (%s: %s); the run itself is done.", PAGE, path, type(error).__name__, error
        )
        logger.debug("traceback:", exc_info=error)
