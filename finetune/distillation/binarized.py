"""Text for distillation: one sequence a line with its special tokens as a token store, how often each id occurs in it.

Stands for `dump.bert-base-uncased.pickle` and `token_counts.*.pickle` of the DistilBERT scripts; `convert_pickle` reads
those.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from finetune.data.files import fingerprint
from finetune.data.json_values import parse_json
from finetune.data.pickles import ArrayUnpickler, read_pickle
from finetune.encoding.blocks import Blocks, LinePacker
from finetune.encoding.corpus import describe_tokenizer, encode_files, no_text, pack_lines
from finetune.encoding.lines import LineEncoder, tell_lines
from finetune.encoding.special_tokens import SpecialTokens
from finetune.encoding.subwords import SubwordEncoder, id_dtype
from finetune.encoding.token_store import DESCRIPTION, TokenStore, TokenStoreWriter
from finetune.errors import DataError, Problem
from finetune.run.atomic_files import AtomicFile
from finetune.run.record_lock import only_one_prepares

logger = logging.getLogger(__name__)

UNBOUNDED = 2**31 - 1  # sequences are split where they are trained on
PICKLES = (".pickle", ".pkl")
COUNTED_AT_A_TIME = 1 << 24
EXPECTED = "a list of counts or a list of arrays of ids"


def line_template(tokenizer: PreTrainedTokenizerBase) -> SpecialTokens:
    """What stands around a sequence: the first and the last special token, or those of a causal vocabulary.

    Raises:
        DataError: the tokenizer has no such tokens.
    """
    first = tokenizer.bos_token_id if tokenizer.cls_token_id is None else tokenizer.cls_token_id
    last = tokenizer.eos_token_id if tokenizer.sep_token_id is None else tokenizer.sep_token_id
    if first is None or last is None:
        found = f"the tokenizer {type(tokenizer).__name__} has no tokens that begin and end a sequence"
        raise DataError(Problem(found, "cls_token and sep_token, or bos_token and eos_token, are needed"))
    ids, types = np.array([[first], [last]], dtype=np.int32), np.zeros(1, np.int8)
    return SpecialTokens(ids[0], ids[1], types, types, 0)


def binarize(
    paths: Sequence[Path], tokenizer: PreTrainedTokenizerBase, folder: Path, *, workers: int
) -> dict[str, int]:
    """Write the token store `folder`: every line of the files that has subwords is a sequence, however long.

    Raises:
        DataError: no text, or text that is not UTF-8.
    """
    encoder, template = SubwordEncoder(tokenizer), line_template(tokenizer)
    counts: Counter[str] = Counter()
    packer = LinePacker(UNBOUNDED, template)
    with only_one_prepares(folder), TokenStoreWriter(folder, dtype=encoder.dtype, has_flags=False) as writer:
        for blocks in pack_lines(encode_files(paths, LineEncoder(encoder), workers=workers), packer, counts):
            writer.add(blocks)
        if not writer.examples:
            raise DataError(no_text(paths))
        writer.commit(
            {
                "counts": dict(counts),
                "tokenizer": describe_tokenizer(tokenizer, encoder.fingerprint),
                "files": [fingerprint(path) for path in paths],
            }
        )
    tell_lines(counts)
    return {"sequences": writer.examples, "tokens": writer.tokens}


def open_binarized(path: Path) -> TokenStore:
    """The token store of that name; a name that ends in .pickle, as old command lines have it, means the store beside it.

    Raises:
        DataError: there is none.
    """
    folder = path.with_suffix("") if path.suffix in PICKLES and not path.is_dir() else path
    if (folder / DESCRIPTION).is_file():
        if folder != path:
            logger.info("%s: the token store %s is read instead.", path, folder)
        return TokenStore(folder)
    if path.is_file():
        raise DataError(Problem("this is no token store", remedy=explain_conversion(path), path=path))
    raise DataError(Problem("there is no token store", remedy="make it with binarized_data.py", path=folder))


def explain_conversion(path: Path) -> str:
    return f"an old pickle is made one by convert_legacy_pickle.py --input_file {path}"


def count_tokens(store: TokenStore, vocabulary_size: int) -> npt.NDArray[np.int64]:
    """How often each id of the vocabulary occurs, (vocabulary,), in flat memory.

    Raises:
        DataError: ids beyond the vocabulary.
    """
    counts = np.zeros(vocabulary_size, dtype=np.int64)
    for start in range(0, len(store._tokens), COUNTED_AT_A_TIME):
        found = np.bincount(store._tokens[start : start + COUNTED_AT_A_TIME], minlength=vocabulary_size)
        if len(found) > vocabulary_size:
            text = f"the data holds the id {len(found) - 1:,}, beyond a vocabulary of {vocabulary_size:,}"
            raise DataError(Problem(text, remedy="give the --vocab_size of its tokenizer", path=store.folder))
        counts += found
    return counts


def counts_path(path: Path) -> Path:
    """Where counts lie: JSON or .npy; for the .pickle of old command lines the JSON beside it."""
    return path.with_suffix(".json") if path.suffix in PICKLES else path


def write_counts(path: Path, counts: npt.NDArray[np.int64]) -> Path:
    """As one array, in NumPy's format where the name ends in .npy, else as JSON."""
    target = counts_path(path)
    with AtomicFile(target) as file:
        if target.suffix == ".npy":
            np.save(file.stream, counts)
        else:
            file.stream.write(json.dumps(counts.tolist()).encode())
    return target


