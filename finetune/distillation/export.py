"""What a distillation writes first, and a student to be handed on: folder, tokenizer, card."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune.models.families import find_position_limit
from finetune.models.saving import save_plain
from finetune.report.model_card import ModelCard, write_model_card
from finetune.run.folder import Run
from finetune.run.manifest import write_json_atomically

logger = logging.getLogger(__name__)

TIMED = (8, 64)  # texts and ids of what speed is measured on


def begin_run(run: Run, inputs: Sequence[Path], parameters: Mapping[str, Any], student: PreTrainedModel) -> None:
    """Begin to write: parameters.json and the student's configuration first."""
    run.record_inputs(inputs)
    run.start()
    assert run.folder is not None
    logger.info("Experiment will be dumped and logged in %s", run.folder)
    if run.writes:
        write_json_atomically(run.folder / "parameters.json", parameters)
        student.config.save_pretrained(run.folder)


def write_export(
    folder: Path, models: Mapping[str, PreTrainedModel], tokenizer: PreTrainedTokenizerBase, card: ModelCard
) -> dict[str, float]:
    """Write what `from_pretrained` loads, with `card` completed; returns sizes and speeds.

    `models` are `student`, which is written, and `teacher`.
    """
    save_plain(models["student"], tokenizer, folder)
    write_vocabulary(folder, tokenizer)
    metrics: dict[str, float] = {f"{name} parameters": model.num_parameters() for name, model in models.items()}
    device = models["student"].device  # a teacher whose answers were kept has not been moved there
    metrics |= {f"{name} texts per second": measure_speed(model, device) for name, model in models.items()}
    note = f"Speed: {TIMED[0]} texts of {TIMED[1]} ids a batch, float32, {torch.get_num_threads()} threads, "
    card = replace(
        card,
        origin="Distilled",
        metrics={**card.metrics, "distillation": metrics},
        notes=(*card.notes, f"{note}{device}."),
    )
    write_model_card(folder, card)
    logger.info("The student can be handed on from %s.", folder)
    return metrics


def list_losses(alphas: Mapping[str, float], temperature: float) -> str:
    """What a student learnt from, with weights, for its card: `5 ce at temperature 2 + 2 mlm + 1 cos`."""
    names = {name: f"{name} at temperature {temperature:g}" if name == "ce" else name for name in alphas}
    return " + ".join(f"{alpha:g} {names[name]}" for name, alpha in alphas.items() if alpha)


def write_vocabulary(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """`vocab.txt`, which a WordPiece tokenizer of today no longer writes, and which other programs read."""
    vocabulary = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    if "bert" in type(tokenizer).__name__.lower() and "[CLS]" in vocabulary:
        (folder / "vocab.txt").write_text("\n".join(map(str, vocabulary)) + "\n", encoding="utf-8")


@torch.inference_mode()
def measure_speed(model: PreTrainedModel, device: torch.device) -> float:
    """Texts a second, the best of three batches after one to warm up."""
    model = cast(Any, model).to(device).float().eval()
    length = min(TIMED[1], find_position_limit(model.config) or TIMED[1])
    ids = torch.full((TIMED[0], length), 5 % model.config.get_text_config().vocab_size, device=device)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        model(input_ids=ids)[0].sum().item()
        seconds.append(time.perf_counter() - start)
    return round(TIMED[0] / min(seconds[1:]), 1)
