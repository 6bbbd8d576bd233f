"""Preprocessing functions of users: they get what the document promises, torch tensors, and their errors are theirs."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import numpy as np
import torch

from finetune.errors import DataError, FinetuneError, Preempted, Problem

OURS = "finetune."


def is_own(function: Callable[..., Any]) -> bool:
    """Whether a function is a user's, not one of this package."""
    return not str(getattr(function, "__module__", "")).startswith(OURS)


def serve_own(function: Callable[..., Any], *, as_numpy: bool) -> Callable[..., dict[str, Any]]:
    """A user's function, called with tensors (or arrays) by name, (texts, length) each; it returns arrays.

    Raises, when called:
        DataError: the function raised an error, or returned no dictionary; with its file and line.
    """

    @wraps(function)
    def call(inputs: Mapping[str, Any], tokenizer: Any, **kwargs: Any) -> dict[str, Any]:
        given = dict(inputs) if as_numpy else {name: _as_tensor(value) for name, value in inputs.items()}
        try:
            made = function(given, tokenizer, **kwargs)
        except (FinetuneError, Preempted):
            raise
        except Exception as error:
            raise DataError(_blame(error, function)) from error
        if not isinstance(made, Mapping):
            found = f"{function.__name__} returned {type(made).__name__}"
            raise DataError(Problem(found, "a dictionary of inputs is expected", "", *_place(function)))
        return {name: _as_array(value) for name, value in made.items()}

    return call


def _as_tensor(value: Any) -> Any:
    return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value


def _as_array(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value


def _blame(error: Exception, function: Callable[..., Any]) -> Problem:
    """What an error says, and the last line of the function's own file that led to it."""
    path, line = _place(function)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    found = f"{function.__name__} raised {type(error).__name__}: {error}"
    return Problem(found, "", "mend it, or leave the text out", path, lines[-1] if lines else line)


def _place(function: Callable[..., Any]) -> tuple[str | None, int | None]:
    try:
        return inspect.getsourcefile(function), inspect.getsourcelines(function)[1]
    except (OSError, TypeError):
        return None, None
