"""A model that was exported to ONNX or OpenVINO, in the place of the torch model that it was."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig

from finetune.data.json_values import parse_json
from finetune.errors import DataError, Problem, UsageError

MANIFEST = "export.json"  # transformers.exporters writes it beside the program
PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",)}


def find_format(folder: Path) -> str | None:
    """`onnx` or `openvino`; None for a folder that holds no exported model.

    Raises:
        DataError: the manifest of the export cannot be read, or names another format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        kind = str(parse_json(path.read_text(encoding="utf-8"))["export_format"])
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(Problem(f"this manifest of an export cannot be read: {error}", path=path)) from error
    if kind not in PACKAGES:
        raise DataError(Problem(f"the format {kind!r} is not run here", f"{', '.join(PACKAGES)} are", path=path))
    return kind


def require_packages(kind: str) -> None:
    """Nothing, if what runs and writes a format is installed.

    Raises:
        UsageError: it is not; the sentence says what to install.
    """
    missing = [name for name in PACKAGES[kind] if find_spec(name) is None]
    if missing:
        found = f"the package {' and '.join(missing)} is not installed, which {kind} needs"
        raise UsageError(Problem(found, remedy=f"pip install 'finetune[{kind}]'"))


class ExportedNetwork(nn.Module):
    """Called as the model that it was: named tensors of ids in, an output with `logits` out, on the CPU."""

    def __init__(self, program: Any, config: PretrainedConfig) -> None:
        super().__init__()
        self.program, self.config = program, config
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)  # says on which device inputs are wanted

    @property
    def device(self) -> torch.device:
        return self.place.device

    def forward(self, **inputs: Any) -> Any:
        return self.program(**{name: value for name, value in inputs.items() if isinstance(value, torch.Tensor)})


def load_exported(folder: Path, config: PretrainedConfig, *, bf16: bool) -> ExportedNetwork:
    """The model of a folder that `finetune export` wrote, with as many threads as torch has.

    `bf16` lets OpenVINO round products as the hardware likes; ONNX Runtime computes as the program says.

    Raises:
        UsageError: what runs the format is not installed.
        DataError: the folder holds no exported model, or a broken one.
    """
    kind = find_format(folder)
    if kind is None:
        raise DataError(Problem("this folder holds no exported model", remedy="finetune export makes one", path=folder))
    require_packages(kind)
    from transformers.exporters import ExportedModel

    try:
        program = ExportedModel.from_pretrained(str(folder), local_files_only=True, **_options(kind, bf16=bf16))
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(Problem(f"the exported model cannot be loaded: {error}", path=folder)) from error
    return ExportedNetwork(program, config)


def run_program(program: Any, kind: str, config: PretrainedConfig, *, bf16: bool = False) -> ExportedNetwork:
    """A program that was just made, ready to be called."""
    return ExportedNetwork(program.to(**_options(kind, bf16=bf16)), config)


def _options(kind: str, *, bf16: bool) -> dict[str, Any]:
    if kind == "openvino":
        precision = "bf16" if bf16 else "f32"
        return {
            "config": {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": str(torch.get_num_threads())}
        }
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return {"session_options": options}
