"""Distillation beside the plain way: equal losses first, then tokens per second and memory.

    python benchmarks/bench_distillation.py                                   # MiniLM's sizes
    python benchmarks/bench_distillation.py --sizes minilm base --rounds 3 --write

The plain sides are a loop with padded batches and all logits of student and teacher (plain_distillation.py), in float32
and under autocast to bfloat16; ours is scripts/distillation/train.py with the flags of the documented command and nothing
switched on by hand. All train on the same batches of WikiText-2, grouped by length as the published scripts do: with random
ones the plain sides would pad more.

    documented   --alpha_ce 5 --alpha_mlm 2 --alpha_cos 1: soft targets at every position, as DistilBERT was trained
    restricted   the same with --restrict_ce_to_mask: soft targets at masked positions only

Sizes: `minilm` is a BERT of 6 layers, 384 wide (the encoder of MiniLM), and a DistilBERT of 3; `base` is a BERT base and a
DistilBERT of 6. Heads, and all of base, are drawn at random: it does not matter for speed. Every measurement is a process
of its own, and the sides take turns. Compared is processor time for a real token, by medians over rounds, with 95 %
intervals by bootstrap over rounds. Target: at least 3 times as fast as float32 on a CPU. The last line is JSON.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import runpy
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import (
    DATA,
    HERE,
    Ratio,
    call_in_turns,
    call_worker,
    hardware_line,
    minilm_folder,
    peak_gigabytes,
    table,
    write_results,
)

# Written before any run. Relative, float32 without dropout on the same batch: sums of 30,522 terms in another order.
LOSS_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-4  # of the norm over all of the student's weights
TARGET = 3.0
TEXT = DATA / "lm" / "wikitext-2" / "valid.txt.gz"
RECIPES: dict[str, list[str]] = {"documented": [], "restricted": ["--restrict_ce_to_mask"]}
SIDES = ("plain", "plain_bf16", "ours")
EQUAL_BATCHES = 3
WARMUP = 1  # optimizer steps


def prepare(size: str, folder: Path) -> None:
    """Teacher, student's first weights and configuration, ids and counts, as the documented chain makes them."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, BertModel

    from finetune.distillation.binarized import binarize, count_tokens, open_binarized, write_counts
    from finetune.distillation.students import extract_student
    from finetune.distillation.teachers import save_weights

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    teacher = BertForMaskedLM(BertConfig.from_pretrained(minilm_folder()) if size == "minilm" else BertConfig())
    if size == "minilm":
        encoder = BertModel.from_pretrained(minilm_folder(), add_pooling_layer=False)
        teacher.bert.load_state_dict(encoder.state_dict())
        teacher.tie_weights()
    teacher.save_pretrained(folder / "teacher")
    tokenizer.save_pretrained(folder / "teacher")
    student = extract_student(teacher, vocab_transform=True)
    student.config.to_json_file(folder / "student.json")
    student.config.update({"dropout": 0.0, "attention_dropout": 0.0})
    student.config.to_json_file(folder / "student-without-dropout.json")
    save_weights(student.weights, folder / "student.safetensors")
    binarize([TEXT], tokenizer, folder / "data", workers=1)
    write_counts(folder / "counts.json", count_tokens(open_binarized(folder / "data"), len(tokenizer)))


def command(options: dict[str, Any]) -> list[str]:
    """The documented command line."""
    folder, recipe = Path(options["folder"]), RECIPES[options["recipe"]]
    return [
        *("--student_type", "distilbert", "--student_config", str(student_config(options))),
        *("--student_pretrained_weights", str(folder / "student.safetensors")),
        *("--teacher_type", "bert", "--teacher_name", str(folder / "teacher"), "--data_file", str(folder / "data")),
        *("--alpha_ce", "5", "--alpha_mlm", "2", "--alpha_cos", "1", "--alpha_clm", "0", "--mlm", "--freeze_pos_embs"),
        *("--token_counts", str(folder / "counts.json"), "--dump_path", str(folder / "out"), *recipe),
        *("--batch_size", str(options["batch"]), "--gradient_accumulation_steps", str(options["accumulate"])),
        *("--max_steps", str(WARMUP + options["steps"]), "--log_interval", "100000", "--save_strategy", "no"),
        *(() if options["side"] == "ours" else ("--bf16", "False")),
    ]


def student_config(options: dict[str, Any]) -> Path:
    return Path(options["folder"], "student-without-dropout.json" if options["side"] == "equality" else "student.json")


