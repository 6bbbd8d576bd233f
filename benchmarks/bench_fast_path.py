"""The fast path beside the stock Hugging Face recipe: equality first, then speed and memory, on a CPU or a GPU.

    python benchmarks/bench_fast_path.py                                  # all tasks of a CPU, about half an hour
    python benchmarks/bench_fast_path.py --tasks ner mlm --rounds 5
    python benchmarks/bench_fast_path.py --device cuda --tasks ner_base mlm_512 xlmr_vocabulary

The stock side is a plain `transformers.Trainer` with the collators of transformers, as in `run_ner.py`, `run_glue.py` and
`run_mlm.py`; ours is this project's `build_trainer` with nothing switched on by hand. Both draw random batches of the same
size from the same rows, and start from the same weights. `*_sorted` recipes batch by length, each side in its own way.
Every measurement is a process of its own, and the recipes take turns. The last line of standard output is JSON; `--write`
keeps a table in benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import (
    call_worker,
    hardware_line,
    matmul_rate,
    peak_gigabytes,
    read_clock,
    table,
    take_turns,
    write_results,
)

LOSS_TOLERANCE = 1e-5  # relative, written before any run: first float32 loss without dropout, the same rows and weights
RECIPES = {
    "stock_float32": {"side": "stock", "bf16": False},
    "stock_bf16": {"side": "stock", "bf16": True},
    "ours": {"side": "ours"},
    "stock_bf16_sorted": {"side": "stock", "bf16": True, "by_length": True},
    "ours_sorted": {"side": "ours", "by_length": True},
}
CPU_TASKS = ("ner", "classification", "mlm", "mlm_roberta", "prediction", "xlmr_vocabulary")
CUDA_TASKS = ("ner", "ner_base", "mlm_512", "xlmr_vocabulary")
SEEDS = (1, 2, 3)
# Written before any run: mean test F1 over the seeds after one epoch may differ by at most this much. One run of MiniLM on
# WNUT17 has a standard deviation near 0.012, so the difference of two means over three seeds has about 0.01.
F1_TOLERANCE = 0.02
STEPS = {"xlmr_vocabulary": 4, "prediction": 40}  # measured steps; others as --steps says
WINDOW = 50  # batches sorted by length together


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
        trainer.train()
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
                now = read_clock(device), time.process_time()
                if state.global_step == warmup:
                    self.start, self.sentences, self.tokens, self.steps = now, 0, 0, 0
                elif state.global_step > warmup:
                    self.steps += 1
                    self.seconds, self.cpu_seconds = (a - b for a, b in zip(now, self.start, strict=True))

            def count(self, batch: dict[str, Any]) -> dict[str, Any]:
                self.sentences += len(batch["attention_mask"])
                self.tokens += int(batch["attention_mask"].sum())
                return batch

        return Callback()


def counting(collator: Any, clock: Any) -> Any:
    """The collator, whose batches `clock` counts. (One batch is drawn ahead: a difference of one in all.)"""
    return lambda features: clock.count(collator(features))


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
    collator = collators[workload.kind](workload.tokenizer)
    if recipe.get("by_length"):
        values = values | {"train_sampling_strategy": "group_by_length"}
    arguments = TrainingArguments(**{name: value for name, value in values.items() if name != "do_train"})
    return Trainer(
        model=model,
        args=arguments,
        train_dataset=workload.rows,
        data_collator=counting(collator, clock),
        processing_class=workload.tokenizer,
        callbacks=[clock],
    )


def build_ours(workload: Any, model: Any, values: dict[str, Any], clock: Any, recipe: dict[str, Any]) -> Any:
    from transformers import DataCollatorForLanguageModeling

    from finetune.arguments.fast_path import FastPathArguments
    from finetune.collators import ClassificationCollator, TaggingCollator
    from finetune.models.sparse_mlm_head import select_labelled
    from finetune.run.folder import Run
    from finetune.training.building import TrainerParts, build_trainer
    from finetune.training.classification_losses import SequenceLoss
    from finetune.training.losses import TokenLoss

    masking = DataCollatorForLanguageModeling(workload.tokenizer)

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
        collator=counting(collator, clock),
        loss=loss,
        train=workload.rows,
        callbacks=[clock],
        trimmable=workload.kind != "mlm",
    )
    fast_path = FastPathArguments(length_window=WINDOW if recipe.get("by_length") else 0)
    return build_trainer(parts, values, Run(), fast_path=fast_path)


def predict(trainer: Any, workload: Any, options: dict[str, Any], device: str) -> dict[str, Any]:
    """Predictions for the first rows of the test split, after a warmup on others."""
    from workloads import useful_flops

    batch = options["batch"]
    warmup, measured = batch * options["warmup"], batch * options["steps"]
    rows = workload.rows.select(range(measured))
    trainer.predict(workload.rows.select(range(measured, measured + warmup)))
    start, cpu_start = read_clock(device), time.process_time()
    trainer.predict(rows)
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
    }


def score_test(trainer: Any, workload: Any) -> float:
    """Entity F1 of WNUT17's test sentences by seqeval (lenient, first pieces): the same function for both sides."""
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


