"""The tests of a comparison: every run against the first, by every score, with Holm's correction over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from finetune.comparison.arguments import CompareArguments
from finetune.comparison.counts import Measure
from finetune.comparison.runs import ComparedRun
from finetune.comparison.statistics import Difference, compare_counts, correct_by_holm


@dataclass(frozen=True)
class Tested:
    """One difference: of which run, by which score; `corrected` is p after Holm's correction."""

    run: str
    measure: str
    difference: Difference
    lower_is_better: bool = False
    corrected: float = 1.0

    def verdict(self, alpha: float) -> str:
        """What the numbers say, in words."""
        if self.corrected > alpha:
            return "no difference beyond chance is shown"
        return "better" if (self.difference.value < 0) == self.lower_is_better else "worse"

    def as_dict(self, alpha: float) -> dict[str, Any]:
        facts = asdict(self.difference) | {"difference": self.difference.value, "p_holm": self.corrected}
        return {"run": self.run, "score": self.measure, **facts, "verdict": self.verdict(alpha)}


def judge_runs(runs: Sequence[ComparedRun], options: CompareArguments) -> list[Tested]:
    """All differences to the first run."""
    measured = [run.measures() for run in runs]
    found = [
        Tested(run.name, base.name, _test(base, other, options), base.lower_is_better)
        for run, measures in zip(runs[1:], measured[1:], strict=True)
        for base, other in zip(measured[0], measures, strict=True)
    ]
    corrected = correct_by_holm([tested.difference.p for tested in found])
    return [replace(tested, corrected=p) for tested, p in zip(found, corrected, strict=True)]


def _test(first: Measure, second: Measure, options: CompareArguments) -> Difference:
    counts = first.counts, second.counts
    return compare_counts(*counts, first.score, method=options.method, trials=options.trials, seed=options.seed)
