"""The argument groups that every command which trains a model takes, after those of its task."""

from __future__ import annotations

from finetune.arguments.fast_path import FastPathArguments
from finetune.arguments.run import RunArguments
from finetune.arguments.unattended import UnattendedArguments

TRAINING_GROUPS: tuple[type, ...] = (FastPathArguments, UnattendedArguments, RunArguments)
