"""Texts in windows: their rows in tables are those of the text, whatever the windows."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.encoding.ragged import offsets_of
from finetune.encoding.subwords import SubwordEncoder
from finetune.lm_experiments.encoding import encode_windows
from finetune.lm_experiments.windows import (
    PlacedRows,
    ScoredRows,
    TextWords,
    group_windows,
    join_ids,
    place_rows,
)
from finetune.surprisal.row_inference import SlotScores
from finetune.surprisal.word_borders import find_word_borders
from finetune.surprisal.word_places import find_word_places

WORDS = ["the", "dog", "The", "quick", "fox,", "กิน", "ข้าว", "Ärzte", "😀", "x" * 30, "don't", "2024"]
SPACES = [" ", "  ", "\n", "\t", " \n\n"]


@st.composite
def texts(draw) -> str:
    words = draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12))
    gaps = [draw(st.sampled_from(SPACES)) for _ in words]
    return "".join(gap + word for gap, word in zip(gaps, words, strict=True))[draw(st.integers(0, 1)) :]


def told(count: int, first: int) -> SlotScores:
    """Scores that say which slot they are of."""
    numbers = np.arange(first, first + count)
    return SlotScores(
        -numbers.astype(np.float32), numbers.astype(np.int32), -numbers.astype(np.float32), -1.0 * numbers
    )


def read_rows(tokenizer, texts: list[str], width: int):
    """The windows of causal texts and what a model would say of each of their tokens."""
    rows, places, windows = encode_windows(texts, None, tokenizer, task="lm", max_length=width)
    bodies = [np.array(row["input_ids"][window.before :]) for row, window in zip(rows, windows, strict=True)]
    shown = [~np.array(row["context"][window.before :], bool) for row, window in zip(rows, windows, strict=True)]
    lengths = [len(ids) for ids in bodies]
    read = ScoredRows(
        np.concatenate(bodies), offsets_of(lengths), np.concatenate(shown), told(sum(lengths) + len(rows), 1000)
    )
    return rows, np.array(places), windows, read


def place(
    tokenizer, texts: list[str], places, windows, read: ScoredRows, *, whole: bool
) -> tuple[PlacedRows, np.ndarray]:
    encoder, borders = SubwordEncoder(tokenizer), find_word_borders(tokenizer)

    def words_of(held, row):
        starts = borders.find_starts(held.ids, np.array([len(held.ids)]))
        decode = lambda ids: tokenizer.decode(ids.tolist())  # noqa: E731
        special = tokenizer.all_special_ids
        return TextWords(starts, find_word_places(encoder, [texts[places[row]]], [held.ids], [starts], decode, special))

    groups = group_windows(windows, [window.width for window in windows], whole=whole)
    return place_rows(read, windows, groups, words_of, borders.find_starts), groups


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(texts(), min_size=1, max_size=3), width=st.integers(4, 14))
def test_each_window_has_the_words_of_the_text_with_their_numbers_and_places(gpt2, texts, width):
    """Words of byte-level BPE are those that white space separates: found here by a regular expression alone."""
    _, places, windows, read = read_rows(gpt2, texts, width)
    placed, groups = place(gpt2, texts, places, windows, read, whole=False)
    assert len(groups) - 1 == len(windows)
    words_before = np.concatenate([[0], np.cumsum(placed.starts)])[placed.rows.offsets]
    for row, window in enumerate(windows):
        text = texts[places[row]]
        expected = [match.span() for match in re.finditer(r"\S+", text)]
        first = placed.first_words[row]
        own = slice(words_before[row], words_before[row + 1])
        found = list(zip(placed.places.first[own].tolist(), placed.places.end[own].tolist(), strict=True))
        assert found == expected[first : first + len(found)]
        tokens = slice(placed.rows.offsets[row], placed.rows.offsets[row + 1])
        assert gpt2.decode(placed.rows.ids[tokens]).split() == text.split()[first : first + len(found)]
        assert placed.rows.shown[tokens].sum() == window.end - window.own


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(texts(), min_size=1, max_size=3), width=st.integers(4, 14))
def test_windows_put_together_are_the_text_read_at_once(any_tokenizer, texts, width):
    """Each token has the score of the one window that predicts it; the end of the text that of the last window."""
    rows, places, windows, read = read_rows(any_tokenizer, texts, width)
    placed, groups = place(any_tokenizer, texts, places, windows, read, whole=True)
    assert len(groups) - 1 == len(texts) and placed.rows.shown.all() and not placed.first_words.any()
    whole = encode_windows(texts, None, any_tokenizer, task="lm", max_length=100_000)[0]
    inputs = [np.array(row["input_ids"]) for row in rows]
    assert [ids.tolist() for ids in join_ids(inputs, windows, groups)] == [row["input_ids"] for row in whole]
    expected, ends = [], []
    for number in range(len(texts)):
        for row in np.flatnonzero(places == number):
            slots = 1000 + np.arange(read.offsets[row], read.offsets[row + 1])
            expected += slots[read.shown[read.offsets[row] : read.offsets[row + 1]]].tolist()
        ends.append(1000 + len(read.ids) + int(row))
    assert placed.rows.scores.best_id.tolist() == expected + ends
    assert (-placed.rows.scores.log_border).tolist() == expected + ends


def test_rows_that_preprocessing_made_longer_stand_alone_and_have_no_places(gpt2):
    text = "the quick dog sees the quick fox in the big house"
    _, places, windows, read = read_rows(gpt2, [text], 8)
    longer = ScoredRows(
        np.repeat(read.ids, 2), read.offsets * 2, np.repeat(read.shown, 2), told(2 * len(read.ids) + len(windows), 0)
    )
    placed, _ = place(gpt2, [text], places, windows, longer, whole=False)
    assert (placed.rows.ids == longer.ids).all() and (placed.places.first == -1).all()
    starts = find_word_borders(gpt2).find_starts(windows[0].whole.ids, np.array([len(windows[0].whole.ids)]))
    assert placed.first_words.tolist() == [int(starts[: window.start + 1].sum()) - 1 for window in windows]
    assert group_windows(windows, [window.width + 1 for window in windows], whole=True).tolist() == list(
        range(len(windows) + 1)
    )


@pytest.mark.parametrize("task", ["lm", "mlm"])
def test_only_the_last_window_of_a_causal_text_has_its_end(bert, task):
    rows, _, windows = encode_windows(["the dog sees the fox in the house"], None, bert, task=task, max_length=6)
    ends = [row["input_ids"][-1] == bert.sep_token_id for row in rows]
    assert len(rows) > 2 and ends == ([False] * (len(rows) - 1) + [True] if task == "lm" else [True] * len(rows))
    assert windows[-1].end == len(windows[0].whole.ids)
