"""The runs of a comparison, read from their folders and held to the same test data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.comparison.counts import Measure, describe_example, measure_tags, measure_texts
from finetune.encoding.tags import TagScheme
from finetune.errors import DataError, Problem, ProblemList, UsageError
from finetune.page.classified import read_classified
from finetune.page.folder import RunFolder, judged_split
from finetune.page.tagged import read_tagged

KINDS = {"conll": "a tagger", "jsonl": "a text classifier"}


@dataclass
class ComparedRun:
    """A run with its answers to every example of the split."""

    folder: RunFolder
    name: str
    kind: str = ""
    split: str = ""
    scheme: TagScheme = TagScheme.IOB2
    examples: list[Any] = field(default_factory=list)

    def measures(self) -> list[Measure]:
        return measure_tags(self.examples, self.scheme) if self.kind == "conll" else measure_texts(self.examples)


def open_runs(paths: Sequence[str], split: str | None) -> list[ComparedRun]:
    """Read the runs.

    Raises:
        DataError, UsageError: they have no split in common, are of different tasks, or were scored on different data.
    """
    runs = [ComparedRun(RunFolder(Path(path)), name) for path, name in zip(paths, name_runs(paths), strict=True)]
    _choose_kind(runs)
    chosen = _choose_split(runs, split)
    problems = ProblemList()
    for run in runs:
        problems.attempt(_read_examples, run, chosen)
    problems.raise_any(DataError)
    problems.add([problem for run in runs[1:] for problem in check_same_data(runs[0], run)])
    problems.raise_any(DataError)
    return runs


def name_runs(paths: Sequence[str]) -> list[str]:
    """The last part of each path, as many parts as tell them apart."""
    resolved = [Path(path).resolve() for path in paths]
    for number in range(1, max(len(path.parts) for path in resolved) + 1):
        names = ["/".join(path.parts[-number:]) for path in resolved]
        if len(set(names)) == len(names):
            return names
    raise UsageError(Problem("two of the folders are the same one", remedy="name each run once"))


def _choose_kind(runs: Sequence[ComparedRun]) -> None:
    for run in runs:
        run.kind = next((kind for kind in KINDS if run.folder.predictions(kind)), "")
    without = [run.folder.path for run in runs if not run.kind]
    remedy = "score the model with its command (--do_eval or --do_predict)"
    if without:
        raise DataError(
            *(
                Problem("there are no predictions of a tagger or classifier", remedy=remedy, path=path)
                for path in without
            )
        )
    if len({run.kind for run in runs}) > 1:
        found = ", ".join(f"{run.name} is {KINDS[run.kind]}" for run in runs)
        raise DataError(Problem(f"runs of different tasks cannot be compared: {found}"))


def _choose_split(runs: Sequence[ComparedRun], asked: str | None) -> str:
    scored = [{name for name in run.folder.predictions(run.kind) if name in run.folder.metrics} for run in runs]
    shared = set.intersection(*scored)
    if asked is not None and asked not in shared:
        allowed = ", ".join(sorted(shared)) or "none"
        raise UsageError(Problem(f"--split {asked} was not scored in all runs", f"splits that all have: {allowed}"))
    chosen = asked or judged_split(dict.fromkeys(shared))
    if chosen is None:
        found = "; ".join(
            f"{run.name} scored {', '.join(sorted(names)) or 'nothing'}"
            for run, names in zip(runs, scored, strict=True)
        )
        raise DataError(Problem(f"the runs scored no split in common: {found}"))
    return chosen


def _read_examples(run: ComparedRun, split: str) -> None:
    path = run.folder.predictions(run.kind)[split]
    scheme = str(run.folder.settings.get("scheme", TagScheme.IOB2.value))
    run.split, run.scheme = split, TagScheme(scheme) if scheme in set(TagScheme) else TagScheme.IOB2
    run.examples = list(read_tagged(path) if run.kind == "conll" else read_classified(path))
    if not run.examples:
        raise DataError(Problem("the predictions have no expected labels", path=path))


def check_same_data(first: ComparedRun, other: ComparedRun) -> list[Problem]:
    """That both answered the same examples with the same gold labels, in the same order."""
    sides = first.examples, other.examples
    names = f"{first.name} and {other.name} were scored on different data ({first.split})"
    remedy = "compare runs of the same test data only"
    if len(sides[0]) != len(sides[1]):
        return [Problem(f"{names}: {len(sides[0]):,} and {len(sides[1]):,} examples", remedy=remedy)]
    differ = [n for n, (a, b) in enumerate(zip(*sides, strict=True)) if describe_example(a) != describe_example(b)]
    if not differ:
        return []
    return [
        Problem(
            f"{names}: {len(differ):,} of {len(sides[0]):,} examples differ, the first is number {differ[0] + 1:,}",
            remedy=remedy,
        )
    ]
