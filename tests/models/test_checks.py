"""Configurations are judged before weights are read: lengths, vocabularies, heads, label names."""

from __future__ import annotations

import pytest
from transformers import (
    AutoConfig,
    BertConfig,
    DebertaV2Config,
    PreTrainedTokenizerFast,
    RobertaConfig,
    ViTConfig,
)

from finetune.models.checks import (
    check_head,
    check_max_length,
    check_objective,
    check_vocabulary,
    match_head,
    name_labels,
    resolve_max_length,
)
from finetune.models.families import find_position_limit
from tests.tiny import word_level


def make_tokenizer(size: int, added: int = 0) -> PreTrainedTokenizerFast:
    tokenizer = word_level((f"w{number}" for number in range(size)), unk_token="w0")
    tokenizer.add_tokens([f"<added{number}>" for number in range(added)])
    return tokenizer


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        (BertConfig(max_position_embeddings=512), 512),
        (RobertaConfig(max_position_embeddings=514, pad_token_id=1), 512),
        (RobertaConfig(max_position_embeddings=512, pad_token_id=1), 510),
        (DebertaV2Config(), 512),  # its table is on by default
        (DebertaV2Config(position_biased_input=False), None),
    ],
)
def test_position_limit_counts_the_rows_that_can_be_used(config, limit):
    assert find_position_limit(config) == limit


def test_the_limit_is_the_longest_input_a_roberta_really_takes():
    import torch
    from transformers import RobertaModel

    config = RobertaConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=12, pad_token_id=1,
    )  # fmt: skip
    model, limit = RobertaModel(config), find_position_limit(config)
    assert limit == 10
    model(input_ids=torch.full((1, limit), 5))
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, limit + 1), 5))


def test_a_longer_max_length_is_a_problem_with_both_numbers():
    (problem,) = check_max_length(513, BertConfig())
    assert "513" in str(problem) and "512" in str(problem)
    assert check_max_length(512, BertConfig()) == []
    assert check_max_length(None, BertConfig()) == []


def test_without_a_typed_length_the_smaller_limit_counts():
    tokenizer = make_tokenizer(5)
    assert resolve_max_length(None, BertConfig(), tokenizer) == 512
    tokenizer.model_max_length = 100
    assert resolve_max_length(None, BertConfig(), tokenizer) == 100
    assert resolve_max_length(64, BertConfig(), tokenizer) == 64
    assert resolve_max_length(None, DebertaV2Config(position_biased_input=False), make_tokenizer(5)) == 512


@pytest.mark.parametrize(
    ("rows", "size", "added", "fits"),
    [(100, 100, 0, True), (128, 100, 0, True), (100, 100, 2, True), (5000, 100, 0, False), (90, 100, 2, False)],
)
def test_vocabulary_sizes(rows, size, added, fits):
    problems = check_vocabulary(BertConfig(vocab_size=rows), make_tokenizer(size, added))
    assert (problems == []) is fits
    if not fits:
        assert f"{rows:,}" in str(problems[0]) and f"{size + added:,}" in str(problems[0])


def test_an_architecture_without_the_head_is_named():
    (problem,) = check_head(ViTConfig(), "token_classification")
    assert "'vit'" in str(problem) and "token classification" in str(problem)
    assert check_head(BertConfig(), "token_classification") == []


def make_tagger_config(labels: list[str]) -> BertConfig:
    config = BertConfig(architectures=["BertForTokenClassification"])
    name_labels(config, labels)
    return config


def test_a_taggers_own_order_is_kept_when_it_knows_all_labels():
    match = match_head(
        make_tagger_config(["B-PER", "I-PER", "O", "B-LOC"]), ["B-PER", "I-PER", "O"], trains=False, folder="m"
    )
    assert match.labels == ["B-PER", "I-PER", "O", "B-LOC"]
    assert not match.new_head and not match.problems


def test_a_bare_encoder_gets_the_datas_labels():
    match = match_head(AutoConfig.for_model("bert"), ["O", "B-X"], trains=True, folder="m")
    assert match.labels == ["O", "B-X"] and not match.problems


def test_unknown_labels_without_training_are_a_problem_that_names_them():
    match = match_head(make_tagger_config(["O", "B-PER"]), ["O", "B-ORG"], trains=False, folder="m")
    assert "B-ORG" in str(match.problems[0]) and "B-PER" in str(match.problems[0])
    assert match_head(make_tagger_config(["O", "B-PER"]), ["O", "B-ORG"], trains=True, folder="m").new_head


def test_nameless_labels_of_the_right_number_are_taken_in_order():
    match = match_head(BertConfig(architectures=["BertForTokenClassification"]), ["O", "B-X"], trains=False, folder="m")
    assert match.labels == ["O", "B-X"] and not match.new_head


@pytest.mark.parametrize(
    ("family", "changes", "causal", "said"),
    [
        ("bert", {}, True, "sees the text on both sides"),
        ("roberta", {}, True, "sees the text on both sides"),
        ("xlm", {}, True, "sees the text on both sides"),
        ("bert", {"is_decoder": True}, True, ""),
        ("xlm", {"causal": True}, True, ""),
        ("llama", {}, True, ""),
        ("bert", {}, False, ""),
        ("roberta", {"is_decoder": True}, False, "reads from left to right"),
        ("bart", {}, False, ""),
        ("xlnet", {}, False, "permutation"),
        ("xlnet", {}, True, "permutation"),
    ],
)
def test_an_objective_is_what_a_model_can_compute(family, changes, causal, said):
    problems = check_objective(AutoConfig.for_model(family, **changes), causal=causal)
    assert bool(problems) == bool(said)
    assert all(said in problem.found and "config.json" not in problem.remedy for problem in problems)
