"""Words of raw text: scripts with and without spaces, emoji sequences, and what holds for any text."""

from __future__ import annotations

import unicodedata

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from finetune.arguments.prediction import SEGMENTERS
from finetune.data.words import holds_unspaced, is_character, split_words

FAMILY, THUMB, FLAG, KEYCAP = "👩‍👩‍👧", "👍🏽", "🇹🇭", "1️⃣"
ALPHABET = st.sampled_from([*"aé9_ .'\t-", "我", "京", "コ", "ー", "ん", "ກ", "ຍ", "ធ", "្", "ក", "ร", "ั", "น", "न", "म", "़",
                            "안", "\u0301", "\u200d", "\u200c", "\ufe0f", "\u0600", "👩", "👧", "🏽", "🇹", "🇭"])  # fmt: skip


def words(text: str, segmenter: str = "auto") -> list[str]:
    return [text[start:end] for start, end in split_words(text, segmenter)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("李雷在AI公司，2008年。", ["李", "雷", "在", "AI", "公", "司", "，", "2008", "年", "。"]),
        ("コーヒーと紅茶", ["コ", "ー", "ヒ", "ー", "と", "紅", "茶"]),
        ("ດີ ລາວ", ["ດີ", "ລ", "າ", "ວ"]),
        ("ភ្នំពេញ", ["ភ្នំ", "ពេ", "ញ"]),
        ("မ္ဘာ", ["မ္ဘ", "ာ"]),
        ("서울에서 만나", ["서울에서", "만나"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("don't go", ["don", "'", "t", "go"]),
        ("ผมรักกรุงเทพ 北京", ["ผม", "รัก", "กรุงเทพ", " ", "北", "京"]),
    ],
)
def test_words_of_scripts(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize("segmenter", SEGMENTERS)
@pytest.mark.parametrize("around", ["hi {}{} ok", "{}ดีมาก{}", "我{}在{}", "{} {}"])
def test_emoji_sequences_stay_whole(segmenter: str, around: str) -> None:
    for emoji in (FAMILY, THUMB, FLAG, "❤️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"):
        assert words(around.format(emoji, THUMB), segmenter).count(emoji) == 1 + (emoji == THUMB)
    assert KEYCAP in words(f"a {KEYCAP}", segmenter)


def test_every_character_is_a_word_where_asked() -> None:
    assert words("AI 2008年", "characters") == [*"AI2008年"]
    assert words("café né", "characters") == ["c", "a", "f", "é", "n", "é"]
    assert words("我在AI", "words") == ["我在AI"]


@given(st.lists(ALPHABET, max_size=12).map("".join), st.sampled_from(SEGMENTERS))
def test_words_are_in_order_and_hold_all_but_white_space(text: str, segmenter: str) -> None:
    places = split_words(text, segmenter)
    between, position = [], 0
    for start, end in places:
        assert position <= start < end
        between.append(text[position:start])
        position = end
    between.append(text[position:])
    assert not "".join(between).strip()
    thai = segmenter == "auto" and any("\u0e01" <= letter <= "\u0e4e" for letter in text)
    assert thai or not any(letter.isspace() for start, end in places for letter in text[start:end])


@given(st.lists(ALPHABET, max_size=12).map("".join))
def test_no_word_border_cuts_what_a_reader_takes_for_a_character(text: str) -> None:
    """But for marks and joiners that stand behind white space, or before any letter: nothing carries them."""
    borders = {match.start() for match in regex.finditer(r"\X", text)} | {len(text)}
    loose = regex.compile(r"[\s\p{GCB=Prepend}][\p{M}\u200c\u200d]*$")
    for start, end in split_words(text, "characters"):
        assert start in borders or loose.search(text, 0, start)
        assert end in borders or loose.search(text, 0, end)


def test_ascii_is_cut_as_any_other_text() -> None:
    every = "".join(map(chr, range(128)))
    behind = [word for word in words(every + " é") if word != "é"]
    assert words(every) == behind


def test_what_is_a_character() -> None:
    assert all(map(is_character, ["我", FAMILY, "é", unicodedata.normalize("NFD", "é"), "ភ្នំ"]))
    assert not any(map(is_character, ["我们", "ab", "", FAMILY + THUMB]))
    assert holds_unspaced("a我") and not holds_unspaced("ไทย abc नम")
