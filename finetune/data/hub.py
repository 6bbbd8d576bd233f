"""Data sets of the Hugging Face hub, and those that `datasets` saved to a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import datasets
import httpx
from datasets import Dataset, DatasetDict

from finetune.errors import DataError, Problem
from finetune.run.failures import first_line, is_of_its_files

# What splits are called on the hub and in folders, besides their own names.
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "eval", "val"),
    "test": ("test", "testing", "predict"),
}


def is_saved_dataset(folder: Path) -> bool:
    """Whether a folder was written by `Dataset.save_to_disk` or `DatasetDict.save_to_disk`."""
    return (folder / "dataset_dict.json").is_file() or (folder / "dataset_info.json").is_file()


def read_saved_dataset(folder: Path) -> dict[str, Dataset]:
    """The splits of a folder saved by `datasets`; a single data set is `train`.

    Raises:
        DataError: the folder is damaged.
    """
    try:
        saved = datasets.load_from_disk(str(folder))
    except Exception as error:
        if not is_of_its_files(error):
            raise
        raise DataError(Problem(f"the saved data set cannot be read ({first_line(error)})", path=folder)) from error
    return known_splits(saved if isinstance(saved, DatasetDict) else DatasetDict(train=saved))


def load_hub_dataset(name: str, config: str | None, split_names: Mapping[str, str] | None = None) -> dict[str, Dataset]:
    """The splits of a data set of the hub, or of its local copy in the cache of `datasets`.

    `split_names` says what splits of ours are called there, where not as usual.

    Raises:
        DataError: the hub cannot be reached, has no such data set or configuration, or has it only as a script; a
            split that was named is not there.
    """
    try:
        loaded = datasets.load_dataset(name, config)
    except (OSError, ValueError, RuntimeError, httpx.HTTPError) as error:  # what the hub's client is seen to raise
        raise DataError(_not_loaded(name, config, error)) from error
    return known_splits(loaded, split_names)


def known_splits(loaded: DatasetDict, split_names: Mapping[str, str] | None = None) -> dict[str, Dataset]:
    """Splits by our names, in our order; what is called otherwise is left out, unless `split_names` names it.

    Raises:
        DataError: a split that `split_names` names is not there.
    """
    chosen = split_names or {}
    missing = [name for name in chosen.values() if name not in loaded]
    if missing:
        there = f"its splits are {', '.join(loaded)}"
        raise DataError(*(Problem(f"the data set has no split {name!r}", there) for name in missing))
    found = {}
    for split, usual in SPLIT_NAMES.items():
        names = (chosen[split],) if split in chosen else usual
        name = next((name for name in names if name in loaded), None)
        if name is not None:
            found[split] = loaded[name]
    return found


def cached_files(rows: Dataset) -> list[Path]:
    """The Arrow files on the disk that a data set is read from."""
    return sorted({Path(item["filename"]) for item in rows.cache_files})


def _not_loaded(name: str, config: str | None, error: Exception) -> Problem:
    reason = f"{type(error).__name__}: {str(error).strip() or 'no reason given'}".splitlines()[0]
    if "Config name is missing" in str(error) or "BuilderConfig" in str(error):
        return Problem(f"{name} has no configuration {config!r} ({error})", "", "choose it with --dataset_config_name")
    offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0") else ""
    found = (
        f"the data set {name!r} is neither a known corpus nor a folder, and the hub did not give it{offline}: {reason}"
    )
    remedy = (
        "where the hub is out of reach, download its Parquet files elsewhere and pass --train_file "
        "FOLDER/train.parquet --validation_file FOLDER/validation.parquet --test_file FOLDER/test.parquet, or save it "
        "there with save_to_disk and pass that folder as --dataset_name"
    )
    return Problem(found, "", remedy)