def read_counts(path: Path) -> npt.NDArray[np.int64]:
    """Counts as `write_counts` wrote them.

    Raises:
        DataError: no such file, or no list of whole numbers from 0.
    """
    target = counts_path(path)
    if not target.is_file():
        remedy = explain_conversion(path) if path.is_file() else "make it with token_counts.py"
        raise DataError(Problem("there are no token counts", remedy=remedy, path=target))
    try:
        values = (
            np.load(target) if target.suffix == ".npy" else np.array(parse_json(target.read_text(encoding="utf-8")))
        )
    except (
        ValueError,
        EOFError,
        SyntaxError,
        OverflowError,
        MemoryError,
        TokenError,
    ) as error:  # what numpy finds in a damaged head
        raise DataError(Problem(f"this is no list of token counts ({error})", path=target)) from error
    if values.ndim != 1 or values.dtype.kind not in "iu" or not len(values) or values.min() < 0:
        raise DataError(Problem("this is no list of token counts", "one whole number from 0 for each id", path=target))
    return values.astype(np.int64)


def convert_pickle(source: Path, target: Path | None) -> dict[str, Any]:
    """Turn an old pickle of counts into JSON or .npy, one of sequences into a token store; nothing in it is run.

    Raises:
        DataError: it refers to code, or holds something else.
    """
    values = read_pickle(source, "plain numbers", EXPECTED, ArrayUnpickler)
    if isinstance(values, list) and values and all(is_count(value) for value in values):
        path = write_counts(target or source.with_suffix(".json"), np.array(values, dtype=np.int64))
        return {"output_file": str(path), "counts": len(values)}
    if isinstance(values, list) and values and all(is_sequence(value) for value in values):
        return _write_sequences(values, source, target or source.with_suffix(""))
    raise DataError(Problem(f"this pickle holds something else than {EXPECTED}", path=source))


def is_count(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= 0


def is_sequence(value: Any) -> bool:
    is_array = isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "iu"
    return is_array and len(value) > 0 and int(value.min()) >= 0


def _write_sequences(rows: list[npt.NDArray], source: Path, folder: Path) -> dict[str, Any]:
    ids, lengths = np.concatenate(rows), np.array([len(row) for row in rows], dtype=np.int64)
    dtype = id_dtype(int(ids.max()) + 1)
    with only_one_prepares(folder), TokenStoreWriter(folder, dtype=dtype, has_flags=False) as writer:
        writer.add(Blocks(ids.astype(dtype), lengths, np.empty(0, np.uint8)))
        writer.commit({"counts": {}, "tokenizer": None, "files": [fingerprint(source)]})
    return {"output_file": str(folder), "sequences": len(rows), "tokens": len(ids)}
