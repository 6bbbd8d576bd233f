"""Secrets among what a user gave, and the one redaction of everything that is written: logs, records, results, errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

HIDDEN = "(not written)"
SHORTEST = 4  # a shorter one would be found in every other word
VARIABLES = (
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "WANDB_API_KEY", "COMET_API_KEY", "PGPASSWORD"),
    *("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "NEPTUNE_API_TOKEN", "CLEARML_API_SECRET_KEY"),
    "AWS_SECRET_ACCESS_KEY",
)
_NAME = re.compile(
    r"(?:(?:use_auth|auth|hub|hf|api|access|bearer)_)?token|(?:.*_)?(?:password|passwd|passphrase|pwd|secret|credentials?)"
    r"|(?:.*_)?(?:api|access|secret|private)_?key",
    re.IGNORECASE,
)  # not mask_token, pad_token, ...: those are no secrets
_IN_URL = re.compile(
    r"(?P<before>\b[A-Za-z][A-Za-z0-9+.\-]*://[^\s/:@'\"]*:)(?P<password>[^\s'\"]+?)(?=@[^\s@]*(?:[\s'\"]|$))"
)
_IN_QUERY = re.compile(
    r"(?P<before>[?&;](?:[A-Za-z_]*(?:password|passwd|pwd|token|secret|api_?key))=)(?P<password>[^\s&;'\"]+)",
    re.IGNORECASE,
)
_IN_JSON = re.compile(r"[\"'](?P<key>\w+)[\"']\s*:\s*[\"'](?P<value>[^\"']+)[\"']")

_known: set[str] = set()


def is_secret_name(name: str) -> bool:
    """Whether what has this name (a flag, a key, a variable) is a secret by its name alone."""
    last = name.rpartition(".")[2].lstrip("-").replace("-", "_")
    return bool(_NAME.fullmatch(last))


def remember_secrets(values: Iterable[Any]) -> None:
    """Hide these from now on in everything that is written by this process."""
    for value in values:
        if isinstance(value, str) and len(value) >= SHORTEST and value not in ("True", "False", "None", "null"):
            _known.add(value)


def find_secrets(value: Any, name: str = "") -> Iterator[str]:
    """The secrets in a value of an argument: under keys that are named so, and passwords in addresses."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from find_secrets(item, str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from find_secrets(item, name)
    elif isinstance(value, str):
        if is_secret_name(name):
            yield value
        for pattern in (_IN_URL, _IN_QUERY):
            yield from (match["password"] for match in pattern.finditer(value))


def find_in_words(words: Iterable[str]) -> Iterator[str]:
    """The secrets in words as they were typed.

    Passwords in addresses, values in JSON under keys named so, and what follows a flag named so, also where the flag is
    of another command.
    """
    flag = ""
    for word in words:
        is_flag = word.startswith("--")  # after a flag that takes no value, such as --use_auth_token
        yield from find_secrets(word, "" if is_flag else flag)
        flag, _, value = word.partition("=") if is_flag else ("", "", "")
        yield from find_secrets(value, flag)
        if "{" in word:
            yield from (match["value"] for match in _IN_JSON.finditer(word) if is_secret_name(match["key"]))


def hide(text: str) -> str:
    """A text without secrets: those that are known, and passwords in addresses whoever gave them."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    if "=" in text:
        text = _IN_QUERY.sub(rf"\g<before>{HIDDEN}", text)
    return _IN_URL.sub(rf"\g<before>{HIDDEN}", text) if "://" in text else text


def hide_words(words: Iterable[str]) -> list[str]:
    """The words of a command line as they may be shown: without what follows a flag that is named so, however short."""
    shown, is_value = [], False
    for word in words:
        flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        hidden = value and (is_value if not flag else is_secret_name(flag))
        shown.append(hide(flag + equals) + (HIDDEN if hidden else hide(value)))
        is_value = bool(flag) and not equals and is_secret_name(flag)
    return shown


def hide_in(value: Any, name: str = "") -> Any:
    """A value with its secrets hidden, whatever it is made of."""
    if isinstance(value, Mapping):
        return {hide(key) if isinstance(key, str) else key: hide_in(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [hide_in(item, name) for item in value]
    if not isinstance(value, str):
        return value
    return HIDDEN if value and is_secret_name(name) else hide(value)
