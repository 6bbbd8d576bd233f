"""A tokenizer without transformers gives what transformers gives: ids, words and special tokens, of texts in any script."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.classification.special_token_template import find_template
from finetune.encoding.batches import RowPadder
from finetune.encoding.special_tokens import find_special_tokens
from finetune.encoding.subwords import SubwordEncoder
from finetune.tagging.words import WordEncoder
from finetune.tokenization.portable import describe_tokenizer, load_portable

NAMES = ["bert", "roberta", "roberta_without_prefix", "gpt2", "xlm_roberta", "camembert"]
TEXTS = [
    "", " ", "The quick brown fox",
    "สวัสดีครับ ผมชื่อสมชาย", "กรุงเทพมหานคร", "👩‍👩‍👧 family 😀", "Ärzte über\u00a0Straßen",
    "e\u0301te\u0301", "नमस्ते दुनिया", "مرحبا",
    "[SEP] </s> <mask> <|endoftext|>", "\u200b", "a\tb\r\nc", "中文字符", "x" * 300,
]  # fmt: skip
texts = st.one_of(st.sampled_from(TEXTS), st.text(st.characters(codec="utf-8"), max_size=30))
NO_CHECK = [HealthCheck.function_scoped_fixture]


def portable_of(tokenizer):
    described = describe_tokenizer(tokenizer)
    assert described is not None
    rust_json, facts = described
    return load_portable(rust_json, facts.as_dict())


def assert_same(found, expected):
    for name in vars(expected):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("name", NAMES)
@given(batch=st.lists(texts, min_size=1, max_size=5), lowercase=st.booleans())
@settings(max_examples=40, suppress_health_check=NO_CHECK, deadline=None)
def test_ids_and_words_are_those_of_transformers(name, request, batch, lowercase):
    tokenizer = request.getfixturevalue(name)
    portable = portable_of(tokenizer)
    assert_same(SubwordEncoder(portable).encode(batch), SubwordEncoder(tokenizer).encode(batch))
    sentences = [text.split(" ") for text in batch]
    ours, theirs = (WordEncoder(one, lowercase=lowercase).encode(sentences) for one in (portable, tokenizer))
    assert_same(ours, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_special_tokens_and_padding_are_those_of_transformers(name, request):
    tokenizer = request.getfixturevalue(name)
    portable = portable_of(tokenizer)
    assert_same(find_special_tokens(portable), find_special_tokens(tokenizer))
    assert_same(find_template(portable, pairs=True), find_template(tokenizer, pairs=True))
    assert RowPadder.for_tokenizer(portable) == RowPadder.for_tokenizer(tokenizer)
    assert (len(portable), portable.unk_token_id) == (len(tokenizer), tokenizer.unk_token_id)


def test_a_tokenizer_in_python_is_not_portable(word_level):
    assert describe_tokenizer(word_level) is None


def test_a_tokenizer_that_adds_steps_of_its_own_is_not_portable(bert):
    class Reversed(type(bert)):
        def __call__(self, texts, *rest, **options):
            turned = [text[::-1] if isinstance(text, str) else text for text in texts]
            return super().__call__(texts if isinstance(texts, str) else turned, *rest, **options)

    other = Reversed(tokenizer_object=bert.backend_tokenizer, vocab=bert.get_vocab())
    assert describe_tokenizer(other) is None
