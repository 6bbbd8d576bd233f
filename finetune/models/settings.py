"""What a saved model must be told about its input beside its own configuration: `finetune_settings.json` in its folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

from finetune.data.json_values import parse_json
from finetune.errors import DataError, Problem
from finetune.run.atomic_files import atomic_text_file

FILE = "finetune_settings.json"


@dataclass(frozen=True)
class SavedSettings:
    """Dataclasses that are kept beside a model's weights."""

    def save(self, folder: Path) -> None:
        with atomic_text_file(folder / FILE) as file:
            file.write(json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """The settings of a folder; None where another program saved the model.

        Raises:
            DataError: the file is no JSON object of these settings.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            held = parse_json(path.read_text(encoding="utf-8"))
            return cls(**{field.name: held[field.name] for field in fields(cls) if field.name in held})
        except (ValueError, TypeError) as error:
            raise DataError(Problem(f"these settings cannot be read: {error}", path=path)) from error


@dataclass(frozen=True)
class TaggerSettings(SavedSettings):
    """How words become the input of a tagger, and its output tags. `word_segmenter` finds the words of raw text;
    `document_context` subwords of the document are read around each sentence.

    `transitions` are the learned scores of `--constrained_decoding learned`: a row for each label before, one for the
    beginning last; a column for each label after, one for the end last.
    """

    scheme: str = "IOB2"
    max_length: int | None = None
    stride: int | None = None
    lowercase: bool = False
    space_token: str | None = None
    word_segmenter: str = "auto"
    document_context: int = 0
    constrained_decoding: bool = False
    transitions: list[list[float]] | None = None


@dataclass(frozen=True)
class ClassifierSettings(SavedSettings):
    """How texts become the input of a classifier, and its output labels.

    The columns are those that flags named for training; a file to predict that has them is read in the same way.
    `cleaning` applies the Thai cleaning rules. `thresholds` are by label, `temperature` divides the logits; both were
    fitted on validation.
    """

    problem_type: str = "single_label_classification"
    max_length: int | None = None
    long_text: str = "truncate"
    stride: int = 0
    pairs: bool = False
    lowercase: bool = False
    cleaning: bool = False
    space_token: str | None = None
    text_columns: tuple[str, ...] = ()
    text_pair_column: str | None = None
    text_column_delimiter: str = " "
    label_columns: tuple[str, ...] = ()
    label_delimiter: str | None = None
    temperature: float = 1.0
    threshold_scope: str = "fixed"
    thresholds: dict[str, float] | None = None
