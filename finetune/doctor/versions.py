"""The versions of Python and of the packages that finetune needs, and of those of its extras."""

from __future__ import annotations

import platform
import sys
from importlib import metadata

from packaging.requirements import Requirement

from finetune.doctor.findings import Finding

OLDEST_PYTHON = (3, 11)
NO_EXTRA = {"extra": ""}
FOR_DEVELOPERS = "test"


def check_python() -> list[Finding]:
    version = f"{platform.python_version()}, {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        return [Finding("wrong", "python", version, "finetune needs Python 3.11 or newer")]
    return [Finding("ok", "python", version)]


def check_packages() -> list[Finding]:
    """A line per package that is needed, and one per extra."""
    try:
        asked = [Requirement(text) for text in metadata.requires("finetune") or ()]
    except metadata.PackageNotFoundError:
        return [Finding("wrong", "finetune", "is not installed", "pip install .")]
    needed = [item for item in asked if not item.marker or item.marker.evaluate(NO_EXTRA)]
    extras = metadata.metadata("finetune").get_all("Provides-Extra") or []
    named = [name for name in extras if name != FOR_DEVELOPERS]
    return [check_package(item) for item in needed] + [check_extra(name, asked) for name in named]


def check_package(asked: Requirement) -> Finding:
    """Whether a package is there in a version that was asked for."""
    remedy = f"pip install '{asked.name}{asked.specifier}'"
    try:
        version = metadata.version(asked.name)
    except metadata.PackageNotFoundError:
        return Finding("wrong", asked.name, "is not installed", remedy)
    if not asked.specifier.contains(version, prereleases=True):
        return Finding("wrong", asked.name, f"{version} is installed, {asked.specifier} is needed", remedy)
    return Finding("ok", asked.name, version)


def check_extra(name: str, asked: list[Requirement]) -> Finding:
    """Whether the packages of an extra are there; none of them is needed by what does not ask for the extra."""
    members = [item for item in asked if item.marker and not item.marker.evaluate(NO_EXTRA)]
    found = [check_package(item) for item in members if item.marker and item.marker.evaluate({"extra": name})]
    missing = [f"{item.item} {item.found}" for item in found if item.verdict != "ok"]
    if missing:
        return Finding("note", f"extra {name}", ", ".join(missing), f"pip install '.[{name}]' where it is wanted")
    return Finding("ok", f"extra {name}", ", ".join(f"{item.item} {item.found}" for item in found))
