"""`finetune doctor`: every check in turn, a line for each item, and how many are wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from finetune.doctor.findings import Finding
from finetune.errors import RunError
from finetune.run.process_exit import write_result

# Each is imported where it is called: what one of them needs and does not find leaves the others their lines.
CHECKS = (
    *("versions.check_python", "versions.check_packages"),
    *("machine.check_processor", "machine.check_devices", "machine.check_kernels"),
    *("machine.check_folders", "machine.check_hub", "self_test.check_training"),
)


def examine() -> dict[str, Any]:
    """Print a line per item; the numbers of those that are ok, worth a note, and wrong.

    Raises:
        RunError: something that is needed is broken.
    """
    counts = {"ok": 0, "note": 0, "wrong": 0}
    wrong = []
    for name in CHECKS:
        for finding in carry_out(name):
            write_result(str(finding))
            counts[finding.verdict] += 1
            wrong += [finding.item] if finding.verdict == "wrong" else []
    if wrong:
        raise RunError(f"what finetune needs is broken: {', '.join(wrong)}; the lines above say what to do")
    return counts


def carry_out(name: str) -> Iterator[Finding]:
    """The findings of a check; whatever ends it, such as a library that does not load, is a finding itself."""
    module, _, function = name.partition(".")
    try:
        check: Callable[[], list[Finding]] = getattr(import_module(f"finetune.doctor.{module}"), function)
        yield from check()
    except Exception as error:
        item = function.removeprefix("check_")
        found = f"{type(error).__name__}: {error}"
        yield Finding("wrong", item, found, "install what it names again, or finetune: pip install --force-reinstall .")
