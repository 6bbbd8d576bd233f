"""`--report_to`: services that watch a training, usable without an account, and refused in a sentence where missing."""

from __future__ import annotations

import logging
import os
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from transformers import TrainingArguments
from transformers.integrations import integration_utils

from finetune.errors import Problem, UsageError

logger = logging.getLogger(__name__)

PACKAGES = {"azure_ml": "azureml", "comet_ml": "comet", "flyte": "flytekit"}  # where another name than the service's
WANDB_HOST = "https://api.wandb.ai"
# Services that record on this machine unless told otherwise: the variable that says where, and where with the run.
LOCAL = {"mlflow": ("MLFLOW_TRACKING_URI", "file://{}/mlruns"), "trackio": ("TRACKIO_DIR", "{}/trackio")}
WANDB_KEYS = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")


def prepare_trackers(arguments: TrainingArguments) -> None:
    """See that every service of `--report_to` can be used, before anything is computed for it.

    Raises:
        UsageError: the package of a service is not installed; all such services are named.
    """
    asked = cast("list[str]", arguments.report_to or [])  # a list once TrainingArguments are built
    problems = [problem for name in asked if (problem := find_missing(name)) is not None]
    if problems:
        raise UsageError(*problems)
    folder = Path(arguments.output_dir or ".").resolve()
    if "wandb" in asked:
        prepare_wandb(folder)
    for name, (variable, place) in LOCAL.items():
        if name in asked and not os.environ.get(variable):
            os.environ[variable] = place.format(folder)
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # without a database it asks for leave
            logger.info("%s records in %s; $%s names another place.", name, place.format(folder), variable)


def find_missing(name: str) -> Problem | None:
    """The service whose package is not installed; transformers' callbacks would say so with a traceback."""
    is_available = getattr(integration_utils, f"is_{PACKAGES.get(name, name)}_available", None)
    if is_available is None or is_available():
        return None
    extra = f": pip install 'finetune[{name}]'" if name in LOCAL else ""
    remedy = f"install its package{extra}, or use tensorboard or wandb, which came with finetune"
    return Problem(f"--report_to {name}: its package is not installed", remedy=remedy)


def prepare_wandb(folder: Path) -> None:
    """Keep its files with the run, and record offline where there is no account, instead of asking for one.

    What the user set in the environment stays as it is.
    """
    os.environ.setdefault("WANDB_DIR", str(folder.resolve()))
    if os.environ.get("WANDB_MODE") or os.environ.get("WANDB_DISABLED") or has_wandb_account():
        return
    os.environ["WANDB_MODE"] = "offline"
    place = Path(os.environ["WANDB_DIR"]) / "wandb"
    logger.warning(
        "wandb has no account here: the run is recorded offline in %s; `wandb sync` uploads it later.", place
    )


def has_wandb_account() -> bool:
    """Whether `wandb login` was done for its host, or a key is in the environment; nothing of it is read further."""
    if any(os.environ.get(name) for name in WANDB_KEYS):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or WANDB_HOST).hostname
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        return host in netrc(str(path)).hosts
    except (OSError, NetrcParseError):
        return False
