"""The exports of annotation tools -> one shape: a record with `text` and a list of spans.

Read are doccano (`{"text", "label": [[start, end, name]]}`, also `entities` with `start_offset`), prodigy and spaCy
(`{"text", "spans": [{"start", "end", "label"}]}`, `ents`, `entities`, `[text, {"entities": [...]}]`) and Label Studio
(`{"data": {"text"}, "annotations": [{"result": [...]}]}`, and its JSON-MIN), dataturks
(`{"content", "annotation": [{"label", "points"}]}`), LightTag (`{"content", "annotations": [{"start", "end", "tag"}]}`),
Argilla (`{"text", "annotation": [[name, start, end]]}`) and GLiNER (`{"tokenized_text", "ner": [[first, last, name]]}`).
Offsets count characters, those of GLiNER words.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

from finetune.data.annotation_exports import RESULTS, find_skip_reason, flatten_record
from finetune.tagging.formats.spans import Places, Span

SPAN_COLUMNS = ("label", "labels", "spans", "entities", "ents", "tags", "annotations")
STARTS = ("start", "start_offset", "begin")
ENDS = ("end", "end_offset", "stop")
HTML_TAG = re.compile(r"<[^>]*>")
DIGITS = 20  # of a place in a text; Python refuses to read numbers of thousands
LABELS = ("label", "labels", "entity", "entity_group", "tag", "type", "class")


def unwrap_record(value: object) -> dict[str, Any] | None:
    """A record with its text and spans at the top; None where it is neither an object nor a spaCy pair.

    Of Label Studio's results those that label spans are kept, whatever their type; `other_results` names the others.
    dataturks counts the last character of a span in, and GLiNER the last word, which is put right here.
    """
    record = flatten_record(value)
    if record is None:
        return None
    if RESULTS in record:
        return _with_spans(record)
    if "annotation" in record and not record.keys() & set(SPAN_COLUMNS):
        items = record["annotation"] or []  # null: nothing was found in the text
        if isinstance(items, list):
            rest = {name: value for name, value in record.items() if name != "tokens"}  # Argilla's own, without places
            return {**rest, "spans": [span for item in items for span in _dataturks_spans(item)]}
    return _of_words(record) if isinstance(record.get("tokenized_text"), list) else record


def is_rejected(record: Mapping[str, Any]) -> bool:
    """Whether the annotator refused or skipped the text, or never saw it."""
    return find_skip_reason(record) != ""


def read_span(item: object, text: str) -> Span | str:
    """One span of any of the tools, or the sentence that says why it is none."""
    if isinstance(item, list | tuple):
        if len(item) != 3:
            return f"the span {item!r} has {len(item)} parts where [start, end, name] has 3"
        return _checked(item[0], item[1], item[2], item)
    if not isinstance(item, dict):
        return f"{item!r} is no span; [start, end, name] or an object with start, end and label is"
    value = item["value"] if isinstance(item.get("value"), dict) else item
    start, end = _offsets(value)
    span = _checked(start, end, _first(value, LABELS) or _span_labels(value), item)
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


def _with_spans(record: dict[str, Any]) -> dict[str, Any]:
    """A task of Label Studio with its spans; the text of an HTML page is what a reader sees of it."""
    results = record.pop(RESULTS)
    spans = [item for item in results if _span_labels(item.get("value"))]
    record["spans"] = spans
    record["other_results"] = [str(item.get("type")) for item in results if item not in spans]
    if any("globalOffsets" in item["value"] for item in spans):
        pages = {name: strip_html(value) for name, value in record.items() if isinstance(value, str) and "<" in value}
        record.update(pages)
    return record


def strip_html(page: str) -> str:
    """The text nodes of a page, one after another, as Label Studio counts its global offsets."""
    return html.unescape(HTML_TAG.sub("", page))


def _span_labels(value: Any) -> Any:
    """The labels of a result that is a span of text (its type is `labels`, `hypertextlabels`, `paragraphlabels`)."""
    if not isinstance(value, dict) or not any(name in value for name in ("start", "startOffset", "globalOffsets")):
        return None
    return next((value[name] for name in value if name.endswith("labels")), None)


def _dataturks_spans(item: Any) -> Iterator[Any]:
    if isinstance(item, list) and len(item) == 3 and isinstance(item[0], str):  # Argilla's
        yield [item[1], item[2], item[0]]
        return
    if not isinstance(item, dict) or not isinstance(item.get("points"), list):
        yield item
        return
    labels = item.get("label")
    for point in item["points"]:
        for label in labels if isinstance(labels, list) and labels else [labels]:
            has_end = isinstance(point, dict) and isinstance(point.get("end"), int)
            yield {**point, "end": point["end"] + 1, "label": label} if has_end else point


def _of_words(record: dict[str, Any]) -> dict[str, Any]:
    """GLiNER's words and spans of words as a text of these words with spans of characters."""
    words = [str(word) for word in record["tokenized_text"]]
    starts = list(accumulate((len(word) + 1 for word in words), initial=0))
    tokens = [{"start": start, "end": start + len(word)} for start, word in zip(starts, words, strict=False)]
    rest = {name: value for name, value in record.items() if name not in ("tokenized_text", "ner")}
    marked = record.get("ner") or []
    spans = [_of_characters(item, tokens) for item in (marked if isinstance(marked, list) else [marked])]
    return {**rest, "text": " ".join(words), "tokens": tokens, "spans": spans}


def _of_characters(item: Any, tokens: list[dict[str, int]]) -> Any:
    """A span that names words which are not there stays as it is, to be told of."""
    first, last = (_whole(place) for place in item[:2]) if isinstance(item, list) and len(item) == 3 else (None, None)
    if not (isinstance(first, int) and isinstance(last, int) and 0 <= first <= last < len(tokens)):
        return f"{item} of {len(tokens)} words"
    return [tokens[first]["start"], tokens[last]["end"], item[2]]


def _offsets(value: Mapping[str, Any]) -> tuple[Any, Any]:
    """Where a span begins and ends: in the whole text, where it is an HTML page or a paragraph that says so."""
    whole = value.get("globalOffsets")
    if isinstance(whole, dict):
        return whole.get("start"), whole.get("end")
    if "startOffset" in value and value.get("start") == value.get("end"):  # one paragraph, or one node of a page
        return value["startOffset"], value.get("endOffset")
    return _first(value, STARTS), _first(value, ENDS)


def _first(value: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((value[name] for name in names if name in value), None)


def _whole(place: object) -> object:
    """A place that is written as a text, or as a float without a fraction, as a whole number."""
    if isinstance(place, str) and place.strip().isdecimal() and len(place) < DIGITS:
        return int(place)
    return int(place) if isinstance(place, float) and place.is_integer() else place


def _checked(start: object, end: object, label: object, item: object) -> Span | str:
    if isinstance(label, list) and len(label) == 1:
        label = label[0]
    start, end = _whole(start), _whole(end)
    if not isinstance(start, int) or not isinstance(end, int) or isinstance(start, bool):
        return f"the span {item!r} has no whole numbers as start and end"
    if not isinstance(label, str) or not label.strip():
        return f"the span {item!r} has no single name as label"
    return Span(start, end, label.strip())