def open_trainer(options: dict[str, Any]) -> tuple[Any, Any]:
    """The task and the Trainer that train.py makes of the command line."""
    from finetune.distillation import language as distillation
    from finetune.run.folder import Run

    script = HERE.parent / "scripts" / "distillation" / "train.py"
    arguments = runpy.run_path(str(script))["make_parser"]().parse(command(options))
    task = distillation.open_task(arguments)
    return task, distillation.build_distillation_trainer(task, Run())


@dataclass(frozen=True)
class PlainBatches:
    """The batches that the Trainer would draw, padded, with labels at their places, epoch after epoch."""

    rows: Any
    sampler: Any
    collator: Any

    @classmethod
    def of(cls, task: Any, trainer: Any) -> PlainBatches:
        from finetune.arguments.fast_path import FastPathArguments
        from finetune.distillation.language import build_sampler

        return cls(trainer.train_dataset, build_sampler(task, trainer, FastPathArguments()), trainer.data_collator)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for epoch in itertools.count():
            self.rows.set_epoch(epoch)
            self.sampler.set_epoch(epoch)
            for indices in self.sampler:
                yield self.pad(indices)

    def pad(self, indices: list[int]) -> dict[str, Any]:
        import torch

        batch = self.collator([self.rows[index] for index in indices])
        labels = torch.full((batch["input_ids"].numel(),), -100)
        kept = batch["counted"][0].bool()
        labels[batch["positions"][0][kept]] = batch["labels"][0][kept]
        return {**batch, "labels": labels.view_as(batch["input_ids"])}


def run_worker(options: dict[str, Any]) -> dict[str, Any]:
    """One side in this process; returns its figures."""
    return compare_losses(options) if options["side"] == "equality" else measure(options)


def plain_models(options: dict[str, Any]) -> tuple[Any, Any]:
    from transformers import AutoConfig, BertForMaskedLM, DistilBertForMaskedLM

    from finetune.distillation.teachers import read_weights

    folder = Path(options["folder"])
    written = json.loads(student_config(options).read_text(encoding="utf-8"))
    student = DistilBertForMaskedLM(AutoConfig.for_model(**written))
    student.load_state_dict(read_weights(folder / "student.safetensors"), strict=False)
    student.tie_weights()
    student.distilbert.embeddings.position_embeddings.requires_grad_(False)
    return student, BertForMaskedLM.from_pretrained(folder / "teacher").eval()


def compare_losses(options: dict[str, Any]) -> dict[str, float]:
    """Largest relative differences of losses and of the gradient's norm, float32 without dropout, the same batches."""
    from plain_distillation import PlainLosses, add_up, compute_losses

    from finetune.distillation.model import count_items

    task, trainer = open_trainer(options)
    student, teacher = plain_models(options)
    recipe = PlainLosses(restrict_ce_to_mask=options["recipe"] == "restricted")
    worst = {"loss": 0.0, "gradient": 0.0}
    for padded in itertools.islice(PlainBatches.of(task, trainer), EQUAL_BATCHES):
        ours = {name: value for name, value in padded.items() if name != "labels"}
        labels = padded["labels"].view(-1)[padded["positions"]].masked_fill(~padded["counted"].bool(), -100)
        loss = trainer.compute_loss_func
        total = loss(trainer.model(**ours), labels, count_items(padded | {"labels": labels}))
        found = loss.take_means()
        expected = compute_losses(student, teacher, padded, recipe)
        norms = gradient_norm(trainer.model.student, total), gradient_norm(student, add_up(expected, recipe))
        if set(found) != set(expected):
            sys.exit(f"the sides have other losses: {sorted(found)} and {sorted(expected)}")
        worst["loss"] = max(worst["loss"], *(abs(found[name] / float(expected[name]) - 1) for name in expected))
        worst["gradient"] = max(worst["gradient"], abs(norms[0] / norms[1] - 1))
    return worst


def gradient_norm(model: Any, loss: Any) -> float:
    import torch

    model.zero_grad()
    loss.backward()
    found = [parameter.grad.norm() for parameter in model.parameters() if parameter.grad is not None]
    return float(torch.stack(found).norm())


def measure(options: dict[str, Any]) -> dict[str, float]:
    """Real tokens of whole optimizer steps and the seconds for them, after a warmup, and the peak of memory."""
    tokens, seconds, cpu_seconds = run_ours(options) if options["side"] == "ours" else run_plain(options)
    return {"tokens": tokens, "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_gigabytes": peak_gigabytes("cpu")}


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def run_plain(options: dict[str, Any]) -> tuple[int, float, float]:
    import torch
    from plain_distillation import PlainLosses, train

    source = iter(PlainBatches.of(*open_trainer(options)))
    gc.collect()  # what only our side needs
    lists = ([next(source) for _ in range(options["accumulate"])] for _ in range(WARMUP + options["steps"]))
    recipe = PlainLosses(restrict_ce_to_mask=options["recipe"] == "restricted")
    torch.manual_seed(0)
    counts, times = [], []
    steps = train(*plain_models(options), lists, recipe, learning_rate=5e-4, bf16=options["side"] == "plain_bf16")
    for count in steps:
        counts.append(count)
        times.append(now())
    return add_turn(counts, times)


