"""How fast this machine multiplies matrices: measured once for each number format and number of threads, and kept.

The measure beside which the operations of a training are put: what this project's kernels (on a CPU) or torch reach on large
matrices and nothing else, whichever is more.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

from finetune.data.json_values import parse_json
from finetune.models.native.building import load_library
from finetune.models.native.serving import why_no_kernels
from finetune.run.atomic_files import atomic_text_file
from finetune.run.cache import cache_folder

logger = logging.getLogger(__name__)

SECONDS = 0.25  # of each of at most two ways to multiply
LARGEST = 8192
ENOUGH = 0.01  # seconds of one product: a larger one says no more


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second in products of `dtype`, with torch's number of threads on a CPU.

    Measured in less than a second, or read from the cache folder where it was; the log says which.
    """
    key = _describe(device, dtype)
    path = cache_folder() / f"matrix-rate-{hashlib.sha256(key.encode()).hexdigest()[:20]}.json"
    kept = _read(path)
    rate = kept if kept is not None else measure(device, dtype)
    where = f"as {path} keeps it" if kept is not None else f"measured now, kept in {path}"
    if kept is None and not _keep(path, key, rate):
        where = "measured now"
    logger.info("Matrix products of this machine, %s: %.3g TFLOP/s (%s).", key, rate / 1e12, where)
    return rate


def measure(device: torch.device, dtype: torch.dtype) -> float:
    best = _fastest(lambda size: _multiply(device, dtype, size))
    if device.type == "cpu" and dtype in (torch.float32, torch.bfloat16) and why_no_kernels() is None:
        best = max(best, _fastest(lambda size: _multiply_natively(dtype, size)))
    return best


def _fastest(multiply: Callable[[int], tuple[float, float]]) -> float:
    """The highest rate of products of growing size; `multiply` returns operations and seconds."""
    start, size, best = time.perf_counter(), 256, 0.0
    while time.perf_counter() - start < SECONDS:
        operations, seconds = multiply(size)
        best = max(best, operations / max(seconds, 1e-9))
        if seconds < ENOUGH and size < LARGEST:
            size *= 2
    return best


def _multiply(device: torch.device, dtype: torch.dtype, size: int) -> tuple[float, float]:
    a = torch.full((size, size), 0.5, dtype=dtype, device=device)
    result = torch.empty_like(a)
    torch.matmul(a, a, out=result)  # libraries prepare themselves at the first product of a size
    _wait(device)
    start = time.perf_counter()
    torch.matmul(a, a, out=result)
    _wait(device)
    return 2.0 * size**3, time.perf_counter() - start


def _multiply_natively(dtype: torch.dtype, size: int) -> tuple[float, float]:
    """`size` / 16 products of (96, 768) and (768, 768) on each thread."""
    repeats, threads = max(1, size // 16), torch.get_num_threads()
    seconds = ctypes.c_double()
    words = ctypes.c_int64(repeats), ctypes.c_int64(threads), int(dtype == torch.bfloat16), ctypes.byref(seconds)
    if load_library().products_time(*words):
        return 0.0, 1.0
    return 2.0 * 96 * 768 * 768 * repeats * threads, seconds.value


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _describe(device: torch.device, dtype: torch.dtype) -> str:
    number = str(dtype).removeprefix("torch.")
    if device.type != "cpu":
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        return f"{name}, {number}, torch {torch.__version__}"
    threads, kernels = torch.get_num_threads(), "" if why_no_kernels() is None else ", without native kernels"
    features = ",".join(name for name, there in sorted(torch.cpu.get_capabilities().items()) if there)
    name = f"{_cpu_name()} ({hashlib.sha256(features.encode()).hexdigest()[:6]})"
    return f"{name}, {threads} thread{'s' * (threads > 1)}, {number}, torch {torch.__version__}{kernels}"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _read(path: Path) -> float | None:
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None  # not there, or not whole: measured again
    rate = found.get("operations_per_second") if isinstance(found, dict) else None
    return float(rate) if isinstance(rate, int | float) and 0 < rate < 1e18 else None


def _keep(path: Path, key: str, rate: float) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_text_file(path) as file:
            json.dump({"operations_per_second": rate, "measured": key}, file)
    except OSError as error:
        logger.warning(
            "%s cannot be written (%s): the rate of matrix products is measured again next time.", path, error
        )
        return False
    return True
