"""Every family's row against the model that transformers builds: the exact length limit, and one token beyond it."""

from __future__ import annotations

import inspect
import logging
from functools import cache

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModel, PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from finetune.models import families
from finetune.models.families import (
    FAMILIES,
    find_family,
    find_first_position,
    find_position_limit,
    find_positions,
    find_unpadding,
    has_sparse_head,
)
from finetune.models.native.layers import find_stack
from finetune.models.unpadding.hooks import unpad_encoder
from tests.tiny_families import PAD, ROWS, make_config

# Families that read more than ids (boxes, tables, pictures), or of which no single module is called with ids alone.
NOT_BUILT = {"bros", "git", "layoutlmv3", "lilt", "tapas"}
NO_TABLE = 3 * ROWS


@cache
def make_model(family: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return AutoModel.from_config(make_config(family)).eval()


def runs(model: torch.nn.Module, length: int) -> bool:
    ids = torch.full((1, length), 7)
    ids[:, -1] = 2  # sequence-to-sequence families look for an end
    both = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    try:
        with torch.no_grad():
            model(input_ids=ids, attention_mask=torch.ones_like(ids), **both)
    except (IndexError, RuntimeError):
        return False
    return True


TABLES = sorted(
    name
    for name in {*FAMILIES} - NOT_BUILT
    if name in CONFIG_MAPPING and isinstance(FAMILIES[name].positions, str) and FAMILIES[name].positions == "table"
)
TABLES += ["deberta", "deberta-v2", "esm"]  # as their default configuration has it
UNBOUNDED = (
    "bloom", "eurobert", "funnel", "gemma2", "gpt_neox", "gte", "llama", "mamba", "mistral", "modernbert", "mt5",
    "nomic_bert", "phi", "qwen2", "t5", "umt5", "xglm", "xlnet",
)  # fmt: skip


@pytest.mark.parametrize("family", TABLES)
def test_a_table_of_positions_takes_exactly_the_limit(family):
    limit = find_position_limit(make_config(family))
    assert limit is not None and ROWS - 6 <= limit <= ROWS
    assert runs(make_model(family), limit), f"{family} does not take {limit} tokens"
    assert not runs(make_model(family), limit + 1), f"{family} takes more than {limit} tokens"


@pytest.mark.parametrize("family", UNBOUNDED)
def test_other_positions_go_on_behind_every_limit(family):
    assert find_positions(make_config(family)) != "table"
    assert find_position_limit(make_config(family)) in (None, ROWS)
    assert runs(make_model(family), NO_TABLE)


def test_positions_that_hang_on_the_configuration():
    assert find_position_limit(make_config("deberta-v2", position_biased_input=False)) is None
    assert runs(AutoModel.from_config(make_config("deberta-v2", position_biased_input=False)).eval(), NO_TABLE)
    assert find_position_limit(make_config("esm", position_embedding_type="absolute")) == ROWS - PAD - 1
    assert find_positions(make_config("esm", position_embedding_type="rotary")) == "trained"


@pytest.mark.parametrize(("padding", "limit"), [(0, 39), (1, 38), (5, 34), (None, 39)])
def test_roberta_counts_from_behind_whatever_its_padding_id_is(padding, limit):
    config = make_config("roberta", pad_token_id=padding)
    assert find_first_position(config) == ROWS - limit and find_position_limit(config) == limit


@pytest.mark.parametrize("family", [name for name, row in FAMILIES.items() if row.unpadding is not None])
def test_what_a_row_names_is_in_transformers(family):
    row = FAMILIES[family]
    model = make_model(family)
    assert type(model).__name__ == row.base_class and find_unpadding(model) is row.unpadding
    assert "layer" in type(row.unpadding.find_last_layer(model)).__name__.lower() or family == "distilbert"
    native = find_stack(model)
    assert isinstance(native, str) is (row.unpadding.native is None), native
    for end in row.sparse_heads:
        head = getattr(transformers, row.classes + end)
        torch.manual_seed(0)
        assert has_sparse_head(head(make_config(family)))


@pytest.mark.parametrize("family", [name for name, row in FAMILIES.items() if row.distilbert is not None])
def test_weights_that_a_distilbert_takes_are_there(family):
    source = FAMILIES[family].distilbert
    names = {*transformers.AutoModelForMaskedLM.from_config(make_config(family)).state_dict()}
    assert {
        source.projection,
        source.projection_bias,
        f"{source.transform}.weight",
        f"{source.transform_norm}.bias",
    } <= names
    assert any(name.startswith(source.encoder) for name in names)


def test_every_encoder_of_transformers_has_a_row():
    """An upgrade that brings a new encoder is told here, not by a user's run."""
    tagging, masked = (
        {config.model_type for config in mapping._model_mapping}
        for mapping in (transformers.AutoModelForTokenClassification, transformers.AutoModelForMaskedLM)
    )
    missing = tagging & masked - {*FAMILIES} - {"modernvbert", "ultravbert"}  # texts with pictures
    assert not missing, f"transformers has encoders without a row in models/families.py: {sorted(missing)}"
    assert {*FAMILIES} <= {*CONFIG_MAPPING}, (
        f"rows of families that are gone: {sorted({*FAMILIES} - {*CONFIG_MAPPING})}"
    )


class StrangeConfig(PretrainedConfig):
    model_type = "strange"
    max_position_embeddings = 77


class BertModel(transformers.BertModel):
    """Another's code under a name of transformers."""


def test_a_family_without_a_row_is_told_once_and_stays_padded(caplog):
    families._unlisted.cache_clear()
    with caplog.at_level(logging.WARNING, logger="finetune"):
        assert find_position_limit(StrangeConfig()) == 77
        assert find_family(StrangeConfig()).unpadding is None
    (line,) = caplog.messages
    assert "strange" in line and "without the fast path" in line
    own = BertModel(make_config("bert"))
    assert find_unpadding(own) is None and "no door" in str(unpad_encoder(own))


def test_a_text_model_within_another_is_found():
    outer = AutoConfig.for_model("gemma3")
    assert find_family(outer).model_type == "gemma3_text"
    assert find_position_limit(outer) == outer.text_config.max_position_embeddings


def test_no_row_stands_twice():
    names = [row.model_type for row in families._ROWS]
    assert len(names) == len(set(names)) == len(FAMILIES)
    assert "model_type ==" not in inspect.getsource(families)
