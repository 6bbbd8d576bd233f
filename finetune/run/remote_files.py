"""Files elsewhere (s3://, gs://, hdfs://, ...): inputs are fetched into the cache; outputs are made here, sent when whole.

By fsspec, whose file systems are imported by the names below only, never by what a string holds.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from finetune.errors import Problem, RunError, UsageError
from finetune.run.atomic_files import AtomicFile
from finetune.run.cache import cache_folder
from finetune.run.manifest import MANIFEST, plain, write_json_atomically

logger = logging.getLogger(__name__)

PACKAGES = {  # protocol -> module that speaks it, and what installs it
    **dict.fromkeys(("s3",), ("s3fs", "pip install 'finetune[s3]'")),
    **dict.fromkeys(("gs", "gcs"), ("gcsfs", "pip install gcsfs")),
    **dict.fromkeys(("abfs", "abfss", "az"), ("adlfs", "pip install adlfs")),
    **dict.fromkeys(("hdfs",), ("pyarrow", "pip install pyarrow, with libhdfs of a Hadoop client")),
    **dict.fromkeys(("http", "https"), ("aiohttp", "pip install aiohttp")),
    "webhdfs": ("requests", "pip install requests"),
    "memory": ("fsspec", "pip install fsspec"),
}
WHOLE_AT_ONCE = ("s3", "gs", "gcs", "abfs", "abfss", "az", "memory")  # an object appears when all of it is there
READ_ONLY = ("http", "https")
OUTPUTS = ("output", "serialization")
STAMP, STAMPED = ".stamp.json", ("size", "ETag", "etag", "LastModified", "mtime", "created", "generation", "md5Hash")
RECORD = ".run.json"  # beside an output file: `output_record.py`
ATTEMPTS, SECONDS = 4, 1.0  # pauses of 1, 2 and 4 seconds
OF_NETWORKS = ("botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "google", "azure", "adlfs", "urllib3", "requests")
CHUNK = 1 << 20
T = TypeVar("T")


class RemoteFiles:
    """The addresses of one command line, and where they lie here."""

    def __init__(self) -> None:
        self.addresses: dict[str, str] = {}  # local path -> address
        self._outputs: dict[Path, str] = {}

    def localize(self, address: str, name: str) -> str:
        """A path here for the value of a flag: an input is fetched, what an earlier start left of an output, too.

        Raises:
            UsageError: nobody speaks that protocol here, the flag takes no address, or there is nothing at it.
                RunError: the connection was lost, again and again.
        """
        if name.endswith("cache_dir") or name == "logging_dir":
            raise UsageError(
                Problem(f"--{name} is {address}", "it stays on this machine", "name a folder of this machine")
            )
        address = address.rstrip("/")
        if name.startswith(OUTPUTS):
            path = self._prepare_output(address, name)
        else:
            path = fetch(address)
        self.addresses[str(path)] = address
        return str(path)

    def _prepare_output(self, address: str, name: str) -> Path:
        path = _place("remote_outputs", address)
        protocol = address.partition("://")[0]
        if protocol in READ_ONLY:
            raise UsageError(Problem(f"--{name} is {address}", "nothing can be written there"))
        path.parent.mkdir(parents=True, exist_ok=True)
        system, there = open_system(address)
        pairs = [(f"{there}{RECORD}", path.with_name(path.name + RECORD)), (there, path)]
        if name.endswith("dir"):
            pairs = [(f"{there}/{MANIFEST}", path / MANIFEST)]
        for source, target in pairs:
            if not target.exists() and _keep_trying(partial(system.isfile, source), address):
                _download(system, source, target, address)
        self._outputs[path] = address
        return path

    def send(self) -> None:
        """Bring what was made to its address: a file, or a folder but for its checkpoints, its run.json last.

        Raises:
            RunError: the connection was lost, again and again; what was made is still here.
        """
        for path, address in self._outputs.items():
            files = list(_list_outputs(path))
            if not files or _is_sent(files[-1][0], address + files[-1][1]):
                continue
            for file, suffix in files:
                _upload(file, address + suffix)
            logger.info("%d files were sent to %s.", len(files), address)


def _place(kind: str, address: str) -> Path:
    digest = hashlib.sha256(address.encode()).hexdigest()[:16]
    return cache_folder() / kind / digest / (address.rpartition("/")[2] or "root")


def open_system(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it.

    Raises:
        UsageError: the package that speaks its protocol is missing.
    """
    protocol = address.partition("://")[0]
    module, remedy = PACKAGES[protocol]
    if find_spec(module) is None:
        raise UsageError(Problem(f"{address} needs the package {module}, which is not installed", remedy=remedy))
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(address, **({} if protocol == "memory" else {"use_listings_cache": False}))
    except (ImportError, OSError, ValueError) as error:
        raise UsageError(Problem(f"{address} cannot be opened ({error})", remedy=remedy)) from error
    return system, path


