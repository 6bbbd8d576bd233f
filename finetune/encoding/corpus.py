"""Files of raw text -> a token store: tokenized once, in parallel, in flat memory; found again when asked for again."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from finetune.data.files import fingerprint, listed
from finetune.data.text import PACKED_SUFFIX
from finetune.data.text_rows import read_text_chunks
from finetune.encoding.blocks import Blocks, LinePacker, Packer, SentencePacker, StreamPacker
from finetune.encoding.documents import DocumentRules, encode_documents
from finetune.encoding.kept_lines import keep_lines
from finetune.encoding.lines import EncodedLines, LineEncoder, LineRules, count_lines, encode_lines, tell_lines
from finetune.encoding.special_tokens import SpecialTokens, find_special_tokens
from finetune.encoding.subwords import SubwordEncoder
from finetune.encoding.token_store import DESCRIPTION, FORMAT, TokenStoreWriter
from finetune.encoding.word_references import join_words
from finetune.errors import DataError, Problem
from finetune.run.engines import Keeping, Reread
from finetune.run.progress import Progress
from finetune.run.record_lock import only_one_prepares

logger = logging.getLogger(__name__)

BYTES_WORTH_A_WORKER = 1 << 21  # below, starting a process takes longer than what it saves
SEPARATOR_PIECES = ("▁", "\n")  # what thai2transformers puts between two lines of an example


class Packing(StrEnum):
    """How lines become examples."""

    LINES = "lines"
    SENTENCES = "sentences"
    STREAM = "stream"


class Template(StrEnum):
    """What the special tokens of a stream stand around."""

    LINES = "lines"
    BLOCKS = "blocks"
    NOTHING = "nothing"


@dataclass(frozen=True)
class CorpusSettings:
    """Everything but text and tokenizer that decides the examples.

    `column` is that of the text in files of rows. `documents`: text is tokenized as it stands, by these rules; without,
    line by line by `rules`. `template` is for a stream. `within_documents`: no sentence block spans two documents.
    `keep_flags`: the store says where words and documents begin.
    """

    packing: Packing
    max_length: int
    rules: LineRules = field(default_factory=LineRules)
    documents: DocumentRules | None = None
    column: str = "text"
    template: Template = Template.LINES
    within_documents: bool = False
    keep_flags: bool = False
    find_words: bool = False


def prepare_store(
    paths: Sequence[Path],
    tokenizer: PreTrainedTokenizerBase,
    settings: CorpusSettings,
    cache_dir: Path,
    *,
    workers: int,
    overwrite: bool = False,
    references: Path | None = None,
) -> Path:
    """The folder of the token store of these files, made now unless it is there.

    `references` is a file that joins subwords into words (see `word_references.py`); for lines as examples.

    Its arrays are the same, byte for byte, for any number of workers, and for packed and unpacked files. Several
    processes may ask at once: one makes it, the others wait. What a Ray cluster has tokenized when it is interrupted
    waits beside the folder for the next time that it is asked.

    Raises:
        DataError: the files hold no text, text that is not UTF-8, or cannot be read.
    """
    encoder = SubwordEncoder(tokenizer, words=settings.find_words)
    files = [fingerprint(path) for path in (*paths, *([references] if references else []))]
    folder = cache_dir / store_name(files, encoder.fingerprint, settings)
    with only_one_prepares(folder):
        if (folder / DESCRIPTION).is_file() and not overwrite:
            logger.info("Tokenized corpus found at %s (%s).", folder, listed([path.name for path in paths]))
            return folder
        specials = find_special_tokens(tokenizer)
        packer = build_packer(settings, tokenizer, specials)
        with TokenStoreWriter(folder, dtype=encoder.dtype, has_flags=settings.keep_flags) as writer:
            keeping = keep_lines(folder)
            batches = encode_texts(paths, encoder, tokenizer, settings, workers=workers, keeping=keeping)
            if references:
                batches = join_words(batches, references, len(specials.prefix))
            counts = _fill(writer, packer, batches, paths)
            description = {
                "counts": counts,
                "settings": asdict(settings),
                "tokenizer": describe_tokenizer(tokenizer, encoder.fingerprint),
                "files": files,
            }
            writer.commit(description)
        shutil.rmtree(keeping.folder, ignore_errors=True)  # of a start before this one, too
        tell_counts(counts, writer.examples, writer.tokens, settings)
    return folder


def store_name(files: Sequence[dict[str, Any]], tokenizer: str, settings: CorpusSettings) -> str:
    """A name that content, tokenizer and settings share with no other."""
    parts = {"format": FORMAT, "files": [item["sha256"] for item in files], "tokenizer": tokenizer, **asdict(settings)}
    parts["control_tokens"] = "text"  # stores made while a spelled `</s>` was the control token are not these
    return "corpus-" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def describe_tokenizer(tokenizer: PreTrainedTokenizerBase, fingerprint: str) -> dict[str, Any]:
    """What messages say of a tokenizer, and the hash that tells it from others."""
    return {
        "name": str(tokenizer.name_or_path),
        "class": type(tokenizer).__name__,
        "size": len(tokenizer),
        "lowercase": bool(getattr(tokenizer, "do_lower_case", False)),
        "sha256": fingerprint,
    }


def build_packer(settings: CorpusSettings, tokenizer: PreTrainedTokenizerBase, specials: SpecialTokens) -> Packer:
    """The packer that `settings` ask for, with the special tokens of `tokenizer`.

    Raises:
        DataError: `max_length` leaves no room for text.
    """
    if settings.max_length <= len(specials):
        found = f"a length of {settings.max_length} ids leaves no room for text"
        raise DataError(Problem(found, f"this tokenizer alone puts {len(specials)} special tokens around it"))
    if settings.packing == Packing.LINES:
        return LinePacker(settings.max_length, specials)
    if settings.packing == Packing.SENTENCES:
        separator = find_separator(tokenizer)
        return SentencePacker(
            settings.max_length, specials, separator=separator, within_documents=settings.within_documents
        )
    return StreamPacker(
        settings.max_length,
        line_template=specials if settings.template is Template.LINES else None,
        block_template=specials if settings.template is Template.BLOCKS else None,
    )


def find_separator(tokenizer: PreTrainedTokenizerBase) -> npt.NDArray[np.int64]:
    """Ids between two lines of an example: a lone "▁" or newline where the vocabulary has one, else the separator."""
    vocabulary = tokenizer.get_vocab()
    known = [vocabulary[subword] for subword in SEPARATOR_PIECES if subword in vocabulary]
    fallback = [index for index in (tokenizer.sep_token_id, tokenizer.eos_token_id) if index is not None]
    return np.array((known or fallback)[:1], dtype=np.int64)


def pack_lines(batches: Iterator[EncodedLines], packer: Packer, counts: Counter[str]) -> Iterator[Blocks]:
    """Blocks of all batches of lines; `counts` is completed on the way."""
    for lines in batches:
        counts.update(count_lines(lines))
        yield packer.pack(lines)
    yield packer.finish()
    counts.update(packer.counts)


def encode_texts(
    paths: Sequence[Path],
    encoder: SubwordEncoder,
    tokenizer: PreTrainedTokenizerBase,
    settings: CorpusSettings,
    *,
    workers: int,
    keeping: Keeping | None = None,
) -> Iterator[EncodedLines]:
    """The text of all files as `settings` have it tokenized: as it stands, or line by line."""
    how: dict[str, Any] = {"column": settings.column, "keeping": keeping}
    if settings.documents is None:
        return encode_files(paths, LineEncoder(encoder, settings.rules), workers=workers, **how)
    workers = useful_workers(paths, workers)
    return encode_documents(paths, encoder, tokenizer, settings.documents, workers=workers, **how)


def encode_files(
    paths: Sequence[Path],
    encoder: LineEncoder,
    *,
    workers: int,
    column: str = "text",
    keeping: Keeping | None = None,
) -> Iterator[EncodedLines]:
    """The lines of all files, by as many of `workers` as the amount of text is worth."""
    chunks = Reread(partial(read_text_chunks, column=column), (paths,), paths)
    return encode_lines(chunks, encoder, paths=paths, workers=useful_workers(paths, workers), keeping=keeping)


def useful_workers(paths: Sequence[Path], workers: int) -> int:
    """At most `workers`, and no more than the amount of text is worth."""
    return min(workers, 1 + sum(path.stat().st_size for path in paths) // BYTES_WORTH_A_WORKER)


def _fill(
    writer: TokenStoreWriter, packer: Packer, batches: Iterator[EncodedLines], paths: Sequence[Path]
) -> dict[str, int]:
    counts: Counter[str] = Counter()
    with Progress("Tokenizing", total=known_size(paths), unit="B") as progress:
        for blocks in pack_lines(batches, packer, counts):
            writer.add(blocks)
            progress.advance(counts["bytes"] - progress.done)
    if not writer.examples:
        raise DataError(no_text(paths))
    return dict(counts)


def known_size(paths: Sequence[Path]) -> int | None:
    """Bytes of all files; None where one is packed, because its content is larger than it."""
    if any(path.name.endswith(PACKED_SUFFIX) for path in paths):
        return None
    return sum(path.stat().st_size for path in paths)


def no_text(paths: Sequence[Path]) -> Problem:
    """The problem of files without a single line of text."""
    names = listed([path.name for path in paths])
    return Problem(f"there is no text in {names}", "at least one line that is not empty is needed")


def tell_counts(counts: dict[str, int], examples: int, tokens: int, settings: CorpusSettings) -> None:
    """Say what became of the corpus; what may surprise is a warning."""
    unit, number = "lines", counts["lines"]
    if settings.documents is not None:
        unit, number = f"{settings.documents.unit}s", counts["texts"]
    logger.info(
        f"{number:,} {unit} of text became {examples:,} examples of at most {settings.max_length:,} ids, {tokens:,} ids in "
        f"all; the last example holds {counts.get('tail', 0):,}."
    )
    tell_lines(counts, unit)
    if counts.get("lines_cut"):
        logger.warning(
            f"{counts['lines_cut']:,} of {counts['lines']:,} lines were longer than an example and were cut into several; "
            "nothing of them is lost."
        )
