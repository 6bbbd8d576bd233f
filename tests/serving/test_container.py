"""The Containerfile against what it installs: nothing here can build it."""

from __future__ import annotations

import fnmatch
import json
import re
import tomllib

import pytest

from finetune.commands import find_command, find_commands
from finetune.serving.app import PATHS
from finetune.serving.arguments import ServeArguments, ServedModelArguments


@pytest.fixture
def lines(repository):
    text = (repository / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return dict(line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith(("#", "RUN")))


@pytest.fixture
def project(repository):
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_it_installs_the_extra_of_the_service_for_a_python_that_is_supported(repository, lines, project):
    text = (repository / "Containerfile").read_text(encoding="utf-8")
    extras = re.search(r"'/src\[(\w+)\]'", text)[1]
    assert {"fastapi", "uvicorn"} <= {re.split(r"[<>=]", name)[0] for name in project["optional-dependencies"][extras]}
    version = tuple(map(int, re.search(r"python:(\d+)\.(\d+)", lines["FROM"]).groups()))
    assert version >= tuple(map(int, re.findall(r"\d+", project["requires-python"])))


def test_it_starts_the_service_at_the_port_that_it_exposes_and_looks_at(repository, lines):
    program, command, folder, *flags = json.loads(lines["ENTRYPOINT"])
    script = find_command(command, find_commands(repository / "scripts"))
    assert program == "finetune" and script == repository / "scripts" / "serve.py"
    assert flags == ["--host", "0.0.0.0"] and folder == "/model"
    assert int(lines["EXPOSE"]) == ServeArguments(run=folder).port
    port, path = re.search(r"127\.0\.0\.1:(\d+)(/\w+)", lines["HEALTHCHECK"]).groups()
    assert port == lines["EXPOSE"] and path in PATHS and lines["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(lines["HEALTHCHECK"].partition("CMD ")[2])[0] == "python"
    assert lines["USER"] != "root" and ServedModelArguments().problems() == []


def test_what_is_built_from_is_not_left_out(repository):
    """`.dockerignore`: all is left out but what setup.py, pyproject.toml and the packages need."""
    patterns = (repository / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = [pattern.removeprefix("!") for pattern in patterns if pattern.startswith("!")]
    assert "*" in patterns and all((repository / name).exists() for name in kept)
    needed = {"finetune", "scripts", "configs", "pyproject.toml", "setup.py", "requirements.txt", "README.md"}
    assert needed <= set(kept) and not any(fnmatch.fnmatch(".venv", name) for name in kept)
