"""What a task that learns from labels is, whatever its rows: what is known before weights are read, and its differences."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

from datasets import Dataset
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from finetune.arguments.parser import Arguments
from finetune.arguments.training_table import TrainingValues
from finetune.data.corpus import Corpus
from finetune.models.settings import SavedSettings
from finetune.supervised.arguments import SupervisedArguments
from finetune.training.building import TrainerParts


@dataclass(kw_only=True)
class SupervisedTask(ABC):
    """Nothing in it is wrong: it is made once data, tokenizer and configuration were judged together.

    `values` are the resolved TrainingArguments by name, `class_weights` those of `--class_weights FILE`, `notes` sentences
    with counts of what was done to the data, `encoded` the rows of each split as ids.
    """

    arguments: Arguments
    corpus: Corpus
    tokenizer: PreTrainedTokenizerBase
    config: PretrainedConfig
    labels: list[str]
    new_head: bool
    values: TrainingValues
    class_weights: list[float] | None = None
    notes: list[str] = field(default_factory=list)
    encoded: dict[str, Any] = field(default_factory=dict)

    head: ClassVar[str]  # a key of `models.loading.HEADS`
    hub_task: ClassVar[str]  # what the hub calls the task

    @property
    @abstractmethod
    def options(self) -> SupervisedArguments:
        """The task's own options."""

    @property
    def trains(self) -> bool:
        return bool(self.arguments.training.get("do_train"))

    def rows(self, split: str) -> Dataset | None:
        """The encoded rows of a split, None where there is no such split."""
        return self.encoded[split].dataset if split in self.encoded else None

    @property
    @abstractmethod
    def padded_length(self) -> int | None:
        """The width of every batch with `--pad_to_max_length`, None without."""

    @abstractmethod
    def build_parts(self, model: PreTrainedModel) -> TrainerParts:
        """What the Trainer of this task needs: collator, loss, metrics."""

    @abstractmethod
    def make_settings(self) -> SavedSettings:
        """How rows become input: what is saved beside the model."""

    @abstractmethod
    def balance_weights(self) -> list[float]:
        """`--class_weights balanced`: the weight of each label, from the training rows."""

    @abstractmethod
    def format_examples(self) -> str:
        """The first rows as the model sees them, for `--dry_run`."""

    @abstractmethod
    def describe_data(self) -> dict[str, str]:
        """For a model card: `dataset`, and `hub_dataset`, its name on the hub or nothing."""

    @abstractmethod
    def describe_training(self) -> dict[str, Any]:
        """For a model card: how it was trained, beside what every card says."""
