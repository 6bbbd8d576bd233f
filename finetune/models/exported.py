"""A model that was exported to ONNX or OpenVINO: what its folder says of it, and its program run over rows of ids.

Nothing here needs torch or transformers: numpy and what runs the format are enough.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, get_type_hints

import numpy as np
import numpy.typing as npt

from finetune.data.json_values import is_of_type, parse_json
from finetune.encoding.batches import RowPadder, group_by_length
from finetune.errors import DataError, Problem, UsageError
from finetune.run.failures import first_line, is_of_its_files

MANIFEST = "finetune_export.json"
PROGRAMS = {"onnx": "model.onnx", "openvino": "openvino_model.xml"}
RUNNERS = {"onnx": "onnxruntime", "openvino": "openvino"}
LABELLED = ("tagger", "classifier")
BROKEN, AGAIN = "the exported model cannot be run", "export the model again"
TOKENS_AT_ONCE = 1024  # of short rows in a batch: what both runners are quickest with
BF16_UNITS = ("amx_bf16", "avx512_bf16")

Arrays = Mapping[str, npt.NDArray[Any]]
Run = Callable[[Arrays], npt.NDArray[np.float32]]


class Network(Protocol):
    """A model over rows of ids, of whatever makes it run."""

    @property
    def padding_side(self) -> str: ...

    def predict(self, rows: Sequence[Mapping[str, Any]], *, batch_size: int) -> list[npt.NDArray[np.float32]]:
        """Logits of each row, (width of its batch, labels) or (labels,), in the order of the rows."""


@dataclass(frozen=True)
class ExportFacts:
    """What is known of an exported model beside its settings."""

    format: str
    task: str  # tagger, classifier or masked
    model_type: str
    labels: list[str]
    longest: int  # subwords at once, of model and tokenizer
    limit: int | None  # positions of the model
    inputs: list[str]  # names that the program takes
    int8: str | None = None
    one_length: bool = False  # rows of different lengths share no batch: the family reads padding
    short_formats: bool = True  # whether bfloat16 may be used
    tokenizer: dict[str, Any] | None = None  # facts of a portable tokenizer; None: transformers has to load it

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def find_format(folder: Path) -> str | None:
    """`onnx` or `openvino`; None for a folder that holds no exported model.

    Raises:
        DataError: as `read_facts`.
    """
    return read_facts(folder).format if (folder / MANIFEST).is_file() else None


def read_facts(folder: Path) -> ExportFacts:
    """What an exported folder says of its model.

    Raises:
        DataError: the manifest of the export is missing, cannot be read, or names another format.
    """
    path = folder / MANIFEST
    try:
        held = parse_json(path.read_text(encoding="utf-8"))
        known = {item.name: held[item.name] for item in fields(ExportFacts) if item.name in held}
        kinds = get_type_hints(ExportFacts)
        if wrong := [name for name, value in known.items() if not is_of_type(value, kinds[name])]:
            raise ValueError(f"{wrong[0]} is {known[wrong[0]]!r:.60}")
        facts = ExportFacts(**known)
        if facts.task in LABELLED and not facts.labels:
            raise ValueError("it names no labels")
    except FileNotFoundError as error:
        remedy = "finetune export makes one"
        raise DataError(Problem("this folder holds no exported model", remedy=remedy, path=folder)) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        found = f"this manifest of an export cannot be read: {error}"
        raise DataError(Problem(found, remedy="export the model again", path=path)) from error
    if facts.format not in PROGRAMS:
        found = f"the format {facts.format!r} is not run here"
        raise DataError(Problem(found, f"{', '.join(PROGRAMS)} are", path=path))
    return facts


def is_installed(package: str) -> bool:
    """Whether a package could be imported."""
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # of hooks that forbid it
        return False


def require_packages(*names: str, kind: str) -> None:
    """Nothing, if packages are installed.

    Raises:
        UsageError: they are not; the sentence says what to install.
    """
    missing = [name for name in names if not is_installed(name)]
    if missing:
        found = f"the package {' and '.join(missing)} is not installed, which {kind} needs"
        raise UsageError(Problem(found, remedy=f"pip install 'finetune[{kind}]', or {' '.join(missing)} alone"))


@dataclass
class ExportedNetwork:
    """A program with the padding that its rows need."""

    run: Run
    padder: RowPadder
    inputs: Sequence[str]
    one_length: bool = False
    folder: Path | None = None
    width: int = 0  # labels; 0 where it has none

    @property
    def padding_side(self) -> str:
        return self.padder.padding_side

    def predict(self, rows: Sequence[Mapping[str, Any]], *, batch_size: int) -> list[npt.NDArray[np.float32]]:
        """Logits of each row; rows of like length share a batch."""
        logits: list[npt.NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(rows)
        lengths = [len(row["input_ids"]) for row in rows]
        batches = group_by_length(lengths, batch_size=batch_size, tokens=TOKENS_AT_ONCE, one_length=self.one_length)
        for batch in batches:
            arrays = self.padder.pad([rows[index] for index in batch])
            for index, row in zip(batch, self._run(arrays), strict=True):
                logits[index] = row
        return logits

    def _run(self, arrays: Arrays) -> npt.NDArray[np.float32]:
        """Logits of a batch.

        Raises:
            DataError: the program, its manifest and its tokenizer do not go together.
        """
        try:
            found = self.run({name: arrays[name] for name in self.inputs})
        except Exception as error:
            if not is_of_its_files(error):
                raise
            raise DataError(Problem(f"{BROKEN}: {first_line(error)}", remedy=AGAIN, path=self.folder)) from error
        if self.width and found.shape[-1] != self.width:
            told = f"its program gives {found.shape[-1]} logits, and its manifest names {self.width} labels"
            raise DataError(Problem(f"{BROKEN}: {told}", remedy=AGAIN, path=self.folder))
        return found


def load_exported(folder: Path, facts: ExportFacts, padder: RowPadder, *, bf16: bool) -> ExportedNetwork:
    """The model of a folder that `finetune export` wrote.

    `bf16` lets OpenVINO round products as the hardware likes; ONNX Runtime computes as the program says.

    Raises:
        UsageError: what runs the format is not installed.
        DataError: the program is missing or broken.
    """
    require_packages(RUNNERS[facts.format], kind=facts.format)
    path = folder / PROGRAMS[facts.format]
    try:
        run = open_onnx(path) if facts.format == "onnx" else open_openvino(path, bf16=bf16)
    except Exception as error:  # both libraries have exceptions of their own, without a common base
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise DataError(Problem(f"the exported model cannot be loaded: {reason}", path=path)) from error
    return ExportedNetwork(run, padder, facts.inputs, facts.one_length, folder, len(facts.labels))


def open_onnx(path: Path) -> Run:
    """A program of ONNX, run by ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = count_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    logits = names.index("logits") if "logits" in names else 0
    return lambda arrays: session.run([names[logits]], dict(arrays))[0]


def open_openvino(path: Path, *, bf16: bool) -> Run:
    """A program of OpenVINO, compiled for the CPU."""
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": count_threads(),
    }
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    names = [name for output in compiled.outputs for name in output.get_names()]
    logits = compiled.output("logits") if "logits" in names else compiled.output(0)
    return lambda arrays: np.array(compiled(dict(arrays))[logits])


def count_threads() -> int:
    """As many as torch takes: OMP_NUM_THREADS, else one for each processor that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(asked) if asked.isdecimal() and int(asked) else len(os.sched_getaffinity(0))


def has_bf16_units() -> bool:
    """Whether the CPU multiplies bfloat16 natively, as Linux says."""
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return any(unit in words for unit in BF16_UNITS)
