"""One row for each model family of transformers: what its positions are, where its encoder is opened, what its heads read.

Every other file asks here, by the configuration's `model_type` or by the class of a module of transformers. A family
without a row is computed as transformers has it, without the fast path, and its length limit is taken from its
configuration as for a plain table of positions: `find_family` says so, once. How to add a row is told in CONTRIBUTING.md;
tests/models/test_families.py holds every row to the model that it describes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from transformers import PretrainedConfig

logger = logging.getLogger(__name__)

# table: one learnt or sinusoidal row a position; a longer text has none. trained: rotary or other computed positions; a
# longer text is computed, but the model was not made for it. unlimited: relative positions, or none.
Positions = Literal["table", "trained", "unlimited"]
# How the last layer goes on behind its attention (`unpadding/read_rows.py` has a function for each).
LastLayer = Literal["bert", "distilbert", "modernbert", "deberta"]
# Whose layers the native step computes (`native/layers.py` has the names of their parts for each).
NativeLayers = Literal["bert", "distilbert", "modernbert"]
# What a classifier of whole texts reads of the last layer; "pooling": as the configuration's `classifier_pooling` says.
ClassifierReads = Literal["all", "first", "pooling"]

_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_encoder_position_embeddings")


@dataclass(frozen=True)
class DistilbertSource:
    """Where the weights of a BERT-like encoder and its head stand that a DistilBERT student takes."""

    encoder: str  # prefix of the encoder's weights
    projection: str  # weight of the projection to the vocabulary
    projection_bias: str
    transform: str  # dense layer before the projection, without .weight and .bias
    transform_norm: str

    @property
    def head(self) -> dict[str, str]:
        """DistilBERT's names of the head -> the family's."""
        return {
            "vocab_projector.weight": self.projection,
            "vocab_projector.bias": self.projection_bias,
            "vocab_transform": self.transform,
            "vocab_layer_norm": self.transform_norm,
        }


@dataclass(frozen=True)
class Unpadding:
    """Where the encoder of a family is opened, so that its layers see real tokens only."""

    packed: str  # submodule of the base model whose input is packed; "": the base model itself, whose ids are packed
    layers: str  # list of layers in that submodule
    last_layer: LastLayer
    classifier_reads: ClassifierReads = "all"
    disentangled: bool = False  # its attention is `unpadding/disentangled.py`
    native: NativeLayers | None = None  # None: its layers run one by one

    def find_last_layer(self, base: Any) -> Any:
        return getattr(base.get_submodule(self.packed), self.layers)[-1]

    def reads_first(self, config: PretrainedConfig) -> bool:
        """Whether the classifier of whole texts reads the first position of each text and nothing else."""
        if self.classifier_reads == "pooling":
            return config.classifier_pooling == "cls"
        return self.classifier_reads == "first"


@dataclass(frozen=True)
class Family:
    """What this project knows about one `model_type`."""

    model_type: str
    positions: Positions | Callable[[PretrainedConfig], Positions] = "table"
    skipped: int = 0  # rows of the position table that no token is given, before the first
    behind_padding: bool = False  # the skipped rows are counted from the padding id on
    classes: str = ""  # what the names of its classes in transformers begin with, for what follows
    unpadding: Unpadding | None = None
    sparse_heads: tuple[str, ...] = ()  # heads, by the end of their names, that can be given single positions
    distilbert: DistilbertSource | None = None
    causal: bool = False  # reads from left to right whatever its head
    reads_padding: bool = False  # what is computed for a token hangs on the padding behind the text, masked or not
    short_formats: bool = True  # False: its code in transformers fails under autocast to bfloat16 or float16

    @property
    def base_class(self) -> str:
        return f"{self.classes}Model"


_BERT_ENCODER = Unpadding("encoder", "layer", "bert", "first", native="bert")
_DEBERTA_ENCODER = Unpadding("encoder", "layer", "deberta", "first", disentangled=True)
_ROBERTA_SOURCE = DistilbertSource(
    "roberta.", "lm_head.decoder.weight", "lm_head.bias", "lm_head.dense", "lm_head.layer_norm"
)
# Families whose rows differ in their positions and in what they read alone, by what `Positions` says.
_BEHIND_PADDING = """
    roberta-prelayernorm xlm-roberta-xl data2vec-text ibert luke longformer markuplm layoutlmv3 lilt
