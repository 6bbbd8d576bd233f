"""torch's AdamW with its arithmetic as one C++ pass (`models/native/updates.py`); its state is AdamW's own.

So checkpoints of both are the same, and each resumes from the other's. What the pass does not compute (amsgrad, other number
formats, tensors on a GPU) torch's fused kernel does, which the log says once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from finetune.models.native.building import NoLibraryError, load_library
from finetune.models.native.serving import find_packings, native_layers
from finetune.models.native.updates import Updates, norm_of, update

logger = logging.getLogger(__name__)


def use_native_adamw(optimizer: torch.optim.Optimizer, model: nn.Module) -> str | None:
    """Let torch's fused AdamW step in C++, in place; returns None, or the reason why it stays what it is.

    Weights of `model` that a native encoder step reads are packed by the same pass.
    """
    if type(optimizer) is not torch.optim.AdamW or not optimizer.defaults.get("fused"):
        return f"{type(optimizer).__name__} is not torch's fused AdamW"
    try:
        load_library()
    except NoLibraryError as error:
        return str(error)
    optimizer.__class__ = NativeAdamW
    optimizer.stacks = tuple(native_layers(model))  # type: ignore[attr-defined]
    return None


class NativeAdamW(torch.optim.AdamW):
    """Made by `use_native_adamw`."""

    stacks: tuple[nn.Module, ...] = ()  # of native encoder steps
    said = False
    grad_scale: Tensor | None  # what gradients are divided by, as in torch's fused optimizers

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """As torch's; gradients are not written to."""
        reason = self._why_not() if closure is None else "a closure computes the loss"
        if reason is None:
            return self._step_natively()
        if not self.said:
            self.said = True
            logger.warning("AdamW runs as torch's fused optimizer, not as a native step: %s.", reason)
        return super().step(closure)

    step.hooked = True  # type: ignore[attr-defined]  # torch would run the hooks of both ways' steps around it

    def _why_not(self) -> str | None:
        if getattr(self, "found_inf", None) is not None:
            return "a scaler of losses may pass steps over"
        for group in self.param_groups:
            other = next(
                (name for name in ("amsgrad", "maximize", "capturable", "differentiable") if group[name]), None
            )
            if other or not group["fused"]:
                return f"{other} is on" if other else "a group is not fused"
            if isinstance(group["lr"], Tensor) and group["lr"].device.type != "cpu":
                return "its rate is not on the CPU"
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not all(map(_is_plain, parameters)) or not all(_fits(parameter.grad) for parameter in parameters):
                return "there are parameters or gradients that are not plain float32 tensors on the CPU"
            if not all(
                _is_plain(value) for parameter in parameters for value in self.state.get(parameter, {}).values()
            ):
                return "its state is not in float32 on the CPU"
        return None

    @torch.optim.Optimizer.profile_hook_step
    @torch.no_grad()
    def _step_natively(self) -> None:
        updates = Updates()
        for group in self.param_groups:
            before = len(updates.parameters)
            highest: list[Tensor] = []  # amsgrad's: none
            found = updates.parameters, updates.gradients, updates.means, updates.squares, highest, updates.steps
            self._init_group(group, *found)
            beta1, beta2 = map(float, group["betas"])
            rule = float(group["lr"]), beta1, beta2, float(group["eps"]), float(group["weight_decay"])
            updates.rules += [rule] * (len(updates.parameters) - before)
        if not updates.parameters:
            return
        torch._foreach_add_(updates.steps, 1)
        divisor = getattr(self, "grad_scale", None)
        ids = {id(parameter) for parameter in updates.parameters}
        update(updates, 1.0 if divisor is None else 1.0 / float(divisor), find_packings(self.stacks, ids))


def total_norm(optimizer: Any, gradients: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of all gradients together, computed as the optimizer computes."""
    if type(optimizer) is NativeAdamW and all(map(_is_plain, gradients)):
        return norm_of(gradients)
    return torch.nn.utils.get_total_norm(gradients, 2.0)


def _is_plain(tensor: Tensor) -> bool:
    return _fits(tensor) and tensor.is_contiguous()


def _fits(tensor: Tensor | None) -> bool:
    if type(tensor) not in (nn.Parameter, Tensor) or tensor is None:
        return False
    return tensor.dtype is torch.float32 and tensor.layout is torch.strided and tensor.device.type == "cpu"
