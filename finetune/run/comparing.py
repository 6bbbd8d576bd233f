"""Whether a folder's run is "the same command": the same effective arguments on unchanged input files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from finetune.run.manifest import plain
from finetune.run.moved_names import todays_names

# Arguments that change where, how fast or how loudly a run goes, but not what comes out of it.
NOT_COMPARED = frozenset(
    {
        *("output_dir", "overwrite_output_dir", "restart", "resume_from_checkpoint", "dry_run", "config_file"),
        *("print_config", "debug", "verbose", "disable_tqdm", "log_level", "log_level_replica", "log_on_each_node"),
        *("dataloader_num_workers", "dataloader_prefetch_factor", "dataloader_persistent_workers"),
        *("dataloader_pin_memory", "dataloader_multiprocessing_context", "preprocessing_num_workers"),
        *("overwrite_cache", "cache_dir", "report_to", "run_name", "project", "skip_memory_metrics", "local_rank"),
        *("token", "hub_token", "ddp_timeout"),
        *("push_to_hub", "hub_model_id", "hub_private_repo", "hub_revision", "hub_strategy", "hub_always_push"),
        *("output_file", "overwrite_output_file"),
        *("save_minutes", "if_changed", "notify_command", "no_html_report"),
        *("nproc", "multi_gpu"),  # `training/global_batch.py` compares what comes of them
        *("engine", "ray_address"),
        *("fsdp", "fsdp_config"),  # how parameters are held
        *("num_workers", "reduce_memory", "datasets_cache_dir", "teacher_cache_dir"),
    }
)
HASHED_AT_ONCE = 1 << 20


def argument_differences(before: Mapping[str, Any], now: Mapping[str, Any], typed: Collection[str]) -> list[str]:
    """One phrase per argument that differs. A name that only one side knows counts only if the user typed it."""
    before, now = todays_names(before), plain(now)
    shared = [name for name in now if name in before or name in typed]
    return [
        f"--{name} was {_shown(before.get(name))}, is now {_shown(now[name])}"
        for name in shared
        if name not in NOT_COMPARED and before.get(name) != now[name]
    ]


def _shown(value: object) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False) if value == "" else str(value)


def fingerprint(path: Path) -> dict[str, Any]:
    """Size, modification time and sha256 of a file.

    Raises:
        OSError: the file cannot be read.
    """
    status = path.stat()
    digest = _hash(path.resolve(), status.st_size, status.st_mtime_ns)
    return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns, "sha256": digest}


@lru_cache(maxsize=256)  # a model's weights are an input of every file that is predicted with it
def _hash(path: Path, _size: int, _modified_ns: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASHED_AT_ONCE):
            digest.update(block)
    return digest.hexdigest()


def fingerprints(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Fingerprints by absolute path."""
    return {str(path.resolve()): fingerprint(path) for path in paths}


def input_differences(recorded: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One phrase per input file that has changed or gone since it was recorded."""
    return [f"{name} {change}" for name, facts in recorded.items() if (change := _change(Path(name), facts))]


def _change(path: Path, before: Mapping[str, Any]) -> str | None:
    """Hashes only where size and time leave a doubt."""
    try:
        status = path.stat()
        if status.st_size == before["bytes"] and status.st_mtime_ns == before["modified_ns"]:
            return None
        return None if fingerprint(path)["sha256"] == before["sha256"] else "has changed since"
    except (OSError, ValueError):
        return "can no longer be read"
    except (KeyError, TypeError):
        return "was recorded incompletely"
