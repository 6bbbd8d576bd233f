"""Options of a tagging run that need more than the command line: a trained model's settings, weights, transition scores."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

from datasets import Dataset

from finetune.arguments.parser import Arguments
from finetune.data.corpus import Corpus
from finetune.data.words import holds_unspaced, is_character, split_words
from finetune.encoding.tag_column import TagColumn
from finetune.errors import DataError, Problem
from finetune.models.settings import TaggerSettings
from finetune.supervised.settings import apply_saved, load_saved
from finetune.tagging.arguments import TaggingArguments
from finetune.tagging.viterbi import TransitionScores, estimate_transitions

logger = logging.getLogger(__name__)

CHARACTERS_SHARE = 0.95  # of the words of a corpus that was cut into characters: a few numbers or names stay whole


def adopt_settings(arguments: Arguments) -> TaggerSettings | None:
    """Without training: words become input as in the training of the model; returns what it was saved with."""
    saved = load_saved(arguments, TaggerSettings)
    if saved is not None:
        apply_settings(arguments, saved)
    return saved


def apply_settings(arguments: Arguments, saved: TaggerSettings) -> None:
    """Set the options of how words become input as a model was trained with them, wherever no flag says otherwise."""
    decoding = ("learned" if saved.transitions else "zero") if saved.constrained_decoding else None
    trained_with = {
        "max_length": saved.max_length,
        **({} if "max_length" in arguments.typed else {"stride": saved.stride}),  # which fits windows of that length
        "lowercase": saved.lowercase,
        "space_token": saved.space_token,
        "word_segmenter": None if saved.word_segmenter == "auto" else saved.word_segmenter,
        "document_context": saved.document_context,
        **({"context_separator": saved.context_separator} if saved.document_context else {}),
        "constrained_decoding": decoding,
    }
    apply_saved(arguments, TaggingArguments, trained_with)


def resolve_word_segmenter(asked: str | None, splits: Mapping[str, Dataset]) -> tuple[str, list[str]]:
    """How prediction has to cut raw text for it to look like the words of training, and what stands against that.

    Returns:
        What was asked for; else `characters` where nearly all of the given words are single characters, else `auto`.
        Sentences with a count where words of scripts without spaces are given that raw text would be cut through.
    """
    rows = splits.get("train") or next(iter(splits.values()))
    words = rows.with_format("arrow")[:]["words"].combine_chunks().flatten()
    distinct = Counter({entry["values"]: entry["counts"] for entry in words.value_counts().to_pylist()})
    if asked is None and "text" in rows.column_names:
        return "auto", []
    single = sum(count for word, count in distinct.items() if is_character(word))
    if asked is None and distinct and single >= CHARACTERS_SHARE * distinct.total():
        return "characters", []
    segmenter = asked or "auto"
    unspaced = {word: count for word, count in distinct.items() if holds_unspaced(word)}
    cut = {word: count for word, count in unspaced.items() if len(split_words(word, segmenter)) > 1}
    if not cut:
        return segmenter, []
    example = max(cut, key=lambda word: cut[word])
    return segmenter, [
        f"{sum(cut.values()):,} of {distinct.total():,} words, as {example}, are of scripts without spaces, and raw text "
        "would be cut through them: give predict.py words, not raw text, or train on characters."
    ]


def find_transitions(
    arguments: Arguments, corpus: Corpus, labels: list[str], saved: TaggerSettings | None
) -> TransitionScores | None:
    """The scores of `--constrained_decoding learned`: those that the model was saved with, else from the training tags.

    Raises:
        DataError: there are neither.
    """
    if arguments[TaggingArguments].constrained_decoding != "learned":
        return None
    if saved is not None and saved.transitions is not None:
        return TransitionScores.from_table(saved.transitions)
    if "train" not in corpus.splits:
        found = "--constrained_decoding learned has nothing to learn from: there is no training set"
        raise DataError(Problem(found, remedy="add --train_file, or use --constrained_decoding zero"))
    tags = TagColumn.of_split(corpus.splits["train"])
    ids = tags.numbered({label: number for number, label in enumerate(labels)})
    return estimate_transitions(ids, tags.offsets, len(labels))
