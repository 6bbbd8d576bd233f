"""Old pickles of plain values and arrays, read without running anything that they may hold."""

from __future__ import annotations

import pickle
from importlib import import_module
from pathlib import Path
from typing import Any

from finetune.errors import DataError, Problem

_ARRAY_PARTS = {"_reconstruct": "multiarray", "scalar": "multiarray", "_frombuffer": "numeric"}
_DAMAGE = (
    *(pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, AttributeError, TypeError, UnicodeError),
    *(OverflowError, MemoryError),  # lengths that no file has
)


class PlainUnpickler(pickle.Unpickler):
    """Loads dicts, lists, strings and numbers; a pickle that names anything to import or call is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it refers to {module}.{name}")


class ArrayUnpickler(PlainUnpickler):
    """Also loads NumPy arrays: the few names that pickles of arrays refer to, and no other."""

    def find_class(self, module: str, name: str) -> Any:
        import numpy as np

        parts = {f"numpy.{core}.{home}": part for part, home in _ARRAY_PARTS.items() for core in ("core", "_core")}
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if module in parts and _ARRAY_PARTS.get(name) == module.rpartition(".")[2]:
            return getattr(import_module(f"numpy._core.{_ARRAY_PARTS[name]}"), name)
        if (module, name) == ("_codecs", "encode"):  # bytes, in pickles of protocol 2
            return _encode_latin1
        return super().find_class(module, name)


def _encode_latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes text as {encoding}")
    return text.encode("latin1")


def read_pickle(path: Path, kind: str, expected: str, unpickler: type[PlainUnpickler] = PlainUnpickler) -> Any:
    """What a pickle holds; `kind` and `expected` say in messages what that should be.

    Raises:
        DataError: no such file, not a pickle, or one that refers to code.
    """
    try:
        with path.open("rb") as file:
            return unpickler(file).load()
    except FileNotFoundError as error:
        raise DataError(Problem("no such file", path=path)) from error
    except _DAMAGE as error:
        found = f"this cannot be read as {kind} ({error})"
        raise DataError(Problem(found, f"{expected} are expected", path=path)) from error
