"""The exports of annotation tools -> one shape: a record with `text` and a list of spans.

Read are doccano (`{"text", "label": [[start, end, name]]}`, also `entities` with `start_offset`), prodigy and spaCy
(`{"text", "spans": [{"start", "end", "label"}]}`, `ents`, `entities`, `[text, {"entities": [...]}]`) and Label Studio
(`{"data": {"text"}, "annotations": [{"result": [...]}]}`, and its JSON-MIN). Offsets count characters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finetune.tagging.formats.spans import Places, Span

SPAN_COLUMNS = ("label", "labels", "spans", "entities", "ents", "tags")
STARTS = ("start", "start_offset", "begin")
ENDS = ("end", "end_offset", "stop")
LABELS = ("label", "labels", "entity", "entity_group", "tag", "type", "class")


def unwrap_record(record: object) -> dict[str, Any] | None:
    """A record as a dictionary with its text at the top; None where it is neither a dictionary nor a spaCy pair."""
    if isinstance(record, dict):
        return _unwrap_task(record) if isinstance(record.get("data"), dict) else record
    if isinstance(record, list) and len(record) == 2 and isinstance(record[0], str) and isinstance(record[1], dict):
        return {"text": record[0], **record[1]}
    return None


def is_rejected(record: Mapping[str, Any]) -> bool:
    """Whether the annotator refused or skipped the text (prodigy's answer, Label Studio's cancelled task)."""
    return record.get("answer", "accept") in ("reject", "ignore")


def read_span(item: object, text: str) -> Span | str:
    """One span of any of the tools, or the sentence that says why it is none."""
    if isinstance(item, list | tuple):
        if len(item) != 3:
            return f"the span {item!r} has {len(item)} parts where [start, end, name] has 3"
        return _checked(item[0], item[1], item[2], item)
    if not isinstance(item, dict):
        return f"{item!r} is no span; [start, end, name] or an object with start, end and label is"
    value = item["value"] if isinstance(item.get("value"), dict) else item
    span = _checked(_first(value, STARTS), _first(value, ENDS), _first(value, LABELS), item)
    if isinstance(span, Span) and isinstance(value.get("text"), str) and text[span.start : span.end] != value["text"]:
        here = text[span.start : span.end]
        return f"the span {span} says that it covers {value['text']!r}, but the text has {here!r} there"
    return span


def given_words(record: Mapping[str, Any]) -> Places | None:
    """The words of a text where the tool exports them (prodigy, spaCy), in order and without overlap; else None."""
    tokens = record.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, dict) for token in tokens):
        return None
    places = [(token.get("start"), token.get("end")) for token in tokens]
    position = 0
    for start, end in places:
        if not isinstance(start, int) or not isinstance(end, int) or not position <= start < end:
            return None
        position = end
    return places  # type: ignore[return-value]


def _unwrap_task(task: dict[str, Any]) -> dict[str, Any]:
    """A Label Studio task: the first annotation that was not cancelled counts; without any it is unlabelled."""
    annotations = [item for item in task.get("annotations", []) if not item.get("was_cancelled")]
    record = {**task["data"]}
    if annotations:
        record["spans"] = [item for item in annotations[0].get("result", []) if item.get("type", "labels") == "labels"]
        record["annotators"] = len(annotations)
    elif task.get("annotations"):
        record["answer"] = "ignore"
    return record


def _first(value: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((value[name] for name in names if name in value), None)


def _checked(start: object, end: object, label: object, item: object) -> Span | str:
    if isinstance(label, list) and len(label) == 1:
        label = label[0]
    if not isinstance(start, int) or not isinstance(end, int) or isinstance(start, bool):
        return f"the span {item!r} has no whole numbers as start and end"
    if not isinstance(label, str) or not label.strip():
        return f"the span {item!r} has no single name as label"
    return Span(start, end, label.strip())
