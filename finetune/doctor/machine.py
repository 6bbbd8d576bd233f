"""The machine: processor and devices, native kernels, room on the disk, the cache folder, the hub."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from finetune.doctor.findings import Finding
from finetune.run.cache import VARIABLE, cache_folder

LITTLE, TOO_LITTLE = 5 * 10**9, 10**8  # bytes: a base model with its checkpoints; not even a small one
HUB_SECONDS = 3.0
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
TRUE = {"1", "ON", "YES", "TRUE"}  # as huggingface_hub reads its variables


def check_processor() -> list[Finding]:
    import torch

    from finetune.training.precision import NATIVE_ON_CPU

    there = torch.cpu.get_capabilities()
    native = [shown for name, shown in NATIVE_ON_CPU.items() if there.get(name)]
    precision = f"bfloat16 natively ({', '.join(native)})" if native else "float32; no native bfloat16"
    return [Finding("ok", "cpu", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {precision}")]


def check_devices() -> list[Finding]:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        return [Finding("ok", "cuda", f"{len(names)}: {', '.join(names)}")]
    if shutil.which("nvidia-smi"):
        remedy = "install a build of torch for its driver (https://pytorch.org)"
        return [Finding("note", "cuda", f"nvidia-smi is there, but torch {torch.__version__} sees no device", remedy)]
    return [Finding("ok", "cuda", "no device; the CPU computes")]


def check_kernels() -> list[Finding]:
    """The compiler and the kernels it makes; without them torch computes the same, more slowly."""
    from finetune.models.native.building import NoLibraryError, find_compiler
    from finetune.models.native.serving import why_no_kernels

    try:
        compiler = Finding("ok", "compiler", find_compiler())
    except NoLibraryError as error:
        compiler = Finding("note", "compiler", str(error), "install g++ or clang++, or name one by CXX")
    reason = why_no_kernels()
    if reason is None:
        return [compiler, Finding("ok", "native kernels", "on")]
    return [compiler, Finding("note", "native kernels", f"off: {reason}", "torch computes in their place, more slowly")]


def check_folders() -> list[Finding]:
    return [check_room("cache folder", cache_folder()), check_room("this folder", Path.cwd())]


def check_room(item: str, folder: Path) -> Finding:
    """Whether a folder, or where it would be made, can be written to and has room."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        remedy = f"make it writable, or name another by {VARIABLE}" if item == "cache folder" else ""
        return Finding("wrong" if remedy else "note", item, f"{there} cannot be written to", remedy)
    free = shutil.disk_usage(there).free
    found = f"{folder}, {free / 1e9:.1f} GB free"
    if free >= LITTLE:
        return Finding("ok", item, found)
    return Finding("wrong" if free < TOO_LITTLE else "note", item, found, "make room on the disk")


def check_hub() -> list[Finding]:
    """The variables that keep the hub away; where there is none, whether it answers. Folders and files need no hub."""
    offline = [name for name in OFFLINE if os.environ.get(name, "").upper() in TRUE]
    if offline:
        found = f"not asked: {', '.join(f'{name}={os.environ[name]}' for name in offline)}"
        return [Finding("note", "hub", found, "unset to load models and data by name; folders and files need no hub")]
    return [ask_hub(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")]


def ask_hub(address: str) -> Finding:
    import httpx

    remedy = "set HF_HUB_OFFLINE=1, and name folders and files; or see to the network, HF_ENDPOINT and proxies"
    try:
        status = httpx.head(address, timeout=HUB_SECONDS, follow_redirects=True).status_code
        host = urlsplit(address).hostname
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return Finding("note", "hub", f"cannot be reached ({type(error).__name__})", remedy)
    if status >= 400:
        return Finding("note", "hub", f"{host} answers with status {status}", remedy)
    return Finding("ok", "hub", f"{host} answers")
