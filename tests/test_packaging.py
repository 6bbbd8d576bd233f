"""What an installation is told: dependencies from one list, and a lock file that is of it."""

from __future__ import annotations

import re
import tomllib


def read_requirements(repository):
    lines = (repository / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return {re.split(r"[<>=]", line)[0]: line for line in lines if line and not line.startswith("#")}


def test_dependencies_stand_in_one_list(repository):
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["dependencies"]
    assert project["tool"]["setuptools"]["dynamic"]["dependencies"] == {"file": ["requirements.txt"]}
    assert "install_requires" not in (repository / "setup.py").read_text(encoding="utf-8")


def test_fast_moving_libraries_have_an_upper_bound(repository):
    requirements = read_requirements(repository)
    for name in ("torch", "transformers", "datasets", "accelerate", "tokenizers", "peft"):
        assert "<" in requirements[name] or "==" in requirements[name]


def test_the_lock_file_is_of_these_requirements(repository):
    lock = tomllib.loads((repository / "uv.lock").read_text(encoding="utf-8"))
    own = next(package for package in lock["package"] if package["name"] == "finetune")
    locked = {row["name"]: row.get("specifier", "") for row in own["metadata"]["requires-dist"] if "marker" not in row}
    asked = {name.replace("_", "-"): line[len(name) :] for name, line in read_requirements(repository).items()}
    assert locked.keys() == asked.keys()
    for name, specifier in asked.items():
        assert set(locked[name].split(",")) == set(specifier.split(",")), name
