"""The files that predictions are made from: texts, and all that a model is made of. No torch, which exports do without."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from finetune.arguments.parser import Arguments
from finetune.run.changes import named_files
from finetune.run.output_record import SUFFIX

BRAT = ".ann"
RECORDS = ("run.json", "run.log", "report.html", "README.md")
ADAPTER = "adapter_config.json"
PLACES = ("input_file", "output_dir", "output_file")  # arguments that no model is made of


def find_texts(paths: Iterable[Path]) -> list[Path]:
    """The files of texts, and after each of brat's the one with the text that it annotates."""
    found: list[Path] = []
    for path in paths:
        found.append(path)
        if BRAT in path.suffixes:
            from finetune.tagging.formats.brat import text_of

            found += filter(Path.is_file, [text_of(path)])
    return found


def find_model_files(arguments: Arguments, output: Path, model: str) -> list[Path]:
    """The files that a model, a tokenizer of its own and what an adapter was trained on are made of.

    Files that tell of a run, predictions that lie in the folder and their records make no other model of it.

    Raises:
        DataError: the model is an adapter whose description cannot be read.
    """
    named = {name: value for name, value in arguments.effective().items() if name not in PLACES}
    if (Path(model) / ADAPTER).is_file():
        from finetune.models.adapters import read_adapter

        adapter = read_adapter(model)
        named["base"] = adapter.base if adapter else None
    found = named_files(named, output) - {output.resolve()}
    return sorted(path for path in found if not is_told_of(path))


def is_told_of(path: Path) -> bool:
    """Whether a file of a model's folder tells of a run, or is an output with its record."""
    named = path.name in RECORDS or path.name.startswith("events.out.") or path.name.endswith(SUFFIX)
    return named or path.with_name(path.name + SUFFIX).exists()
