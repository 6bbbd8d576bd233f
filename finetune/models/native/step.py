"""All layers of an encoder as one autograd function: a C++ call forward, one backward (`kernels/encoder.cpp`).

The parameters stay the module's own: they are inputs of the function, and their gradients come back to it, so hooks,
accumulation and several processes see what they always see. Numbers that enter products are float32, or bfloat16 with
float32 sums; the residual stream, norms and all gradients of parameters are float32 in both.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from finetune.models.native.building import load_library
from finetune.models.native.parameters import Parameters, Places, Shape, pointers_to

_OPERAND_BYTES = 64 << 20  # what operands of weight gradients may take; more layers at once mean fewer barriers


class Call(ctypes.Structure):
    """One call, as `kernels/encoder.cpp` has it."""

    _fields_ = [
        ("shape", Shape),
        *((name, ctypes.c_double) for name in ("attention", "projected", "fed_forward")),
        ("seed", ctypes.c_uint64),
        ("sentences", ctypes.c_int64),
        ("threads", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("lengths", "read", "windows", "angles")),
        *((name, ctypes.c_void_p) for name in ("parameters", "packed", "kept", "gradients")),
        ("lowest", ctypes.c_int64),
        ("operand_bytes", ctypes.c_int64),
    ]


@dataclass(frozen=True)
class Rates:
    """Probabilities of dropout: of attention weights, of the projection's output, and in the feed-forward network.

    There it is of the output, or, with a gate, of what the gate lets through.
    """

    attention: float = 0.0
    projected: float = 0.0
    fed_forward: float = 0.0


@dataclass(frozen=True, eq=False)
class Batch:
    """The sentences of a packed batch: rows follow each other in reading order."""

    lengths: Tensor  # (sentences,) int32
    read: Tensor | None = None  # (rows,) uint8, rows that are read after the last layer; None for all


@dataclass(frozen=True, eq=False)
class Positions:
    """What the layers' attention knows of positions, where that is more than which sentence a token is of."""

    windows: Tensor  # (layers,) int64, how many tokens away a query still sees a key; below 0: all
    angles: tuple[Tensor, ...]  # of each layer (rows, 2, head size / 2) float32: cosines and sines of rotary positions

    @cached_property
    def pointers(self) -> Any:
        return pointers_to(self.angles)


@dataclass
class PackedWeights:
    """Weights in the order in which the kernels read them, until a weight changes."""

    key: tuple[Any, ...] = ()
    numbers: Tensor | None = None

    def __deepcopy__(self, _memo: Any) -> PackedWeights:
        return PackedWeights()

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedWeights, ()

    def of(self, shape: Shape, parameters: Parameters, dtype: torch.dtype) -> Tensor:
        """Packed `parameters`. What is handed out is not written again while a backward pass may need it."""
        key = self._key(shape, parameters, dtype)
        if self.numbers is None or self.key != key:
            self.numbers, self.key = _pack(shape, parameters, dtype), key
        return self.numbers

    @contextmanager
    def written(self, shape: Shape, parameters: Parameters, numbers: Tensor) -> Iterator[None]:
        """Meanwhile `parameters` change, and `numbers`, the ones handed out last, become what they are packed.

        No second copy is needed: a backward pass that has not run yet is refused by autograd, as the parameters changed.
        """
        self.key = ()
        yield
        self.numbers, self.key = numbers, self._key(shape, parameters, numbers.dtype)

    def _key(self, shape: Shape, parameters: Parameters, dtype: torch.dtype) -> tuple[Any, ...]:
        return dtype, _fingerprint(shape, parameters), *map(_version, parameters.weights())


def _version(tensor: Tensor) -> tuple[int, int]:
    return tensor.data_ptr(), -1 if tensor.is_inference() else tensor._version


def _fingerprint(shape: Shape, parameters: Parameters) -> int:
    """A digest of some values of every weight: code that writes to `weight.data` leaves no other trace."""
    return load_library().encoder_fingerprint(ctypes.byref(shape), parameters.pointers())


def _pack(shape: Shape, parameters: Parameters, dtype: torch.dtype) -> Tensor:
    library = load_library()
    with torch.inference_mode(False):  # a training step may take what a prediction has packed
        packed = torch.empty(_packed_numbers(shape), dtype=dtype)
    require_memory(
        library.encoder_pack(
            ctypes.byref(shape),
            parameters.pointers(),
            ctypes.c_void_p(packed.data_ptr()),
            ctypes.c_int64(torch.get_num_threads()),
            int(dtype == torch.bfloat16),
        )
    )
    return packed


