"""A comparison of runs, step by step: read, tested, shown as a table, as JSON and as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.arguments.secrets import hide
from finetune.comparison.arguments import CompareArguments
from finetune.comparison.changed import BROKEN, MENDED, OTHERWISE, Change, find_changes, show_changes
from finetune.comparison.differences import differing_arguments, differing_data, differing_versions
from finetune.comparison.runs import ComparedRun, open_runs
from finetune.comparison.testing import Tested, judge_runs
from finetune.page.html import render, shown
from finetune.page.parts import Block, Cell, Examples, Figure, Section, Sentences, Table
from finetune.page.plots import MUTED, SERIES, draw, shorten
from finetune.page.scores import table_of_scores
from finetune.report.files import write_text
from finetune.report.markdown import table_cell
from finetune.run.manifest import write_json_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "comparison"
METHODS = {
    "randomisation": "approximate randomisation (Noreen 1989; Yeh 2000)",
    "bootstrap": "the paired bootstrap (Efron and Tibshirani 1993; Berg-Kirkpatrick et al. 2012)",
}
Changes = dict[str, list[Change]]


def compare_runs(options: CompareArguments) -> dict[str, Any]:
    """Compare all runs with the first; the table goes to standard output, files to `--output_dir`.

    Raises:
        DataError, UsageError: the runs cannot be compared.
    """
    runs = open_runs(options.runs, options.split)
    tested = judge_runs(runs, options)
    changes = {run.name: find_changes(runs[0], run) for run in runs[1:]}
    sections = make_sections(runs, tested, changes, options)
    text = hide(format_markdown(runs, sections))
    print(text)
    if options.output_dir:
        write_files(Path(options.output_dir), runs, tested, changes, sections, text, options)
    best = {item.run: item.verdict(options.alpha) for item in reversed(tested)}
    return {"split": runs[0].split, "examples": len(runs[0].examples), "verdicts": dict(reversed(best.items()))}


def make_sections(
    runs: Sequence[ComparedRun], tested: Sequence[Tested], changes: Changes, options: CompareArguments
) -> list[Section]:
    """What stands on the page, and without its pictures in the table."""
    summary = Section(
        "summary", "Summary", [Sentences(_say(runs, tested, options), "verdict"), _table(tested, options)]
    )
    summary.blocks.append(_draw(tested))
    summary.blocks.append(Sentences(_explain(options)))
    scores = Section("scores", f"Scores ({runs[0].split})", _scores(runs))
    beside = [differing_arguments(runs), differing_data(runs), differing_versions(runs)]
    differences = Section("differences", "What differs beside the answers", [item for item in beside if item.rows])
    if not differences.blocks:
        differences.blocks.append(Sentences(["Arguments, data, versions and machine are the same."]))
    return [summary, scores, differences, *(_changed(runs[0], run, changes[run.name]) for run in runs[1:])]


def _say(runs: Sequence[ComparedRun], tested: Sequence[Tested], options: CompareArguments) -> list[str]:
    first = f"{len(runs[0].examples):,} examples of {runs[0].split}; every run is compared with {runs[0].name}."
    return [first, *(_say_one(item, runs[0].name, options.alpha) for item in tested)]


def _say_one(item: Tested, base: str, alpha: float) -> str:
    found, verdict = item.difference, item.verdict(alpha)
    words = f"{item.run} is {verdict} than {base}" if verdict in ("better", "worse") else f"{item.run}: {verdict}"
    numbers = f"{found.first:.4f} and {found.second:.4f}, p = {item.corrected:.4g} after Holm's correction"
    return f"{words} by {item.measure}: {numbers}."


def _table(tested: Sequence[Tested], options: CompareArguments) -> Table:
    rows = [_row(item, options.alpha) for item in tested]
    headings = ["run", "score", "first run", "this run", "difference", "95 % interval", "p", "p (Holm)", "verdict"]
    return Table("Differences to the first run", headings, rows)


def _row(item: Tested, alpha: float) -> list[Cell]:
    found = item.difference
    interval = f"{found.low:+.4f} to {found.high:+.4f}"
    numbers: list[Cell] = [found.first, found.second, found.value, interval, found.p, item.corrected]
    return [item.run, item.measure, *numbers, item.verdict(alpha)]


def _draw(tested: Sequence[Tested]) -> Figure:
    labels = [f"{shorten(item.run)}: {item.measure}" for item in tested]

    def paint(axes: Axes) -> None:
        for place, item in enumerate(tested):
            axes.plot([item.difference.low, item.difference.high], [place, place], color=SERIES[0])
            axes.plot([item.difference.value], [place], color=SERIES[0], marker="o")
        axes.axvline(0, color=MUTED, linestyle=":")
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel("difference to the first run, 95 % interval")

    said = "; ".join(f"{label} {item.difference.value:+.4f}" for label, item in zip(labels, tested, strict=True))
    return draw(
        "differences", "Differences with their intervals", f"Differences: {said}", paint, height=1 + 0.4 * len(labels)
    )


def _explain(options: CompareArguments) -> list[str]:
    return [
        f"p-values by {METHODS[options.method]} with {options.trials:,} trials, or all exchanges where there are fewer.",
        "Intervals by the paired bootstrap. They tell how sure a difference is on such examples, not how much seeds matter.",
        f"Holm's correction (1979) over all rows: the chance of any wrong verdict is at most {options.alpha:g}.",
    ]


def _scores(runs: Sequence[ComparedRun]) -> list[Block]:
    metrics = {run.name: run.folder.metrics.get(run.split, {}) for run in runs}
    table = table_of_scores(metrics)
    return [table] if table else []


def _changed(first: ComparedRun, second: ComparedRun, changes: Sequence[Change]) -> Section:
    counts = Counter(change.kind for change in changes)
    rows: list[list[Cell]] = [[kind, counts[kind]] for kind in (MENDED, BROKEN, OTHERWISE)]
    blocks: list[Block] = [Table(f"{second.name} instead of {first.name}", ["answer", "examples"], rows)]
    if changes:
        blocks.append(Examples(show_changes(first, second, changes)))
    return Section(f"changed-{_slug(second.name)}", f"Changed answers: {second.name}", blocks)


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def format_markdown(runs: Sequence[ComparedRun], sections: Sequence[Section]) -> str:
    """Sentences and tables, as standard output and `comparison.md` have them."""
    lines = [f"# {_title(runs)}", ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        for block in section.blocks:
            lines += _as_markdown(block)
    return "\n".join(lines)


def _as_markdown(block: Block) -> list[str]:
    if isinstance(block, Sentences):
        return [*(f"- {item}" for item in block.items), ""]
    if not isinstance(block, Table):
        return []
    rows = [block.headings, ["---"] * len(block.headings), *([shown(cell) for cell in row] for row in block.rows)]
    return [f"**{block.caption}**", "", *("| " + " | ".join(map(table_cell, row)) + " |" for row in rows), ""]


def _title(runs: Sequence[ComparedRun]) -> str:
    return " and ".join(run.name for run in runs) if len(runs) == 2 else f"{len(runs)} runs beside {runs[0].name}"


def write_files(
    folder: Path,
    runs: Sequence[ComparedRun],
    tested: Sequence[Tested],
    changes: Changes,
    sections: list[Section],
    text: str,
    options: CompareArguments,
) -> None:
    """`comparison.md`, `comparison.json` and `comparison.html`."""
    write_text(folder / f"{NAME}.md", text + "\n")
    facts = {
        "runs": {run.name: str(run.folder.path) for run in runs},
        "split": runs[0].split,
        "examples": len(runs[0].examples),
        "method": options.method,
        "trials": options.trials,
        "alpha": options.alpha,
        "differences": [item.as_dict(options.alpha) for item in tested],
        "changed": {
            name: [{"example": change.number, "kind": change.kind, "gain": change.gain} for change in members]
            for name, members in changes.items()
        },
    }
    write_json_atomically(folder / f"{NAME}.json", facts)
    write_text(folder / f"{NAME}.html", render("page.html", title=_title(runs), kind=NAME, sections=sections))
