"""A corpus of tags made ready: one spelling, its scheme named, ill-formed places counted or repaired, labels listed."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import pyarrow as pa
from datasets import Dataset
from datasets.table import InMemoryTable

from finetune.data.corpus import Corpus
from finetune.encoding.tag_column import TagColumn
from finetune.encoding.tags import (
    LETTERS,
    OUTSIDE,
    TagScheme,
    canonical_spellings,
    count_ill_formed,
    detect_scheme,
    is_end_marked,
    read_end_marked,
    repair_tags,
    split_tag,
)
from finetune.encoding.unknown_labels import describe_known
from finetune.errors import DataError, Problem

logger = logging.getLogger(__name__)

UNNAMED = re.compile(r"LABEL_[0-9]+")


@dataclass
class PreparedTags:
    """A corpus whose tags are canonically spelt, their scheme (IOB2 without tags), and sentences for the log."""

    corpus: Corpus
    scheme: TagScheme
    notes: list[str]


def prepare_tags(corpus: Corpus, *, fix_labels: bool = False, scheme: TagScheme | None = None) -> PreparedTags:
    """Spell all tags canonically, find their scheme, count ill-formed places, and repair them if asked to.

    `scheme` POS says that tags are no spans, whatever they look like; None detects it from all labelled splits.

    Raises
    ------
    DataError
        Tags of which most spell spans and some do not.
    """
    if scheme is TagScheme.POS:
        return PreparedTags(corpus, scheme, ["Tags are taken as one label per word, not as spans."])
    notes: list[str] = []
    corpus = _respell(corpus, notes)
    columns = {n: TagColumn.of_split(rows) for n, rows in corpus.splits.items() if "tags" in rows.column_names}
    if not columns:
        return PreparedTags(corpus, scheme or TagScheme.IOB2, notes)
    if is_end_marked(TagColumn.joined(columns.values()).names):
        corpus = _read_ends(corpus, columns)
        notes.append(
            "The tags mark where spans end (IOE1 or IOE2); they are read so, and go on as IOB2 with the same spans."
        )
        columns = {name: TagColumn.of_split(corpus.splits[name]) for name in columns}
    scheme = scheme or detect_scheme(TagColumn.joined(columns.values()))
    if scheme is TagScheme.POS:
        return PreparedTags(corpus, scheme, [*notes, "Tags are one label per word (no spans)."])
    notes.append(f"The tags are in the scheme {scheme} ({', '.join(LETTERS[scheme])}).")
    ill_formed = {name: count_ill_formed(column, scheme) for name, column in columns.items()}
    broken = [name for name, count in ill_formed.items() if count]
    notes.extend(_describe_ill_formed(name, ill_formed[name], scheme, fix_labels) for name in broken)
    if fix_labels:
        repaired = {name: [repair_tags(tags, scheme) for tags in columns[name].to_lists()] for name in broken}
        arrays = {name: pa.array(tags, type=pa.list_(pa.string())) for name, tags in repaired.items()}
        splits = {name: set_tags(rows, arrays.get(name)) for name, rows in corpus.splits.items()}
        corpus = replace(corpus, splits=splits)
    return PreparedTags(corpus, scheme, notes)


def _read_ends(corpus: Corpus, columns: Mapping[str, TagColumn]) -> Corpus:
    """The corpus with IOB2 tags where it had IOE1 or IOE2; a declared label list gets the begins that it lacks."""
    kind = pa.list_(pa.string())
    arrays = {
        name: pa.array([read_end_marked(tags) for tags in column.to_lists()], type=kind)
        for name, column in columns.items()
    }
    labels = corpus.labels
    if labels is not None:
        types = list(dict.fromkeys(split_tag(label)[1] for label in labels if label != OUTSIDE))
        labels = [OUTSIDE, *(f"{letter}-{name}" for name in types for letter in "BI")]
    splits = {name: set_tags(rows, arrays.get(name)) for name, rows in corpus.splits.items()}
    return replace(corpus, splits=splits, labels=labels)


def _describe_ill_formed(name: str, count: int, scheme: TagScheme, fix_labels: bool) -> str:
    remedy = "they were repaired" if fix_labels else "--fix_labels repairs them"
    return f"{name} has {count:,} places where a tag may not stand in {scheme} (as I-X without a begin); {remedy}."


def _respell(corpus: Corpus, notes: list[str]) -> Corpus:
    spellings = canonical_spellings(chain(corpus.labels or [], *(_distinct(rows) for rows in corpus.splits.values())))
    changed = {tag: spelling for tag, spelling in spellings.items() if tag != spelling}
    if not changed:
        return corpus
    example = next(iter(changed))
    notes.append(f"{len(changed)} tags were spelt anew, as {example!r} -> {changed[example]!r}.")
    labels = None if corpus.labels is None else list(dict.fromkeys(spellings[label] for label in corpus.labels))
    return replace(
        corpus, labels=labels, splits={name: _rename(rows, spellings) for name, rows in corpus.splits.items()}
    )


def _distinct(split: Dataset) -> list[str]:
    return TagColumn.of_split(split).names


def _rename(split: Dataset, spellings: Mapping[str, str]) -> Dataset:
    if "tags" not in split.column_names:
        return split
    return set_tags(split, TagColumn.of_split(split).respelt(spellings))


def set_tags(split: Dataset, tags: pa.ListArray | None) -> Dataset:
    """The split with other tags in the same column; nothing changes for None."""
    if tags is None:
        return split
    table = split.with_format("arrow")[:]
    place = table.column_names.index("tags")
    return Dataset(InMemoryTable(table.set_column(place, "tags", tags)))


def build_label_list(corpus: Corpus) -> list[str]:
    """Labels in the order of their ids: as the corpus declares them, else those of train (or of what there is), sorted.

    Raises
    ------
    DataError
        No split has a tag.
    """
    if corpus.labels:
        return list(corpus.labels)
    names = ["train"] if "train" in corpus.splits else list(corpus.splits)
    labels = sorted(set(chain.from_iterable(_distinct(corpus.splits[name]) for name in names)))
    if not labels:
        raise DataError(
            Problem(
                f"the corpus {corpus.name!r} has no labels",
                "a column of tags is needed to train or to score",
                "name it with --label_name or --label_column_name",
            )
        )
    return labels


def match_labels(model_labels: Sequence[str], data_labels: Sequence[str], *, folder: str) -> list[str]:
    """The label list to go on with when a trained model meets data: the model's, matched to the data's by name.

    Names are compared in canonical spelling, so a model that says `B_PER` serves data that says `B-PER`. A model saved
    without names (`LABEL_0`, `LABEL_1`, ... as thai2transformers saves them) takes those of the data by their number.

    Raises
    ------
    DataError
        Labels of the data that the model does not know; each with the nearest that it knows.
    """
    if len(model_labels) == len(data_labels) and all(UNNAMED.fullmatch(label) for label in model_labels):
        logger.warning(
            "The model in %s has labels without names; they are taken to be, in this order: %s.",
            folder,
            ", ".join(data_labels),
        )
        return list(data_labels)
    spellings = canonical_spellings(model_labels)
    known = [spellings[label] for label in model_labels]
    missing = [label for label in data_labels if label not in known]
    if missing:
        raise DataError(*(_unknown_label(label, known, folder) for label in missing))
    return known


def _unknown_label(label: str, known: Sequence[str], folder: str) -> Problem:
    return Problem(
        f"the data has the label {label!r}, which the model in {folder} does not know",
        describe_known(label, known, "label"),
        "use the model's labels, or train a new head with --do_train",
    )
