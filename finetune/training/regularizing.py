"""What makes a training step cost two: R-Drop's second answer, and FGM's second lesson on embeddings that were moved.

Both are off unless asked for, and then nothing of a step is another. Neither knows a task: the loss says how far two
answers are apart, and the model which its embeddings are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from finetune.errors import Problem, UsageError
from finetune.models.families import find_unpadding
from finetune.models.unpadding.hooks import is_unpadded
from finetune.run.launcher import count_processes
from finetune.training.losses import TokenLoss

Step = Callable[..., Tensor]
Answer = Callable[[], Any]  # a loss, and the outputs that it is of


class ConsistentAnswers:
    """R-Drop (Liang et al. 2021, https://arxiv.org/abs/2106.14448): two answers to each batch, drawn with other dropout.

    The loss is half of the paper's equation 4, so that it is on the scale of the plain one: the mean of both losses, and
    alpha / 2 times how far the answers are apart, a sum divided by the global number of items as every loss here.
    """

    def __init__(self, alpha: float, loss: TokenLoss) -> None:
        self.alpha, self.loss = alpha, loss

    def compute(
        self, answer: Answer, labels: Tensor, num_items_in_batch: Tensor | int | None
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """`answer` is called twice; the loss, and the outputs of the first."""
        (first, outputs), (second, others) = answer(), answer()
        one, other = outputs["logits"], others["logits"]
        apart = self.loss.divergences(one, other, labels).sum()
        items = self.loss.count_items(one, labels, num_items_in_batch)
        loss = 0.5 * (first + second) + 0.5 * self.alpha * apart / items
        self.loss.watch(loss)
        return loss, outputs


class MovedEmbeddings:
    """FGM (Miyato et al. 2017, https://arxiv.org/abs/1605.07725, section 3): each step is taken twice, and gradients add up.

    The second time the embeddings of each text, (length, hidden), are moved by epsilon times the gradient of the first loss
    by them, scaled to the length 1. What is logged is the loss of the first.
    """

    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon
        self.seen: Tensor | None = None
        self.move: Tensor | None = None

    def step(self, step: Step, model: nn.Module, inputs: Mapping[str, Any], num_items_in_batch: object) -> Tensor:
        """One step of the Trainer, and its second time."""
        with self._hooked(model, self._watch):
            loss = step(model, dict(inputs), num_items_in_batch)
        gradient = cast(Tensor, cast(Tensor, self.seen).grad).float()  # (batch, length, hidden)
        lengths = gradient.flatten(1).norm(dim=1)[:, None, None]
        self.move, self.seen = self.epsilon * gradient / lengths.clamp(min=torch.finfo(torch.float32).tiny), None
        with self._hooked(model, self._perturb):
            step(model, dict(inputs), num_items_in_batch)
        self.move = None
        return loss

    @contextmanager
    def _hooked(self, model: nn.Module, hook: Callable[..., Tensor]) -> Iterator[None]:
        handle = embedding_of(model).register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    def _watch(self, _module: nn.Module, _args: object, output: Tensor) -> Tensor:
        own = output if output.requires_grad else output.detach().requires_grad_()  # frozen, beside an adapter
        own.retain_grad()
        self.seen = own
        return own

    def _perturb(self, _module: nn.Module, _args: object, output: Tensor) -> Tensor:
        return output + cast(Tensor, self.move).to(output.dtype)


def embedding_of(model: nn.Module) -> nn.Module:
    """The embedding of tokens, whatever the model is wrapped into."""
    own: Any = getattr(model, "module", model)
    return own.get_input_embeddings()


def check_regularizing(r_drop: float, fgm: float, model: nn.Module) -> None:
    """Whether both can be had here.

    Raises:
        UsageError: several processes, or embeddings that are packed over all texts of a batch.
    """
    asked = [f"--{name}" for name, value in {"r_drop": r_drop, "fgm": fgm}.items() if value]
    problems = []
    if asked and count_processes() > 1:
        found = f"{' and '.join(asked)} need a training of one process: a step goes through the model twice"
        problems.append(Problem(found, remedy="drop them, or train with one process"))
    doors = [door for module in model.modules() if (door := find_unpadding(module))]
    if fgm and is_unpadded(model) and any(not door.packed for door in doors):
        found = f"--fgm moves the embeddings of each text, and those of {type(model).__name__} are packed"
        problems.append(Problem(found, remedy="add --no_unpad, or drop --fgm"))
    if problems:
        raise UsageError(*problems)