"""
_TABLE = """
    albert big_bird bros ernie flaubert layoutlm megatron-bert mra rembert roc_bert roformer squeezebert xlm
    bart bigbird_pegasus blenderbot blenderbot-small led marian mbart mvp pegasus plbart
"""
_READING_PADDING = "convbert fnet mobilebert nystromformer yoso"  # by convolutions, Fourier sums, neighbours
_TRAINED = "esmc eurobert gte jina_embeddings_v3 m2m_100 neomme nomic_bert ultrabert"
_UNLIMITED = "funnel longt5 mt5 switch_transformers t5 tapas umt5 xlnet"
_CAUSAL_TABLE = "bert-generation biogpt ctrl git gpt2 gpt_bigcode gpt_neo gptj mpt openai-gpt opt"
_CAUSAL_TRAINED = """
    afmoe apertus arcee bitnet cohere cohere2 cwm deepseek_v2 deepseek_v3 diffllama doge ernie4_5 exaone4 falcon flex_olmo
    gemma gemma2 gemma3_text glm glm4 glm4_moe gpt_neox gpt_neox_japanese gpt_oss granite granitemoe helium
    hunyuan_v1_dense jais2 jamba jetmoe lfm2 llama minicpm3 minimax ministral ministral3 mistral mixtral
    modernbert-decoder nanochat nemotron olmo olmo2 olmo3 olmoe persimmon phi phi3 phimoe qwen2 qwen2_moe qwen3
    qwen3_moe qwen3_next seed_oss smollm3 stablelm starcoder2 xglm
