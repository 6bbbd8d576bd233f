"""The kernels' library: compiled once, also by two at a time, and for CPUs that have less than this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.models.native import building

try:
    building.find_compiler()
except building.NoLibraryError as error:
    pytest.skip(str(error), allow_module_level=True)

BUILD = [sys.executable, "-m", "finetune.models.native.building"]


@pytest.mark.slow
def test_two_builds_at_once_leave_one_library_and_a_third_compiles_nothing(tmp_path):
    environment = {**os.environ, "FINETUNE_CACHE_DIR": str(tmp_path / "cache")}
    started = [subprocess.Popen(BUILD, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert any("Compiling" in text for text in said)
    (library,) = (tmp_path / "cache").iterdir()
    changed = library.stat().st_mtime_ns
    third = subprocess.run(BUILD, env=environment, capture_output=True, text=True, check=True)
    assert "Compiling" not in third.stderr and "is built" in third.stdout
    assert library.stat().st_mtime_ns == changed


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"CXX": "no-such-compiler"}, "CXX=no-such-compiler is no program"),
        ({"CXX": "false"}, "failed"),
        ({"FINETUNE_CACHE_DIR": "/proc/nowhere"}, "cannot be written"),
        ({"FINETUNE_NATIVE": "0"}, "FINETUNE_NATIVE=0"),
    ],
)
def test_without_a_library_one_line_says_why_and_nothing_fails(tmp_path, changes, said):
    environment = {**os.environ, "FINETUNE_CACHE_DIR": str(tmp_path), **changes}
    done = subprocess.run(BUILD, env=environment, capture_output=True, text=True, check=True)
    assert said in done.stderr and "Traceback" not in done.stderr


SHIPPED = """
import sys
from pathlib import Path
from finetune.models.native import building
building.SHIPPED = Path(sys.argv[1])
if sys.argv[2] == "ship":
    print(building.ship().name)
else:
    import logging
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    building.torch.cpu.get_capabilities = lambda has=building.torch.cpu.get_capabilities(): {**has, sys.argv[2]: False}
    print(bool(building.load_library().encoder_has_bfloat16()))
"""


@pytest.mark.slow
def test_a_wheel_brings_a_library_for_machines_without_a_compiler(tmp_path):
    if not building.torch.cpu.get_capabilities().get("avx512_bf16"):
        pytest.skip("this CPU has no avx512_bf16")

    def run(word: str, **changes: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "FINETUNE_CACHE_DIR": str(tmp_path / "cache"), **changes}
        command = [sys.executable, "-c", SHIPPED, str(tmp_path / "libraries"), word]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    (tmp_path / "libraries").mkdir()
    (tmp_path / "libraries" / "encoder-of-older-sources.so").touch()
    assert "no C++ compiler" in run("nothing", PATH=str(tmp_path)).stderr, "what is there is of other sources"
    name = run("ship").stdout.strip()
    assert [path.name for path in (tmp_path / "libraries").iterdir()] == [name]
    taken = run("nothing", PATH=str(tmp_path))
    assert taken.stdout.strip() == "True" and f"the one that was installed, {name}: no C++ compiler" in taken.stderr
    assert not (tmp_path / "cache").exists() or not any((tmp_path / "cache").iterdir())
    assert "no C++ compiler" in run("avx512_bf16", PATH=str(tmp_path)).stderr, "not on a CPU that lacks an instruction"


SMALL = """
import sys, torch
from finetune.models.native import building
target = building.Target(architecture=sys.argv[1], products=sys.argv[2] == "torch")
library = building.load_library(target)
building.load_library = lambda asked=None: library
sys.path[:0] = [sys.argv[3]]
from finetune.models.native import step
step.load_library = building.load_library
from tests.models.native.encoders import KINDS, RELATIVE, compare, make_encoder
bfloat16 = bool(library.encoder_has_bfloat16())
for dtype in (torch.float32, torch.bfloat16)[: 1 + bfloat16]:
    for size, heads in ((64, 2), (72, 3)):
        for kind in KINDS:
            compare(make_encoder(size, heads, kind=kind), [31, 5, 70, 1], dtype, RELATIVE[dtype])
print("equal", bfloat16)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "products", "bfloat16"),
    [("x86-64", "own", False), ("x86-64-v3", "own", False), ("x86-64-v4", "own", False), ("native", "torch", True)],
)
def test_other_processors_kernels_give_the_same(tmp_path, architecture, products, bfloat16):
    """Portable code, AVX2, AVX512 without bfloat16, and torch's products, which CPUs with AMX take."""
    capabilities = building.torch.cpu.get_capabilities()
    needed = {"x86-64": "sse2", "x86-64-v3": "avx2", "x86-64-v4": "avx512_bw", "native": "avx512_bf16"}[architecture]
    if not capabilities.get(needed):
        pytest.skip(f"this CPU has no {needed}")
    environment = {**os.environ, "FINETUNE_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", SMALL, architecture, products, str(Path(__file__).parents[3])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == f"equal {bfloat16}", done.stderr[-2000:]
