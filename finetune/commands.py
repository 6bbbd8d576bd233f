"""The commands of `finetune NAME`: which scripts there are, what they are called, and the list by task."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from finetune.arguments.nearest import allowed_values
from finetune.errors import Problem, RunError, UsageError

# A task and its commands, in the order of work; a script that is not listed here comes under OTHERS.
TASKS = {
    "Tagging words": ("run_ner", "train_token_classification_lm_finetuning"),
    "Classifying texts": ("run_glue", "train_sequence_classification_lm_finetuning"),
    "Using a trained tagger or classifier": ("predict", "serve", "export"),
    "Adapters": ("merge",),
    "Tokenizers": ("train_tokenizer", "train-roberta-tokenizer"),
    "Language models": ("run_mlm", "run_clm", "run_language_modeling"),
    "BERT's next sentences and masked words": (
        "pregenerate_training_data",
        "finetune_on_pregenerated",
        "simple_lm_finetuning",
    ),
    "Distillation": ("distill", "binarized_data", "token_counts", "extract_distilbert"),
    "Surprisals": ("score", "finetune_lm"),
    "Runs: told, shown, compared": ("explain", "report", "compare"),
    "Many runs": ("sweep", "search", "repeat"),
    "Helpers: looking over the machine, preparing and converting data": (
        "doctor",
        "completion",
        "split",
        "download_glue_data",
        "prepare_semeval_datasets",
        "prepare_laptop_reviews",
        "prepare_restaurant_reviews",
        "sefr_cut_pre_tokenizer",
        "convert_sefr_cache",
        "convert_legacy_pickle",
    ),
}
OTHERS = "Other names"
NAMED = {"distillation/train.py": "distill"}  # scripts whose file cannot be called what they do: old wrappers start it
OLD_NAMES = {"train": "distill"}


def find_scripts() -> Path:
    """The folder of the scripts: `scripts/` of a checkout, else the installed package `finetune_scripts`.

    Raises:
        RunError: the installation holds neither.
    """
    checkout = Path(__file__).resolve().parents[1] / "scripts"
    # Beside an installed package there is no pyproject.toml, and a folder `scripts` would be somebody else's.
    if (checkout.parent / "pyproject.toml").is_file():
        return checkout
    package = find_spec("finetune_scripts")
    if package is None or not package.submodule_search_locations:
        raise RunError("this installation has no commands; install finetune again: pip install --force-reinstall .")
    return Path(next(iter(package.submodule_search_locations)))


def find_commands(scripts: Path) -> dict[str, Path]:
    """Name -> script. A name that two folders share goes with its folder: `distillation/train`."""
    paths = sorted(path for path in scripts.rglob("*.py") if not path.name.startswith("_"))
    stems = Counter(path.stem for path in paths)
    return {_name_of(path.relative_to(scripts), stems[path.stem]): path for path in paths}


def _name_of(script: Path, same_stem: int) -> str:
    return NAMED.get(script.as_posix()) or (script.stem if same_stem == 1 else script.with_suffix("").as_posix())


def find_command(typed: str, commands: Mapping[str, Path]) -> Path | None:
    """The script that a name means, with its folder and suffix or without, with dashes or underscores.

    A name that a command had before still means it; today's is told on standard error.
    """
    by_name = {name.replace("-", "_"): path for name, path in commands.items()}
    name = typed.removesuffix(".py").replace("-", "_")
    found = by_name.get(name) or by_name.get(name.rpartition("/")[2])
    if found is None and (path := commands.get(OLD_NAMES.get(name.rpartition("/")[2], ""))):
        print(f"{typed} is called {OLD_NAMES[name.rpartition('/')[2]]} today.", file=sys.stderr)
        return path
    return found


def require_command(typed: str) -> Path:
    """The script of this installation that a name means.

    Raises:
        UsageError: there is none, with the nearest name.
    """
    commands = find_commands(find_scripts())
    script = find_command(typed, commands)
    if script is None:
        raise UsageError(Problem(f"unknown command {typed}", allowed_values(typed, commands)))
    return script


def format_commands(commands: Mapping[str, Path]) -> str:
    """The commands by task, each with the first line of its script, which is read but not run."""
    width = max(map(len, commands), default=0)
    lines = ["usage: finetune NAME [--flag value ...]", ""]
    for title, names in group_commands(commands).items():
        lines.append(f"{title}:")
        lines += [f"  {name:<{width}}  {_first_doc_line(commands[name])}".rstrip() for name in names]
        lines.append("")
    return "\n".join([*lines, "finetune NAME --help lists its flags."])


def group_commands(commands: Mapping[str, Path]) -> dict[str, list[str]]:
    """The names by task, in the order of the list; helpers and further names come last."""
    groups = {title: [name for name in names if name in commands] for title, names in TASKS.items()}
    listed = {name for names in groups.values() for name in names}
    groups[OTHERS] = [name for name in commands if name not in listed]
    return {title: names for title, names in groups.items() if names}


def _first_doc_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    return text.splitlines()[0] if text else ""
