"""The body of a request -> texts to predict, or one sentence that says what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.arguments.nearest import allowed_values
from finetune.data.json_values import parse_json
from finetune.data.prediction_input import InputText
from finetune.errors import ProblemError

KEYS = ("texts", "tokens", "text_pairs")
REQUEST = Path("request")  # what problems of a text are said of
CHARACTERS_OF_TOKEN = 16  # a text with more of them for each allowed token is refused before it is tokenized
BAD_REQUEST, TOO_LARGE, UNPROCESSABLE = 400, 413, 422


class Refusal(Exception):
    """A request that is not answered with predictions: the HTTP status, and why in one sentence."""

    def __init__(self, status: int, sentence: str, retry_after: int | None = None) -> None:
        self.status, self.sentence, self.retry_after = status, sentence, retry_after
        super().__init__(sentence)


@dataclass(frozen=True)
class RequestReader:
    """Reads bodies for one model.

    `read_words` makes an input of a list of words, and is None for a model of whole texts; `needs_pairs` is whether each
    text comes with a second one.
    """

    max_texts: int
    max_tokens: int
    read_words: Callable[[list[str], int], InputText] | None
    needs_pairs: bool

    def read(self, body: bytes) -> list[InputText]:
        """The texts of a body, in their order.

        Raises:
            Refusal: 400 for what is no JSON, 422 for JSON of another shape, 413 for too much.
        """
        value = parse_body(body)
        require_shape(value)
        if "tokens" in value:
            return self.read_tokens(value)
        texts = self.require_list(value["texts"], "texts")
        for number, text in enumerate(texts, start=1):
            self.require_text(text, f"text {number}")
        return self.pair(texts, value.get("text_pairs"))

    def read_tokens(self, value: dict[str, Any]) -> list[InputText]:
        if self.read_words is None:
            raise Refusal(UNPROCESSABLE, "This model classifies whole texts: give texts, not tokens.")
        if "text_pairs" in value:
            raise Refusal(UNPROCESSABLE, "text_pairs go with texts, not with tokens.")
        return [
            self.read_sentence(words, number)
            for number, words in enumerate(self.require_list(value["tokens"], "tokens"), start=1)
        ]

    def read_sentence(self, words: Any, number: int) -> InputText:
        assert self.read_words is not None
        if not isinstance(words, list):
            raise Refusal(
                UNPROCESSABLE, f"Sentence {number} of tokens is {kind_of(words)}; a list of strings is needed."
            )
        for place, word in enumerate(words, start=1):
            self.require_text(word, f"token {place} of sentence {number}")
        self.require_length(" ".join(words), f"sentence {number}")
        try:
            return self.read_words(words, number)
        except ProblemError as error:
            found = "; ".join(problem.found for problem in error.problems)
            raise Refusal(UNPROCESSABLE, f"Sentence {number} of tokens: {found}.") from error

    def pair(self, texts: list[str], seconds: Any) -> list[InputText]:
        if seconds is not None and not self.needs_pairs:
            raise Refusal(UNPROCESSABLE, "This model reads single texts: leave text_pairs out.")
        if not self.needs_pairs:
            return [InputText(text, None, REQUEST, number, {}) for number, text in enumerate(texts, start=1)]
        seconds = self.require_list(seconds, "text_pairs")
        if len(seconds) != len(texts):
            found = f"There are {len(texts)} texts and {len(seconds)} text_pairs"
            raise Refusal(UNPROCESSABLE, f"{found}; this model reads pairs, so each text needs its second text.")
        for number, text in enumerate(seconds, start=1):
            self.require_text(text, f"text_pair {number}")
        pairs = enumerate(zip(texts, seconds, strict=True), start=1)
        return [InputText(first, None, REQUEST, number, {"text_pair": second}) for number, (first, second) in pairs]

    def require_list(self, value: Any, name: str) -> list[Any]:
        if not isinstance(value, list):
            raise Refusal(UNPROCESSABLE, f"{name} is {kind_of(value)}; a list is needed.")
        if len(value) > self.max_texts:
            raise Refusal(TOO_LARGE, f"{name} has {len(value):,} items; at most {self.max_texts:,} are allowed.")
        return value

    def require_text(self, text: Any, name: str) -> None:
        if not isinstance(text, str):
            raise Refusal(UNPROCESSABLE, f"{sentence_case(name)} is {kind_of(text)}; a string is needed.")
        if "\0" in text:
            raise Refusal(UNPROCESSABLE, f"{sentence_case(name)} holds a null character, which no text does.")
        self.require_length(text, name)

    def require_length(self, text: str, name: str) -> None:
        if len(text) > self.max_tokens * CHARACTERS_OF_TOKEN:
            raise Refusal(TOO_LARGE, f"{sentence_case(name)} has {len(text):,} characters; {self.allowed}.")

    def require_tokens(self, counts: Sequence[int]) -> None:
        """Raises:
        Refusal: a text of more subword tokens than are allowed.
        """
        for number, count in enumerate(counts, start=1):
            if count > self.max_tokens:
                raise Refusal(TOO_LARGE, f"Text {number} has {count:,} subword tokens; {self.allowed}.")

    @property
    def allowed(self) -> str:
        return f"at most {self.max_tokens:,} subword tokens are allowed in a text"


def parse_body(body: bytes) -> Any:
    try:
        return parse_json(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Refusal(BAD_REQUEST, f"The body is not UTF-8 (at byte {error.start}).") from error
    except json.JSONDecodeError as error:
        raise Refusal(BAD_REQUEST, f"The body is no JSON: {error.msg} at character {error.pos + 1}.") from error


def require_shape(value: Any) -> None:
    """Raises:
    Refusal: the body is no object with either texts or tokens and nothing unknown.
    """
    if not isinstance(value, dict):
        found = f"The body is {kind_of(value)}"
        raise Refusal(UNPROCESSABLE, f'{found}; an object as {{"texts": ["..."]}} is needed.')
    unknown = next((name for name in value if name not in KEYS), None)
    if unknown is not None:
        raise Refusal(UNPROCESSABLE, f"Unknown key {unknown[:40]!r}; {allowed_values(unknown[:40], KEYS)}.")
    if ("texts" in value) == ("tokens" in value):
        raise Refusal(UNPROCESSABLE, "Give either texts (a list of strings) or tokens (a list of lists of strings).")


def sentence_case(name: str) -> str:
    return name[0].upper() + name[1:]


def kind_of(value: Any) -> str:
    """What a JSON value is called."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names[type(value)]
