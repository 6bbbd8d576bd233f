"""Everything that is said about the tags of one split, from one comparison: the one call a command needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from finetune.encoding.tags import TagScheme
from finetune.report.class_scores import ClassScore
from finetune.tagging.metrics import Tagging, TagScores, score_spans
from finetune.tagging.pos_metrics import count_word_confusions, score_words
from finetune.tagging.span_errors import count_span_errors, count_type_confusions, match_spans


@dataclass(frozen=True)
class TaggingSummary:
    """Scores of a split over its words.

    `main` is lenient for spans, and counts single words for parts of speech; `strict` and `errors` are of spans only.
    `confusions` counts (expected, predicted), right ones included.
    """

    main: TagScores
    strict: TagScores | None
    errors: dict[str, int] | None
    confusions: dict[tuple[str, str], int]

    def as_dict(self) -> dict[str, Any]:
        """What stands in metrics.json for the split: the keys of the report, then every reading by its name."""
        readings = [scores for scores in (self.main, self.strict) if scores]
        named = {scores.mode: scores.as_dict() | {"classes": _by_label(scores.classes)} for scores in readings}
        rest: dict[str, Any] = {} if self.errors is None else {"span_errors": dict(self.errors)}
        return self.main.as_dict() | named | rest | {"confusions": list_confusions(self.confusions)}


def summarise_tagging(tagging: Tagging) -> TaggingSummary:
    """Score spans, or single words where the scheme is POS."""
    if tagging.scheme is TagScheme.POS:
        return TaggingSummary(score_words(tagging), None, None, count_word_confusions(tagging))
    matches = match_spans(tagging)
    return TaggingSummary(
        main=score_spans(tagging),
        strict=score_spans(tagging, strict=True),
        errors=count_span_errors(matches),
        confusions=count_type_confusions(matches),
    )


def list_confusions(confusions: Mapping[tuple[str, str], int]) -> list[dict[str, str | int]]:
    """Confusions as JSON can hold them."""
    return [
        {"expected": expected, "predicted": predicted, "count": count}
        for (expected, predicted), count in confusions.items()
    ]


def _by_label(rows: list[ClassScore]) -> dict[str, dict[str, float]]:
    tables = [asdict(row) for row in rows]
    return {table.pop("label"): table for table in tables}
