"""The parameters of an encoder's layers as the kernels know them: addresses of linear layers, biases and norms.

A family may keep several of the kernels' linear layers in one weight (queries, keys and values; a feed-forward network and
its gate). The kernels are given the address of each one's first row; to autograd, optimizers and hooks the parameters
are the module's own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from torch import Tensor

# The order of `kernels/plan.h`.
QUERY, KEY, VALUE, PROJECTION, WIDEN, GATE, NARROW = range(7)
LINEARS = 7
NORMS = 4  # gain and shift of the norm between attention and feed-forward network, and of the outer one
POINTERS = 2 * LINEARS + NORMS  # a layer's weights, biases and norms
_BYTES = 4
_NONE = (-1, 0)

Parts = tuple[
    tuple[int, ...], ...
]  # which of the kernels' linear layers lie in each of a family's, one after the other


class Shape(ctypes.Structure):
    """The encoder's sizes, as `kernels/plan.h` has them."""

    _fields_ = [(name, ctypes.c_int64) for name in ("layers", "hidden", "wide", "heads", "pre_norm")] + [
        ("epsilon", ctypes.c_double)
    ]

    def size_of(self, linear: int) -> tuple[int, int]:
        """(outputs, inputs)."""
        return (
            self.wide if linear in (WIDEN, GATE) else self.hidden,
            self.wide if linear == NARROW else self.hidden,
        )


@dataclass(frozen=True, eq=False)
class Places:
    """Where in a list of tensors lies what the kernels' pointers point to."""

    of: tuple[
        tuple[int, int], ...
    ]  # for each of `POINTERS` of each layer a tensor's number, or -1, and the bytes before it

    def pointers(self, tensors: Sequence[Tensor | None]) -> ctypes.Array[ctypes.c_void_p]:
        """Addresses in `tensors`, or in others of the same sizes, such as gradients; null where there is none."""
        starts = [None if tensor is None else tensor.data_ptr() for tensor in tensors] + [None]
        addresses = ((starts[number], before) for number, before in self.of)
        return (ctypes.c_void_p * len(self.of))(*(None if start is None else start + n for start, n in addresses))

    def first_layer(self, wanted: Sequence[bool]) -> int:
        """The first layer of which a tensor is wanted."""
        found = (place for place, (number, _) in enumerate(self.of) if number >= 0 and wanted[number])
        return next(found) // POINTERS

    def weights(self) -> Iterator[tuple[int, int, int, int]]:
        """Layer, linear layer, number of the tensor and bytes before it, for all that enters products."""
        for place, (number, before) in enumerate(self.of):
            if place % POINTERS < LINEARS and number >= 0:
                yield place // POINTERS, place % POINTERS, number, before

    @cached_property
    def weight_numbers(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(number for _, _, number, _ in self.weights()))


@dataclass(frozen=True, eq=False)
class Parameters:
    """The parameters of all layers, each once, contiguous float32."""

    tensors: Sequence[Tensor]
    places: Places

    def pointers(self) -> ctypes.Array[ctypes.c_void_p]:
        return self.places.pointers(self.tensors)

    def weights(self) -> list[Tensor]:
        """Those that enter products."""
        return [self.tensors[number] for number in self.places.weight_numbers]


@cache
def find_places(parts: Parts, present: tuple[bool, ...], hidden: int, wide: int) -> Places:
    """The places of parameters that stand in this order in each layer: weights, biases, then `NORMS`.

    parts: of each of the layer's linear layers. present: for all layers, whether a parameter is there; the others are not
    among the tensors.
    """
    shape, count = Shape(hidden=hidden, wide=wide), 2 * len(parts) + NORMS
    numbers = [sum(present[:place]) if there else -1 for place, there in enumerate(present)]
    found: list[tuple[int, int]] = []
    for first in range(0, len(present), count):
        own = [_NONE] * POINTERS
        for linear, ones in enumerate(parts):
            weight, bias, row = numbers[first + linear], numbers[first + len(parts) + linear], 0
            for one in ones:
                rows, columns = shape.size_of(one)
                own[one] = weight, row * columns * _BYTES
                own[LINEARS + one] = (bias, row * _BYTES) if bias >= 0 else _NONE
                row += rows
        own[2 * LINEARS :] = [(number, 0) for number in numbers[first + 2 * len(parts) : first + count]]
        found += own
    return Places(tuple(found))


def pointers_to(tensors: Sequence[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))
