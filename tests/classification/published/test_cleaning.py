from __future__ import annotations

import doctest
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.classification.published import cleaning
from finetune.classification.published.cleaning import clean_text, cleaning_rules


def test_examples_in_the_docstrings_hold() -> None:
    results = doctest.testmod(cleaning)
    assert results.attempted >= 8
    assert results.failed == 0


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("it#39;s", "it's"),
        ("a &lt;b&gt; c", "a <b> c"),
        ("one<br />two", "one\ntwo"),
        ("1 @,@ 000", "1,000"),
        ("back\\slash", "back \\ slash"),
    ],
)
def test_fix_html(raw: str, cleaned: str) -> None:
    assert cleaning.fix_html(raw) == cleaned


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("ร้าน(..ดี!!)มาก", "ร้าน(ดี)มาก"),
        ("{ }[]()x", "x"),
        ("งาน(😀)", "งาน"),
        ("读(你好)书", "读(你好)书"),
        ("हिन्दी (हि)", "हिन्दी (हि)"),
    ],
)
def test_rm_brackets(raw: str, cleaned: str) -> None:
    assert cleaning.rm_brackets(raw) == cleaned


def published_rm_brackets(text: str) -> str:
    """The rule as published, which knows only Latin letters, digits and Thai."""
    content = "a-zA-Z0-9ก-๙"
    pairs = [(r"\(", r"\)"), (r"\{", r"\}"), (r"\[", r"\]")]
    for opening, closing in pairs:
        text = re.sub(opening + closing, "", text)
    for opening, closing in pairs:
        text = re.sub(f"{opening}[^{content}]+{closing}", "", text)
    for opening, _ in pairs:
        text = re.sub(f"(?<={opening})[^{content}]+(?=[{content}])", "", text)
    for _, closing in pairs:
        text = re.sub(f"(?<=[{content}])[^{content}]+(?={closing})", "", text)
    return text


@given(st.text(alphabet="aZ9กำ้๙฿ ()[]{}.!_-😀❤️", max_size=30))
def test_rm_brackets_equals_the_published_rule_on_thai_and_latin(text: str) -> None:
    assert cleaning.rm_brackets(text) == published_rm_brackets(text)


def published_replace_wrep_post(words: list[str]) -> list[str]:
    previous, repeated, kept = None, 0, []
    for word in [*words, "</s>"]:
        if word == previous:
            repeated += 1
        elif repeated > 0:
            kept.append(previous)
            repeated = 0
        else:
            kept.append(previous)
        previous = word
    return [word for word in kept[1:] if word is not None]


@given(st.lists(st.sampled_from(["ก", "ข", " "]), min_size=1, max_size=12))
def test_replace_wrep_post_equals_the_published_rule(words: list[str]) -> None:
    # The published loop drops the first entry of its result, which is the first word when that one is repeated.
    expected = published_replace_wrep_post(["start", *words])[1:]
    assert cleaning.replace_wrep_post(words) == expected


def test_ungroup_emoji_keeps_joined_sequences_flags_and_skin_tones() -> None:
    whole = ["👨‍👩‍👧", "🇹🇭", "👍🏽", "12", "ดี😀"]
    assert cleaning.ungroup_emoji(whole) == whole


def test_replace_spaces_keeps_spaces_when_the_token_is_a_space() -> None:
    assert cleaning.replace_spaces("a b", " ") == "a b"


def test_rules_come_in_the_documented_order() -> None:
    names = [getattr(rule, "func", rule).__name__ for rule in cleaning_rules()]
    assert names == [
        "fix_html",
        "rm_brackets",
        "replace_newlines",
        "rm_useless_spaces",
        "replace_spaces",
        "replace_rep_after",
        "split_thai_words",
        "ungroup_emoji",
        "replace_wrep_post",
        "join",
    ]


def test_clean_text_without_a_thai_dictionary() -> None:
    text = "Very  very VERY gooooood\n(!!) 😀😀 &amp; cheap"
    words = re.compile(r"<_>|\w+|\W")
    cleaned = clean_text(text, lowercase=True, split_words=words.findall)
    assert cleaned == "very<_>very<_>very<_>god<_>😀<_>&<_>cheap"


def test_clean_text_with_thai_words() -> None:
    assert clean_text("อร่อย มากกกกก มาก", space_token=" ") == "อร่อย มาก มาก"
    assert clean_text("ดีดีดีดี จริงๆ") == "ดี<_>จริงๆ"
