"""fastText's training files: a line is a text with its labels as words `__label__NAME`, mostly in front."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from finetune.data.files import TextLines, raise_problems
from finetune.errors import Problem

PREFIX = "__label__"
LINES_LOOKED_AT = 100


def is_fasttext(lines: Sequence[str]) -> bool:
    """Whether the first lines begin or end with a label of fastText."""
    content = list(islice((line for line in lines if line.strip()), LINES_LOOKED_AT))
    marked = sum(line.lstrip().startswith(PREFIX) or PREFIX in line.rsplit(" ", 1)[-1] for line in content)
    return bool(content) and marked * 2 > len(content)


def read_fasttext(source: TextLines) -> tuple[dict[str, list], list[int]]:
    """The columns `text` and `label` (a name where every line has one, else lists), and the lines of the rows.

    Raises:
        DataError: every line that has no label.
    """
    texts, labels, lines, problems = [], [], [], []
    for number, line in enumerate(source.lines, start=1):
        words = line.split()
        own = [word.removeprefix(PREFIX).rstrip(",") for word in words if word.startswith(PREFIX)]
        if not words:
            continue
        if not own:
            allowed = f"each line of a fastText file has one like {PREFIX}NAME"
            problems.append(Problem("the line has no label", allowed, "label it, or leave it out", source.path, number))
        texts.append(" ".join(word for word in words if not word.startswith(PREFIX)).lstrip(", "))
        labels.append(own)
        lines.append(number)
    raise_problems(problems, source.path)
    single = all(len(own) == 1 for own in labels)
    return {"text": texts, "label": [own[0] for own in labels] if single else labels}, lines
