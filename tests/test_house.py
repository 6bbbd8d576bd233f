"""The house stays as it is drawn: imports point upstream only, and the file tree of the docs tells the truth."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

SHARED = (
    *("errors", "arguments", "run", "engine", "data", "tokenization", "encoding", "models", "training", "report"),
    "supervised",
)
TASKS = {  # a task -> the tasks that it may build on
    "tagging": set(),
    "classification": set(),
    "language_modeling": set(),
    "pregeneration": set(),
    "surprisal": set(),
    "lm_experiments": {"language_modeling", "surprisal"},
    "distillation": {"tagging", "classification", "language_modeling"},
    "prediction": {"tagging", "classification", "language_modeling"},
    "exporting": {"prediction"},
    "serving": {"prediction", "tagging", "classification"},
}
TASKS["page"] = set(TASKS)
TASKS["comparison"] = TASKS["search"] = TASKS["sweep"] = set(TASKS)
TASKS["command_search"] = set(TASKS)
TASKS["repeat"] = set(TASKS)
TASKS["doctor"] = set()
TASKS["explaining"] = {"page"}
STARTS = {"cli", "commands"}  # what starts a script knows everything
HEAVY = {"torch", "transformers", "datasets", "accelerate", "sklearn", "pythainlp"}


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
    """Modules imported when a file is imported, whole names."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def room_of(module: str) -> str:
    return module.split(".")[1]


def may_import(own: str, other: str) -> bool:
    """Shared rooms import rooms before them; a task imports shared rooms, itself and the tasks it builds on."""
    if own in STARTS:
        return True
    if own in SHARED:
        return other in SHARED[: SHARED.index(own) + 1]
    return other in SHARED or other == own or other in TASKS[own]


def test_rooms_import_only_from_rooms_above_them(repository):
    wrong = []
    for path in find_modules(repository):
        module = ".".join(path.relative_to(repository).with_suffix("").parts)
        imported = {name for name in find_imports(path) if name.startswith("finetune.")}
        wrong += [f"{module} imports {name}" for name in imported if not may_import(room_of(module), room_of(name))]
    assert not sorted(wrong)


def test_every_module_belongs_to_a_room(repository):
    rooms = {
        path.relative_to(repository / "finetune").parts[0].removesuffix(".py") for path in find_modules(repository)
    }
    assert rooms == {*SHARED, *TASKS, *STARTS}


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


def test_scripts_start_without_heavy_libraries(repository):
    """Nothing that a script or the command line imports at its top, however far away, is heavy: `--help` answers at once."""
    modules = {".".join(p.relative_to(repository).with_suffix("").parts): p for p in find_modules(repository)}
    waiting = [*(repository / "scripts").rglob("*.py"), modules["finetune.cli"]]
    seen: set[Path] = set()
    wrong = {}
    while waiting:
        path = waiting.pop()
        seen.add(path)
        names = find_top_level_imports(path)
        if heavy := {name.split(".")[0] for name in names} & HEAVY:
            wrong[str(path)] = heavy
        waiting += [modules[name] for name in names if name in modules and modules[name] not in seen]
    assert not wrong


def test_scripts_never_import_a_sibling_and_hide_no_library(repository):
    scripts = list((repository / "scripts").rglob("*.py"))
    names = {path.stem for path in scripts}
    assert not names & {"tokenizers", "datasets", "evaluate", "transformers", "accelerate", "torch"}
    for path in scripts:
        assert not {name.split(".")[0] for name in find_imports(path)} & (names | {"scripts"}), path


def read_tree(page: str) -> dict[str, str]:
    """Path -> description of the file tree (between the `tree` fences)."""
    block = re.search(r"```tree\n(.*?)```", page, re.S)
    assert block, "docs/files.md has no ```tree block"
    entries, folders = {}, []
    for line in block.group(1).splitlines():
        indent = (len(line) - len(line.lstrip())) // 2
        name, _, text = line.strip().partition("  ")
        folders[indent:] = [name]
        entries["".join(folders)] = text.strip()
    return entries


def test_the_file_tree_names_every_file_and_nothing_else(repository):
    entries = read_tree((repository / "docs" / "files.md").read_text(encoding="utf-8"))
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


def test_the_readme_is_read_in_five_minutes_and_the_index_names_every_page(repository):
    assert len((repository / "README.md").read_text(encoding="utf-8").splitlines()) <= 250
    index = (repository / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {path.name for path in (repository / "docs").glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"({page})" not in index} == set()


def find_annotations(path: Path) -> list[ast.expr | None]:
    """The types of all parameters (but `self` and `cls`) and results of a file's functions; None where one is missing."""
    found: list[ast.expr | None] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            several = [argument for argument in (node.args.vararg, node.args.kwarg) if argument]
            named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, *several]
            found += [argument.annotation for argument in named if argument.arg not in ("self", "cls")]
            found.append(node.returns)
    return found


def test_signatures_say_their_types(repository):
    """Every parameter and result has a type, and fewer than 3 of 100 are `Any`."""
    paths = [*find_modules(repository), *(repository / "scripts").rglob("*.py")]
    types = [annotation for path in paths for annotation in find_annotations(path)]
    assert None not in types
    share = sum(isinstance(kind, ast.Name) and kind.id == "Any" for kind in types) / len(types)
    assert share < 0.03, f"{share:.1%} of {len(types):,} types are Any"


ONCE = {  # what only one file may know -> that file
    r"\bfcntl\b": "run/record_lock.py",
    r"os\.replace\(|os\.rename\(|mkstemp|with_name\(f?['\"]\.(?![^)]*lock)": "run/atomic_files.py",
    r"FINETUNE_CACHE": "run/cache.py",
    r"csv\.(reader|Sniffer|DictReader)": "data/separated_rows.py",
    r"read_table\(path\)|ParquetFile\(path\)\n": "data/parquet_files.py",
    r"np\.exp\([^)]*- *[^)]*max|def (log_)?softmax|def sigmoid": "models/probabilities.py",  # elsewhere scipy's
    r"-100(?![.\d])": "encoding/padding.py",
}


@pytest.mark.parametrize("pattern", ONCE)
def test_what_stands_once_is_known_in_one_file(repository, pattern):
    knowing = set()
    for path in find_modules(repository):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):  # prose may speak of it
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                node.value = ast.Constant(None)
        if re.search(pattern, ast.unparse(tree)):
            knowing.add(path.relative_to(repository / "finetune").as_posix())
    assert knowing <= {ONCE[pattern]}
