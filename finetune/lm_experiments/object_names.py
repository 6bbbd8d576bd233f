"""Names of classes and functions on a command line -> the objects, from an allow-list and nowhere else.

Importing whatever a dotted word names is running code that a config file chose. So a word becomes an object only where a
field asks for a kind of object, only if it names a class or function that a module of that kind defines itself, and a few
names stay refused whatever a user opens by `--allow_import`.
"""

from __future__ import annotations

import builtins
import importlib
import inspect
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from finetune.arguments.nearest import nearest
from finetune.errors import Problem, UsageError
from finetune.run.moved_names import todays_name

PREFIXES = ("import:", "callable:")
# Modules of the published program: `data_preprocessing.identity` is our function of that name.
PUBLISHED_MODULES = ("data_preprocessing", "model_modifiers", "loss_classes", "evaluation_fns", "core", "metrics")
REFUSED = [
    "_io",
    "_posixsubprocess",
    "_thread",
    "asyncio",
    "code",
    "codeop",
    "commands",
    "cffi",
    "ctypes",
    "dill",
    "ftplib",
    "http",
    "imp",
    "importlib",
    "io",
    "joblib",
    "marshal",
    "mmap",
    "multiprocessing",
    "nt",
    "os",
    "pathlib",
    "pdb",
    "pickle",
    "pkgutil",
    "platform",
    "posix",
    "pty",
    "requests",
    "runpy",
    "shelve",
    "shutil",
    "signal",
    "site",
    "smtplib",
    "socket",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "timeit",
    "trace",
    "types",
    "urllib",
    "webbrowser",
    "yaml",
    "zipimport",
    "cloudpickle",
    "_pickle",
    "ntpath",
    "posixpath",
    "fileinput",
    "gc",
    "inspect",
    "torch.load",
    "torch.save",
    "torch.hub",
    "torch.serialization",
    "torch.jit",
    "torch.package",
    "torch.utils.cpp_extension",
    "torch.compile",
    "torch.ops",
    "torch.classes",
    "torch.distributed",
    "numpy.load",
    "numpy.fromfile",
]
BUILTINS = ("abs", "bool", "dict", "float", "int", "len", "list", "max", "min", "round", "set", "str", "sum", "tuple")


@dataclass(frozen=True)
class ObjectKind:
    """What a field asks for.

    `homes` are modules: a bare name is looked up in them, a dotted one must lie in or below one of them. `names` are
    single objects that are allowed beside those. `base` is the dotted name of the class it must derive from.
    """

    what: str
    homes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    base: str | None = None

    def describe(self) -> str:
        places = [f"classes and functions of {home}" for home in self.homes]
        return f"it takes {self.what}: " + ", ".join([*places, *self.names])


def is_refused(name: str) -> bool:
    """Whether a dotted name is, or lies in, what may never be named: files, processes, imports, pickles, `eval`."""
    if name == "builtins" or name.startswith("builtins."):
        return name.partition(".")[2] not in BUILTINS
    return any(_is_below(name, refused) for refused in REFUSED)


def check_prefixes(prefixes: Iterable[str]) -> list[Problem]:
    """The problems of what a user opens by `--allow_import`."""
    remedy = "name the module that holds your own function"
    return [
        Problem(f"--allow_import {prefix} stays refused: it opens files, processes or code", remedy=remedy)
        for prefix in prefixes
        if is_refused(prefix)
    ] + [
        Problem(f"--allow_import is {prefix!r}", "it takes the dotted name of a module", remedy)
        for prefix in prefixes
        if not all(part.isidentifier() for part in prefix.split("."))
    ]


def find_object(word: str, kind: ObjectKind, flag: str, allow: Sequence[str] = ()) -> tuple[str, Any]:
    """The full dotted name of the object that a word means, and the object.

    Args:
        word: `AdamW`, `torch.optim.AdamW`, `callable:max`, `import:my_functions.mask`.
        kind: what the field takes.
        flag: what the user typed the word after, for the message.
        allow: module prefixes that the user opened.

    Raises:
        UsageError: the name is not among those allowed (nothing is imported then), or there is no such object.
    """
    name = _spell_out(word, kind, flag, allow)
    if is_refused(name):
        raise UsageError(Problem(f"{flag} is {word!r}, which stays refused", kind.describe()))
    if not _is_open(name, kind, allow):
        raise UsageError(_not_open(word, name, kind, flag))
    found = _load(name, word, kind, flag, allow)
    _require(found, name, kind, flag, allow)
    return name, found


