"""A model and its tokenizer agree on what is padding, so that no prediction hangs on the batch that a text happens to be in.

Decoders that classify (GPT-2, LLaMA, Mistral, ...) read the last token that is not `config.pad_token_id`, and many come
without a padding token. Their own end token serves then, as is usual: texts never hold it, for control tokens spelt in a
text are text.
"""

from __future__ import annotations

import logging

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from finetune.models.families import find_family, find_positions

logger = logging.getLogger(__name__)

PADDED_TASKS = ("token_classification", "sequence_classification")
NEW_TOKEN = "<|pad|>"
_STAND_INS = ("eos_token", "bos_token", "sep_token", "cls_token")


def resolve_padding(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give both the same padding token, on the side that moves no position; what is changed is logged.

    A tokenizer without one takes the configuration's if that is a special token, else its end token or another special
    one; where it has none at all, one is added, and the embedding has to grow by it.
    """
    if tokenizer.pad_token_id is None:
        _choose_token(config, tokenizer)
    text = config.get_text_config()
    if text.pad_token_id is None or (find_family(config).causal and text.pad_token_id != tokenizer.pad_token_id):
        text.pad_token_id = tokenizer.pad_token_id
    if tokenizer.padding_side == "left" and _moves_positions(config):
        logger.info("Texts are padded on the right, not on the left as the tokenizer says, which would move positions.")
        tokenizer.padding_side = "right"


def _choose_token(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    own = config.get_text_config().pad_token_id
    if own is not None and own in tokenizer.all_special_ids:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(own)
    else:
        # Sequence-to-sequence classifiers read at end tokens, and must find as many in each row.
        names = _STAND_INS[2:] if config.is_encoder_decoder else _STAND_INS
        found = next((getattr(tokenizer, name) for name in names if getattr(tokenizer, name, None)), None)
        if found is None:
            tokenizer.add_special_tokens({"pad_token": NEW_TOKEN})
        else:
            tokenizer.pad_token = found
    logger.info("The tokenizer has no padding token: %s (id %d) pads.", tokenizer.pad_token, tokenizer.pad_token_id)


def _moves_positions(config: PretrainedConfig) -> bool:
    """Whether padding before a text changes what the model computes for it; XLNet, T5 and their like see distances alone."""
    return find_family(config).causal or find_positions(config) != "unlimited"
