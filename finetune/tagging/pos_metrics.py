"""Predicted and expected tags of words that are no spans (parts of speech) -> numbers, by scikit-learn.

Never by seqeval: it takes the first letter of every tag for the `B` or `I` of a span and scores `OUN` for `NOUN`
(https://github.com/chakki-works/seqeval/issues/75).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from finetune.encoding.padding import IGNORED
from finetune.encoding.ragged import offsets_of
from finetune.encoding.tags import TagScheme
from finetune.report.class_scores import ClassScore
from finetune.tagging.metrics import WORDS, Tagging, TagScores


def score_words(tagging: Tagging) -> TagScores:
    """Accuracy, and precision, recall and F1 per tag and averaged; what is undefined counts as 0."""
    from sklearn.metrics import accuracy_score  # prediction without scores needs none of it

    present = np.unique(np.concatenate([tagging.expected, tagging.predicted]))
    present = present[np.argsort([tagging.label_list[index] for index in present], kind="stable")]
    names = [tagging.label_list[index] for index in present]
    micro, macro, weighted = (_average(tagging, name) for name in ("micro", "macro", "weighted"))
    return TagScores(
        mode=WORDS,
        classes=_per_tag(tagging, present.tolist(), names),
        micro=micro,
        macro=macro,
        weighted=weighted,
        accuracy=float(accuracy_score(tagging.expected, tagging.predicted)) if len(tagging.expected) else 0.0,
        nb_samples=len(tagging),
    )


def _per_tag(tagging: Tagging, present: Sequence[int], names: Sequence[str]) -> list[ClassScore]:
    if not present:
        return []
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(tagging.expected, tagging.predicted, labels=present, zero_division=0)
    return [
        ClassScore(name, float(p), float(r), float(f), int(n)) for name, p, r, f, n in zip(names, *columns, strict=True)
    ]


def _average(tagging: Tagging, average: str) -> ClassScore:
    support = len(tagging.expected)
    if not support:
        return ClassScore(f"{average} avg", 0.0, 0.0, 0.0, 0)
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(
        tagging.expected, tagging.predicted, average=average, zero_division=0
    )
    return ClassScore(f"{average} avg", float(precision), float(recall), float(f1), support)


SUBWORD_METRICS = (
    *("accuracy", "f1_macro", "f1_micro", "nb_samples"),
    *("precision_macro", "precision_micro", "recall_macro", "recall_micro"),
)


def score_subword_tags(predicted: ArrayLike, labels: ArrayLike, label_list: Sequence[str]) -> dict[str, float]:
    """The same metrics over the labelled subwords: watched during training, not reported.

    Takes label ids (rows, width) of predictions and labels; places with the label -100 do not count.
    """
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    counted = labels != IGNORED
    offsets = offsets_of(counted.sum(axis=1))
    return score_words(Tagging(predicted[counted], labels[counted], offsets, label_list, TagScheme.POS)).as_dict()


def count_word_confusions(tagging: Tagging) -> dict[tuple[str, str], int]:
    """How often an expected tag was predicted as which; keys are (expected, predicted), sorted by count."""
    names = tagging.label_list
    pairs = Counter(zip(tagging.expected.tolist(), tagging.predicted.tolist(), strict=True))
    named = {(names[expected], names[predicted]): count for (expected, predicted), count in pairs.items()}
    return dict(sorted(named.items(), key=lambda item: (-item[1], item[0])))
