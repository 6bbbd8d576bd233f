"""Which reader a file of tagged text needs: told by its name, and by its first lines where the name does not say."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from finetune.data.files import iterate_lines
from finetune.tagging.formats.conll import read_conll
from finetune.tagging.formats.conllu import COLUMN_NAMES, read_conllu
from finetune.tagging.formats.jsonl import read_jsonl
from finetune.tagging.formats.parquet import read_parquet
from finetune.tagging.formats.sentences import Sentences, TagColumns
from finetune.tagging.formats.table import has_table_header, read_table

Reader = Callable[[Path, TagColumns], Sentences]

READERS: dict[str, Reader] = {
    ".conllu": read_conllu,
    ".json": read_jsonl,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".csv": read_table,
    ".parquet": read_parquet,
}
LINES_LOOKED_AT = 200


def read_sentences(path: Path, columns: TagColumns) -> Sentences:
    """The sentences of a file of any known format.

    Raises:
        DataError: as the reader of its format.
    """
    return find_reader(path, columns)(path, columns)


def find_reader(path: Path, columns: TagColumns) -> Reader:
    """The reader for a file. Names that say nothing (`.txt`, `.tsv`, `.conll`, `.iob`, none) are looked into."""
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix in READERS:
        return READERS[suffix]
    first_lines = list(islice(iterate_lines(path), LINES_LOOKED_AT))
    if suffix == ".tsv" and has_table_header(first_lines[0], columns):
        return read_table
    content = next((line for line in first_lines if line.strip() and not line.startswith("#")), "")
    if content.startswith("{"):
        return read_jsonl
    fields = content.split("\t")
    return read_conllu if len(fields) == len(COLUMN_NAMES) and fields[0][:1].isdigit() else read_conll
