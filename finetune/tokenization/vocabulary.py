"""Names of tokenizer files and tokens; word-level vocabularies, `{"word": id, ...}`, and FakeSefrCut's segment cache."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.data.files import read_text
from finetune.data.json_values import parse_json
from finetune.errors import DataError, Problem

MODEL_FILE = "sentencepiece.bpe.model"
SPACE = "<_>"
NEWLINE = "\n"
CONTROL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
WORD_LEVEL_TOKENS = (*CONTROL_TOKENS, SPACE, NEWLINE)  # ids 0 to 6 of a new vocabulary, in this order


def read_vocabulary(path: Path) -> dict[str, int]:
    """The words of a vocabulary file with their ids.

    Raises:
        DataError: not a JSON object of words with the ids 0 to n - 1, or the vocabulary of another kind of tokenizer.
    """
    words = _read_json(path)
    if not isinstance(words, dict) or not all(type(index) is int for index in words.values()):
        found = "this is not a word vocabulary"
        remedy = "scripts/train_tokenizer.py makes one"
        raise DataError(Problem(found, 'one JSON object {"word": id, ...} is expected', remedy, path))
    if sorted(words.values()) != list(range(len(words))):
        found = f"the ids of these {len(words):,} words are not 0 to {len(words) - 1:,}, each once"
        raise DataError(Problem(found, remedy="train the vocabulary again", path=path))
    missing = [token for token in CONTROL_TOKENS if token not in words]
    if missing:
        found = f"this vocabulary has no {', '.join(missing)}: it belongs to another tokenizer"
        raise DataError(Problem(found, "a Thai word-level vocabulary holds " + " ".join(CONTROL_TOKENS), path=path))
    return words


def write_vocabulary(path: Path, words: Mapping[str, int]) -> None:
    """Write words in the order of their ids."""
    ordered = dict(sorted(words.items(), key=lambda item: item[1]))
    _write_entries(path, ordered)


def read_segment_cache(path: Path) -> dict[str, list[str]]:
    """Known segmentations, by stretch of text between spaces.

    The file maps texts, with `<_>` for spaces, to their segments: {"ต่าง<_>ๆ": ["ต่าง", "<_>", "ๆ"]}.

    Raises:
        DataError: another shape, or segments that do not add up to their text (the first 20 of them).
    """
    entries = _read_json(path)
    if not isinstance(entries, dict) or not all(_is_segmentation(value) for value in entries.values()):
        allowed = 'one JSON object {"text": ["segment", ...], ...} is expected'
        raise DataError(Problem("this is not a cache of segments", allowed, path=path))
    wrong = [text for text, segments in entries.items() if "".join(segments) != text]
    if wrong:
        raise DataError(*(Problem(f"the segments of {text!r} do not add up to it", path=path) for text in wrong[:20]))
    stretches: dict[str, list[str]] = {}
    for text, segments in entries.items():
        for stretch, parts in zip(text.split(SPACE), _split_at_spaces(segments), strict=True):
            stretches.setdefault(stretch, parts)
    return stretches


def write_segment_cache(path: Path, cache: Mapping[str, list[str]]) -> None:
    """Write known segmentations, sorted by text."""
    _write_entries(path, dict(sorted(cache.items())))


def _write_entries(path: Path, entries: Mapping[str, Any]) -> None:
    """One entry a line, so that two files can be compared by eye."""
    rows = (f"{_dump(name)}: {_dump(value)}" for name, value in entries.items())
    path.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _read_json(path: Path) -> Any:
    try:
        return parse_json(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(Problem(f"not valid JSON: {error.msg}", path=path, line=error.lineno)) from error


def _is_segmentation(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(segment, str) for segment in value)


def _split_at_spaces(segments: list[str]) -> list[list[str]]:
    groups: list[list[str]] = [[]]
    for segment in segments:
        before, *after = segment.split(SPACE)
        groups[-1] += [before] if before else []
        groups += [[part] if part else [] for part in after]
    return groups
