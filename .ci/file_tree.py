"""Rewrite the tree of docs/files.md from the first line of each file's docstring (`make tree`)."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = (
    *("errors.py", "arguments", "run", "engine", "data", "tokenization", "encoding", "models", "training", "report"),
    "supervised",
    *("tagging", "classification", "language_modeling", "pregeneration", "surprisal", "lm_experiments"),
    *(
        "distillation",
        "search",
        "prediction",
        "exporting",
        "serving",
        "sweep",
        "command_search",
        "page",
        "comparison",
        "explaining",
        "repeat",
        "doctor",
        "commands.py",
        "cli.py",
    ),
)
LEFT_OUT = ("__pycache__", "results", "fixtures")
TAIL = """configs/  model configurations that the documents name
docs/
tests/
  arguments/  this and the folders beside it mirror finetune/
  commands/  each command through its command line
  invariants/  configurations that must give the same result"""


def describe(path: Path) -> str:
    """The first line of a module's docstring, or of a shell script's comment."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").split("\n")[0].rstrip(".")
    comments = [line[2:] for line in text.split("\n")[:3] if line.startswith("# ")]
    return comments[0].rstrip(".") if comments else ""


def list_entries(path: Path, indent: int) -> list[str]:
    """A file with its line, or a folder with all that is in it, files first."""
    if path.is_file():
        return [f"{'  ' * indent}{path.name}  {describe(path)}"]
    inside = [item for item in sorted(path.iterdir()) if item.name not in LEFT_OUT and item.name != "__init__.py"]
    files = [item for item in inside if item.suffix in (".py", ".sh")]
    folders = [item for item in inside if item.is_dir()]
    lines = [line for item in (*files, *folders) for line in list_entries(item, indent + 1)]
    return [f"{'  ' * indent}{path.name}/", *lines]


def main() -> None:
    page = ROOT / "docs" / "files.md"
    rooms = [line for name in ROOMS for line in list_entries(ROOT / "finetune" / name, 1)]
    others = [line for name in ("scripts", "examples", "benchmarks") for line in list_entries(ROOT / name, 0)]
    tree = "\n".join(["finetune/", *rooms, *others, TAIL])
    text = page.read_text(encoding="utf-8")
    page.write_text(re.sub(r"```tree\n.*?```", lambda _: f"```tree\n{tree}\n```", text, flags=re.S), encoding="utf-8")


if __name__ == "__main__":
    main()
