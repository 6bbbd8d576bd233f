"""Pages of searches and of surprisals, on tables as their commands write them."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from finetune.page.building import write_page
from finetune.page.intervals import interval
from finetune.page.surprisal_changes import match_items
from finetune.surprisal.table_files import TableFile
from tests.page.pages import Page, assert_is_whole


def write(path, columns):
    with TableFile(path) as table:
        table.write(pa.table(columns))
    (path.parent / "run.json").write_text(json.dumps({"status": "done", "arguments": {}}))


@pytest.mark.parametrize("suffix", ["csv.gz", "parquet"])
def test_surprisals_by_condition(tmp_path, suffix):
    bits = np.random.default_rng(0).gamma(2, 2, 120)
    columns = {
        "item": [n // 3 for n in range(120)],
        "original_text": [f"text <i>{n // 3}" for n in range(120)],
        "token": ["NA"] * 120,
        "surprisal": [None, *bits[1:]],
        "condition": ["agree" if n // 3 % 2 else "clash <b>" for n in range(120)],
        "dataset_name": ["items"] * 120,
    }
    write(tmp_path / f"gpt2-test_results.{suffix}", columns)
    if suffix == "parquet":  # as score.py writes it: each block of rows with dictionaries of its own
        rows = pa.table(columns)
        for name in ("condition", "dataset_name", "original_text"):
            column = pa.chunked_array([rows[name].chunk(0)]).dictionary_encode()
            rows = rows.set_column(rows.column_names.index(name), name, column)
        halves = [rows.slice(0, 61), pa.table({**rows.slice(61).to_pydict(), "original_text": ["other"] * 59})]
        halves[1] = halves[1].select(rows.column_names).cast(rows.schema)
        with TableFile(tmp_path / f"gpt2-test_results.{suffix}") as table:
            for half in halves:
                table.write(half)
    write_page(tmp_path)
    page = Page(tmp_path / "report.html")
    assert_is_whole(page)
    assert "Surprisal by condition" in page.text and "clash <b>" in page.text and "text <i>" in page.text
    assert (tmp_path / "plots" / "surprisal_0_condition.png").exists() and "part of the page" not in page.text


def test_the_interval_of_a_mean():
    assert interval(np.array([1.0, 2.0, 3.0])) == pytest.approx((2, 2 - 1.96 / 3**0.5, 2 + 1.96 / 3**0.5))


def test_a_search(tmp_path):
    rates = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
    columns = {
        "number": [*range(5), 5],
        "value": [3.0, 2.5, 2.0, 2.2, 2.9, None],
        "state": ["COMPLETE"] * 5 + ["PRUNED"],
        "epochs": [1] * 6,
        "seconds": [1.5] * 6,
        "params_lr": [*rates, 1.0],
        "params_optimizer": ["adam", "sgd <b>"] * 3,
    }
    write(tmp_path / "optimization_results.csv.gz", columns)
    shares = {"fanova": {"lr": 0.75, "optimizer": 0.25}, "ped_anova": {"lr": 1.0, "optimizer": 0.0}, "other": {"lr": 1}}
    (tmp_path / "optimization_importances.json").write_text(json.dumps(shares))
    write_page(tmp_path)
    page = Page(tmp_path / "report.html")
    assert_is_whole(page)
    assert "PRUNED" in page.text and "sgd <b>" in page.text and "part of the page" not in page.text
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    assert "mathdefault" not in page.source and "$" not in page.text and ">0.001<" in page.source
    drawn = {"history", "correlations", "importances"}
    assert names == {*(f"search_{name}.png" for name in drawn), "slice_lr.png", "slice_optimizer.png"}
    said = next(svg["aria-label"] for svg in page.of("svg") if "mattered" in svg["aria-label"])
    assert "fANOVA: lr 0.75, optimizer 0.25" in said and "PED-ANOVA: lr 1.00" in said
    assert (
        "5 of 6 trials are complete; the best is trial 2: validation loss 2 with lr 0.001, optimizer adam." in page.text
    )


def test_items_that_stand_in_two_conditions_are_compared(tmp_path):
    """Item n has 2 bits agreeing and 2 + n / 10 clashing, but for item 7, which gains 9."""
    gains = [9.0 if n == 7 else n / 10 for n in range(30)]
    rows = [(n, kind, 2 + (gains[n] if kind == "clash" else 0)) for n in range(30) for kind in ("agree", "clash")]
    columns = {
        "item": list(range(60)),
        "original_text": [f"{kind} {n}" for n, kind, _ in rows],
        "surprisal": [bits for *_, bits in rows],
        "pair": [f"pair-{n}" for n, *_ in rows],
        "condition": [kind for _, kind, _ in rows],
        "other": [f"{n % 20}" for n in range(60)],  # has more values than the condition, too, but names no items
        "dataset_name": ["items"] * 60,
    }
    write(tmp_path / "gpt2-test_results.csv.gz", columns)
    write_page(tmp_path)
    page = Page(tmp_path / "report.html")
    assert_is_whole(page)
    mean, low, high = interval(np.array(gains))
    assert f"clash minus agree: {mean:+.4f} bits on average over 30 items that have both (by pair)" in page.text
    assert f"{low:+.4f} to {high:+.4f}" in page.text and "Items that condition changes most" in page.text
    _, first = page.text.split("Items that condition changes most")
    assert first.index("pair-7") < first.index("pair-29") < first.index("pair-28")
    table = pa.table({name: columns[name] for name in ("surprisal", "condition", "other")})
    assert match_items(table, "condition", ["other"]) is None


def test_texts_that_training_changed_most(tmp_path):
    """Text n of validation goes from 5 to 5 - n bits; the texts of training are not shown."""
    rows = [(epoch, kind, n) for epoch in (1, 2, 3) for kind in ("train", "validation") for n in range(4)]
    columns = {
        "dataset_type": [kind for _, kind, _ in rows],
        "epoch": [epoch for epoch, *_ in rows],
        "item": [n for *_, n in rows],
        "original_text": [f"{kind} {n}" for _, kind, n in rows],
        "surprisal": [5.0 - n * (epoch - 1) / 2 for epoch, _, n in rows],
        "dataset_name": ["d"] * len(rows),
    }
    write(tmp_path / "metrics.csv.gz", columns)
    (tmp_path / "metrics.json").write_text("{}")
    write_page(tmp_path)
    page = Page(tmp_path / "report.html")
    assert_is_whole(page)
    _, table = page.text.split("Validation texts that training changed most")
    places = [table.index(f"validation {n}") for n in (3, 2, 1)]
    assert places == sorted(places) and "train 1" not in table and "epoch 3" in table and "-3.0000" in table
