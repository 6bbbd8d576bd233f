"""GoEmotions (Demszky et al. 2020): 27 emotions and neutral, several per comment, as ids in unquoted TSV."""

from __future__ import annotations

from pathlib import Path

from finetune.data.files import raise_problems
from finetune.data.row_files import RowTable, read_row_file
from finetune.errors import Problem

LABELS = (
    *("admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion", "curiosity", "desire"),
    *("disappointment", "disapproval", "disgust", "embarrassment", "excitement", "fear", "gratitude", "grief", "joy"),
    *("love", "nervousness", "optimism", "pride", "realization", "relief", "remorse", "sadness", "surprise"),
    "neutral",
)
COLUMNS = ("text", "labels", "id")


def read_goemotions(path: Path, _split: str) -> RowTable:
    """The comments of one file; their label ids become lists of names.

    Raises:
        DataError: the file is broken, or holds an id that no emotion has.
    """
    if path.suffix == ".parquet":
        return read_row_file(path)
    table = read_row_file(path, column_names=COLUMNS)
    ids = [cell.split(",") for cell in table.columns["labels"]]
    known = {str(number) for number in range(len(LABELS))}
    problems = [
        Problem(f"the label ids are {','.join(cell)!r}", f"0 to {len(LABELS) - 1}, joined by commas", "", path, line)
        for cell, line in zip(ids, table.lines, strict=True)
        if not known.issuperset(cell)
    ]
    raise_problems(problems, path)
    table.columns["labels"] = [[LABELS[int(number)] for number in cell] for cell in ids]
    return table
