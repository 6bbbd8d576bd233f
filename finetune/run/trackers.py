"""The end of a wandb run, before standard output gets its last line: left to itself wandb speaks there at exit."""

from __future__ import annotations

import logging
import sys

logger = logging.getLogger(__name__)


def finish_wandb(exit_code: int) -> None:
    """Finish the run that a training began, if one did; a failure to do so is a warning, the results are there."""
    wandb = sys.modules.get("wandb")
    if wandb is None or getattr(wandb, "run", None) is None:
        return
    try:
        wandb.finish(exit_code=exit_code)
    except Exception as error:
        logger.warning("wandb could not finish its run (%s).", error)
