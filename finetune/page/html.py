"""Templates -> HTML in one file: everything that comes from data is escaped and free of secrets; nothing is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from finetune.arguments.secrets import hide
from finetune.page.parts import Block, Cell
from finetune.report.markdown import one_line

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **facts: Any) -> str:
    """A page by a template of ours, with style and script inside."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.finalize = _printable
    environment.tests["number"] = lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    environment.filters.update(shown=shown, groupby_runs=group_runs, markup=Markup)
    style, script = (Markup((TEMPLATES / name).read_text(encoding="utf-8")) for name in ("style.css", "script.js"))
    return hide(environment.get_template(template).render(style=style, script=script, **facts))


def _printable(value: Any) -> Any:
    """Control characters spelt out, but for line ends; lone surrogates as UTF-8 can hold them."""
    if type(value) is not str:
        return value
    text = "\n".join(map(one_line, value.split("\n"))) if not value.isprintable() else value
    return text.encode("utf-8", "backslashreplace").decode()


def group_runs(blocks: Sequence[Block]) -> list[tuple[str, list[Block]]]:
    """Blocks of one kind that follow each other, by the kind."""
    return [(kind, list(members)) for kind, members in groupby(blocks, key=lambda block: type(block).__name__)]


def shown(value: Cell) -> str:
    """A cell as a person reads it."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if 1000 <= abs(value) < 1e9:
        return f"{value:,.1f}"
    return f"{value:.4f}" if 0.001 <= abs(value) < 1000 or value == 0 else f"{value:.4g}"
