"""The corpus of a tagging run: a named one, a folder, a data set of the hub, or files; checked before anything is trained.

All problems of all splits are raised together. Splits come out with the canonical columns of `finetune.data.corpus`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from datasets import Dataset

from finetune.arguments.nearest import nearest
from finetune.data import hub
from finetune.data.corpus import SPLITS, Corpus, describe_duplicates, limit_samples
from finetune.data.files import find_paths, listed, read_lines
from finetune.data.sources import Patterns, find_corpus, find_in_folder
from finetune.data.splits import carve_validation
from finetune.errors import DataError, Problem, ProblemList
from finetune.supervised.arguments import SupervisedArguments
from finetune.supervised.row_weights import FLAG as WEIGHT_FLAG
from finetune.supervised.row_weights import WEIGHT
from finetune.supervised.silver import FLAG, add_silver
from finetune.tagging.checks import check_entities, check_tags, declare_labels, normalize_tags, require_label_list
from finetune.tagging.corpora import NAMED, NamedCorpus, choose_task, wanted_files
from finetune.tagging.formats.choice import read_sentences
from finetune.tagging.formats.parquet import read_rows
from finetune.tagging.formats.sentences import (
    Sentences,
    TagColumns,
    merge_sentences,
    settle_documents,
    settle_weights,
)

if TYPE_CHECKING:
    from finetune.tagging.arguments import TaggingDataArguments

logger = logging.getLogger(__name__)

SUFFIXES = ("conllu", "conll", "txt", "jsonl", "json", "parquet", "csv", "tsv", "iob2", "iob", "bio")
# What the files of a folder are called: those of CoNLL-2003 and its followers, with any suffix that is read.
PLAIN_NAMES: Patterns = {
    split: [f"{name}{more}.{suffix}" for suffix in SUFFIXES for name in names for more in ("", "-[0-9]*")]
    for split, names in hub.SPLIT_NAMES.items()
}
NAMES_WITH_PREFIX: Patterns = {
    split: [f"*[._-]{name}.{suffix}" for suffix in SUFFIXES for name in names]
    for split, names in hub.SPLIT_NAMES.items()
}


def load_tagging_corpus(
    arguments: TaggingDataArguments,
    *,
    seed: int,
    validation_needed: bool = True,
    segmenter: str = "auto",
    trains: bool = True,
    documents: bool = False,
    silver: SupervisedArguments | None = None,
) -> Corpus:
    """Read the corpus that the arguments name, split it, check it, and say what was found.

    Where there is no validation set, one is made of a tenth of train with `seed`, unless `validation_needed` is False.
    `segmenter` finds the words of raw text. Where nothing `trains`, tags are left to be judged by the labels of a model.
    Sentences of `silver` files are appended to train. With `documents` every split must mark them, and a validation set is
    made of whole ones.

    Raises:
        DataError: every problem of every split: files that are missing, empty, not UTF-8, ragged; columns that are not
            there; a corpus that is nowhere to be found; spans outside of their text; tags in validation that training
            lacks; one tag throughout in training; a split without sentences.
    """
    problems = ProblemList()
    labels = problems.attempt(_read_labels, arguments.labels)
    columns = TagColumns(
        words=arguments.text_column_name,
        tags=arguments.label_column_name,
        task=arguments.label_name,
        delimiter=arguments.delimiter,
        labels=labels,
        json_key=arguments.field,
        segmenter=segmenter,
        documents=documents,
        weight=silver.weight_column if silver is not None else None,
        weight_required=not (silver is not None and silver.silver_file),
    )
    corpus = problems.attempt(_load, arguments, columns, seed, problems)
    if corpus is None:
        raise DataError(*problems)
    corpus.labels = list(labels) if labels else corpus.labels
    problems.add(_empty_splits(corpus))
    if documents:
        problems.add(_unmarked_splits(corpus))
    corpus.notes += normalize_tags(corpus, wanted=arguments.normalize_labels)
    problems.add(check_tags(corpus, trains=trains))
    if trains and not arguments.allow_no_entities:
        problems.add(check_entities(corpus))
    problems.raise_any()
    if validation_needed:
        together = "document" if documents else None
        carve_validation(corpus, seed, text="words", label="tags", together=together)
    if documents:
        corpus.notes += describe_documents(corpus)
    corpus.notes += describe_duplicates(corpus.splits, inputs=["words"], label="tags")
    _limit(corpus, arguments)
    if silver is not None and silver.silver_file:
        _add_silver_sentences(corpus, columns, silver, wanted=arguments.normalize_labels)
    _require_weights(corpus, columns)
    corpus.log_notes()
    return corpus


def _add_silver_sentences(corpus: Corpus, columns: TagColumns, asked: SupervisedArguments, *, wanted: bool) -> None:
    """Append the sentences of `--silver_file` to train, in place, read as those are.

    Raises:
        DataError: files that are missing or broken, or tags that train lacks.
    """
    problems = ProblemList()
    paths = [path for pattern in asked.silver_file or () for path in find_paths(pattern, flag=FLAG)]
    silver = _read_files("silver", {"train": paths}, columns, problems)
    problems.raise_any()
    silver.notes += normalize_tags(silver, wanted=wanted)
    corpus.notes += [note.replace("train", "silver", 1) for note in silver.notes]
    add_silver(corpus, silver.splits["train"], paths, asked, inputs=["words"], label="tags")


def _require_weights(corpus: Corpus, columns: TagColumns) -> None:
    """Nothing, unless weights were asked for and no sentence of train has one.

    Raises:
        DataError: so it is.
    """
    train = corpus.splits.get("train")
    if columns.weight is None or train is None or WEIGHT in train.column_names:
        return
    found = f"{WEIGHT_FLAG} {columns.weight}: nothing says what a sentence of train weighs"
    raise DataError(Problem(found, "files of sentences have a column or a comment of that name", "drop the flag"))


def _read_labels(path: str | None) -> tuple[str, ...] | None:
    """The labels of a file with one a line, in its order.

    Raises:
        DataError: the file is missing, empty, or names a label twice.
    """
    if path is None:
        return None
    (found,) = find_paths(path, flag="--labels")
    labels = tuple(line.strip() for line in read_lines(found).lines if line.strip())
    require_label_list(labels, found)
    return labels


def _load(arguments: TaggingDataArguments, columns: TagColumns, seed: int, problems: ProblemList) -> Corpus:
    """The corpus, as far as it can be read; what is wrong with single files is added to `problems`."""
    name = arguments.dataset_name
    if name in NAMED:
        return _load_named(name, arguments, columns, seed, problems)
    if name is not None and Path(name).expanduser().is_dir():
        return _load_folder(Path(name).expanduser(), columns, problems)
    if name is not None:
        return _load_hub(name, arguments.dataset_config_name, columns, problems)
    if arguments.data_dir is not None:
        return _load_folder(Path(arguments.data_dir).expanduser(), columns, problems)
    return _load_typed_files(arguments, columns, problems)


def _load_named(
    name: str, arguments: TaggingDataArguments, columns: TagColumns, seed: int, problems: ProblemList
) -> Corpus:
    named = NAMED[name]
    task = choose_task(name, columns.task)
    labels = named.tags[task] if columns.tags is None else None
    if named.make is not None:
        splits = {split: part.to_dataset() for split, part in named.make(task, seed).items()}
        return Corpus(name, splits, list(labels) if labels else None)
    data_dir = arguments.lst20_data_dir or arguments.data_dir
    found = find_corpus(wanted_files(name, task, arguments.dataset_config_name), data_dir)
    chosen = _named_columns(named, task, columns, found.files)
    chosen = replace(chosen, is_document=named.file_is_document)
    corpus = _read_files(
        name, found.files, chosen, problems, lambda part: named.clean(part, task) if named.clean else part
    )
    corpus.labels = list(labels) if labels else corpus.labels
    if named.split is not None and list(corpus.splits) == ["train"]:
        corpus.splits = named.split(corpus.splits["train"])
        corpus.files = dict.fromkeys(corpus.splits, corpus.files["train"])
    return corpus


def _named_columns(
    named: NamedCorpus, task: str, columns: TagColumns, files: Mapping[str, Sequence[Path]]
) -> TagColumns:
    """The columns of a named corpus: numbers or names in its own files, those of the task in Parquet files."""
    is_parquet = any(path.suffix == ".parquet" for paths in files.values() for path in paths)
    usual = None if is_parquet else named.columns.get(task)
    return replace(columns, task=task, tags=columns.tags or usual)


def _load_folder(folder: Path, columns: TagColumns, problems: ProblemList) -> Corpus:
    """A folder saved by `datasets`, or one with files called train, dev (valid, validation, eval) and test.

    Raises:
        DataError: it is no folder, or it holds neither.
    """
    if not folder.is_dir():
        raise DataError(Problem("no such folder", remedy="check --data_dir", path=folder))
    if hub.is_saved_dataset(folder):
        return _read_datasets(str(folder), hub.read_saved_dataset(folder), columns, problems)
    files = find_in_folder(folder, PLAIN_NAMES) or _find_with_prefix(folder)
    if not files:
        names = sorted(path.name for path in folder.iterdir())
        allowed = "files like train.txt, dev.txt and test.txt, or what save_to_disk of datasets writes"
        raise DataError(Problem(f"this folder holds no corpus, but {listed(names)}", f"allowed: {allowed}", "", folder))
    return _read_files(str(folder), files, columns, problems)


def _find_with_prefix(folder: Path) -> dict[str, list[Path]]:
    """Files like `th_tud-ud-train.conllu`, of one corpus only."""
    files = find_in_folder(folder, NAMES_WITH_PREFIX)
    several = [path.name for paths in files.values() for path in paths if len(paths) > 1]
    if several:
        found = f"this folder holds several corpora ({listed(several)})"
        raise DataError(Problem(found, "", "choose with --train_file, --validation_file, --test_file", folder))
    return files


def _load_hub(name: str, config: str | None, columns: TagColumns, problems: ProblemList) -> Corpus:
    try:
        loaded = hub.load_hub_dataset(name, config)
    except DataError as error:
        match = nearest(name, NAMED)
        hint = f"did you mean {match}" if match else ""
        raise DataError(*(replace(problem, allowed=problem.allowed or hint) for problem in error.problems)) from error
    return _read_datasets(name, loaded, columns, problems)


def _load_typed_files(arguments: TaggingDataArguments, columns: TagColumns, problems: ProblemList) -> Corpus:
    typed = {split: getattr(arguments, f"{split}_file") for split in SPLITS}
    given = {split: pattern for split, pattern in typed.items() if pattern is not None}
    if not given:
        raise DataError(Problem("there is no data", "", "add --dataset_name, --data_dir or --train_file"))
    found = {split: problems.attempt(find_paths, path, flag=f"--{split}_file") for split, path in given.items()}
    files = {split: paths for split, paths in found.items() if paths}
    return _read_files(Path(next(iter(given.values()))).name, files, columns, problems)


def _read_files(
    name: str,
    files: Mapping[str, list[Path]],
    columns: TagColumns,
    problems: ProblemList,
    clean: Callable[[Sentences], Sentences] = lambda sentences: sentences,
) -> Corpus:
    """The splits that can be read; the problems of the others' files are added to `problems`."""
    corpus = Corpus(name, {}, files={split: files[split] for split in SPLITS if split in files})
    for split, paths in corpus.files.items():
        parts = [problems.attempt(read_sentences, path, _columns_of(split, columns)) for path in paths]
        read = [part for part in parts if part is not None]
        merged = problems.attempt(merge_sentences, read, paths) if len(read) == len(paths) else None
        if merged is not None:
            sentences, file_indices = merged
            _add_split(corpus, split, clean(sentences), file_indices)
    return corpus


