"""What a student can learn from a teacher: each loss a small object that sums over positions.

All of them return a sum over positions, so that the global mean does not depend on how a batch is cut up (see
`training/losses.py`), and all but the hard labels are zero where the student equals the teacher. Those on logits need one
vocabulary, those on states and relations need neither equal widths nor equal numbers of heads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from finetune.distillation.soft_targets import sum_soft_targets
from finetune.encoding.padding import IGNORED

LARGEST_RELATION_HEADS = 48  # of MiniLMv2 for models 768 wide


@dataclass(frozen=True)
class SoftTargetLoss:
    """KL(teacher || student) of distributions at temperature T, times T^2 so that gradients keep their size.

    Hinton, Vinyals & Dean 2015, https://arxiv.org/abs/1503.02531, section 2; Sanh et al. 2019 (DistilBERT).
    """

    temperature: float = 2.0

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Logits (positions, vocabulary) -> sum over positions."""
        return sum_soft_targets(student, teacher, self.temperature)


@dataclass(frozen=True)
class SparseSoftTargetLoss:
    """`SoftTargetLoss` from the teacher's top K entries and the probability of all others together.

    That rest is one class more, on both sides (the "ghost token" of Anshumann et al. 2025,
    https://arxiv.org/abs/2503.16870): no probability is lost, as it would be where the K are scaled up to 1, and what is
    left out of the divergence is only how the rest is spread. So it is never larger than the full one, equal where K is
    the vocabulary, and zero where the student equals the teacher.
    """

    temperature: float = 2.0

    def __call__(self, student: Tensor, ids: Tensor, log_teacher: Tensor) -> Tensor:
        """Logits (positions, vocabulary), ids (positions, K), their log-probabilities and the rest's (positions, K + 1).

        Both sides are at the temperature. Returns the sum over positions.
        """
        log_student = functional.log_softmax(student.float() / self.temperature, dim=-1)
        chosen = log_student.gather(-1, ids)
        if ids.shape[-1] == student.shape[-1]:
            log_teacher = log_teacher[:, :-1]  # there is no rest
        else:
            rest = log_student.scatter(-1, ids, -math.inf).logsumexp(-1, keepdim=True)
            chosen = torch.cat([chosen, rest], dim=-1)
        return functional.kl_div(chosen, log_teacher, reduction="sum", log_target=True) * self.temperature**2


def choose_top_k(logits: Tensor, count: int, temperature: float) -> tuple[Tensor, Tensor]:
    """What `SparseSoftTargetLoss` takes of a teacher's logits (positions, vocabulary): ids, and log-probabilities.

    The last log-probability is that of all entries left out together; -inf where none is.
    """
    log_probabilities = functional.log_softmax(logits.float() / temperature, dim=-1)
    values, ids = log_probabilities.topk(min(count, logits.shape[-1]), dim=-1)
    rest = log_probabilities.scatter(-1, ids, -math.inf).logsumexp(-1, keepdim=True)
    return ids, torch.cat([values, rest], dim=-1)