def name_object(word: str, kind: ObjectKind, flag: str, allow: Sequence[str] = ()) -> str:
    """The name that `find_object` returns; what a kind lists by name is taken at its word, so nothing is imported for it.

    Raises:
        UsageError: as `find_object`.
    """
    name = _spell_out(word, kind, flag, allow)
    return name if name in kind.names else find_object(name, kind, flag, allow)[0]


def _spell_out(word: str, kind: ObjectKind, flag: str, allow: Sequence[str]) -> str:
    bare = _bare(word)
    return bare if any(_is_below(bare, place) for place in allow) else _full_name(bare, kind, flag)


def _bare(word: str) -> str:
    for prefix in PREFIXES:
        word = word.removeprefix(prefix)
    return todays_name(word)


def _full_name(word: str, kind: ObjectKind, flag: str) -> str:
    first, _, _ = word.partition(".")
    if "." in word and first not in PUBLISHED_MODULES:
        return word
    last = word.rpartition(".")[2]
    named = [name for name in kind.names if name.rpartition(".")[2] == last]
    if named:
        return named[0]
    for home in kind.homes:
        if last in _public_names(_import(home)):
            return f"{home}.{last}"
    if hasattr(builtins, last) and last not in BUILTINS:
        return f"builtins.{last}"
    raise UsageError(_unknown(word, kind, flag))


def _unknown(word: str, kind: ObjectKind, flag: str) -> Problem:
    known = [name for home in kind.homes for name in _public_names(_import(home))]
    known += [name.rpartition(".")[2] for name in kind.names]
    match = nearest(word.rpartition(".")[2], known)
    return Problem(f"{flag} is {word!r}, an unknown name", f"did you mean {match}" if match else kind.describe())


def _is_open(name: str, kind: ObjectKind, allow: Sequence[str]) -> bool:
    module = name.rpartition(".")[0]
    return name in kind.names or any(_is_below(module, place) for place in (*kind.homes, *allow)) or name in allow


def _not_open(word: str, name: str, kind: ObjectKind, flag: str) -> Problem:
    module = name.rpartition(".")[0]
    return Problem(
        f"{flag} is {word!r}, which may not be named there",
        kind.describe(),
        f"--allow_import {module} opens that module",
    )


def _load(name: str, word: str, kind: ObjectKind, flag: str, allow: Sequence[str]) -> Any:
    module_name, _, attribute = name.rpartition(".")
    if allow and os.getcwd() not in sys.path:  # noqa: PTH109 (sys.path holds strings)
        sys.path.append(os.getcwd())  # noqa: PTH109
    try:
        module = _import(module_name)
    except ImportError as error:
        raise UsageError(Problem(f"{flag} is {word!r}, but {error}", kind.describe())) from error
    if not hasattr(module, attribute):
        match = nearest(attribute, _public_names(module))
        hint = f"did you mean {module_name}.{match}" if match else kind.describe()
        raise UsageError(Problem(f"{flag} is {word!r}, but {module_name} has no {attribute}", hint))
    return getattr(module, attribute)


def _require(found: Any, name: str, kind: ObjectKind, flag: str, allow: Sequence[str]) -> None:
    if not (inspect.isclass(found) or inspect.isroutine(found)):
        raise UsageError(Problem(f"{flag} is {name!r}, which is no class or function", kind.describe()))
    home = getattr(found, "__module__", None) or ""
    defined_there = any(_is_below(home, place) for place in (*kind.homes, *allow))
    if name not in (*kind.names, *allow) and (is_refused(home) or not defined_there):
        found_there = f"{flag} is {name!r}, which {home or 'another module'} defines"
        raise UsageError(Problem(found_there, kind.describe(), "name it where it is defined"))
    if kind.base and not (inspect.isclass(found) and issubclass(found, _import_attribute(kind.base))):
        raise UsageError(Problem(f"{flag} is {name!r}", f"it takes {kind.what}, a class derived from {kind.base}"))


def _import(name: str) -> ModuleType:
    return importlib.import_module(name)


def _import_attribute(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(_import(module), attribute)


def _public_names(module: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and (inspect.isclass(value) or inspect.isroutine(value))
    ]


def _is_below(name: str, place: str) -> bool:
    return name == place or name.startswith(place + ".")
