from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.arguments.scanner import Typed, is_flag, scan


@pytest.mark.parametrize("word", ["-1", "-1e-5", "-.5", "-inf", "-", "--", "—x", "x", "", "1-2"])
def test_values_that_are_no_flags(word):
    assert not is_flag(word)


@pytest.mark.parametrize("word", ["--a", "--a-b", "--a_b=1", "-h", "--_x"])
def test_flags(word):
    assert is_flag(word)


def test_words_belong_to_the_flag_before_them():
    leading, typed = scan(["a", "b", "--x", "1", "2", "--y=3", "--z-z"])
    assert leading == ["a", "b"]
    assert typed == [Typed("--x", ("1", "2")), Typed("--y", ("3",), attached=True), Typed("--z-z", ())]
    assert typed[2].name == "z_z"


def test_an_attached_value_may_look_like_a_flag_and_hold_equals_signs():
    assert scan(["--a=--b=c"])[1] == [Typed("--a", ("--b=c",), attached=True)]


def test_what_follows_two_dashes_is_never_a_flag():
    assert scan(["--a", "1", "--", "--b"]) == (["--b"], [Typed("--a", ("1",))])


def test_a_line_without_flags_or_words():
    assert scan([]) == ([], [])
    assert scan(["x.json"]) == (["x.json"], [])


WORDS = st.lists(st.sampled_from(["--a", "--b=1", "x", "-1", "y z", ""]), max_size=12)


@given(WORDS)
def test_no_word_is_lost(argv):
    leading, typed = scan(argv)
    flat = list(leading)
    for entry in typed:
        words = list(entry.words)
        flat += [f"{entry.flag}={words.pop(0)}", *words] if entry.attached else [entry.flag, *words]
    assert flat == argv
