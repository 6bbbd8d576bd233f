from __future__ import annotations

import doctest
import gzip
import json
from pathlib import Path

import pytest

from finetune.data import reviews
from finetune.data.reviews import (
    ReviewCounts,
    find_products,
    iterate_documents,
    iterate_records,
    refuse_existing,
    select_texts,
    write_documents,
)
from finetune.errors import DataError, UsageError


def test_example_in_the_docstring_holds() -> None:
    assert doctest.testmod(reviews).failed == 0


def test_products_of_python_literals_and_json(tmp_path: Path) -> None:
    records = [
        {"asin": "A1", "categories": [["Electronics", "Computers", "Laptops"]]},
        {"asin": "A2", "categories": [["Electronics", "Cases"]], "title": 'it\'s "quoted"'},
    ]
    literals = "\n".join(map(repr, records))  # how Amazon's metadata of 2014 is written
    path = tmp_path / "meta.json.gz"
    path.write_bytes(gzip.compress(literals.encode()))
    assert find_products(path, "Laptops", "asin") == {"A1"}
    yelp = tmp_path / "business.json"
    yelp.write_text(json.dumps({"business_id": "b", "categories": "Restaurants, Thai"}), encoding="utf-8")
    assert find_products(yelp, "Restaurants", "business_id") == {"b"}
    with pytest.raises(DataError, match="nothing is of the category 'Laptop'; there are Cases, Computers, Electronics"):
        find_products(path, "Laptop", "asin")


def test_literals_are_never_run(tmp_path: Path) -> None:
    path = tmp_path / "meta.json"
    path.write_text("{'asin': __import__('os').getcwd()}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"meta.json:1: the line is no JSON object"):
        list(iterate_records(path))


def test_documents_are_counted_cut_and_separated(tmp_path: Path) -> None:
    records = [
        {"asin": "A", "text": "Good one. Really  good!\nBuy it."},
        {"asin": "A", "text": "Too short."},
        {"asin": "B", "text": "Not ours. At all."},
        {"asin": "A", "text": None},
        {"asin": "A", "text": "Second here. It ends."},
        {"asin": "A", "text": "Never reached. Indeed."},
    ]
    counts = ReviewCounts()
    texts = select_texts(records, "text", counts, {"A"}, "asin")
    documents = iterate_documents(texts, counts, max_sentences=5)
    path = write_documents(tmp_path / "corpus_{sentences}.txt", documents, counts)
    assert path.name == "corpus_5.txt"
    assert path.read_text(encoding="utf-8") == "Good one.\nReally good!\nBuy it.\n\nSecond here.\nIt ends.\n"
    assert (counts.read, counts.written, counts.too_short, counts.other_products, counts.without_text) == (
        5,
        2,
        1,
        1,
        1,
    )
    assert [item.name for item in tmp_path.iterdir()] == ["corpus_5.txt"]
    with pytest.raises(UsageError, match=r"corpus_5.txt: the file is there already"):
        refuse_existing(tmp_path / "corpus_{sentences}.txt", overwrite=False)


def test_nothing_to_write_leaves_no_file(tmp_path: Path) -> None:
    counts = ReviewCounts()
    with pytest.raises(DataError, match="no review is left to write: 1 reviews read, 0 written"):
        write_documents(
            tmp_path / "x.txt", iterate_documents(select_texts([{"text": "One."}], "text", counts), counts), counts
        )
    assert not list(tmp_path.iterdir())
