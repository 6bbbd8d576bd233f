"""Words and tags that a cell holds as one text: `Mira saw Oslo` beside `B-PER O B-LOC`, `B-PER,O,B-LOC` or a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from finetune.tagging.formats.sentences import TAG_COLUMNS, TagColumns, task_names

RECORDS_LOOKED_AT = 1000


def holds_split_words(records: Sequence[Mapping[str, Any]], name: str, columns: TagColumns) -> bool:
    """Whether texts are words apart by spaces: all have as many as there are tags beside them."""
    names = [columns.tags] if columns.tags else [*task_names(columns.task), *TAG_COLUMNS]
    tags = next((other for other in names if other != name and any(record.get(other) for record in records)), None)
    pairs = [(record.get(name), record.get(tags)) for record in records[:RECORDS_LOOKED_AT]] if tags else []
    texts = [(words.split(), own) for words, own in pairs if isinstance(words, str) and _are_split_tags(own)]
    if not pairs or len(texts) < len(pairs):
        return False
    fits = all(len(split_tags(own, len(words))) == len(words) for words, own in texts)
    return fits and any(len(words) > 1 for words, _ in texts)


def _are_split_tags(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(tag, str) for tag in value))


def split_tags(value: Any, count: int) -> Any:
    """The tags of a cell as a list: apart by spaces, or by commas where that gives `count` of them; else as it is."""
    if not isinstance(value, str):
        return value
    apart = value.split()
    by_commas = [tag.strip() for tag in value.split(",")]
    return by_commas if len(by_commas) == count != len(apart) else apart
