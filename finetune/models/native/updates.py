"""AdamW's arithmetic as one C++ pass over parameters, gradients and moments (`kernels/optimizer.cpp`).

Where the weights of a native step are among the parameters, the same pass leaves them packed for the next forward pass.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from finetune.models.native.building import load_library
from finetune.models.native.parameters import LINEARS, Parameters, Shape
from finetune.models.native.step import PackedWeights, require_memory

# `Update` of kernels/optimizer.cpp.
_POINTERS = ("parameter", "gradient", "mean", "square", "step")
_UPDATE = np.dtype(
    [(name, np.int64) for name in (*_POINTERS, "rows", "columns", "forward", "backward")]
    + [(name, np.float64) for name in ("rate", "beta1", "beta2", "epsilon", "decay")]
)


@dataclass
class Updates:
    """Parameters of one step, all contiguous float32 on the CPU, each list in the same order."""

    parameters: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)
    means: list[Tensor] = field(default_factory=list)  # AdamW's exp_avg
    squares: list[Tensor] = field(default_factory=list)  # AdamW's exp_avg_sq
    steps: list[Tensor] = field(default_factory=list)  # one number each
    rules: list[tuple[float, float, float, float, float]] = field(
        default_factory=list
    )  # rate, beta1, beta2, eps, decay


@dataclass(eq=False)
class Packing:
    """The packed weights of one native step, to be written anew by the pass that changes the weights."""

    shape: Shape
    parameters: Parameters
    weights: PackedWeights
    numbers: Tensor

    def parts(self) -> dict[int, list[Part]]:
        """Address of each weight -> its parts, in their order."""
        places = (ctypes.c_int64 * (2 * LINEARS + 1))()
        load_library().encoder_places(ctypes.byref(self.shape), places)
        size, start = self.numbers.element_size(), self.numbers.data_ptr()
        found: dict[int, list[Part]] = {}
        for layer, linear, tensor, offset in self.parameters.places.weights():
            own = start + layer * places[2 * LINEARS] * size
            packed = own + places[2 * linear] * size, own + places[2 * linear + 1] * size
            address = self.parameters.tensors[tensor].data_ptr()
            found.setdefault(address, []).append(Part(offset, *self.shape.size_of(linear), *packed))
        return found


class Part(NamedTuple):
    """Rows of a weight that the kernels take for one linear layer."""

    offset: int  # bytes of the weight before them
    rows: int
    columns: int
    forward: int  # addresses of its two packed forms
    backward: int


def norm_of(gradients: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of all elements of contiguous float32 tensors together, a float32 number."""
    table = np.zeros(len(gradients), dtype=_UPDATE)
    table["gradient"] = [gradient.data_ptr() for gradient in gradients]
    table["rows"], table["columns"] = 1, [gradient.numel() for gradient in gradients]
    total = ctypes.c_double()
    words = _address(table), ctypes.c_int64(len(table)), ctypes.c_int64(torch.get_num_threads()), ctypes.byref(total)
    require_memory(load_library().optimizer_squares(*words))
    return torch.tensor(total.value, dtype=torch.float64).sqrt().float()


def update(updates: Updates, scale: float, packings: Sequence[Packing]) -> None:
    """Change parameters and moments in place by gradients times `scale`; `packings` of one dtype are up to date then."""
    table = np.zeros(len(updates.parameters), dtype=_UPDATE)
    gradients = [gradient.contiguous() for gradient in updates.gradients]
    columns = updates.parameters, gradients, updates.means, updates.squares, updates.steps
    for name, tensors in zip(_POINTERS, columns, strict=True):
        table[name] = [tensor.data_ptr() for tensor in tensors]
    table["rows"], table["columns"] = 1, [parameter.numel() for parameter in updates.parameters]
    for name, values in zip(
        ("rate", "beta1", "beta2", "epsilon", "decay"), zip(*updates.rules, strict=True), strict=True
    ):
        table[name] = values
    table = _ask_for_packed(table, updates.parameters, packings)
    bfloat16 = int(bool(packings) and packings[0].numbers.dtype == torch.bfloat16)
    words = ctypes.c_int64(len(table)), ctypes.c_double(scale), ctypes.c_int64(torch.get_num_threads()), bfloat16
    with ExitStack() as stack:
        for packing in packings:
            stack.enter_context(packing.weights.written(packing.shape, packing.parameters, packing.numbers))
        require_memory(load_library().optimizer_update(_address(table), *words))
        torch.autograd.graph.increment_version(updates.parameters)


def _ask_for_packed(
    table: npt.NDArray[Any], parameters: Sequence[Tensor], packings: Sequence[Packing]
) -> npt.NDArray[Any]:
    """`table` with a row for each part of a weight in the place of the weight's own."""
    known: Mapping[int, list[Part]] = {
        weight: parts for packing in packings for weight, parts in packing.parts().items()
    }
    parts = [known.get(parameter.data_ptr(), [None]) for parameter in parameters]
    table = np.repeat(table, [len(several) for several in parts])
    for row, part in enumerate(part for several in parts for part in several):
        if part is not None:
            for name in _POINTERS[:4]:
                table[name][row] += part.offset
            table[row]["rows"], table[row]["columns"] = part.rows, part.columns
            table[row]["forward"], table[row]["backward"] = part.forward, part.backward
    return table


def _address(table: npt.NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(table.ctypes.data)
