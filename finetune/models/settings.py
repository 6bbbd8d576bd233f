"""What a saved model must be told about its input beside its own configuration: `finetune_settings.json` in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self, get_type_hints

from finetune.data.json_values import is_of_type, parse_json
from finetune.encoding.tags import TagScheme
from finetune.errors import DataError, Problem
from finetune.run.atomic_files import atomic_text_file

FILE = "finetune_settings.json"
CHOICES = {  # what settings of a classifier may say; the tasks that read them have these words as enumerations
    "problem_type": ("single_label_classification", "multi_label_classification", "regression"),
    "long_text": ("truncate", "head_tail", "windows"),
    "threshold_scope": ("per_label", "per_label_macro", "global", "fixed"),
}


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
            known = {field.name: held[field.name] for field in fields(cls) if field.name in held}
        except (OSError, ValueError, TypeError) as error:
            raise DataError(Problem(f"these settings cannot be read: {error}", path=path)) from error
        kinds = get_type_hints(cls)
        wrong = [name for name, value in known.items() if not is_of_type(value, kinds[name])]
        found = [f"{name} is {known[name]!r:.60}" for name in wrong] or cls(**known).check()
        if found:
            remedy = "copy the model again, or put this file right"
            raise DataError(*(Problem(f"the settings are damaged: {item}", "", remedy, path) for item in found))
        return cls(**known)

    def check(self) -> list[str]:
        """What of values that have the right types is no setting."""
        return []


def find_too_small(settings: SavedSettings, least: Mapping[str, int]) -> list[str]:
    """Lengths below the least that they may be."""
    values = {name: getattr(settings, name) for name in least}
    return [f"{name} is {value}" for name, value in values.items() if value is not None and value < least[name]]


@dataclass(frozen=True)
class TaggerSettings(SavedSettings):
    """How words become the input of a tagger, and its output tags. `word_segmenter` finds the words of raw text;
    `document_context` subwords of the document are read around each sentence, behind a separator with `context_separator`
    (models that were saved without a word of it have none).

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
    context_separator: bool = False
    constrained_decoding: bool = False
    transitions: list[list[float]] | None = None

    def check(self) -> list[str]:
        """A scheme that there is not; lengths below 1; transitions that are no table."""
        found = [] if self.scheme in set(TagScheme) else [f"there is no scheme {self.scheme!r:.60}"]
        found += find_too_small(self, {"max_length": 1, "stride": 0, "document_context": 0})
        if self.transitions is not None and len({len(row) for row in self.transitions} | {len(self.transitions)}) != 1:
            found.append("the transitions are no square of numbers")
        return found


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

    def check(self) -> list[str]:
        """Words that name nothing; lengths below 1; a temperature that divides by nothing."""
        found = [
            f"{name} is {value!r:.60}, not {', '.join(allowed)}"
            for name, allowed in CHOICES.items()
            if (value := getattr(self, name)) not in allowed
        ]
        found += find_too_small(self, {"max_length": 1, "stride": 0})
        return found + ([] if self.temperature > 0 else [f"temperature is {self.temperature}"])
