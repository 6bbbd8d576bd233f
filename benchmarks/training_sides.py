"""The sides of the training benchmark, each in a process of its own: the stock Trainer, and this project's."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import deque
from typing import Any

from measure import matmul_rate, peak_gigabytes, read_clock
from profile_shares import profile_steps

# float32: computes in it, so that its losses are stock's to rounding; extra: takes part only where it is asked for.
RECIPES: dict[str, dict[str, Any]] = {
    "stock_float32": {"side": "stock", "bf16": False, "float32": True},
    "stock_bf16": {"side": "stock", "bf16": True, "float32": False},
    "stock_bf16_grouped": {"side": "stock", "bf16": True, "float32": False, "by_length": True},
    "ours": {"side": "ours", "float32": False},
    "ours_without_native": {"side": "ours", "float32": False, "switches": {"no_native": True}},
    "ours_no_fast_path": {"side": "ours", "bf16": False, "float32": True, "switches": {"no_fast_path": True}},
    "ours_float32": {"side": "ours", "bf16": False, "float32": True, "extra": True},
    "ours_grouped": {"side": "ours", "float32": False, "switches": {"length_window": 50}, "extra": True},
}
MASKING_SEED = 1  # all sides mask the same tokens
ENDLESS = 10_000  # steps


def run_worker(options: dict[str, Any]) -> None:
    """One side on one task in this process: its first losses, its profile, or turns as standard input asks for them."""
    import torch
    from transformers import set_seed
    from workloads import load_workload

    torch.set_num_threads(options["threads"])
    recipe, workload = RECIPES[options["recipe"]], load_workload(options["task"])
    set_seed(1)
    model = workload.make_model()
    if "equal_steps" in options:
        silence_dropout(model)
    build = build_stock if recipe["side"] == "stock" else build_ours
    with tempfile.TemporaryDirectory() as folder:
        trainer = build(workload, model, training_values(options, recipe, folder), recipe)
        if options.get("profile"):
            print(json.dumps({"shares": profile_steps(trainer, options["warmup"], options["steps"])}))
            return
        if "equal_steps" not in options:
            trainer.add_callback(make_turns(options, workload, model, trainer))
        trainer.train()
        if "equal_steps" in options:
            print(json.dumps({"losses": [line["loss"] for line in trainer.state.log_history if "loss" in line]}))


def make_turns(options: dict[str, Any], workload: Any, model: Any, trainer: Any) -> Any:
    """A callback that trains some steps for each line of standard input and answers what they took."""
    from transformers import TrainerCallback
    from workloads import useful_flops

    device = options["device"]
    counts = count_batches(trainer)
    dtype = "bfloat16" if options["recipe"] != "stock_float32" and trainer.args.bf16 else "float32"
    flops_of_token = 3 * useful_flops(workload, model, workload.rows) / sum(map(len, workload.rows["input_ids"]))

    class Turns(TrainerCallback):
        end = 0
        rate = 0.0

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.wait(control)

        def wait(self, control: Any) -> None:
            """Until the next turn: `warmup` or `go`."""
            line = sys.stdin.readline().strip()
            if not line:
                control.should_training_stop = True
            self.end += options["warmup" if line == "warmup" else "steps"]
            if line == "warmup":  # now no other side computes
                self.rate = matmul_rate(dtype, device)
            self.rows = self.tokens = 0
            self.start = read_clock(device), time.process_time()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            rows, tokens = counts.popleft()
            self.rows, self.tokens = self.rows + rows, self.tokens + tokens
            if state.global_step == self.end:
                seconds, cpu_seconds = read_clock(device) - self.start[0], time.process_time() - self.start[1]
                answer = {"seconds": seconds, "cpu_seconds": cpu_seconds, "rows": self.rows, "tokens": self.tokens}
                answer |= {"useful_flops": flops_of_token * self.tokens, "matmul_rate": self.rate}
                print(json.dumps(answer | {"peak_gigabytes": peak_gigabytes(device)}), flush=True)
                self.wait(control)

    return Turns()


def silence_dropout(model: Any) -> None:
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def training_values(options: dict[str, Any], recipe: dict[str, Any], folder: str) -> dict[str, Any]:
    """TrainingArguments by name; what they leave open each side decides as it does by default."""
    steps = options["warmup"] + options["steps"] if options.get("profile") else ENDLESS
    return {
        "output_dir": folder,
        "do_train": True,
        "per_device_train_batch_size": options["batch"],
        "per_device_eval_batch_size": options["batch"],
        "max_steps": options.get("equal_steps", steps),
        "learning_rate": 5e-5,
        "seed": 1,
        "logging_steps": 1 if "equal_steps" in options else ENDLESS,
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": options["device"] == "cpu",
        **({"bf16": recipe["bf16"]} if "bf16" in recipe else {}),
    }


def count_batches(trainer: Any) -> deque[tuple[int, int]]:
    """Texts and real tokens of the batches that the trainer's collator makes, in order; some are drawn ahead."""
    collator, counts = trainer.data_collator, deque[tuple[int, int]]()

    def collate(features: Any) -> Any:
        batch = collator(features)
        counts.append((len(batch["attention_mask"]), int(batch["attention_mask"].sum())))
        return batch

    trainer.data_collator = collate
    return counts


