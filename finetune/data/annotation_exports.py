"""What annotation tools export around a text, the same for spans and for labels of whole texts.

Label Studio's tasks (`{"data": {...}, "annotations": [{"result": [...]}]}`), Prodigy's answers (`accept`, `reject`,
`ignore`), dataturks, spaCy's pairs. A text that its annotator rejected, skipped or never saw is no training example.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from finetune.data.json_shapes import JsonRecords
from finetune.errors import DataError, Problem

ANSWERS = ("accept", "reject", "ignore")
UNANNOTATED = "unannotated"
SKIPPED = {
    "reject": "texts were skipped because their annotator rejected or skipped them",
    "ignore": "texts were skipped because their annotator rejected or skipped them",
    UNANNOTATED: "tasks were skipped because nobody annotated them (predictions of a model are no annotation)",
}
RESULTS = "annotation results"  # the key of Label Studio's results in a task laid flat
CAT_THRESHOLD = 0.5  # of spaCy's `cats`


def is_pair(value: Any) -> bool:
    """Whether a value is spaCy's `["text", {...}]`."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict)


def is_export(value: Any) -> bool:
    """Whether a value is a record of some tool: an object, or a pair."""
    return isinstance(value, dict) or is_pair(value)


def flatten_record(value: Any) -> dict[str, Any] | None:
    """A record with its text at the top; None where it is neither an object nor a pair.

    Label Studio's results come under `RESULTS`, those of the first annotation that was not cancelled.
    """
    if is_pair(value):
        return {"text": value[0], **value[1]}
    if not isinstance(value, dict):
        return None
    return _flatten_task(value) if isinstance(value.get("data"), dict) else value


def find_skip_reason(record: Mapping[str, Any]) -> str:
    """Why a record is no example (a key of `SKIPPED`); empty where it is one."""
    answer = record.get("answer", "accept")
    return answer if isinstance(answer, str) and answer in SKIPPED else ""


def _flatten_task(task: dict[str, Any]) -> dict[str, Any]:
    found = task.get("annotations", task.get("completions")) or []
    annotations = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    done = [item for item in annotations if not item.get("was_cancelled")]
    record = {**task["data"]}
    if done:
        results = done[0].get("result")
        record[RESULTS] = [item for item in results if isinstance(item, dict)] if isinstance(results, list) else []
        record["annotators"] = len(done)
    else:
        record["answer"] = "ignore" if annotations else UNANNOTATED
    return record


def flatten_annotations(records: JsonRecords, path: Any) -> JsonRecords:
    """Rows for whole texts: choices as `label`, without what was rejected or never annotated, which is counted.

    Raises:
        DataError: tasks whose annotations are spans.
    """
    flat = [flatten_record(value) or {} for value in records.values]
    answered = all(record.get("answer", "accept") in (*ANSWERS, UNANNOTATED, None) for record in flat)
    if not answered and not any(RESULTS in record for record in flat):
        return JsonRecords([_labelled(record) for record in flat], records.lines, records.notes)
    reasons = [find_skip_reason(record) for record in flat]
    counts = Counter(SKIPPED[reason] for reason in reasons if reason)
    notes = [f"{path}: {count:,} {what}." for what, count in counts.items()]
    _require_choices(flat, path)
    kept = [place for place, reason in enumerate(reasons) if not reason]
    several = any(len(_choices(record)) > 1 for record in flat)
    rows = [_labelled(flat[place], several=several) for place in kept]
    return JsonRecords(rows, [records.lines[place] for place in kept], [*records.notes, *notes])


def _labelled(record: dict[str, Any], *, several: bool = True) -> dict[str, Any]:
    """A record whose label, wherever its tool writes it, stands under `label`; other fields as they are."""
    if RESULTS in record:
        chosen: Any = _choices(record)
        chosen = chosen if several else (chosen[0] if chosen else None)
        return {
            **{name: value for name, value in record.items() if name not in (RESULTS, "annotators")},
            "label": chosen,
        }
    record = {name: _only_choices(value) for name, value in record.items() if name not in ("answer", "options")}
    if "label" in record or "labels" in record:
        return record
    annotation = record.get("annotation")
    if isinstance(annotation, dict) and isinstance(annotation.get("labels"), list):  # dataturks
        return {**record, "label": annotation["labels"]}
    if isinstance(record.get("cats"), dict):  # spaCy
        return {**record, "label": [name for name, value in record["cats"].items() if value >= CAT_THRESHOLD]}
    return {**record, "label": record["accept"]} if isinstance(record.get("accept"), list) else record


def _only_choices(value: Any) -> Any:
    """The choices of a field of Label Studio's JSON-MIN, which holds several as `{"choices": [...]}`."""
    return value["choices"] if isinstance(value, dict) and list(value) == ["choices"] else value


def _choices(record: Mapping[str, Any]) -> list[Any]:
    chosen: list[Any] = []
    for result in record.get(RESULTS, []):
        value = result.get("value", {})
        chosen += value.get("choices", []) if isinstance(value, dict) else []
        chosen += [value["rating"]] if isinstance(value, dict) and "rating" in value else []
    return chosen


def _require_choices(flat: list[dict[str, Any]], path: Any) -> None:
    results = [result for record in flat for result in record.get(RESULTS, [])]
    kinds = sorted({str(result.get("type")) for result in results})
    if results and not any(_choices(record) for record in flat):
        found = f"the annotations are {', '.join(kinds)}; none is a choice for the whole text"
        raise DataError(Problem(found, remedy="spans in texts are learnt by run_ner.py", path=path))
    if flat and not results and all(find_skip_reason(record) == UNANNOTATED for record in flat):
        found = "nobody annotated any task of this file (predictions of a model are no annotation)"
        raise DataError(Problem(found, remedy="export tasks with annotations", path=path))
