"""Which folders are packages; names, dependencies and extras stand in pyproject.toml and requirements.txt."""

from pathlib import Path

from setuptools import Distribution, find_packages, setup

HERE = Path(__file__).parent


def find_script_packages() -> list[str]:
    """scripts/ and its folders as packages; they hold commands, not modules, and so no __init__.py."""
    folders = [path for path in sorted((HERE / "scripts").rglob("*")) if path.is_dir() and path.name != "__pycache__"]
    return [
        "finetune_scripts",
        *(".".join(("finetune_scripts", *p.relative_to(HERE / "scripts").parts)) for p in folders),
    ]


class OneOrEveryPlatform(Distribution):
    """A wheel is of this platform where compiled kernels were put into it (finetune/models/native/building.py)."""

    def has_ext_modules(self) -> bool:
        return any((HERE / "finetune/models/native/libraries").glob("*.so"))


setup(
    distclass=OneOrEveryPlatform,
    # scripts/ is installed as finetune_scripts: `finetune NAME` and `python scripts/NAME.py` start the same file.
    # configs/ is installed beside it as finetune_configs, where --architecture and the wrappers look.
    packages=[*find_packages(include=["finetune", "finetune.*"]), *find_script_packages(), "finetune_configs"],
    package_dir={"finetune_scripts": "scripts", "finetune_configs": "configs"},
    package_data={
        "finetune_scripts": ["*.sh"],
        "finetune_configs": ["*.json"],
        # kernels are compiled where they are used; a library among them is for machines without a compiler
        "finetune": [
            "py.typed",
            "models/native/kernels/*",
            "models/native/libraries/*.so",
            "page/templates/*",
            "serving/pages/*",
        ],
    },
)
