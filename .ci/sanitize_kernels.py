"""The native kernels' own tests under AddressSanitizer and UndefinedBehaviorSanitizer (Linux, g++).

Not part of CI: three minutes of processor time.

.venv/bin/python .ci/sanitize_kernels.py [further words for pytest]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g1", "-O1")
# What calls the kernels in this process; test_building.py compiles others, in processes of its own.
TESTS = ("models/native/test_step.py", "models/native/test_serving.py", "training/test_native_adamw.py")
PRELOADED = ("libasan.so", "libubsan.so", "libstdc++.so")


def start_again() -> int:
    """Sanitizers must be loaded before anything else: start this file again with them in front."""
    paths = [subprocess.check_output(["g++", f"-print-file-name={name}"], text=True).strip() for name in PRELOADED]
    with tempfile.TemporaryDirectory() as cache:
        environment = {
            **os.environ,
            "LD_PRELOAD": ":".join(paths),
            "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1",  # Python itself leaks on purpose
            "UBSAN_OPTIONS": "print_stacktrace=1",
            "FINETUNE_CACHE_DIR": cache,
            "HF_HUB_OFFLINE": "1",
        }
        return subprocess.run([sys.executable, __file__, *sys.argv[1:]], env=environment, check=False).returncode


def main() -> int:
    if "LD_PRELOAD" not in os.environ:
        return start_again()
    import pytest

    from finetune.models.native import building

    building.FLAGS = (*building.FLAGS, *FLAGS)
    tests = (str(ROOT / "tests" / name) for name in TESTS)
    return pytest.main([*tests, "-p", "no:xdist", "-q", "--durations=5", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
