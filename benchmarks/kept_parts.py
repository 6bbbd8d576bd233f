"""Benchmarks of several parts, each of which can run on its own: what was measured before stays in the results."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from measure import RESULTS, write_results


@dataclass(frozen=True)
class Kept:
    """Where results stay: benchmarks/results/<name>.md. `same` names per part what must agree for its rows to be united."""

    name: str
    title: str
    same: Mapping[str, tuple[str, ...]]


def tell_parts(
    found: dict[str, Any], formats: Mapping[str, Callable[[dict[str, Any]], list[str]]], *, keep: Kept | None
) -> None:
    """Print the tables of what was measured, with JSON as the last line; keep them beside earlier ones if asked."""
    print("\n".join(format_parts(found, formats)))
    if keep:
        kept = read_kept(keep.name)
        result = kept | {part: merge_rows(kept.get(part, {}), found[part], same=keep.same[part]) for part in found}
        write_results(keep.name, keep.title, format_parts(result, formats), result)
    print(json.dumps(found))


def read_kept(name: str, machine: str | None = None) -> dict[str, Any]:
    """The numbers of benchmarks/results/<name>.md by part; nothing if it is not there.

    With a `machine` also nothing, and a line that says so, if they are another's: writing takes their place.
    """
    path = RESULTS / f"{name}.md"
    if not path.is_file():
        return {}
    _, _, block = path.read_text(encoding="utf-8").partition("```json")
    kept = json.loads(block.partition("```")[0])
    if machine is None or kept.get("machine") == machine:
        return kept
    print(f"{path} is of another machine ({kept.get('machine')}) and will be overwritten.", file=sys.stderr)
    return {}


def merge_rows(kept: dict[str, Any], found: dict[str, Any], *, same: tuple[str, ...]) -> dict[str, Any]:
    """`found` replaces `kept`; `rows` of both are united where all of `same` agree, and replaced by name."""
    if not kept or "rows" not in found or any(kept.get(key) != found[key] for key in same):
        return found
    return {**found, "rows": dict(sorted({**kept["rows"], **found["rows"]}.items()))}


def format_parts(result: dict[str, Any], formats: Mapping[str, Callable[[dict[str, Any]], list[str]]]) -> list[str]:
    """The lines of every part that was measured, each with its machine and date."""
    lines = []
    for part, format_part in formats.items():
        if part in result:
            lines += [*format_part(result[part]), "", f"{result[part]['machine']}; {result[part]['date']}", ""]
    return lines[:-1]
