"""Static eight bits of ONNX Runtime, for the products that stand it.

One range for all of an activation is too coarse in two places of an encoder. Sums hold the attention mask, the smallest
float there is, beside scores of some units: every score becomes zero. And what the second product of a feed-forward layer
reads has gone through GELU or its kin, which lets rare great values through (Bondarenko, Nagel and Blankevoort 2021,
"Understanding and Overcoming the Challenges of Efficient Transformer Quantization"). So sums, norms and activation
functions stay floats, and of the products those that go from wide to narrow: the second ones, and the head.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import onnx_ir
from transformers.exporters import OnnxRuntimeQuantizer, OnnxRuntimeStaticConfig

logger = logging.getLogger(__name__)

PRODUCTS = ["MatMul", "Gemm"]


class ProductQuantizer(OnnxRuntimeQuantizer):
    """Quantizes products by a weight that is not wider than what it makes, and those of attention."""

    def __init__(self, calibration: list[dict[str, Any]]) -> None:
        config = OnnxRuntimeStaticConfig(per_channel=True, op_types_to_quantize=PRODUCTS)
        super().__init__(config, calibration_dataset=calibration)

    def quantize(self, model: onnx_ir.Model, *arguments: Any, **more: Any) -> onnx_ir.Model:
        """As transformers' own, with the products left out that are found in the program."""
        self.config.nodes_to_exclude = sorted(find_narrowing(model))
        logger.info("%d products from wide to narrow stay floats.", len(self.config.nodes_to_exclude))
        return super().quantize(model, *arguments, **more)


def find_narrowing(model: onnx_ir.Model) -> Iterator[str]:
    """Names of products whose weight takes more numbers than it makes."""
    for node in model.graph.all_nodes():
        weight = node.inputs[1].const_value if node.op_type in PRODUCTS and node.inputs[1] is not None else None
        if weight is None or len(weight.shape) != 2 or not node.name:
            continue
        transposed = node.op_type == "Gemm" and "transB" in node.attributes and node.attributes["transB"].value
        taken, made = weight.numpy().shape[::-1] if transposed else weight.numpy().shape
        if taken > made:
            yield node.name
