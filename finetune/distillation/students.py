"""Some layers of a teacher -> the weights of a smaller student, of the teacher's own family or as DistilBERT.

Sanh et al. 2019 (DistilBERT), https://arxiv.org/abs/1910.01108: a student starts from every other layer of its teacher.
Weights go by name from state dict to state dict; no model of the student is needed.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor
from transformers import DistilBertConfig, PretrainedConfig, PreTrainedModel

from finetune.errors import DataError, Problem
from finetune.models.families import FAMILIES, find_family, find_first_position

PUBLISHED_LAYERS = (0, 2, 4, 7, 9, 11)  # of twelve, in the DistilBERT scripts
SAME_FAMILY = "same"
DISTILBERT = "distilbert"

_LAYER = re.compile(r"^(.*?\.)?(layer|h|layers)\.(\d+)\.(.*)$")
_DEPTH_FIELDS = ("num_hidden_layers", "n_layers", "n_layer")
_LAYER_NAMES = {
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}


@dataclass(frozen=True)
class Student:
    """Configuration and weights of a student; weights that the teacher does not give are missing."""

    config: PretrainedConfig
    weights: dict[str, Tensor]


def extract_student(
    teacher: PreTrainedModel,
    layers: Sequence[int] | None = None,
    *,
    family: str = DISTILBERT,
    vocab_transform: bool,
    untrained: Collection[str] = (),
) -> Student:
    """Take layers of a teacher with a language-model head.

    Args:
        teacher: of any family that numbers its layers; DistilBERT is made of BERT, RoBERTa, ELECTRA and their kin.
        layers: counted from 0; None: `choose_layers`.
        family: "distilbert", or "same" for a shallower model of the teacher's own family.
        vocab_transform: for DistilBERT: also what the head does before its projection to the vocabulary.
        untrained: weights of the teacher that its checkpoint did not have; they are not handed on.

    Raises:
        DataError: layers that do not exist, or a family or shape that DistilBERT cannot take.
    """
    depth = int(teacher.config.num_hidden_layers)
    chosen = choose_layers(depth) if layers is None else tuple(layers)
    require_layers(chosen, depth)
    weights = {name: weight for name, weight in teacher.state_dict().items() if name not in untrained}
    if family == SAME_FAMILY:
        return Student(shorten_config(teacher.config, chosen), pick_layers(weights, chosen))
    require_distilbert(teacher.config)
    return Student(
        distilbert_config(teacher.config, len(chosen)),
        rename_for_distilbert(weights, teacher.config, chosen, vocab_transform=vocab_transform),
    )


def choose_layers(depth: int) -> tuple[int, ...]:
    """The published layers of a teacher of twelve; otherwise half of the layers, evenly spread, the ends included.

    >>> choose_layers(6)
    (0, 2, 5)
    """
    if depth == 2 * len(PUBLISHED_LAYERS):
        return PUBLISHED_LAYERS
    count = max(depth // 2, 1)
    return tuple(int(number * (depth - 1) / max(count - 1, 1)) for number in range(count))


def require_layers(layers: Sequence[int], depth: int) -> None:
    """Raise a DataError that names every layer that the teacher lacks, or which is asked for twice."""
    missing = sorted({number for number in layers if not 0 <= number < depth})
    allowed = f"its {depth} layers are numbered from 0 to {depth - 1}"
    problems = [Problem(f"the teacher has no layer {number}", allowed) for number in missing]
    if not layers:
        problems.append(Problem("no layer of the teacher is asked for", allowed))
    if len(set(layers)) < len(layers):
        problems.append(Problem(f"a layer is named twice in {' '.join(map(str, layers))}", remedy="name each once"))
    if problems:
        raise DataError(*problems)


def require_distilbert(config: PretrainedConfig) -> None:
    """Raise a DataError where DistilBERT has no place for what this family is made of."""
    problems = []
    if find_family(config).distilbert is None:
        sources = sorted(name for name, family in FAMILIES.items() if family.distilbert is not None)
        allowed = f"it is made of {', '.join(sources)}"
        found = f"a {config.model_type} teacher has no layers that DistilBERT could take"
        problems.append(Problem(found, allowed, "ask for a student of the teacher's own family (--student_type same)"))
    narrow = getattr(config, "embedding_size", config.hidden_size)
    if narrow != config.hidden_size:
        found = f"the teacher's embeddings are {narrow} wide, its layers {config.hidden_size}; DistilBERT has one width"
        problems.append(Problem(found, remedy="ask for a student of the teacher's own family (--student_type same)"))
    if problems:
        raise DataError(*problems)


def shorten_config(config: PretrainedConfig, layers: Sequence[int]) -> PretrainedConfig:
    """The teacher's configuration with fewer layers."""
    student = copy.deepcopy(config)
    name = next(name for name in _DEPTH_FIELDS if name in config.to_dict())
    setattr(student, name, len(layers))
    return student


