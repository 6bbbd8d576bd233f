"""Pages of searches and of surprisals, on tables as their commands write them."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from finetune.page.building import write_page
from finetune.page.surprisals import interval
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
    write_page(tmp_path)
    page = Page(tmp_path / "report.html")
    assert_is_whole(page)
    assert "PRUNED" in page.text and "sgd <b>" in page.text and "part of the page" not in page.text
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    assert "mathdefault" not in page.source and "$" not in page.text and ">0.001<" in page.source
    assert names == {"search_history.png", "search_correlations.png", "slice_lr.png", "slice_optimizer.png"}