def fetch(address: str) -> Path:
    """A file or a folder of an address, in the cache; what is there already and has not changed is not fetched again.

    Raises:
        UsageError, RunError: as `RemoteFiles.localize`.
    """
    system, path = open_system(address)
    place = _place("remote", address)
    try:
        found = _keep_trying(lambda: _list_remote(system, path), address)
    except FileNotFoundError as error:
        raise UsageError(Problem(f"there is nothing at {address}", remedy="check the address")) from error
    _remove_others(place, {source[len(path) :].strip("/") for source in found})
    for source, info in found.items():
        inside = source[len(path) :].strip("/")
        target = place / inside if inside else place
        if place.resolve() not in (target.resolve(), *target.resolve().parents):
            raise UsageError(Problem(f"{address}: {source!r} leads out of its folder"))
        stamp = _stamp(info)
        if stamp is None or _read_stamp(target) != stamp or not target.is_file():
            _download(system, source, target, address)
            write_json_atomically(_stamp_of(target), stamp)
    return place


def _list_remote(system: Any, path: str) -> dict[str, dict[str, Any]]:
    """Path -> facts, of the file or of all files of a folder.

    Raises:
        FileNotFoundError: there is neither.
    """
    info = system.info(path)
    if info.get("type") == "file":
        return {path: info}
    found = system.find(path, detail=True)
    if not found:
        raise FileNotFoundError(path)
    return {name: facts for name, facts in found.items() if facts.get("type") == "file"}


def _remove_others(folder: Path, names: set[str]) -> None:
    """What the address no longer has."""
    for file in folder.rglob("*") if folder.is_dir() else ():
        if file.is_file() and not file.name.startswith(".") and file.relative_to(folder).as_posix() not in names:
            file.unlink()


def _stamp(info: dict[str, Any]) -> dict[str, str] | None:
    """What a change of the file would change; None where the server tells no more than its size."""
    stamp = {name: str(plain(info[name])) for name in STAMPED if info.get(name) is not None}
    return stamp if set(stamp) - {"size"} else None


def _stamp_of(target: Path) -> Path:
    return target.parent / f".{target.name[:100]}{STAMP}"


def _read_stamp(target: Path) -> object:
    try:
        return json.loads(_stamp_of(target).read_bytes())
    except (OSError, ValueError):
        return None


def _download(system: Any, source: str, target: Path, address: str) -> None:
    def copy() -> None:
        with system.open(source, "rb") as stream, AtomicFile(target) as file:
            shutil.copyfileobj(stream, file.stream, CHUNK)

    logger.info("Fetching %s.", address)
    _keep_trying(copy, address)


def _upload(file: Path, address: str) -> None:
    system, path = open_system(address)
    direct = address.partition("://")[0] in WHOLE_AT_ONCE
    aside = path if direct else f"{path}.partial"

    def put() -> None:
        system.makedirs(path.rpartition("/")[0], exist_ok=True)
        system.put_file(str(file), aside)
        if not direct:
            system.mv(aside, path)

    try:
        _keep_trying(put, address)
    except RunError as error:
        raise RunError(f"{error} What was made is in {file.parent}; run the same command again to send it.") from error


def _is_sent(last: Path, address: str) -> bool:
    """Whether the file that says that all are there is there as it is here."""
    if last.name != MANIFEST and not last.name.endswith(RECORD):
        return False
    system, path = open_system(address)
    return _keep_trying(lambda: system.isfile(path) and system.cat_file(path) == last.read_bytes(), address)


def _list_outputs(path: Path) -> Iterator[tuple[Path, str]]:
    """The files to send, each with what is put behind the address; the one that says that all are there comes last."""
    if not path.is_dir():
        record = path.with_name(path.name + RECORD)
        yield from [(path, "")] * path.is_file() + [(record, RECORD)] * record.is_file()
        return
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and not _stays_here(file.relative_to(path))]
    for file in sorted(files, key=lambda one: one == path / MANIFEST):
        yield file, f"/{file.relative_to(path).as_posix()}"


def _stays_here(file: Path) -> bool:
    return any(part.startswith((".", "checkpoint-")) for part in file.parts)


def _keep_trying(work: Callable[[], T], address: str) -> T:
    """Lost connections are tried again, with pauses.

    Raises:
        FileNotFoundError: there is nothing.
        RunError: it failed each time, or is not allowed.
    """
    for attempt in range(ATTEMPTS):
        try:
            return work()
        except PermissionError as error:
            raise RunError(f"{address}: access is refused ({_reason(error)}).") from error
        except Exception as error:
            if not _is_lost_connection(error):
                raise
            if attempt == ATTEMPTS - 1:
                raise RunError(f"{address} cannot be reached, after {ATTEMPTS} attempts ({_reason(error)}).") from error
            logger.warning("%s: %s; trying again.", address, _reason(error))
            time.sleep(SECONDS * 2**attempt)
    raise AssertionError("unreachable")


def _is_lost_connection(error: BaseException | None) -> bool:
    """Whether another attempt may help; a file that is not there is one for fsspec also when its server is not."""
    if isinstance(error, FileNotFoundError):
        cause = error.__cause__
        return getattr(cause, "status", None) not in (404, 410) and _is_lost_connection(cause)
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in OF_NETWORKS


def _reason(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
