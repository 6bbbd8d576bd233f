"""Numbers -> text tables, in the layouts that people know from seqeval and scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from finetune.report.class_scores import ClassScore

HEADINGS = ("precision", "recall", "f1-score", "support")
LONGEST_AVERAGE = "weighted avg"


def class_table(
    classes: Sequence[ClassScore],
    averages: Sequence[ClassScore],
    *,
    accuracy: float | None = None,
    digits: int = 4,
) -> str:
    """Precision, recall, F1 and support per class, a blank line, then averages, headed by an `accuracy` row if given."""
    width = max(len(LONGEST_AVERAGE), digits, *(len(row.label) for row in classes), 0)
    heading = f"{'':>{width}} " + "".join(f" {heading:>9}" for heading in HEADINGS)
    rows = [_class_row(row, width, digits) for row in classes]
    tail = [_class_row(row, width, digits) for row in averages]
    if accuracy is not None:
        support = averages[0].support
        tail.insert(0, f"{'accuracy':>{width}} " + f" {'':>9}" * 2 + f" {accuracy:>9.{digits}f} {support:>9}")
    return "\n".join([heading, "", *rows, "", *tail, ""])


def _class_row(row: ClassScore, width: int, digits: int) -> str:
    numbers = "".join(f" {number:>9.{digits}f}" for number in (row.precision, row.recall, row.f1))
    return f"{row.label:>{width}} {numbers} {row.support:>9}"


def count_table(counts: Mapping[str, int], total: int) -> str:
    """Counts with their share of `total`, one line each."""
    width = max((len(name) for name in counts), default=0)
    return "".join(f"{name:>{width}} {count:>9,} {_share(count, total):>7}\n" for name, count in counts.items())


def _share(count: int, total: int) -> str:
    return f"{count / total:.1%}" if total else "-"


def confusion_table(confusions: Mapping[tuple[str, str], int], *, limit: int = 20) -> str:
    """The most frequent wrong pairs `expected -> predicted`, one line each; what is left out is counted."""
    wrong = [(pair, count) for pair, count in confusions.items() if pair[0] != pair[1]]
    shown = wrong[:limit]
    width = max((len(expected) for (expected, _), _ in shown), default=0)
    lines = [f"{expected:>{width}} -> {predicted} {count:,}\n" for (expected, predicted), count in shown]
    left = wrong[limit:]
    if left:
        lines.append(f"and {len(left):,} other pairs, together {sum(count for _, count in left):,}\n")
    return "".join(lines) or "none\n"