@dataclass(frozen=True)
class BinarySoftTargetLoss:
    """Soft targets of labels that are decided one by one: `SoftTargetLoss` of yes and no for each of them."""

    temperature: float = 2.0

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Logits (texts, labels) -> sum over texts and labels."""
        return SoftTargetLoss(self.temperature)(_yes_and_no(student), _yes_and_no(teacher))


def _yes_and_no(logits: Tensor) -> Tensor:
    """(...) -> (n, 2) with the same probability of yes: the sigmoid is a softmax over the logit and 0."""
    flat = logits.float().reshape(-1)
    return torch.stack([flat, torch.zeros_like(flat)], dim=-1)


@dataclass(frozen=True)
class LogitLoss:
    """Squared difference of logits, summed over the vocabulary (Ba & Caruana 2014, https://arxiv.org/abs/1312.6184)."""

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Logits (positions, vocabulary) -> sum over positions."""
        return functional.mse_loss(student.float(), teacher.float(), reduction="sum")


@dataclass(frozen=True)
class HardLabelLoss:
    """Cross-entropy with what stands in the text: masked subwords, or each next one; -100 is skipped."""

    def __call__(self, student: Tensor, labels: Tensor) -> Tensor:
        """Logits (positions, vocabulary), labels (positions,) -> sum over labelled positions."""
        labelled = (labels != IGNORED).nonzero().squeeze(1)  # a logarithm of each logit elsewhere would be for nothing
        return functional.cross_entropy(student.index_select(0, labelled).float(), labels[labelled], reduction="sum")


def build_projection(student_width: int, teacher_width: int) -> nn.Module:
    """A learned map from the student's width to the teacher's; nothing where they are equal."""
    if student_width == teacher_width:
        return nn.Identity()
    return nn.Linear(student_width, teacher_width, bias=False)


class CosineLoss(nn.Module):
    """One minus the cosine between last hidden states (Sanh et al. 2019, https://arxiv.org/abs/1910.01108, section 3).

    A student of another width is projected first.
    """

    def __init__(self, student_width: int, teacher_width: int) -> None:
        super().__init__()
        self.projection = build_projection(student_width, teacher_width)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """States (positions, width) -> sum over positions."""
        similarity = functional.cosine_similarity(self.projection(student).float(), teacher.float(), dim=-1)
        return (1 - similarity).sum()


class HiddenStateLoss(nn.Module):
    """Mean squared difference between projected states of the student and those of the teacher, layer by layer.

    Jiao et al. 2020 (TinyBERT), https://arxiv.org/abs/1909.10351, equations 8 and 9: one learned projection for the
    embeddings, one that all layers share. `layers[i]` is the teacher's state that belongs to the student's i-th.
    """

    def __init__(self, student_width: int, teacher_width: int, layers: Sequence[int]) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.embedding_projection = build_projection(student_width, teacher_width)
        self.layer_projection = build_projection(student_width, teacher_width)

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """All states of both, each (positions, width), embeddings first -> sum over positions and layers."""
        pairs = zip(student, self.layers, strict=True)
        return torch.stack([self._compare(own, teacher[of], place) for place, (own, of) in enumerate(pairs)]).sum()

    def _compare(self, own: Tensor, target: Tensor, place: int) -> Tensor:
        projection = self.layer_projection if place else self.embedding_projection
        difference = functional.mse_loss(projection(own).float(), target.float(), reduction="none")
        return difference.mean(-1).sum()


def map_layers(student_layers: int, teacher_layers: int) -> list[int]:
    """For the student's states 0 (embeddings) to n the teacher's, evenly spread (TinyBERT's uniform mapping).

    >>> map_layers(3, 12)
    [0, 4, 8, 12]
    """
    return [round(number * teacher_layers / student_layers) for number in range(student_layers + 1)]


@dataclass(frozen=True)
class RelationLoss:
    """KL between the relations of queries, of keys and of values among the positions of a text, teacher to student.

    Wang et al. 2021 (MiniLMv2), https://arxiv.org/abs/2012.15828, section 3.2: vectors of all heads are joined and cut
    into `relation_heads`, so that numbers of heads and widths may differ. Mean over relation heads.
    """

    relation_heads: int

    def __call__(self, student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor) -> Tensor:
        """Queries, keys and values of one layer of each, (batch, length, width); mask (batch, length) of real tokens.

        Returns the sum over real positions and the three relations.
        """
        pairs = zip(student, teacher, strict=True)
        return torch.stack([self._compare(own, target, mask) for own, target in pairs]).sum()

    def _compare(self, own: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        log_student, log_teacher = self.relate(own, mask), self.relate(target, mask)
        divergence = functional.kl_div(log_student, log_teacher.exp(), reduction="none")
        return (divergence.sum(-1).mean(1) * mask).sum()  # (batch, heads, length, length) -> (batch, length)

    def relate(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Log of scaled dot products' softmax, (batch, heads, length, length), float32; padding is related to nothing."""
        batch, length, width = vectors.shape
        heads = vectors.float().view(batch, length, self.relation_heads, -1).transpose(1, 2)
        scores = (heads @ heads.transpose(2, 3)).float() / math.sqrt(width // self.relation_heads)
        hidden = ~mask.bool()[:, None, None, :]
        return functional.log_softmax(scores.masked_fill(hidden, torch.finfo(torch.float32).min), dim=-1)


def choose_relation_heads(student_width: int, teacher_width: int) -> int:
    """The largest number up to 48 into which both widths can be cut.

    >>> choose_relation_heads(192, 384)
    48
    """
    common = math.gcd(student_width, teacher_width)
    return max(number for number in range(1, LARGEST_RELATION_HEADS + 1) if common % number == 0)
