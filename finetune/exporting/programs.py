"""A model of torch -> a program of ONNX or OpenVINO, by the exporters of transformers."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from finetune.errors import RunError
from finetune.models.exported import require_packages
from finetune.run.failures import first_line

logger = logging.getLogger(__name__)

CALIBRATION_BATCHES = 16


def export_model(
    model: PreTrainedModel, samples: Sequence[dict[str, torch.Tensor]], kind: str, int8: str | None = None
) -> Any:
    """The program (`transformers.exporters.ExportedModel`) for batches and texts of any length.

    Args:
        model: in float32, on the CPU.
        samples: what it is called with: (rows, length) each, two rows or more; the first is traced, in eight bits static
            the first ones calibrate.
        kind: `onnx` or `openvino`.
        int8: `dynamic`, `static`, or None for floats.

    Raises:
        UsageError: a package that eight bits need is missing.
        RunError: the exporter cannot export this model.
    """
    exporter, config = _onnx(samples, int8) if kind == "onnx" else _openvino(samples, int8)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's tracing, about its own inside
            with contextlib.redirect_stdout(sys.stderr):  # torch tells its progress where our last line comes
                return exporter.export(model.eval(), dict(samples[0]), config)
    except Exception as error:
        family = model.config.model_type
        raise RunError(
            f"transformers cannot export this {family} model to {kind}: {first_line(error)[:300]}"
        ) from error


def _onnx(samples: Sequence[dict[str, torch.Tensor]], int8: str | None) -> tuple[Any, Any]:
    from transformers.exporters import OnnxConfig, OnnxExporter

    if int8 is None:
        return OnnxExporter(), OnnxConfig(dynamic=True)
    if int8 == "dynamic":
        from transformers.exporters import OnnxRuntimeDynamicConfig, OnnxRuntimeQuantizer

        quantizer = OnnxRuntimeQuantizer(OnnxRuntimeDynamicConfig(per_channel=True))
    else:
        from finetune.exporting.static_products import ProductQuantizer

        quantizer = ProductQuantizer(list(samples[:CALIBRATION_BATCHES]))
    return OnnxExporter(), OnnxConfig(dynamic=True, quantizer=quantizer)


def _openvino(samples: Sequence[dict[str, torch.Tensor]], int8: str | None) -> tuple[Any, Any]:
    from transformers.exporters import OpenVINOConfig, OpenVINOExporter

    if int8 is None:
        return OpenVINOExporter(), OpenVINOConfig(dynamic=True)
    require_packages("nncf", kind="openvino")
    from transformers.exporters import NNCFOpenVINOQuantizer, NNCFQuantizationConfig, NNCFWeightCompressionConfig

    if int8 == "dynamic":  # weights in eight bits; the CPU plugin quantizes what they are multiplied with as it goes
        quantizer = NNCFOpenVINOQuantizer(NNCFWeightCompressionConfig())
    else:
        few = list(samples[:CALIBRATION_BATCHES])
        quantizer = NNCFOpenVINOQuantizer(NNCFQuantizationConfig(), calibration_dataset=few)
    return OpenVINOExporter(), OpenVINOConfig(dynamic=True, quantizer=quantizer)
