"""train_token_classification_lm_finetuning.py under the other name that thai2transformers gave it: the same command."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.argv[0] = str(Path(__file__).with_name("train_token_classification_lm_finetuning.py"))
    runpy.run_path(sys.argv[0], run_name="__main__")