def compare_scores(options: argparse.Namespace) -> dict[str, Any]:
    """Test F1 of both sides over paired seeds."""
    common = {"task": "ner", "device": options.device, "batch": options.batch, "warmup": 8, "epochs": options.epochs}
    names = ("stock_float32", "ours")
    scores: dict[str, list[float]] = {name: [] for name in names}
    for seed in SEEDS:
        for name in names:
            scores[name].append(call_worker(__file__, common | {"recipe": name, "seed": seed})["f1"])
    difference = sum(scores["ours"]) / len(SEEDS) - sum(scores["stock_float32"]) / len(SEEDS)
    within = abs(difference) <= F1_TOLERANCE
    return {"f1": scores, "difference": difference, "tolerance": F1_TOLERANCE, "within_tolerance": within}


def describe_scores(result: dict[str, Any]) -> list[str]:
    rows = [(name, *scores, sum(scores) / len(scores)) for name, scores in result["f1"].items()]
    verdict = "within" if result["within_tolerance"] else "OUTSIDE"
    ends = f"Difference of the means {result['difference']:+.4f}, {verdict} the tolerance of {result['tolerance']}."
    return ["## Test F1 on WNUT17", "", *table(("recipe", *map(str, SEEDS), "mean"), rows), "", ends, ""]


def check_equality(task: str, options: argparse.Namespace) -> float:
    """Relative difference of the first loss of both sides in float32 without dropout; ends the program if it is one."""
    if task in ("prediction", "mlm", "mlm_roberta", "mlm_512"):  # masks are drawn anew: see tests/invariants
        return 0.0
    common = {
        "task": task,
        "device": options.device,
        "batch": options.batch,
        "steps": 1,
        "warmup": 1,
        "no_dropout": True,
    }
    stock, ours = (call_worker(__file__, common | {"recipe": name})["first_loss"] for name in ("stock_float32", "ours"))
    difference = abs(stock - ours) / abs(stock)
    if difference > LOSS_TOLERANCE:
        sys.exit(f"{task}: the first losses {stock} and {ours} differ by {difference:.1e}: there is nothing to compare")
    return difference


def compare(task: str, options: argparse.Namespace) -> dict[str, Any]:
    steps = STEPS.get(task, options.steps)
    warmup = 2 if task == "xlmr_vocabulary" else options.warmup
    common = {"task": task, "device": options.device, "batch": options.batch, "steps": steps, "warmup": warmup}
    difference = check_equality(task, options)
    recipes = [name for name in options.recipes if not (name.endswith("_sorted") and task in ("prediction", "mlm"))]
    figures = take_turns(recipes, options.rounds, lambda name: call_worker(__file__, common | {"recipe": name}))
    for name, figure in figures.items():
        rate = figure["float32_rate" if name == "stock_float32" else "bf16_rate"]
        figure["utilisation"] = figure["useful_flops_per_second"] / rate
    return {"loss_difference": difference, "recipes": figures}


def describe(task: str, result: dict[str, Any]) -> list[str]:
    """The table of one task."""
    figures = result["recipes"]
    base = figures.get("stock_float32") or next(iter(figures.values()))
    short = figures.get("stock_bf16", base)
    header = ("recipe", "sentences/s", "real tokens/s", "x stock float32", "x stock bf16", "x by CPU time", "utilisation",
              "peak GB")  # fmt: skip
    rows = [
        (
            name,
            f["sentences_per_second"],
            f["tokens_per_second"],
            f["sentences_per_second"] / base["sentences_per_second"],
            f["sentences_per_second"] / short["sentences_per_second"],
            f"{base['cpu_seconds_per_step'] / f['cpu_seconds_per_step']:.2f} / "
            f"{short['cpu_seconds_per_step'] / f['cpu_seconds_per_step']:.2f}",
            f"{f['utilisation']:.0%}",
            f["peak_gigabytes"],
        )
        for name, f in figures.items()
    ]
    return [f"## {task}", "", *table(header, rows), ""]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=sorted({*CPU_TASKS, *CUDA_TASKS}))
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=["stock_float32", "stock_bf16", "ours"])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=16, help="sentences of a batch")
    parser.add_argument("--rounds", type=int, default=3, help="turns that each recipe takes")
    parser.add_argument("--steps", type=int, default=24, help="measured steps of a turn")
    parser.add_argument("--warmup", type=int, default=8, help="steps before")
    parser.add_argument(
        "--scores", action="store_true", help="compare test F1 over three seeds, too (alone: only that)"
    )
    parser.add_argument("--epochs", type=float, default=1.0, help="epochs of the score comparison")
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/results/")
    parser.add_argument("--name", help="name of that table, instead of the device")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.worker:
        print(json.dumps(run_worker(options.worker)))
        return
    tasks = (
        []
        if options.scores and not options.tasks
        else options.tasks or (CPU_TASKS if options.device == "cpu" else CUDA_TASKS)
    )
    results = {task: compare(task, options) for task in tasks}
    machine = hardware_line(options.device)
    lines = [machine, "", *(line for task in tasks for line in describe(task, results[task]))]
    scores = compare_scores(options) if options.scores else {}
    lines += describe_scores(scores) if scores else []
    print("\n".join(lines))
    summary = {"machine": machine, "batch": options.batch, "rounds": options.rounds, "tasks": results, **scores}
    if options.write:
        write_results(
            f"fast_path_{options.name or options.device}", "The fast path beside the stock recipe", lines, summary
        )
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
