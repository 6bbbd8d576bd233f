"""Items whose surprisal differs most: between conditions of one table, and from before a training to after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from finetune.page.intervals import interval
from finetune.page.parts import Block, Cell, Sentences, Table
from finetune.page.table_files import list_columns, read_columns

ITEMS = 20
MATCHED = 0.8  # of a column's values stand in every condition: it names the items
SHOWN_TEXT = 200
COURSES = ("metrics.csv.gz", "metrics.parquet")
TEXT = ("dataset_name", "item", "original_text")


@dataclass(frozen=True)
class Matched:
    """Items that stand in every condition: names (items,), mean surprisal (items, conditions)."""

    names: list[str]
    conditions: list[str]
    means: np.ndarray


def match_items(table: pa.Table, condition: str, others: Sequence[str]) -> tuple[str, Matched] | None:
    """The column that says which texts are one item in several conditions, where there is one, with its items.

    Such a column has more values than the condition, and most of them stand in each condition.
    """
    conditions = sorted(map(str, pc.unique(table[condition]).to_pylist()))
    for name in others:
        if len(pc.unique(table[name])) <= len(conditions):
            continue
        matched = _match(table, condition, name, conditions)
        if len(matched.names) > 1 and len(matched.names) >= MATCHED * len(pc.unique(table[name])):
            return name, matched
    return None


def _match(table: pa.Table, condition: str, name: str, conditions: list[str]) -> Matched:
    grouped = table.group_by([name, condition]).aggregate([("surprisal", "mean")])
    found: dict[str, dict[str, float]] = {}
    for item, label, mean in zip(*(grouped[c].to_pylist() for c in (name, condition, "surprisal_mean")), strict=True):
        found.setdefault(str(item), {})[str(label)] = mean
    whole = {item: means for item, means in found.items() if len(means) == len(conditions)}
    rows = [[means[label] for label in conditions] for means in whole.values()]
    return Matched(list(whole), conditions, np.array(rows).reshape(-1, len(conditions)))


def show_matched(condition: str, name: str, matched: Matched) -> list[Block]:
    """The items that the condition changes most, and of two conditions the mean change with its interval."""
    spread = matched.means.max(axis=1) - matched.means.min(axis=1)
    order = np.argsort(-spread, kind="stable")[:ITEMS]
    rows: list[list[Cell]] = [
        [matched.names[row], *matched.means[row].tolist(), float(spread[row])] for row in order.tolist()
    ]
    left = max(0, len(matched.names) - ITEMS)
    title = f"Items that {condition} changes most"
    table = Table(title, [name, *matched.conditions, "difference"], rows, left_out=left)
    if len(matched.conditions) != 2:
        return [table]
    first, second = matched.conditions
    mean, low, high = interval(matched.means[:, 1] - matched.means[:, 0])
    said = (
        f"{second} minus {first}: {mean:+.4f} bits on average over {len(matched.names):,} items that have both "
        f"(by {name}), 95 % interval {low:+.4f} to {high:+.4f}."
    )
    return [Sentences([said]), table]


def show_course(folder: Path, largest: int) -> list[Block]:
    """Validation texts whose surprisal a training changed most, from the first epoch that was scored to the last."""
    path = next((folder / name for name in COURSES if (folder / name).is_file()), None)
    if path is None or path.stat().st_size > largest:
        return []
    names = list_columns(path)
    if not {"dataset_type", "epoch", "surprisal", "item", "original_text"} <= set(names):
        return []
    keys = [name for name in TEXT if name in names]
    table = read_columns(path, ["dataset_type", "epoch", "surprisal", *keys])
    table = table.filter(pc.and_(pc.equal(table["dataset_type"], "validation"), table["surprisal"].is_valid()))
    epochs = sorted(pc.unique(table["epoch"]).to_pylist()) if table.num_rows else []
    return [_changes(table, keys, epochs[0], epochs[-1])] if len(epochs) > 1 else []


def _changes(table: pa.Table, keys: list[str], first: object, last: object) -> Table:
    means: list[dict[tuple, float]] = []
    for epoch in (first, last):
        grouped = table.filter(pc.equal(table["epoch"], epoch)).group_by(keys).aggregate([("surprisal", "mean")])
        columns = [grouped[name].to_pylist() for name in (*keys, "surprisal_mean")]
        means.append({row[:-1]: row[-1] for row in zip(*columns, strict=True)})
    before, after = means
    changed = sorted((key for key in before if key in after), key=lambda key: -abs(after[key] - before[key]))
    rows: list[list[Cell]] = [
        [str(key[-1])[:SHOWN_TEXT], *key[:-1], before[key], after[key], after[key] - before[key]]
        for key in changed[:ITEMS]
    ]
    headings = ["text", *keys[:-1], f"epoch {first}", f"epoch {last}", "change"]
    title = "Validation texts that training changed most (mean bits a token)"
    return Table(title, headings, rows, left_out=max(0, len(changed) - ITEMS))