def pick_layers(weights: Mapping[str, Tensor], layers: Sequence[int]) -> dict[str, Tensor]:
    """Everything but the layers left out; those that stay are numbered anew in the order of `layers`."""
    places = {number: place for place, number in enumerate(layers)}
    picked: dict[str, Tensor] = {}
    for name, weight in weights.items():
        match = _LAYER.match(name)
        if match is None:
            picked[name] = weight
        elif (place := places.get(int(match[3]))) is not None:
            picked[f"{match[1] or ''}{match[2]}.{place}.{match[4]}"] = weight
    return picked


def distilbert_config(config: PretrainedConfig, layers: int) -> DistilBertConfig:
    """A DistilBERT of the teacher's shape."""
    return DistilBertConfig(
        vocab_size=config.vocab_size,
        max_position_embeddings=config.max_position_embeddings - find_first_position(config),
        n_layers=layers,
        n_heads=config.num_attention_heads,
        dim=config.hidden_size,
        hidden_dim=config.intermediate_size,
        dropout=config.hidden_dropout_prob,
        attention_dropout=config.attention_probs_dropout_prob,
        activation=config.hidden_act,
        initializer_range=config.initializer_range,
        pad_token_id=config.pad_token_id,
    )


def rename_for_distilbert(
    weights: Mapping[str, Tensor], config: PretrainedConfig, layers: Sequence[int], *, vocab_transform: bool
) -> dict[str, Tensor]:
    """The teacher's weights under DistilBERT's names; what the first token type adds goes into its positions."""
    source = find_family(config).distilbert
    assert source is not None, "judged by `require_distilbert`"
    prefix, head = source.encoder, source.head
    renamed = _rename_embeddings(weights, prefix, find_first_position(config))
    for place, number in enumerate(layers):
        for old, new in _LAYER_NAMES.items():
            old_name, target = f"{prefix}encoder.layer.{number}.{old}", f"distilbert.transformer.layer.{place}.{new}"
            renamed |= _rename_pair(weights, old_name, target)
    for new in ("vocab_projector.weight", "vocab_projector.bias"):
        if head[new] in weights:
            renamed[new] = weights[head[new]]
    if vocab_transform:
        for new in ("vocab_transform", "vocab_layer_norm"):
            renamed |= _rename_pair(weights, head[new], new)
    return renamed


def _rename_embeddings(weights: Mapping[str, Tensor], prefix: str, first: int) -> dict[str, Tensor]:
    """DistilBERT has no token types: the first, which every token of a single text has, is added to the positions."""
    source, target = f"{prefix}embeddings", "distilbert.embeddings"
    positions = weights[f"{source}.position_embeddings.weight"][first:]
    first_type = weights[f"{source}.token_type_embeddings.weight"][0]
    return {
        f"{target}.word_embeddings.weight": weights[f"{source}.word_embeddings.weight"],
        f"{target}.position_embeddings.weight": positions + first_type,
        **_rename_pair(weights, f"{source}.LayerNorm", f"{target}.LayerNorm"),
    }


def _rename_pair(weights: Mapping[str, Tensor], source: str, target: str) -> dict[str, Tensor]:
    parts = [part for part in ("weight", "bias") if f"{source}.{part}" in weights]
    return {f"{target}.{part}": weights[f"{source}.{part}"] for part in parts}
