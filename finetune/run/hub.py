"""`--push_to_hub`: the finished folder, model card included, becomes one commit of a repository on the Hugging Face hub."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from finetune.arguments.parser import Arguments
from finetune.errors import RunError
from finetune.run.failures import first_line
from finetune.run.manifest import MANIFEST, read_manifest, write_json_atomically

logger = logging.getLogger(__name__)

MARK = ".pushed_to_hub.json"  # which end of the run was pushed where
STAYS_HERE = ["checkpoint-*", "checkpoint-*/**", ".*", "**/.*", "training_args.bin"]
AT_THE_END = "end"


def push_run(arguments: Arguments, folder: Path) -> str | None:
    """Push a finished run, unless that was done; returns the address of the repository, None where nothing is to be done.

    Checkpoints, hidden files and training_args.bin (a pickle) stay here. A commit is whole or not there.

    Raises:
        RunError: the hub cannot be reached, or refuses; what was made is still here.
    """
    if not arguments.get("push_to_hub") or not (folder / MANIFEST).is_file():
        return None
    name = arguments.get("hub_model_id") or folder.resolve().name
    pushed = {"repository": name, "revision": arguments.get("hub_revision"), "finished": _end_of(folder)}
    if _read_mark(folder) == pushed:
        return None
    if arguments.get("hub_strategy") != AT_THE_END:
        logger.info("The run is pushed to the hub once, when it is done; --hub_strategy changes nothing.")
    address = _upload(arguments, folder, str(name))
    write_json_atomically(folder / MARK, pushed)
    logger.info("%s was pushed to %s.", folder, address)
    return address


def _upload(arguments: Arguments, folder: Path, name: str) -> str:
    from httpx import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import OfflineModeIsEnabled

    revision = arguments.get("hub_revision")
    api = HfApi(token=arguments.get("hub_token"))
    try:
        made = api.create_repo(name, private=arguments.get("hub_private_repo"), exist_ok=True)
        if revision:
            api.create_branch(made.repo_id, branch=revision, exist_ok=True)
        api.upload_folder(
            repo_id=made.repo_id,
            folder_path=folder,
            revision=revision,
            commit_message="Trained by finetune",
            ignore_patterns=STAYS_HERE,
        )
    except (HTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        remedy = f"What was made is in {folder}; run the same command again to push it."
        raise RunError(f"{name} could not be pushed to the hub ({first_line(error).rstrip('.')}). {remedy}") from error
    return str(made)


def _end_of(folder: Path) -> Any:
    return (read_manifest(folder) or {}).get("finished")


def _read_mark(folder: Path) -> object:
    try:
        return json.loads((folder / MARK).read_bytes())
    except (OSError, ValueError):
        return None