"""
_CAUSAL_UNLIMITED = "bloom cpmant falcon_mamba mamba mamba2 rwkv xlstm"


def _roberta(model_type: str, classes: str) -> Family:
    return Family(
        model_type,
        skipped=1,
        behind_padding=True,
        classes=classes,
        unpadding=_BERT_ENCODER,
        sparse_heads=("ForMaskedLM",),
        distilbert=_ROBERTA_SOURCE,
    )


def _of_deberta(config: PretrainedConfig) -> Positions:
    """Its relative positions know no end, but `position_biased_input` adds a table."""
    return "table" if config.position_biased_input else "unlimited"


def _of_esm(config: PretrainedConfig) -> Positions:
    return "table" if config.position_embedding_type == "absolute" else "trained"


_ROWS = (
    Family(
        "bert",
        classes="Bert",
        unpadding=_BERT_ENCODER,
        sparse_heads=("ForMaskedLM", "ForPreTraining"),
        distilbert=DistilbertSource(
            "bert.",
            "cls.predictions.decoder.weight",
            "cls.predictions.bias",
            "cls.predictions.transform.dense",
            "cls.predictions.transform.LayerNorm",
        ),
    ),
    _roberta("roberta", "Roberta"),
    _roberta("xlm-roberta", "XLMRoberta"),
    _roberta("camembert", "Camembert"),
    Family(
        "electra",
        classes="Electra",
        unpadding=_BERT_ENCODER,
        sparse_heads=("ForMaskedLM",),
        distilbert=DistilbertSource(
            "electra.",
            "generator_lm_head.weight",
            "generator_lm_head.bias",
            "generator_predictions.dense",
            "generator_predictions.LayerNorm",
        ),
    ),
    Family(
        "distilbert",
        classes="DistilBert",
        unpadding=Unpadding("transformer", "layer", "distilbert", "first", native="distilbert"),
        sparse_heads=("ForMaskedLM",),
    ),
    Family(
        "modernbert",
        "trained",
        classes="ModernBert",
        unpadding=Unpadding("", "layers", "modernbert", "pooling", native="modernbert"),
        sparse_heads=("ForMaskedLM",),
    ),
    Family("deberta", _of_deberta, classes="Deberta", unpadding=_DEBERTA_ENCODER, short_formats=False),
    Family("xmod", skipped=1, behind_padding=True, short_formats=False),
    Family("deberta-v2", _of_deberta, classes="DebertaV2", unpadding=_DEBERTA_ENCODER),
    *(Family(name, reads_padding=True) for name in _READING_PADDING.split()),
    Family("esm", _of_esm, skipped=1, behind_padding=True),
    Family("mpnet", skipped=2),  # counts from behind padding id 1, whatever the configuration says
    Family("prophetnet", skipped=2, behind_padding=True, causal=True),
    *(Family(name, skipped=1, behind_padding=True) for name in _BEHIND_PADDING.split()),
    *(Family(name) for name in _TABLE.split()),
    *(Family(name, "trained") for name in _TRAINED.split()),
    *(Family(name, "unlimited") for name in _UNLIMITED.split()),
    *(Family(name, causal=True) for name in _CAUSAL_TABLE.split()),
    *(Family(name, "trained", causal=True) for name in _CAUSAL_TRAINED.split()),
    *(Family(name, "unlimited", causal=True) for name in _CAUSAL_UNLIMITED.split()),
)
FAMILIES: Mapping[str, Family] = {row.model_type: row for row in _ROWS}
_BY_BASE_CLASS = {row.base_class: row for row in _ROWS if row.unpadding is not None}
_SPARSE_HEADS = {row.classes + end: row for row in _ROWS for end in row.sparse_heads}
_FIRST_TOKEN_CLASSIFIERS = {
    f"{row.classes}ForSequenceClassification": row for row in _ROWS if row.unpadding is not None
}


def find_family(config: PretrainedConfig) -> Family:
    """The row of a configuration, or of the text model within it; a family without a row is told once, and a plain one."""
    known = FAMILIES.get(config.model_type) or FAMILIES.get(config.get_text_config().model_type)
    return known or _unlisted(config.model_type)


@cache
def _unlisted(model_type: str) -> Family:
    logger.warning(
        "Nothing is known here about the family %s (finetune/models/families.py lists %d): it is computed as transformers "
        "computes it, without the fast path, and takes texts as long as its configuration says.",
        model_type,
        len(FAMILIES),
    )
    return Family(model_type)


def find_unpadding(base: object) -> Unpadding | None:
    """How a base model is opened; None where its family has no such row, or the class is not transformers' own."""
    row = _BY_BASE_CLASS.get(type(base).__name__) if _is_of_transformers(base) else None
    return row.unpadding if row else None


def reads_first_only(model: Any) -> bool:
    """Whether a model is a classifier that reads the first position of each text and nothing else."""
    row = _FIRST_TOKEN_CLASSIFIERS.get(type(model).__name__) if _is_of_transformers(model) else None
    return row is not None and row.unpadding is not None and row.unpadding.reads_first(model.config)


def has_sparse_head(model: object) -> bool:
    """Whether a model's head predicts at single positions when it is given the hidden states there."""
    return type(model).__name__ in _SPARSE_HEADS and _is_of_transformers(model)


def _is_of_transformers(module: object) -> bool:
    """Code of others may have the same names and compute something else."""
    return type(module).__module__.startswith("transformers.models.")


def find_positions(config: PretrainedConfig) -> Positions:
    """What the positions of a model are, which may hang on its configuration."""
    positions = find_family(config).positions
    return positions if isinstance(positions, str) else positions(config)


def find_first_position(config: PretrainedConfig) -> int:
    """The row of the position table that the first token gets: RoBERTa's count from behind the padding id."""
    family = find_family(config)
    return family.skipped + (int(config.pad_token_id or 0) if family.behind_padding else 0)


def find_position_limit(config: PretrainedConfig) -> int | None:
    """The longest input in subword tokens, special ones included; None where a family knows no end."""
    if find_positions(config) == "unlimited":
        return None
    text = config.get_text_config()
    rows = next((getattr(text, name) for name in _LENGTHS if getattr(text, name, None)), None)
    return rows - find_first_position(config) if rows else None