def add_turn(counts: list[int], times: list[tuple[float, float]]) -> tuple[int, float, float]:
    """Tokens, seconds and processor seconds of the steps behind the warmup."""
    return sum(counts[WARMUP:]), *(times[-1][which] - times[WARMUP - 1][which] for which in (0, 1))


def run_ours(options: dict[str, Any]) -> tuple[int, float, float]:
    from transformers import TrainerCallback

    _, trainer = open_trainer(options)
    counts, times = [], []
    count_of = trainer._get_num_items_in_batch

    def counting(batches: list[dict[str, Any]], device: Any) -> Any:
        counts.append(sum(int(batch["attention_mask"].sum()) for batch in batches))
        return count_of(batches, device)

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            times.append(now())

    trainer._get_num_items_in_batch = counting
    trainer.add_callback(Clock)
    trainer.train()
    return add_turn(counts, times)


def compare(size: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Every recipe of one size: equal losses, then both sides in turns."""
    prepare(size, folder)
    shape = {
        "batch": options.batch,
        "accumulate": options.accumulate,
        "steps": options.steps,
        "threads": options.threads,
    }
    results = {}
    for recipe in options.recipes:
        common = {"folder": str(folder), "recipe": recipe, **shape}
        equality = call_worker(__file__, common | {"side": "equality"})
        if equality["loss"] > LOSS_TOLERANCE or equality["gradient"] > GRADIENT_TOLERANCE:
            sys.exit(f"{size}, {recipe}: losses or gradients differ ({equality}): there is nothing to compare")
        runs = call_in_turns(SIDES, options.rounds, lambda side: call_worker(__file__, common | {"side": side}))  # noqa: B023
        told = shape | {"rounds": options.rounds, "load": os.getloadavg()[0]}
        results[recipe] = told | {"date": date.today().isoformat(), "equality": equality, "runs": runs}
    return results


def costs(runs: list[dict[str, float]]) -> list[float]:
    """Processor seconds for a real token in each round."""
    return [run["cpu_seconds"] / run["tokens"] for run in runs]


def describe(results: dict[str, dict[str, Any]]) -> list[str]:
    header = ("size", "recipe", "side", "tokens/s", "times the processor time of ours", "peak GB")
    rows, facts = [], []
    for size, recipes in results.items():
        for name, found in recipes.items():
            ours = costs(found["runs"]["ours"])
            rows += [
                (
                    size,
                    name,
                    side,
                    median(run["tokens"] / run["seconds"] for run in runs),
                    str(Ratio.of(costs(runs), ours)) if side != "ours" else "",
                    max(run["peak_gigabytes"] for run in runs),
                )
                for side, runs in found["runs"].items()
            ]
            facts.append(describe_run(size, name, found, Ratio.of(costs(found["runs"]["plain"]), ours)))
    return [*table(header, rows), "", *facts]


def describe_run(size: str, name: str, found: dict[str, Any], ratio: Ratio) -> str:
    equality, verdict = found["equality"], "reached" if ratio.value >= TARGET else "missed"
    return (
        f"- {size}, {name}: {found['batch']} texts at once, {found['accumulate']} times a step, {found['rounds']} rounds of "
        f"{found['steps']} step(s), {found['threads']} thread(s), {found['date']}, load average {found['load']:.1f}. "
        f"Losses differ by {equality['loss']:.0e}, gradients by {equality['gradient']:.0e}. "
        f"Target: {TARGET:g} times as fast as float32; {verdict}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=("minilm", "base"), default=["minilm"])
    parser.add_argument("--recipes", nargs="+", choices=tuple(RECIPES), default=list(RECIPES))
    parser.add_argument("--batch", type=int, default=8, help="texts at once")
    parser.add_argument("--accumulate", type=int, default=4, help="batches of an optimizer step")
    parser.add_argument("--steps", type=int, default=2, help="optimizer steps that are measured in a turn")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/results/")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        print(json.dumps(run_worker(options.worker)))
        return
    results = {}
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            results[size] = compare(size, Path(folder), options)
    lines, machine = describe(results), hardware_line("cpu")
    print("\n".join(lines))
    if options.write:
        write_results("distillation", "Distillation beside the plain way", [machine, "", *lines], results)
    print(json.dumps({"machine": machine, **results}))


if __name__ == "__main__":
    main()
