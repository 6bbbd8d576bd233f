"""Tables of tokens, words and sentences, as people will read them back."""

from __future__ import annotations

import gzip
import multiprocessing

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finetune.errors import DataError
from finetune.run.memory import peak_resident_bytes
from finetune.surprisal.surprisal import word_surprisals
from finetune.surprisal.table_files import TableFile
from finetune.surprisal.tables import ScoredTexts, SurprisalTables, abbreviate_count

VOCABULARY = pa.array(["the", "Ġdog", "s", "Ġ,", 'a"b', "NA"])
TABLES = SurprisalTables(VOCABULARY, {"model_name": "tiny", "task": "lm", "n_params": "1.2K"})


def make_scored(**changes) -> ScoredTexts:
    """Two texts, "the dogs" and "the", with an empty one between them."""
    starts = np.array([True, True, False, True])
    surprisal = np.array([1.0, 2.0, 0.5, np.nan])
    fields = {
        "leading": {"item": [0, 1, 2], "original_text": ["the dogs", "", "the"]},
        "trailing": {"verb": pa.array(["run", None, 'x,"y']), "loss": [0.5, 0.0, 0.25]},
        "ids": np.array([0, 1, 2, 0]),
        "offsets": np.array([0, 3, 3, 4]),
        "starts": starts,
        "surprisal": surprisal,
        "predicted_ids": np.array([5, 4, 3, -1]),
        "predicted_surprisal": np.array([0.5, 1.0, 0.25, np.nan]),
        "words": word_surprisals(surprisal, starts),
        "word_texts": ["the", "dogs", "the"],
    }
    return ScoredTexts(**(fields | changes))


def write(path, *details_or_tables):
    with TableFile(path) as file:
        for table in details_or_tables:
            file.write(table)
    return path


def test_token_rows_have_the_documented_columns():
    table = TABLES.build(make_scored(), "token")
    names = "model_name task n_params item original_text word_num word_char_start word_char_end token_num_in_word token"
    names += " token_id token_is_start_of_word token_is_word surprisal predicted_token predicted_token_id"
    names += " predicted_token_surprisal verb loss"
    assert table.schema.names == names.split()
    rows = table.to_pylist()
    assert [row["word_num"] for row in rows] == [0, 1, 1, 0]
    assert [row["token_num_in_word"] for row in rows] == [0, 0, 1, 0]
    assert [row["token"] for row in rows] == ["the", "Ġdog", "s", "the"]
    assert [row["token_is_word"] for row in rows] == [True, False, False, True]
    assert [row["surprisal"] for row in rows] == [1.0, 2.0, 0.5, None]
    assert [row["predicted_token"] for row in rows] == ["NA", 'a"b', "Ġ,", None]
    assert [row["item"] for row in rows] == [0, 0, 0, 2] and rows[3]["verb"] == 'x,"y' and rows[3]["loss"] == 0.25


def test_words_and_sentences():
    words = TABLES.build(make_scored(), "word").to_pylist()
    assert [(row["word"], row["n_tokens"], row["surprisal"]) for row in words[:2]] == [
        ("the", 1, 1.0),
        ("dogs", 2, 2.5),
    ]
    assert [row["word_num"] for row in words] == [0, 1, 0]
    sentences = TABLES.build(make_scored(), "sentence").to_pylist()
    assert [(row["n_words"], row["n_tokens"], row["surprisal"]) for row in sentences] == [
        (2, 3, 3.5),
        (0, 0, 0),
        (1, 0, 0),
    ]
    assert sentences[0]["perplexity"] == pytest.approx(2 ** (3.5 / 3)) and sentences[1]["mean_surprisal"] is None


def test_only_masks_are_shown():
    scored = make_scored(shown=np.array([False, False, True, False]))
    assert [row["token"] for row in TABLES.build(scored, "token").to_pylist()] == ["s"]
    assert [row["word"] for row in TABLES.build(scored, "word").to_pylist()] == ["dogs"]


def test_csv_and_parquet_hold_the_same(tmp_path):
    chunk = TABLES.build(make_scored(), "token")
    csv = pd.read_csv(write(tmp_path / "a.csv.gz", chunk, chunk), keep_default_na=False)
    parquet = pd.read_parquet(write(tmp_path / "a.parquet", chunk, chunk))
    assert len(csv) == len(parquet) == 8
    for name in csv:
        spelled = ["NA" if pd.isna(value) else value for value in parquet[name].tolist()]
        expected = [str(value).lower() if isinstance(value, bool) else value for value in spelled]
        found = [str(value).lower() if isinstance(value, bool | np.bool_) else value for value in csv[name]]
        assert [str(value).removesuffix(".0") for value in found] == [
            str(value).removesuffix(".0") for value in expected
        ]


def test_the_same_rows_give_the_same_bytes(tmp_path):
    chunk = TABLES.build(make_scored(), "token")
    assert write(tmp_path / "a.csv.gz", chunk).read_bytes() == write(tmp_path / "b.csv.gz", chunk).read_bytes()
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()).count(b"\n") == 5


def test_a_table_is_there_only_when_it_is_whole(tmp_path):
    with pytest.raises(RuntimeError), TableFile(tmp_path / "a.csv.gz") as file:
        file.write(TABLES.build(make_scored(), "token"))
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_columns_may_not_change(tmp_path):
    with pytest.raises(DataError, match="columns change"):
        write(tmp_path / "a.csv.gz", TABLES.build(make_scored(), "token"), TABLES.build(make_scored(), "word"))


def write_chunks(path):
    """Twenty chunks of 50,000 tokens; the most memory that was held until each was written, in bytes."""
    tokens = 50_000
    ids = np.zeros(tokens, dtype=np.int64)
    starts = np.ones(tokens, dtype=bool)
    surprisal = np.linspace(0, 1, tokens)
    big = make_scored(
        ids=ids,
        offsets=np.array([0, tokens, tokens, tokens]),
        starts=starts,
        surprisal=surprisal,
        predicted_ids=ids,
        predicted_surprisal=surprisal,
        words=word_surprisals(surprisal, starts),
    )
    peaks = []
    with TableFile(path) as file:
        for _ in range(20):
            file.write(TABLES.build(big, "token"))
            peaks.append(peak_resident_bytes())
    return peaks


def test_memory_does_not_grow_with_the_table(tmp_path):
    """In a process of its own: this one may have held more before."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        peaks = pool.apply(write_chunks, [tmp_path / "a.parquet"])
    assert pq.read_metadata(tmp_path / "a.parquet").num_rows == 20 * 50_000
    assert peaks[-1] - peaks[4] < 40_000_000  # while 750,000 rows more were written


@pytest.mark.parametrize(
    ("count", "text"),
    [(124_439_808, "124M"), (1_300_000_000, "1.3B"), (22_600_000, "22.6M"), (512, "512"), (7_000_000, "7M")],
)
def test_parameters_as_people_write_them(count, text):
    assert abbreviate_count(count) == text