def _packed_numbers(shape: Shape) -> int:
    function = load_library().encoder_packed_numbers
    function.restype = ctypes.c_int64
    return function(ctypes.byref(shape))


def _kept_bytes(call: Call, dtype: torch.dtype) -> int:
    function = load_library().encoder_kept_bytes
    function.restype = ctypes.c_int64
    return function(ctypes.byref(call), int(dtype == torch.bfloat16))


def require_memory(code: int) -> None:
    """Raise MemoryError where a call of the kernels says so."""
    if code:
        raise MemoryError("the native encoder step could not allocate its buffers")


@dataclass(eq=False)
class Step:
    """What one forward call and its backward call share."""

    shape: Shape
    batch: Batch
    rates: Rates
    dtype: torch.dtype  # float32 or bfloat16: numbers that enter products
    weights: PackedWeights = field(default_factory=PackedWeights)
    positions: Positions | None = None
    seed: int = 0
    threads: int = field(default_factory=torch.get_num_threads)

    def call(self, parameters: Any, packed: Tensor, kept: Tensor | None) -> Call:
        rates, read, positions = self.rates, self.batch.read, self.positions
        return Call(
            shape=self.shape,
            attention=rates.attention,
            projected=rates.projected,
            fed_forward=rates.fed_forward,
            seed=self.seed,
            sentences=len(self.batch.lengths),
            threads=self.threads,
            lengths=self.batch.lengths.data_ptr(),
            read=None if read is None else read.data_ptr(),
            windows=None if positions is None else positions.windows.data_ptr(),
            angles=None if positions is None else ctypes.addressof(positions.pointers),
            parameters=ctypes.addressof(parameters),
            packed=packed.data_ptr(),
            kept=None if kept is None else kept.data_ptr(),
            operand_bytes=_OPERAND_BYTES,
        )


def run_layers(hidden: Tensor, step: Step, parameters: Parameters) -> Tensor:
    """(rows, hidden) -> (rows, hidden) float32; rows that are not read, and those beyond the sentences, are zero.

    Draws a seed from torch's default generator where dropout asks.
    """
    if any((step.rates.attention, step.rates.projected, step.rates.fed_forward)):
        step.seed = int(torch.randint(2**63 - 1, ()))
    tensors = parameters.tensors
    if torch.is_grad_enabled() and (hidden.requires_grad or any(tensor.requires_grad for tensor in tensors)):
        return _Layers.apply(hidden, step, parameters.places, *tensors)
    return _forward(hidden, step, parameters, keep=False)[0]


def _forward(hidden: Tensor, step: Step, parameters: Parameters, *, keep: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """The output, the packed weights and what the backward pass needs."""
    library = load_library()
    packed = step.weights.of(step.shape, parameters, step.dtype)
    pointers = parameters.pointers()
    call = step.call(pointers, packed, None)
    kept = torch.empty(_kept_bytes(call, step.dtype), dtype=torch.uint8) if keep else None
    call.kept = None if kept is None else kept.data_ptr()
    hidden = hidden.contiguous()
    output = torch.zeros_like(hidden)
    require_memory(
        library.encoder_forward(
            ctypes.byref(call),
            ctypes.c_void_p(hidden.data_ptr()),
            ctypes.c_void_p(output.data_ptr()),
            int(step.dtype == torch.bfloat16),
        )
    )
    return output, packed, kept


class _Layers(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, step: Step, places: Places, *parameters: Tensor) -> Tensor:
        output, packed, kept = _forward(hidden, step, Parameters(parameters, places), keep=True)
        ctx.step, ctx.places = step, places
        # Autograd refuses a backward pass after parameters have changed, and frees the rest with it.
        ctx.save_for_backward(packed, kept, *parameters)
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (packed, kept, *parameters), step, places = ctx.saved_tensors, ctx.step, ctx.places
        wanted = ctx.needs_input_grad[3:]
        gradients = [torch.empty_like(p) if want else None for p, want in zip(parameters, wanted, strict=True)]
        pointers, targets = places.pointers(parameters), places.pointers(gradients)
        call = step.call(pointers, packed, kept)
        call.gradients = ctypes.addressof(targets)
        call.lowest = 0 if ctx.needs_input_grad[0] else places.first_layer(wanted)
        through = gradient.clone(memory_format=torch.contiguous_format)  # becomes the gradient of the input
        require_memory(
            load_library().encoder_backward(
                ctypes.byref(call), ctypes.c_void_p(through.data_ptr()), int(step.dtype == torch.bfloat16)
            )
        )
        return through if ctx.needs_input_grad[0] else None, None, None, *gradients
