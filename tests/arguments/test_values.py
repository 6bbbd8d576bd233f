from __future__ import annotations

import pytest

from finetune.arguments.fields import Field
from finetune.arguments.values import read_value, words_taken
from finetune.errors import UsageError


def read(kinds, *words, **facts):
    return read_value(Field("x", kinds, default=None, **facts), words, "--x")


@pytest.mark.parametrize(
    ("kinds", "word", "value"),
    [
        (("int",), "3", 3),
        (("int",), "-3", -3),
        (("int",), "1e6", 1_000_000),
        (("int",), "1_000", 1000),
        (("float",), "1e-5", 1e-5),
        (("bool",), "True", True),
        (("bool",), "no", False),
        (("bool",), "0", False),
        (("str",), "1", "1"),
        (("str",), "", ""),
        (("dict", "str"), '{"a": 1}', {"a": 1}),
        (("dict", "str"), "ds.json", "ds.json"),
        (("bool", "str"), "true", True),
        (("bool", "str"), "full_shard", "full_shard"),
        (("str", "bool"), "no", False),
        (("str", "list[str]"), "a", "a"),
        (("list[str]",), "a", ["a"]),
        (("int", "float"), "100", 100),
        (("int", "float"), "0.1", 0.1),
    ],
)
def test_words_become_values(kinds, word, value):
    found = read(kinds, word)
    assert found == value and type(found) is type(value)


def test_several_words_become_a_list():
    assert read(("str", "list[str]"), "a", "b") == ["a", "b"]
    assert read(("list[int]",), "1", "2") == [1, 2]


def test_none_is_a_value_only_of_optional_fields():
    assert read(("int",), "None", optional=True) is None
    assert read_value(Field("x", ("int",), optional=True), None, "x") is None
    with pytest.raises(UsageError, match=r"--x is 'None'; it takes a whole number"):
        read(("int",), "None")
    with pytest.raises(UsageError, match="cannot be empty"):
        read_value(Field("x", ("int",)), None, "--x")


@pytest.mark.parametrize(
    ("kinds", "word", "sentence"),
    [
        (("int",), "3.5", r"--x is '3.5'; it takes a whole number\."),
        (("int",), "1e-1", r"--x is '1e-1'; it takes a whole number\."),
        (("int",), "1e999", r"it takes a whole number\."),
        (("float",), "abc", r"--x is 'abc'; it takes a number\."),
        (("float",), "nan", r"--x is 'nan'; it takes a number\."),
        (("bool",), "maybe", r"--x is 'maybe'; it takes True or False\."),
        (("dict", "str"), "{a: 1}", r"--x is not valid JSON"),
        (("dict",), "[1]", r"it takes a JSON object"),
    ],
)
def test_what_does_not_fit_is_named_with_what_would(kinds, word, sentence):
    with pytest.raises(UsageError, match=sentence):
        read(kinds, word)


def test_choices_take_any_case_and_name_the_nearest():
    assert read(("str",), "NER", choices=("ner", "pos")) == "ner"
    with pytest.raises(UsageError, match=r"--x is 'nerr'; did you mean 'ner'; allowed: ner, pos"):
        read(("str",), "nerr", choices=("ner", "pos"))


def test_ranges():
    assert read(("int",), "1", minimum=1) == 1
    with pytest.raises(UsageError, match=r"--x is 0; it must be 1 or more"):
        read(("int",), "0", minimum=1)
    with pytest.raises(UsageError, match=r"--x is 2; it must be from 0 to 1"):
        read(("float",), "2", minimum=0, maximum=1)


def test_a_flag_alone_is_true_or_lacks_its_value():
    assert read(("bool",)) is True
    with pytest.raises(UsageError, match="--x is given without a value; it takes a number"):
        read(("float",))


@pytest.mark.parametrize(
    ("kinds", "words", "attached", "count"),
    [
        (("int",), ["1", "2"], False, 1),
        (("bool",), ["spm"], False, 0),
        (("bool",), ["False", "spm"], False, 1),
        (("bool",), ["spm"], True, 1),
        (("list[str]",), ["a", "b"], False, 2),
        (("str",), [], False, 0),
    ],
)
def test_how_many_words_a_flag_takes(kinds, words, attached, count):
    assert words_taken(Field("x", kinds), words, attached) == count