def _read_datasets(name: str, loaded: Mapping[str, Dataset], columns: TagColumns, problems: ProblemList) -> Corpus:
    """A corpus of data sets with any columns."""
    if not loaded:
        raise DataError(Problem(f"{name} has no split called train, validation or test"))
    corpus = Corpus(name, {})
    for split, rows in loaded.items():
        place = Path(f"{name}[{split}]")
        sentences = problems.attempt(_read_rows, rows, place, _columns_of(split, columns))
        if sentences is not None:
            corpus.files[split] = hub.cached_files(rows)
            _add_split(corpus, split, sentences)
    return corpus


def _read_rows(rows: Dataset, place: Path, columns: TagColumns) -> Sentences:
    return settle_weights(settle_documents(read_rows(rows, place, columns), columns, place), columns, place)


def _columns_of(split: str, columns: TagColumns) -> TagColumns:
    return replace(columns, required=split != "test", weight=columns.weight if split == "train" else None)


def _add_split(corpus: Corpus, split: str, sentences: Sentences, files: Sequence[int] | None = None) -> None:
    corpus.splits[split] = sentences.to_dataset(files)
    corpus.labels = corpus.labels or sentences.labels
    corpus.notes += [f"{split}: {note}" for note in sentences.notes]
    for remark in sentences.remarks:
        logger.info("%s: %s", split, remark)
    if sentences.tags is None:
        corpus.notes.append(f"{split} has no tags: its words are tagged, not scored.")


