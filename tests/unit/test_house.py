"""The house stays as it is drawn: imports point upstream only, and the README's tree tells the truth."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOMS = (
    "errors",
    "arguments",
    "run",
    "data",
    "tokenization",
    "encoding",
    "collators",
    "models",
    "metrics",
    "training",
    "report",
    "tasks",
    "cli",
)
LIGHT = ("errors", "arguments", "run", "cli")
HEAVY = {"torch", "transformers", "datasets", "accelerate", "sklearn", "seqeval", "pythainlp"}


def find_modules(repository: Path) -> list[Path]:
    return sorted(path for path in (repository / "finetune").rglob("*.py") if path.name != "__init__.py")


def find_imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def find_top_level_imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [alias.name for node in body if isinstance(node, ast.Import) for alias in node.names]
    return {name.split(".")[0] for name in [*names, *(n.module or "" for n in body if isinstance(n, ast.ImportFrom))]}


def room_of(module: str) -> str:
    return module.split(".")[1]


def test_rooms_import_only_from_rooms_above_them(repository):
    wrong = []
    for path in find_modules(repository):
        module = ".".join(path.relative_to(repository).with_suffix("").parts)
        own = ROOMS.index(room_of(module))
        for imported in find_imports(path):
            if imported.startswith("finetune.") and room_of(imported) in ROOMS and ROOMS.index(room_of(imported)) > own:
                wrong.append(f"{module} imports {imported}")
    assert not wrong


def test_every_module_belongs_to_a_room(repository):
    rooms = {
        path.relative_to(repository / "finetune").parts[0].removesuffix(".py") for path in find_modules(repository)
    }
    assert rooms <= set(ROOMS)


def test_no_module_cycles(repository):
    graph = {}
    modules = {".".join(p.relative_to(repository).with_suffix("").parts): p for p in find_modules(repository)}
    for name, path in modules.items():
        graph[name] = {target for target in find_imports(path) if target in modules and target != name}
    settled: set[str] = set()
    while ready := [name for name in graph if name not in settled and graph[name] <= settled]:
        settled.update(ready)
    assert set(graph) - settled == set()


def test_init_files_re_export_nothing(repository):
    for path in (repository / "finetune").rglob("__init__.py"):
        assert not find_imports(path), path


def test_light_rooms_and_scripts_start_without_heavy_libraries(repository):
    files = [
        path
        for path in find_modules(repository)
        if path.relative_to(repository / "finetune").parts[0].split(".")[0] in LIGHT
    ]
    files += list((repository / "scripts").rglob("*.py"))
    wrong = {str(path): heavy for path in files if (heavy := find_top_level_imports(path) & HEAVY)}
    assert not wrong


def test_scripts_never_import_a_sibling_and_hide_no_library(repository):
    scripts = list((repository / "scripts").rglob("*.py"))
    names = {path.stem for path in scripts}
    assert not names & {"tokenizers", "datasets", "evaluate", "transformers", "accelerate", "torch"}
    for path in scripts:
        assert not {name.split(".")[0] for name in find_imports(path)} & (names | {"scripts"}), path


def read_tree(readme: str) -> dict[str, str]:
    """Path -> description of the README's file tree (between the `tree` fences)."""
    block = re.search(r"```tree\n(.*?)```", readme, re.S)
    assert block, "README.md has no ```tree block"
    entries, folders = {}, []
    for line in block.group(1).splitlines():
        indent = (len(line) - len(line.lstrip())) // 2
        name, _, text = line.strip().partition("  ")
        folders[indent:] = [name]
        entries["".join(folders)] = text.strip()
    return entries


def test_the_readme_tree_names_every_room_and_nothing_else(repository):
    entries = read_tree((repository / "README.md").read_text(encoding="utf-8"))
    missing = [path for path in entries if not (repository / path).exists()]
    assert not missing, f"in the tree, not on disk: {missing}"
    on_disk = {str(path.relative_to(repository)) for path in (repository / "scripts").glob("*.py")}
    on_disk |= {str(path.relative_to(repository)) for path in find_modules(repository)}
    assert on_disk - set(entries) == set(), "on disk, not in the tree"
    assert all(entries[path] for path in entries if path.endswith(".py")), "each file has a line that says what it is"


@pytest.mark.parametrize("word", ["issue", "session", "agent", "farm-studio"])
def test_documents_speak_to_users(repository, word):
    for path in [repository / "README.md", repository / "CONTRIBUTING.md", *(repository / "docs").glob("*.md")]:
        text = path.read_text(encoding="utf-8").lower()
        assert not re.search(rf"\b{word}s? \d", text), path
