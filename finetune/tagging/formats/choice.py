"""Which reader a file of tagged text needs: told by its name, and by its first lines where the name does not say."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from finetune.data.files import iterate_lines
from finetune.errors import DataError, Problem
from finetune.tagging.formats.brat import read_brat
from finetune.tagging.formats.conll import read_conll
from finetune.tagging.formats.conllu import COLUMN_NAMES, read_conllu
from finetune.tagging.formats.inline import find_separator, read_inline
from finetune.tagging.formats.jsonl import read_jsonl
from finetune.tagging.formats.ontonotes import is_ontonotes, read_ontonotes
from finetune.tagging.formats.parquet import read_parquet
from finetune.tagging.formats.sentences import Sentences, TagColumns, settle_documents, settle_weights
from finetune.tagging.formats.table import is_table, read_table
from finetune.tagging.formats.webanno import FORMAT, read_webanno

Reader = Callable[[Path, TagColumns], Sentences]

READERS: dict[str, Reader] = {
    ".conllu": read_conllu,
    ".json": read_jsonl,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".csv": read_table,
    ".parquet": read_parquet,
    ".ann": read_brat,
}
OTHER_WEBANNO = "#FORMAT=WebAnno TSV"
MARKUP = (".xml", ".html", ".htm", ".xmi", ".tei")
LINES_LOOKED_AT = 200


def read_sentences(path: Path, columns: TagColumns) -> Sentences:
    """The sentences of a file of any known format.

    Raises:
        DataError: a form that is not read; no mark of documents, no weights, where these are needed; and as the reader of
            its format.
    """
    sentences = find_reader(path, columns)(path, columns)
    return settle_weights(settle_documents(sentences, columns, path), columns, path)


def find_reader(path: Path, columns: TagColumns) -> Reader:
    """The reader for a file. Names that say nothing (`.txt`, `.tsv`, `.conll`, `.iob`, none) are looked into.

    Raises:
        DataError: the file cannot be opened; XML, or another form of which it is known how to export it better.
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix in READERS and suffix != ".conllu":
        return READERS[suffix]
    first_lines = list(islice(iterate_lines(path), LINES_LOOKED_AT))
    content = next((line for line in first_lines if line.strip() and not line.startswith("#")), "")
    _require_readable(path, first_lines, content, suffix)
    if any(line.startswith(FORMAT) for line in first_lines):
        return read_webanno
    if suffix in READERS:
        return READERS[suffix]
    if content.startswith(("{", "[{", '["')):
        return read_jsonl
    if is_table(first_lines, columns, suffix):
        return read_table
    if is_ontonotes(first_lines):
        return read_ontonotes
    if find_separator(first_lines):
        return read_inline
    fields = content.split("\t")
    return read_conllu if len(fields) == len(COLUMN_NAMES) and fields[0][:1].isdigit() else read_conll


def _require_readable(path: Path, lines: list[str], content: str, suffix: str) -> None:
    """Nothing, unless the file is of a form that is known and not read.

    Raises:
        DataError: it is; the sentence says what to export instead.
    """
    if content.lstrip().startswith("<") and (suffix in MARKUP or content.rstrip().endswith(">")):
        found, remedy = "this is XML or HTML, not words and tags", "export it as CoNLL, or as JSON lines with spans"
        raise DataError(Problem(found, "docs/data_formats.md lists what is read", remedy, path))
    if lines[0].startswith(OTHER_WEBANNO) and not lines[0].startswith(FORMAT):
        found, remedy = f"this is {lines[0].partition('=')[2]}", "export it as WebAnno TSV 3.x or CoNLL 2002"
        raise DataError(Problem(found, "WebAnno TSV 3 is read", remedy, path))
