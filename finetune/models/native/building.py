"""The kernels' library: compiled once for this machine and these sources, kept in a cache, loaded where it is needed.

`kernels/` is plain C++17 with OpenMP and no Python in it, so a compiler is all that building needs, and takes some seconds.
The library's name carries a digest of the sources, the compiler and the processor's features: another machine with the same
home directory builds its own. It is written aside and renamed, so two runs that start at once do not disturb each other.

A wheel can carry a library for machines without a compiler: `python -m finetune.models.native.building --ship` makes it in
`libraries/`, before `pip wheel .`; where there is a compiler this machine's own is compiled nevertheless.

The library lies in the cache folder (run/cache.py). Environment: CXX names the compiler; FINETUNE_NATIVE=0 leaves the
kernels alone, FINETUNE_NATIVE=1 takes them on CPUs where they were not measured, too.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from finetune.run.cache import cache_folder
from finetune.run.folders_aside import files_written_aside

logger = logging.getLogger(__name__)

KERNELS = Path(__file__).parent / "kernels"
SHIPPED = Path(__file__).parent / "libraries"  # what a wheel brings along; a checkout has none
COMPILERS = ("g++", "clang++", "c++")
# Sums stay in the order in which they are written (no -ffast-math, which would also change how the whole process rounds
# tiny numbers); what is left out are errno and traps, which nobody reads.
FLAGS: tuple[str, ...] = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-shared", "-fPIC")


class NoLibraryError(Exception):
    """The kernels cannot be had; the message says why."""


@dataclass(frozen=True)
class Target:
    """What to compile for. `architecture` is the compiler's -march; `products` adds products of torch's library (AMX)."""

    architecture: str = "native"
    products: bool = False
    extra_flags: tuple[str, ...] = ()

    @property
    def flags(self) -> tuple[str, ...]:
        flags = (*FLAGS, f"-march={self.architecture}", *self.extra_flags)
        if platform.machine() in ("x86_64", "AMD64") and not _is_clang():
            flags = (*flags, "-mprefer-vector-width=512")
        if not self.products:
            return flags
        torch_folder = Path(torch.__file__).parent
        include, library = torch_folder / "include", torch_folder / "lib"
        linked = (f"-L{library}", f"-Wl,-rpath,{library}", "-ltorch_cpu", "-lc10")
        return (*flags, "-DENCODER_BRGEMM", f"-I{include}", *linked)


def this_machine() -> Target:
    """AMX is torch's business: its products choose tiles and their configuration."""
    return Target(products=bool(torch.cpu.get_capabilities().get("amx_bf16")))


# What is shipped runs on every CPU that the native step was measured on: AVX512-BF16, without torch's products.
FOR_ALL = Target(architecture="x86-64-v4", extra_flags=("-mavx512bf16",))
FEATURES_OF_ALL = ("avx512_f", "avx512_bw", "avx512_cd", "avx512_dq", "avx512_vl", "avx512_bf16")


def load_library(target: Target | None = None) -> ctypes.CDLL:
    """The library for `target` (this machine), compiled where the cache does not hold it.

    Raises:
        NoLibraryError: switched off, no compiler and nothing shipped, or it failed.
    """
    if os.environ.get("FINETUNE_NATIVE") == "0":
        raise NoLibraryError("FINETUNE_NATIVE=0")
    return _load_once(target or this_machine(), takes_shipped=target is None)


@cache
def _load_once(target: Target, *, takes_shipped: bool) -> ctypes.CDLL:
    shipped = find_shipped() if takes_shipped else None
    try:
        compiler = find_compiler()
    except NoLibraryError as error:
        if shipped is None:
            raise
        logger.info("The native encoder step is the one that was installed, %s: %s.", shipped.name, error)
        return _open(shipped)
    path = cache_folder() / f"encoder-{_digest(target, compiler)}.so"
    if not path.exists():
        _compile(target, compiler, path)
    return _open(path)


def _open(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise NoLibraryError(f"{path} cannot be loaded: {error}") from error


def find_shipped() -> Path | None:
    """The library that the package brought along, if it is of these sources and this CPU has what it needs."""
    path = SHIPPED / f"encoder-{platform.machine()}-{_digest_of_sources()}.so"
    capabilities = torch.cpu.get_capabilities()
    return path if path.is_file() and all(capabilities.get(name) for name in FEATURES_OF_ALL) else None


def ship() -> Path:
    """Compile `FOR_ALL` into `SHIPPED`, in place of what is there, for `pip wheel`. Raises NoLibraryError."""
    path = SHIPPED / f"encoder-{platform.machine()}-{_digest_of_sources()}.so"
    compiler = find_compiler()
    SHIPPED.mkdir(exist_ok=True)
    for other in SHIPPED.glob("*.so"):
        other.unlink()
    _compile(FOR_ALL, compiler, path)
    return path


def find_compiler() -> str:
    """The path of a C++ compiler. Raises NoLibraryError where there is none."""
    asked = os.environ.get("CXX")
    found = next(filter(None, map(shutil.which, (asked,) if asked else COMPILERS)), None)
    if found is None:
        raise NoLibraryError(f"CXX={asked} is no program" if asked else f"no C++ compiler ({', '.join(COMPILERS)})")
    return found


@cache
def _is_clang() -> bool:
    return "clang" in _version(find_compiler())


@cache
def _version(compiler: str) -> str:
    try:
        return subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise NoLibraryError(f"{compiler} --version failed: {error}") from error


def _digest(target: Target, compiler: str) -> str:
    features = sorted(name for name, there in torch.cpu.get_capabilities().items() if there)
    parts = [" ".join(target.flags), _version(compiler), torch.__version__, platform.machine(), str(features)]
    return hashlib.sha256("\n".join([*parts, _digest_of_sources()]).encode()).hexdigest()[:20]


def _digest_of_sources() -> str:
    texts = [path.read_text(encoding="utf-8") for path in sorted(KERNELS.iterdir()) if path.suffix in (".h", ".cpp")]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:20]


def _compile(target: Target, compiler: str, path: Path) -> None:
    logger.info("Compiling the native encoder step for this machine into %s (once, some seconds).", path)
    try:
        sources = map(str, sorted(KERNELS.glob("*.cpp")))
        with files_written_aside(path.parent) as folder:
            command = [compiler, *sources, "-o", str(folder / path.name), *target.flags]
            done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
            if done.returncode:
                said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
                raise NoLibraryError(f"{compiler} could not compile the kernels: {said}")
    except OSError as error:
        raise NoLibraryError(f"{path.parent} cannot be written: {error}") from error
    except subprocess.SubprocessError as error:
        raise NoLibraryError(f"{compiler} could not compile the kernels: {error}") from error


if __name__ == "__main__":  # `make install` builds ahead; a machine without a compiler is no failure
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if sys.argv[1:] == ["--ship"]:
            print(f"{ship()} is for the wheel.")
        else:
            load_library()
            print("The native encoder step is built.")
    except NoLibraryError as error:
        print(f"No native encoder step: {error}. Everything runs without it.", file=sys.stderr)