def _empty_splits(corpus: Corpus) -> list[Problem]:
    return [Problem(f"{split} has zero sentences") for split, rows in corpus.splits.items() if not len(rows)]


def _unmarked_splits(corpus: Corpus) -> list[Problem]:
    """Splits that were made here, not read: their sentences stand alone."""
    found = "--document_context needs documents, and {} has sentences that stand alone"
    bare = [split for split, rows in corpus.splits.items() if "document" not in rows.column_names]
    return [Problem(found.format(split), remedy="drop --document_context (0 reads none)") for split in bare]


def describe_documents(corpus: Corpus) -> list[str]:
    """How many documents each split has; where each holds a single sentence there is nothing to read around it."""
    notes = []
    for split, rows in corpus.splits.items():
        count = len(set(rows["document"][:]))
        notes.append(f"{split}: {len(rows):,} sentences in {count:,} documents.")
        if count == len(rows):
            notes.append(f"Each document of {split} is one sentence, so --document_context has nothing to read there.")
    return notes


def _limit(corpus: Corpus, arguments: TaggingDataArguments) -> None:
    """Keep as many sentences as were asked for; the labels stay those of the whole training set."""
    limits = {
        "train": arguments.max_train_samples,
        "validation": arguments.max_eval_samples,
        "test": arguments.max_predict_samples,
    }
    if limits["train"] is not None:
        declare_labels(corpus)
    limit_samples(corpus, limits)
