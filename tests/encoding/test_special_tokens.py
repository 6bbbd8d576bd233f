from __future__ import annotations

from finetune.encoding.special_tokens import find_special_tokens


def test_what_stands_around_a_sequence_is_what_the_tokenizer_puts_there(any_tokenizer):
    special = find_special_tokens(any_tokenizer)
    body = any_tokenizer(["fox"], is_split_into_words=True, add_special_tokens=False)["input_ids"]
    whole = any_tokenizer(["fox"], is_split_into_words=True, return_token_type_ids=True)
    assert [*special.prefix, *body, *special.suffix] == whole["input_ids"]
    types = [*special.prefix_types, *[special.body_type] * len(body), *special.suffix_types]
    assert types == whole["token_type_ids"]
    assert len(special) == any_tokenizer.num_special_tokens_to_add()


def test_bert_has_two_and_gpt2_none(bert, gpt2):
    assert find_special_tokens(bert).prefix.tolist() == [bert.cls_token_id]
    assert find_special_tokens(bert).suffix.tolist() == [bert.sep_token_id]
    assert len(find_special_tokens(gpt2)) == 0
