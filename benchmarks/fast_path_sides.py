"""The sides of the fast path's benchmark, each run in a process of its own: the stock Trainer, and this project's."""

from __future__ import annotations

import tempfile
import time
from typing import Any

from measure import matmul_rate, peak_gigabytes, read_clock
from profile_shares import profile_steps

RECIPES = {
    "stock_float32": {"side": "stock", "bf16": False},
    "stock_bf16": {"side": "stock", "bf16": True},
    "ours": {"side": "ours"},
    "ours_without_native": {"side": "ours", "no_native": True},
    "ours_float32": {"side": "ours", "bf16": False},
    "ours_float32_without_native": {"side": "ours", "bf16": False, "no_native": True},
    "stock_bf16_sorted": {"side": "stock", "bf16": True, "by_length": True},
    "ours_sorted": {"side": "ours", "by_length": True},
}
WINDOW = 50  # batches sorted by length together
MASKING_SEED = 1  # both sides mask the same tokens


def run_worker(options: dict[str, Any]) -> dict[str, Any]:
    """One recipe on one task in this process; returns its figures."""
    import torch
    from transformers import set_seed
    from workloads import load_workload, useful_flops

    recipe = RECIPES[options["recipe"]]
    workload = load_workload(options["task"])
    set_seed(options.get("seed", 1))
    model = workload.make_model()
    if options.get("no_dropout"):
        silence_dropout(model)
    device = options["device"]
    clock = Clock(options["warmup"], device)
    with tempfile.TemporaryDirectory() as folder:
        values = training_values(options, recipe, folder)
        build = build_stock if recipe["side"] == "stock" else build_ours
        trainer = build(workload, model, values, clock, recipe)
        if workload.predicts:
            return predict(trainer, workload, options, device)
        if options.get("profile"):
            return {"shares": profile_steps(trainer, options["warmup"], options["steps"])}
        count_batches(trainer, clock).train()
    if "epochs" in options:
        return {"f1": score_test(trainer, workload), "sentences_per_second": clock.sentences / clock.seconds}
    per_step = useful_flops(workload, model, workload.rows) / len(workload.rows) * clock.sentences / clock.steps
    torch.manual_seed(0)
    return {
        "sentences_per_second": clock.sentences / clock.seconds,
        "tokens_per_second": clock.tokens / clock.seconds,
        "cpu_seconds_per_step": clock.cpu_seconds / clock.steps,
        "useful_flops_per_second": 3 * per_step * clock.steps / clock.seconds,
        "bf16_rate": matmul_rate("bfloat16", device),
        "float32_rate": matmul_rate("float32", device),
        "peak_gigabytes": peak_gigabytes(device),
        "first_loss": next(line["loss"] for line in trainer.state.log_history if "loss" in line),
    }


def silence_dropout(model: Any) -> None:
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def training_values(options: dict[str, Any], recipe: dict[str, Any], folder: str) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "do_train": True,
        "per_device_train_batch_size": options["batch"],
        "per_device_eval_batch_size": options["batch"],
        **(
            {"num_train_epochs": options["epochs"]}
            if "epochs" in options
            else {"max_steps": options["warmup"] + options["steps"]}
        ),
        "learning_rate": 5e-5,
        "seed": options.get("seed", 1),
        "logging_steps": 1 if options.get("no_dropout") else 1000,
        "logging_first_step": True,
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": options["device"] == "cpu",
        **({} if recipe.get("bf16") is None else {"bf16": recipe["bf16"]}),
        **({"bf16": False} if options.get("no_dropout") else {}),
    }


class Clock:
    """Wall and processor seconds, sentences and tokens from the end of the warmup to the end of training."""

    def __new__(cls, warmup: int, device: str) -> Any:
        from transformers import TrainerCallback

        class Callback(TrainerCallback):
            sentences = tokens = steps = 0
            seconds = cpu_seconds = 0.0

            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if state.global_step not in (warmup, state.max_steps):
                    return  # waiting for an accelerator after every step would slow it down
                now = read_clock(device), time.process_time()
                if state.global_step == warmup:
                    self.start, self.sentences, self.tokens = now, 0, 0
                else:
                    self.steps = state.global_step - warmup
                    self.seconds, self.cpu_seconds = (a - b for a, b in zip(now, self.start, strict=True))

            def count(self, batch: dict[str, Any]) -> dict[str, Any]:
                self.sentences += len(batch["attention_mask"])
                self.tokens += int(batch["attention_mask"].sum())
                return batch

        return Callback()


def count_batches(trainer: Any, clock: Any) -> Any:
    """Let `clock` count what the trainer's collator makes. (One batch is drawn ahead: a difference of one in all.)"""
    collator = trainer.data_collator
    trainer.data_collator = lambda features: clock.count(collator(features))
    return trainer


