from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from finetune.distillation.comparing import describe_difference
from tests.tiny import word_level


def make(*words: str) -> PreTrainedTokenizerFast:
    return word_level(words, unk_token="<unk>")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("<unk>", "a", "b"), None),
        (("<unk>", "b", "a"), "ids that stand for other subwords: 2 (1 is 'b' in ours and 'a' in theirs"),
        (("<unk>", "a", "b", "c"), "ours has 4 entries, theirs 3; ids that stand for other subwords: 1 (3 is 'c' in ours"),
    ],
)  # fmt: skip
def test_what_differs_is_told(words, expected):
    found = describe_difference(make(*words), make("<unk>", "a", "b"), ("ours", "theirs"))
    assert found == expected if expected is None else found.startswith(expected)
