"""Finding the files of a named corpus: a folder of the user, the hub's Parquet branch, the official address.

What is fetched lies in the cache folder (run/cache.py), and only content with the expected sha256 is kept there.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from huggingface_hub import constants, snapshot_download

from finetune.data.files import content_sha256
from finetune.errors import DataError, Problem
from finetune.run.atomic_files import AtomicFile
from finetune.run.cache import cache_folder

logger = logging.getLogger(__name__)

DATA_DIR_VARIABLE = "FINETUNE_DATA_DIR"
PARQUET_BRANCH = "refs/convert/parquet"  # where the hub keeps every public data set without its script
TIMEOUT_SECONDS = 30

Patterns = Mapping[str, Sequence[str]]  # split -> names or glob patterns of its files, best first


@dataclass(frozen=True)
class Official:
    """Where a file is published, and the sha256 of its content, unpacked."""

    url: str
    sha256: str


@dataclass(frozen=True)
class Wanted:
    """A corpus to be found.

    `folders` are its names below $FINETUNE_DATA_DIR, `patterns` its files by split, `hub` its name on the hub with the
    configuration `hub_config`, `official` the published address of files by their name. `advice` says how else to come
    by it.
    """

    name: str
    folders: Sequence[str]
    patterns: Patterns
    hub: str = ""
    hub_config: str = ""
    official: Mapping[str, Official] = field(default_factory=dict)
    advice: str = ""


@dataclass
class Found:
    """The files of a corpus by split, and where they were found, in words."""

    files: dict[str, list[Path]]
    place: str


def find_corpus(wanted: Wanted, data_dir: str | Path | None) -> Found:
    """The files of a corpus from the first place that has any: `data_dir`, $FINETUNE_DATA_DIR, the hub, its publisher.

    Raises:
        DataError: it is nowhere; the sentence says where it was looked for, and which file to place where.
    """
    reasons: list[str] = []
    found = (
        _in_data_dir(wanted, data_dir, reasons)
        or _in_environment(wanted, reasons)
        or _on_hub(wanted, reasons)
        or _at_publisher(wanted, reasons)
    )
    if found is None:
        raise DataError(_nowhere(wanted, reasons))
    logger.info("Corpus %s was found in %s.", wanted.name, found.place)
    return found


def find_in_folder(folder: Path, patterns: Patterns) -> dict[str, list[Path]]:
    """The files of each split in a folder: of the first pattern that fits any, gzipped or not, sorted."""
    files = {split: _first_match(folder, names) for split, names in patterns.items()}
    return {split: paths for split, paths in files.items() if paths}


def download_file(name: str, official: Official, folder: Path) -> Path:
    """A published file, fetched into `folder` unless it lies there already, whole and with the right content.

    Raises:
        OSError: the address cannot be reached.
        DataError: the content is not the one expected.
    """
    target = folder / name
    if target.is_file() and content_sha256(target) == official.sha256:
        return target
    with urllib.request.urlopen(official.url, timeout=TIMEOUT_SECONDS) as reply, AtomicFile(target) as file:
        shutil.copyfileobj(reply, file.stream)
        file.stream.seek(0)
        actual = hashlib.file_digest(file.stream, "sha256").hexdigest()
        if actual != official.sha256:
            found = f"the file at {official.url} has another content than expected (sha256 {actual})"
            raise DataError(Problem(found, f"its sha256 should be {official.sha256}", "it is not used"))
    return target


def _fetched(name: str) -> Path:
    """Where the files of a corpus are kept once fetched."""
    return cache_folder() / "data" / name


def _first_match(folder: Path, names: Sequence[str]) -> list[Path]:
    for name in names:
        for pattern in (name, f"{name}.gz"):
            paths = sorted(path for path in folder.glob(pattern) if path.is_file())
            if paths:
                return paths
    return []


def _in_data_dir(wanted: Wanted, data_dir: str | Path | None, reasons: list[str]) -> Found | None:
    if data_dir is None:
        return None
    folder = Path(data_dir).expanduser()
    if not folder.is_dir():
        reasons.append(f"{folder} (--data_dir) is no folder")
        return None
    found = _in_folders([folder, *(folder / name for name in wanted.folders)], wanted, reasons)
    if found is None:
        logger.warning("%s is not in %s (--data_dir); it is looked for elsewhere.", wanted.name, folder)
    return found


def _in_environment(wanted: Wanted, reasons: list[str]) -> Found | None:
    root = os.environ.get(DATA_DIR_VARIABLE)
    if not root:
        reasons.append(f"{DATA_DIR_VARIABLE} is not set")
        return None
    return _in_folders([Path(root).expanduser() / name for name in wanted.folders], wanted, reasons)


def _in_folders(folders: Sequence[Path], wanted: Wanted, reasons: list[str]) -> Found | None:
    for folder in folders:
        files = find_in_folder(folder, wanted.patterns) if folder.is_dir() else {}
        if files:
            return Found(files, str(folder))
    reasons.append(f"{_file_names(wanted)} is not in {' or '.join(str(folder) for folder in folders)}")
    return None


def _on_hub(wanted: Wanted, reasons: list[str]) -> Found | None:
    """The Parquet files of a data set, `CONFIG/SPLIT/0000.parquet`, from the hub or from its local cache."""
    if not wanted.hub:
        return None
    place = f"the hub ({wanted.hub}, branch {PARQUET_BRANCH})"
    config = wanted.hub_config or "*"
    try:
        folder = snapshot_download(
            wanted.hub, repo_type="dataset", revision=PARQUET_BRANCH, allow_patterns=[f"{config}/*/*.parquet"]
        )
    except (OSError, ValueError, RuntimeError, httpx.HTTPError) as error:
        why = "HF_HUB_OFFLINE is set and the cache has no copy" if constants.HF_HUB_OFFLINE else _short(error)
        reasons.append(f"{place} cannot be reached ({why})")
        return None
    files = find_in_folder(Path(folder), {split: [f"{config}/{split}/*.parquet"] for split in wanted.patterns})
    if not files:
        reasons.append(f"{place} has no files of it")
    return Found(files, place) if files else None


def _at_publisher(wanted: Wanted, reasons: list[str]) -> Found | None:
    if not wanted.official:
        return None
    if constants.HF_HUB_OFFLINE:
        reasons.append("its official address was not tried (HF_HUB_OFFLINE is set)")
        return None
    files: dict[str, list[Path]] = {}
    for split, names in wanted.patterns.items():
        for name in names:
            if name in wanted.official and split not in files:
                path = _try_download(wanted.name, name, wanted.official[name], reasons)
                files |= {split: [path]} if path else {}
    return Found(files, f"{_fetched(wanted.name)} (from its official address)") if files else None


def _try_download(corpus: str, name: str, official: Official, reasons: list[str]) -> Path | None:
    try:
        return download_file(name, official, _fetched(corpus))
    except (OSError, DataError) as error:
        reasons.append(f"{official.url} failed ({_short(error)})")
        return None


def _nowhere(wanted: Wanted, reasons: Sequence[str]) -> Problem:
    packed = f"place {_file_names(wanted)} (or the same with .gz)"
    remedy = f"{packed} in a folder and pass it with --data_dir, or in ${DATA_DIR_VARIABLE}/{wanted.folders[0]}"
    found = f"the corpus {wanted.name!r} was found nowhere: {'; '.join(reasons)}"
    return Problem(found, remedy, wanted.advice)


def _file_names(wanted: Wanted) -> str:
    return ", ".join(names[0] for names in wanted.patterns.values())


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
