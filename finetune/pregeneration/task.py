"""Pregeneration of BERT instances, step by step: what is asked for, and a look at what would come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

from transformers import PreTrainedTokenizerBase

from finetune.arguments.model import ModelArguments
from finetune.data.text import find_text_files, read_chunks
from finetune.errors import ProblemList
from finetune.pregeneration.arguments import PregenerationArguments
from finetune.pregeneration.epoch_files import OutputFormat, PregeneratedEpoch, read_arrays
from finetune.pregeneration.instances import InstanceSettings
from finetune.pregeneration.pregenerate import Pregeneration, pregenerate
from finetune.run.folders_aside import temporary_folder
from finetune.tokenization.casing import set_casing
from finetune.tokenization.loading import load_tokenizer

SHOWN_INSTANCES = 3
SAMPLED_CHUNKS = 4


def open_pregeneration(asked: PregenerationArguments) -> tuple[Pregeneration, Any]:
    """The task and its tokenizer.

    Raises:
        DataError: files are missing, or the tokenizer cannot be loaded; all of it at once.
    """
    problems = ProblemList()
    paths = problems.attempt(find_text_files, asked.train_corpus, ext=asked.ext, flag="--train_corpus")
    model = ModelArguments(model_name_or_path=asked.bert_model, tokenizer_type=asked.tokenizer_type)
    tokenizer = problems.attempt(load_tokenizer, model)
    problems.raise_any()
    assert paths and tokenizer is not None
    tokenizer = set_casing(tokenizer, asked.do_lower_case)
    settings = InstanceSettings(
        max_seq_len=asked.max_seq_len,
        short_seq_prob=asked.short_seq_prob,
        masked_lm_prob=asked.masked_lm_prob,
        max_predictions_per_seq=asked.max_predictions_per_seq,
        whole_words=asked.do_whole_word_mask,
        seed=asked.seed,
    )
    task = Pregeneration(
        paths=paths,
        output_dir=Path(asked.output_dir),
        epochs=asked.epochs_to_generate,
        settings=settings,
        output_format=OutputFormat(asked.output_format),
        workers=asked.num_workers,
        reduce_memory=asked.reduce_memory,
    )
    return task, tokenizer


def show_plan(task: Pregeneration, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Pregenerate the first subword of the corpus in a temporary folder; print some instances and what all would take."""
    with temporary_folder("finetune-sample-") as folder:
        sample = folder / "sample.txt"
        sample.write_bytes(b"".join(chunk.data for chunk in islice(read_chunks(task.paths), SAMPLED_CHUNKS)))
        started = monotonic()
        part = replace(task, paths=[sample], output_dir=folder, epochs=1, workers=1, output_format=OutputFormat.BINARY)
        counts = pregenerate(part, tokenizer)
        seconds = monotonic() - started
        arrays = folder / "epoch_0.safetensors"
        show_instances(PregeneratedEpoch(read_arrays(arrays)), tokenizer)
        times = total_size(task.paths) / sample.stat().st_size
        size = arrays.stat().st_size
    estimate = {
        "instances_per_epoch": round(counts["instances"][0] * times),
        "megabytes_per_epoch": round(size * times / 1e6, 1),
        "minutes": round(seconds * times * (1 + 0.3 * (task.epochs - 1)) / task.workers / 60, 1),
    }
    print("all in all about: " + ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in estimate.items()))
    return estimate


def total_size(paths: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def show_instances(epoch: PregeneratedEpoch, tokenizer: PreTrainedTokenizerBase) -> None:
    for index in range(min(SHOWN_INSTANCES, len(epoch))):
        instance = epoch[index]
        relation = "B is random" if instance["next_sentence_label"] else "B follows A"
        print(f"({relation}) {' '.join(tokenizer.convert_ids_to_tokens(instance['input_ids'].tolist()))}\n")
