"""A tiny configuration of every family, with 40 rows of positions and the padding id 3."""

from __future__ import annotations

from transformers import AutoConfig, PretrainedConfig

ROWS = 40  # of the position tables
PAD = 3
SIZES = {
    "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
    "embedding_size": 32, "num_key_value_heads": 2, "head_dim": 16, "d_model": 32, "encoder_layers": 1,
    "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32, "ffn_dim": 32, "d_ff": 32, "d_kv": 16, "num_layers": 1, "num_heads": 2, "n_embd": 32,
    "n_layer": 1, "n_head": 2, "n_layers": 1, "n_heads": 2, "emb_dim": 32, "dim": 32, "hidden_dim": 32, "d_inner": 32,
    "n_inner": 32, "input_embedding_size": 32, "output_embedding_size": 32, "intra_bottleneck_size": 32,
    "attention_window": 8, "rotary_dim": 8, "entity_vocab_size": 5, "entity_emb_size": 8, "word_embed_proj_dim": 32,
    "type_vocab_size": 2, "num_experts": 2, "num_local_experts": 2, "num_experts_per_tok": 1,
    "max_position_embeddings": ROWS, "n_positions": ROWS, "max_seq_len": ROWS, "max_encoder_position_embeddings": ROWS,
    "max_decoder_position_embeddings": ROWS, "architectures": [],
}  # fmt: skip
MORE = {
    "squeezebert": dict.fromkeys(
        ("q_groups", "k_groups", "v_groups", "post_attention_groups", "intermediate_groups", "output_groups"), 1
    ),
    "funnel": {"block_sizes": [1], "d_head": 16},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "gpt_neo": {"attention_types": [[["global"], 1]]},
}


def make_config(family: str, **changes: object) -> PretrainedConfig:
    """A configuration of one layer, 32 wide, with position tables of 40 rows and the padding id 3."""
    plain = AutoConfig.for_model(family)
    known = {*plain.to_dict(), *plain.attribute_map, "architectures"}
    sizes = {name: value for name, value in SIZES.items() if name in known}
    config = type(plain)(**sizes | MORE.get(family, {}) | {"pad_token_id": PAD} | changes)
    for name in ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"):
        if isinstance(getattr(config, name, None), int):
            setattr(config, name, 2)
    return config
