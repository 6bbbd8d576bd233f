"""The sides of the prediction benchmark, each living in a process of its own: all give the logits of the same rows.

Ours in training leaves out what the last layer gives at subwords that decide no word, so the others are not compared."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from training_sides import build_ours, build_stock, training_values
from workloads import Workload, load_prediction

Logits = list[np.ndarray]  # (tokens, labels) of each row
Predict = Callable[[Sequence[dict[str, Any]]], Logits]
IGNORED = -100
OUTPUT = tempfile.TemporaryDirectory()  # of trainers that write nothing; gone with the process
EAGER_TOKENS, OPENVINO_TOKENS = 4096, 1024  # with padding, in a batch: what each of them was quickest with


def make_side(name: str, batch: int, threads: int, length: int | None) -> tuple[Predict, Workload]:
    """A function of rows (`input_ids`, `labels`) for one side, and where rows come from."""
    import torch

    torch.set_num_threads(threads)
    workload = load_prediction(length)
    torch.manual_seed(0)
    model = workload.make_model().eval()
    return SIDES[name](workload, model, batch), workload


def make_trainer(workload: Workload, model: Any, batch: int, recipe: dict[str, Any]) -> Any:
    options = {"batch": batch, "warmup": 1, "steps": 1, "device": "cpu"}
    values = training_values(options, recipe, OUTPUT.name)
    build = build_stock if recipe["side"] == "stock" else build_ours
    return build(workload, model, values, recipe)


def stock(bf16: bool) -> Callable[..., Predict]:
    """`Trainer.predict` of transformers, with its data loader, collator and loss."""

    def make(workload: Workload, model: Any, batch: int) -> Predict:
        trainer = make_trainer(workload, model, batch, {"side": "stock", "bf16": bf16})
        return lambda rows: cut_padding(trainer.predict(rows).predictions, rows)

    return make


def our_trainer(workload: Workload, model: Any, batch: int) -> Predict:
    """`trainer.predict` of this project: what evaluates and tests in training."""
    trainer = make_trainer(workload, model, batch, {"side": "ours"})
    trainer.preprocess_logits_for_metrics = lambda logits, _labels: logits.float()
    return lambda rows: cut_padding(trainer.predict(rows).predictions, rows)


def ours(**words: Any) -> Callable[..., Predict]:
    """What predict.py does with encoded rows: batches, collator, model."""

    def make(workload: Workload, model: Any, batch: int) -> Predict:
        from finetune.arguments.prediction import PredictArguments
        from finetune.models.prediction import predict_logits
        from finetune.training.collators import TaggingCollator
        from finetune.training.fast_prediction import prepare_prediction

        short = prepare_prediction(model, PredictArguments(**words))
        collate = TaggingCollator.for_tokenizer(workload.tokenizer)

        def predict(rows: Any) -> Logits:
            logits = predict_logits(model, list(rows), collate, batch_size=batch, bf16=short)
            return [row[: len(given)] for row, given in zip(logits, rows["input_ids"], strict=True)]

        return predict

    return make


def eager(_workload: Workload, model: Any, _batch: int) -> Predict:
    """A bare loop over ready ids: weights cast to bfloat16 once, rows sorted, SDPA over padded batches."""
    import torch

    model = model.to(torch.bfloat16)

    def call(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).logits.float().numpy()

    return lambda rows: in_sorted_batches(rows["input_ids"], call, EAGER_TOKENS)


def openvino(_workload: Workload, model: Any, _batch: int) -> Predict:
    """The same loop around the model as OpenVINO compiles it, in bfloat16."""
    import openvino as ov
    import torch

    model.config.return_dict = False
    example = {name: torch.ones(2, 8, dtype=torch.long) for name in ("input_ids", "attention_mask")}
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = ov.Core().compile_model(ov.convert_model(model, example_input=example), "CPU", settings)

    def call(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return np.array(compiled({"input_ids": ids, "attention_mask": mask})[0])

    return lambda rows: in_sorted_batches(rows["input_ids"], call, OPENVINO_TOKENS)


SIDES: dict[str, Callable[..., Predict]] = {
    "stock_float32": stock(False),
    "stock_bf16": stock(True),
    "eager_cast_once": eager,
    "openvino_bf16": openvino,
    "ours": ours(),
    "ours_trainer": our_trainer,
    "ours_without_native": ours(no_native=True),
    "ours_float32": ours(bf16=False),
}


def cut_padding(logits: np.ndarray, rows: Any) -> Logits:
    return [row[: len(ids)] for row, ids in zip(logits, rows["input_ids"], strict=True)]


def in_sorted_batches(
    rows: Sequence[list[int]], call: Callable[[np.ndarray, np.ndarray], np.ndarray], tokens: int
) -> Logits:
    order = sorted(range(len(rows)), key=lambda index: -len(rows[index]))
    found: Logits = [np.empty(0)] * len(rows)
    while order:
        chosen = order[: max(1, tokens // len(rows[order[0]]))]
        order = order[len(chosen) :]
        width = len(rows[chosen[0]])
        mask = (np.arange(width) < np.array([len(rows[index]) for index in chosen])[:, None]).astype(np.int64)
        ids = np.zeros(mask.shape, dtype=np.int64)
        for place, index in enumerate(chosen):
            ids[place, : len(rows[index])] = rows[index]
        for index, logits in zip(chosen, call(ids, mask), strict=True):
            found[index] = logits[: len(rows[index])]
    return found


def live(options: dict[str, Any]) -> None:
    """Answer each line of standard input: `check FILE` leaves words' logits there, `go` tells the seconds of a pass."""
    predict, workload = make_side(options["side"], options["batch"], options["threads"], options["length"])
    rows = workload.rows.select(range(min(options["sentences"], len(workload.rows))))

    def save(logits: Logits, path: str) -> None:
        labelled = [own[np.array(row) != IGNORED] for own, row in zip(logits, rows["labels"], strict=True)]
        np.save(path, np.concatenate(labelled))

    answer_lines(lambda: predict(rows), save, {"sentences": len(rows), "tokens": sum(map(len, rows["input_ids"]))})


def answer_lines(work: Callable[[], Logits], save: Callable[[Logits, str], None], facts: dict[str, int]) -> None:
    """A line of JSON for each line of standard input: how long the work took; `check FILE` saves what came of it."""
    for line in sys.stdin:
        start, cpu = time.perf_counter(), time.process_time()
        logits = work()
        answer = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
        if line.startswith("check"):
            save(logits, line.split(maxsplit=1)[1].strip())
        print(json.dumps(answer | facts), flush=True)
