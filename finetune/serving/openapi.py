"""What OpenAPI says of /predict: bodies are read by `requests.py`, whose sentences tell more than a schema's."""

from __future__ import annotations

from typing import Any

STRING = {"type": "string"}


def _list_of(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _object(properties: dict[str, Any], *required: str, further: bool = False) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": further}


ENTITY = _object(
    {
        "type": STRING,
        "start": {"type": "integer", "description": "first character in the text"},
        "end": {"type": "integer", "description": "one behind the last"},
        "text": STRING,
        "score": {"type": "number"},
    }
)
PREDICTION = _object(
    {
        "text": STRING,
        "words": _list_of(STRING),
        "tags": _list_of(STRING),
        "entities": _list_of(ENTITY),
        "label": STRING,
        "labels": _list_of(STRING),
        "value": {"type": "number"},
        "score": {"type": "number"},
        "scores": {"description": "of each word (taggers), or the probability of each label (classifiers)"},
    },
    "text",
    further=True,
)
TEXTS = _object({"texts": _list_of(STRING), "text_pairs": _list_of(STRING)}, "texts")
TOKENS = _object({"tokens": _list_of(_list_of(STRING))}, "tokens")
ERROR = {"application/json": {"schema": _object({"error": STRING}, "error")}}
REFUSALS = {
    "400": "no JSON",
    "408": "the body came too slowly",
    "413": "the body, the number of texts or a text is too long",
    "415": "another content type or encoding",
    "422": "JSON of another shape",
    "429": "too many requests; Retry-After says when to come again",
    "503": "the answer took too long",
}
PREDICT: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"oneOf": [TEXTS, TOKENS]}}}},
    "responses": {
        "200": {
            "description": "a prediction for each text, in their order",
            "content": {"application/json": {"schema": _object({"predictions": _list_of(PREDICTION)}, "predictions")}},
        },
        **{status: {"description": text, "content": ERROR} for status, text in REFUSALS.items()},
    },
}