def build_stock(workload: Any, model: Any, values: dict[str, Any], recipe: dict[str, Any]) -> Any:
    from transformers import (
        DataCollatorForLanguageModeling,
        DataCollatorForTokenClassification,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    class GroupedTrainer(Trainer):
        """Grouped by length as transformers does it; its batches, sorted within fifty, take turns in random order, so that
        every round of a measurement has long and short ones."""

        def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
            return ShuffledBatches(super()._get_train_sampler(*args, **kwargs), values["per_device_train_batch_size"])

    collators = {
        "tagging": DataCollatorForTokenClassification,
        "classification": DataCollatorWithPadding,
        "mlm": DataCollatorForLanguageModeling,
    }
    seed = {"seed": MASKING_SEED} if workload.kind == "mlm" else {}
    grouping = {"train_sampling_strategy": "group_by_length"} if recipe.get("by_length") else {}
    arguments = {name: value for name, value in values.items() if name != "do_train"}
    return (GroupedTrainer if grouping else Trainer)(
        model=model,
        args=TrainingArguments(**arguments, **grouping),
        train_dataset=workload.rows,
        data_collator=collators[workload.kind](workload.tokenizer, **seed),
        processing_class=workload.tokenizer,
    )


class ShuffledBatches:
    """The indices of `sampler`, whole batches in random order."""

    def __init__(self, sampler: Any, batch: int) -> None:
        self.sampler, self.batch = sampler, batch

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Any:
        import numpy as np

        indices = list(self.sampler)
        whole = len(indices) // self.batch
        for place in np.random.default_rng(0).permutation(whole):
            yield from indices[place * self.batch : (place + 1) * self.batch]
        yield from indices[whole * self.batch :]


def build_ours(workload: Any, model: Any, values: dict[str, Any], recipe: dict[str, Any]) -> Any:
    from transformers import DataCollatorForLanguageModeling

    from finetune.arguments.fast_path import FastPathArguments
    from finetune.classification.losses import SequenceLoss
    from finetune.models.sparse_mlm_head import select_labelled
    from finetune.run.folder import Run
    from finetune.training.building import TrainerParts, build_trainer
    from finetune.training.collators import ClassificationCollator, TaggingCollator
    from finetune.training.losses import TokenLoss

    switches = recipe.get("switches", {})
    masking = DataCollatorForLanguageModeling(workload.tokenizer, seed=MASKING_SEED)

    def mask(features: list[dict[str, Any]]) -> dict[str, Any]:
        batch = dict(masking(features))
        if switches.get("no_fast_path"):
            return batch
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
        sparse_embedding=workload.kind != "mlm",
    )
    return build_trainer(parts, values, Run(), fast_path=FastPathArguments(**switches))
