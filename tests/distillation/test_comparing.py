from __future__ import annotations

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from finetune.distillation.comparing import describe_difference


def make(*words: str) -> PreTrainedTokenizerFast:
    model = WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>")
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), unk_token="<unk>")


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