def build_stock(workload: Any, model: Any, values: dict[str, Any], clock: Any, recipe: dict[str, Any]) -> Any:
    from transformers import (
        DataCollatorForLanguageModeling,
        DataCollatorForTokenClassification,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    collators = {
        "tagging": DataCollatorForTokenClassification,
        "classification": DataCollatorWithPadding,
        "mlm": DataCollatorForLanguageModeling,
    }
    seed = {"seed": MASKING_SEED} if workload.kind == "mlm" else {}
    collator = collators[workload.kind](workload.tokenizer, **seed)
    if recipe.get("by_length"):
        values = values | {"train_sampling_strategy": "group_by_length"}
    arguments = TrainingArguments(**{name: value for name, value in values.items() if name != "do_train"})
    return Trainer(
        model=model,
        args=arguments,
        train_dataset=workload.rows,
        data_collator=collator,
        processing_class=workload.tokenizer,
        callbacks=[clock],
    )


def build_ours(workload: Any, model: Any, values: dict[str, Any], clock: Any, recipe: dict[str, Any]) -> Any:
    from transformers import DataCollatorForLanguageModeling

    from finetune.arguments.fast_path import FastPathArguments
    from finetune.classification.losses import SequenceLoss
    from finetune.models.sparse_mlm_head import select_labelled
    from finetune.run.folder import Run
    from finetune.training.building import TrainerParts, build_trainer
    from finetune.training.collators import ClassificationCollator, TaggingCollator
    from finetune.training.losses import TokenLoss

    masking = DataCollatorForLanguageModeling(workload.tokenizer, seed=MASKING_SEED)

    def mask(features: list[dict[str, Any]]) -> dict[str, Any]:
        batch = dict(masking(features))
        positions, labels = select_labelled(batch["labels"])
        return batch | {"labelled_positions": positions, "labels": labels}

    collator, loss = {
        "tagging": (TaggingCollator.for_tokenizer(workload.tokenizer), TokenLoss()),
        "classification": (
            ClassificationCollator.for_tokenizer(workload.tokenizer),
            SequenceLoss("single_label_classification"),
        ),
        "mlm": (mask, TokenLoss()),
    }[workload.kind]
    parts = TrainerParts(
        model=model,
        tokenizer=workload.tokenizer,
        collator=collator,
        loss=loss,
        train=workload.rows,
        callbacks=[clock],
        sparse_embedding=workload.kind != "mlm",
    )
    window = WINDOW if recipe.get("by_length") else 0
    fast_path = FastPathArguments(length_window=window, no_native=recipe.get("no_native", False))
    return build_trainer(parts, values, Run(), fast_path=fast_path)


def predict(trainer: Any, workload: Any, options: dict[str, Any], device: str) -> dict[str, Any]:
    """Predictions for the first rows of the test split, after a warmup on others."""
    from workloads import useful_flops

    batch = options["batch"]
    warmup, measured = batch * options["warmup"], batch * options["steps"]
    rows = workload.rows.select(range(measured))
    trainer.predict(workload.rows.select(range(measured, measured + warmup)))
    start, cpu_start = read_clock(device), time.process_time()
    output = trainer.predict(rows)
    seconds, cpu_seconds = read_clock(device) - start, time.process_time() - cpu_start
    tokens = sum(map(len, rows["input_ids"]))
    return {
        "sentences_per_second": measured / seconds,
        "tokens_per_second": tokens / seconds,
        "cpu_seconds_per_step": cpu_seconds / options["steps"],
        "useful_flops_per_second": useful_flops(workload, trainer.model, rows) / seconds,
        "bf16_rate": matmul_rate("bfloat16", device),
        "float32_rate": matmul_rate("float32", device),
        "peak_gigabytes": peak_gigabytes(device),
        "first_loss": prediction_loss(output),
    }


def prediction_loss(output: Any) -> float:
    """Mean loss of labelled tokens: of logits (stock), or of the loss sums that ours keeps in their place."""
    import numpy as np
    import torch

    labels = np.asarray(output.label_ids)
    if isinstance(output.predictions, tuple):
        return float(output.predictions[1].sum(dtype=np.float64) / (labels != -100).sum())
    logits = torch.from_numpy(output.predictions).double()
    return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(labels).flatten()))


def score_test(trainer: Any, workload: Any) -> float:
    """Entity F1 of WNUT17's test sentences by seqeval (lenient, first subwords): the same function for both sides."""
    import numpy as np
    from seqeval.metrics import f1_score
    from workloads import encode_wnut17, read_wnut17

    rows, _ = encode_wnut17(workload.tokenizer, "emerging.test.annotated.gz")
    tags = sorted({tag for _, sentence in read_wnut17("wnut17train.conll.gz") for tag in sentence})
    output = trainer.predict(rows)
    predictions = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
    predicted = predictions.argmax(-1) if predictions.ndim == 3 else predictions
    gold = np.asarray(output.label_ids)
    named = [
        ([tags[g] for g in gold_row if g != -100], [tags[p] for p, g in zip(row, gold_row, strict=True) if g != -100])
        for row, gold_row in zip(predicted, gold, strict=True)
    ]
    return float(f1_score([gold for gold, _ in named], [predicted for _, predicted in named]))
