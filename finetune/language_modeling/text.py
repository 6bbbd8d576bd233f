"""The text of a language-model command -> examples: which files, packed how, prepared once or while training."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from finetune.data.hub import is_saved_dataset, load_hub_dataset, read_saved_dataset
from finetune.data.text import find_text_files
from finetune.data.text_rows import save_texts
from finetune.encoding.corpus import CorpusSettings, build_packer, encode_texts, pack_lines, prepare_store
from finetune.encoding.draws import draw_number
from finetune.encoding.ragged import offsets_of
from finetune.encoding.special_tokens import find_special_tokens
from finetune.encoding.subwords import SubwordEncoder
from finetune.encoding.token_store import TokenStore
from finetune.errors import DataError, Problem, ProblemList
from finetune.language_modeling.arguments import TextArguments
from finetune.run.cache import cache_folder
from finetune.run.engines import find_engine
from finetune.run.workers import usable_cores

logger = logging.getLogger(__name__)

MANY = 1 << 20  # an engine takes as many as it has
SEED_OF_VALIDATION = 1  # added to the seed, so that no example is masked as one of training


@dataclass(frozen=True)
class TextFiles:
    """The files of each split; `validation` may be empty."""

    train: Sequence[Path]
    validation: Sequence[Path]

    def as_dict(self) -> dict[str, list[Path]]:
        return {"train": list(self.train), "validation": list(self.validation)}


def find_cache(asked: TextArguments) -> Path:
    """Where tokenized text is kept."""
    if asked.datasets_cache_dir:
        return Path(asked.datasets_cache_dir).expanduser()
    return cache_folder()


def find_texts(asked: TextArguments) -> TextFiles:
    """The files that the arguments name; of a data set, its texts are written to the cache first.

    Raises:
        DataError: files or splits that are missing, all of them at once.
    """
    if asked.dataset_name:
        return _texts_of_dataset(asked)
    problems = ProblemList()
    sources = {"--train_file": asked.train_file, "--validation_file": asked.validation_file}
    found = [
        problems.attempt(find_text_files, names or [], ext=asked.ext, flag=flag) or []
        for flag, names in sources.items()
    ]
    problems.raise_any()
    return TextFiles(*found)


def _texts_of_dataset(asked: TextArguments) -> TextFiles:
    name = str(asked.dataset_name)
    folder = Path(name)
    saved = folder.is_dir() and is_saved_dataset(folder)
    splits = read_saved_dataset(folder) if saved else load_hub_dataset(name, asked.dataset_config_name)
    column, paths = asked.text_column_name, {}
    for split, rows in splits.items():
        if column not in rows.column_names:
            found = f"the data set {name} has no column {column!r}"
            allowed = f"its columns are {', '.join(rows.column_names)}"
            raise DataError(Problem(found, allowed, "name the one with the text by --text_column_name"))
        path = find_cache(asked) / f"texts-{rows._fingerprint}-{split}.jsonl"
        paths[split] = [save_texts((text or "" for text in rows[column]), path)]
    return TextFiles(paths.get("train", []), paths.get("validation", []))


def prepare_texts(
    paths: Sequence[Path],
    tokenizer: PreTrainedTokenizerBase,
    settings: CorpusSettings,
    asked: TextArguments,
    *,
    seed: int,
    references: str | None = None,
) -> TokenStore | None:
    """The store of these files; None where there are none.

    Raises:
        DataError: as `prepare_store`.
    """
    if not paths:
        return None
    folder = prepare_store(
        paths,
        tokenizer,
        settings,
        find_cache(asked),
        workers=asked.preprocessing_num_workers or (usable_cores() if find_engine() is None else MANY),
        overwrite=asked.overwrite_cache,
        references=Path(references) if references else None,
    )
    return TokenStore(folder, seed=seed)


def hold_out(train: TokenStore, percentage: int) -> tuple[TokenStore, TokenStore]:
    """The first examples for validation, the others to train on; at least one for each.

    Raises:
        DataError: there is but one example.
    """
    if len(train) < 2:
        found = "the text makes a single example, so none can be held out for validation"
        raise DataError(Problem(found, remedy="give --validation_file, more text, or a smaller --max_seq_length"))
    count = min(max(round(len(train) * percentage / 100), 1), len(train) - 1)
    logger.info("The first %s of %s examples are held out for validation.", f"{count:,}", f"{len(train):,}")
    return train.part(count, None), train.part(0, count).fixed()


@dataclass(frozen=True)
class StreamedTexts:
    """Reads and tokenizes files anew for every epoch: called with the epoch, it gives the examples one by one."""

    paths: Sequence[Path]
    encoder: SubwordEncoder
    tokenizer: Any
    settings: CorpusSettings
    seed: int

    @classmethod
    def of(
        cls, paths: Sequence[Path], tokenizer: PreTrainedTokenizerBase, settings: CorpusSettings, *, seed: int
    ) -> StreamedTexts:
        return cls(paths, SubwordEncoder(tokenizer, words=settings.find_words), tokenizer, settings, seed)

    def __call__(self, epoch: int) -> Iterator[dict[str, Any]]:
        packer = build_packer(self.settings, self.tokenizer, find_special_tokens(self.tokenizer))
        batches = encode_texts(self.paths, self.encoder, self.tokenizer, self.settings, workers=1)
        index = 0
        for blocks in pack_lines(batches, packer, Counter()):
            offsets = offsets_of(blocks.lengths)
            for start, end in pairwise(offsets):
                example = {"input_ids": blocks.ids[start:end], "draw": draw_number(self.seed, epoch, index)}
                yield example | ({"flags": blocks.flags[start:end]} if self.settings.keep_flags else {})
                index += 1
