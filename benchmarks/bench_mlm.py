"""Training a masked language model beside transformers' run_mlm.py: from a text file to training steps, on a CPU.

    python benchmarks/bench_mlm.py                                  # both workloads, about twenty minutes on two cores
    python benchmarks/bench_mlm.py --workloads blocks --rounds 2 --write

The workloads are WikiText-2 with MiniLM: `blocks` as one stream cut every 128 ids, which is what run_mlm.py does, and
`lines` as one example a line (`--line_by_line`), which has padding. The stock side is run_mlm.py's recipe: `datasets.map`,
the `DataCollatorForLanguageModeling` of transformers, a plain `Trainer`, in float32 and in bfloat16. Ours is what run_mlm.py
of this project does for the same command line, nothing switched on by hand. Equality comes first: both must give the same
loss (float32, no dropout) on a batch of our blocks and our masks. Every measurement is a process of its own, and the recipes
take turns. `--write` keeps the table in benchmarks/results/; workloads that are not run stay there. The last line of
standard output is JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import runpy
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from corpus_sides import stock_rows
from fast_path_sides import Clock, count_batches, silence_dropout
from kept_parts import read_kept
from measure import (
    DATA,
    HERE,
    call_worker,
    hardware_line,
    minilm_folder,
    peak_gigabytes,
    table,
    take_turns,
    write_results,
)

NAME = "mlm"
LENGTH = 128
LOSS_TOLERANCE = 1e-5  # relative, written before any run
WORKLOADS = {"blocks": [], "lines": ["--line_by_line"]}  # further flags of our command
RECIPES = ("stock_float32", "stock_bf16", "ours_float32", "ours")
SCRIPT = HERE.parent / "scripts" / "run_mlm.py"


def write_inputs(folder: Path) -> None:
    """The text as a plain file, and MiniLM with the head that it lacks, the same for both sides."""
    import torch
    from transformers import AutoTokenizer, BertForMaskedLM

    packed = (DATA / "lm" / "wikitext-2" / "valid.txt.gz").read_bytes()
    (folder / "text.txt").write_bytes(gzip.decompress(packed))
    torch.manual_seed(0)
    BertForMaskedLM.from_pretrained(minilm_folder(), dtype=torch.float32).save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(minilm_folder()).save_pretrained(folder / "model")


def training_values(options: dict[str, Any], output: str) -> dict[str, Any]:
    return {
        "output_dir": output,
        "max_steps": options["warmup"] + options["steps"],
        "per_device_train_batch_size": options["batch"],
        "learning_rate": 5e-5,
        "logging_steps": 1000,
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 1,
    }


def build_ours(options: dict[str, Any], output: str, cache: str) -> Any:
    """The Trainer of our command."""
    from finetune.language_modeling.definitions import define_masked
    from finetune.language_modeling.task import build_language_trainer, open_task
    from finetune.run.folder import Run

    values = training_values(options, output)
    if options["recipe"] == "ours_float32":
        values["bf16"] = False
    folder = Path(options["folder"])
    typed = [str(part) for name, value in values.items() for part in (f"--{name}", value)]
    typed += ["--model_name_or_path", str(folder / "model"), "--train_file", str(folder / "text.txt")]
    typed += ["--datasets_cache_dir", cache, "--max_seq_length", str(LENGTH), "--do_train"]
    arguments = runpy.run_path(str(SCRIPT))["make_parser"]().parse([*typed, *WORKLOADS[options["workload"]]])
    return build_language_trainer(open_task(arguments, define_masked(arguments)), Run())


def build_stock(options: dict[str, Any], output: str, cache: str) -> Any:
    """The Trainer of run_mlm.py of transformers."""
    from transformers import (
        AutoModelForMaskedLM,
        AutoTokenizer,
        DataCollatorForLanguageModeling,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    folder = Path(options["folder"])
    set_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    read = stock_rows if options["workload"] == "blocks" else stock_lines
    rows = read(folder / "text.txt", tokenizer, LENGTH, cache)
    values = training_values(options, output)
    return Trainer(
        model=AutoModelForMaskedLM.from_pretrained(folder / "model"),
        args=TrainingArguments(**values, bf16=options["recipe"] == "stock_bf16", use_cpu=True),
        train_dataset=rows,
        data_collator=DataCollatorForLanguageModeling(tokenizer),
        processing_class=tokenizer,
    )


def stock_lines(path: Path, tokenizer: Any, length: int, cache: str) -> Any:
    """The data set of run_mlm.py --line_by_line."""
    import datasets

    datasets.disable_progress_bars()

    def tokenize(batch: dict[str, list]) -> Any:
        lines = [line for line in batch["text"] if line and not line.isspace()]
        return tokenizer(lines, truncation=True, max_length=length, return_special_tokens_mask=True)

    rows = datasets.load_dataset("text", data_files=str(path), cache_dir=cache)["train"]
    return rows.map(tokenize, batched=True, remove_columns=["text"])


def run_worker(options: dict[str, Any]) -> dict[str, Any]:
    """One recipe on one workload in this process; returns its figures."""
    if options["recipe"] == "equality":
        return compare_losses(options)
    with tempfile.TemporaryDirectory() as output, tempfile.TemporaryDirectory() as cache:
        began = time.perf_counter()
        build = build_stock if options["recipe"].startswith("stock") else build_ours
        trainer = build(options, output, cache)
        preparation = time.perf_counter() - began
        clock = Clock(options["warmup"], "cpu")
        trainer.add_callback(clock)
        count_batches(trainer, clock).train()
    return {
        "tokens_per_second": clock.tokens / clock.seconds,
        "cpu_seconds_per_thousand_tokens": 1000 * clock.cpu_seconds / clock.tokens,
        "preparation_seconds": preparation,
        "examples": len(trainer.train_dataset),
        "peak_gigabytes": peak_gigabytes("cpu"),
    }


def compare_losses(options: dict[str, Any]) -> dict[str, Any]:
    """Relative difference of both losses on the first rows of ours, masked by ours, in float32 without dropout."""
    import torch

    with tempfile.TemporaryDirectory() as output, tempfile.TemporaryDirectory() as cache:
        stock = build_stock(options | {"recipe": "stock_float32"}, output, cache)
        ours = build_ours(options | {"recipe": "ours_float32"}, output, cache)
        batch = ours.data_collator([ours.train_dataset[index] for index in range(options["batch"])])
        full = {name: batch[name] for name in ("input_ids", "attention_mask")}
        full["labels"] = torch.full_like(batch["input_ids"], -100)
        full["labels"].view(-1)[batch["labelled_positions"].view(-1)] = batch["labels"].view(-1)
        losses = [first_loss(trainer, inputs) for trainer, inputs in ((stock, full), (ours, batch))]
    return {"stock": losses[0], "ours": losses[1], "difference": abs(losses[0] - losses[1]) / losses[0]}


def first_loss(trainer: Any, batch: dict[str, Any]) -> float:
    silence_dropout(trainer.model)
    trainer.model.train()
    labelled = (batch["labels"] != -100).sum()
    return float(trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=labelled))


def compare(workload: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    sizes = {"batch": options.batch, "steps": options.steps, "warmup": options.warmup}
    common = {"workload": workload, "folder": str(folder), **sizes}
    equality = call_worker(__file__, common | {"recipe": "equality"})
    if equality["difference"] > LOSS_TOLERANCE:
        sys.exit(f"{workload}: the losses of one batch differ, {equality}: there is nothing to compare")
    figures = take_turns(RECIPES, options.rounds, lambda name: call_worker(__file__, common | {"recipe": name}))
    return {**sizes, "rounds": options.rounds, "loss_difference": equality["difference"], "recipes": figures}


def format_workload(name: str, result: dict[str, Any]) -> list[str]:
    figures = result["recipes"]
    plain, short = figures["stock_float32"], figures["stock_bf16"]
    header = ("recipe", "real tokens/s", "x stock float32", "x stock bf16", "x by CPU time", "preparation, s", "examples",
              "peak GB")  # fmt: skip
    rows = [
        (
            recipe,
            figure["tokens_per_second"],
            figure["tokens_per_second"] / plain["tokens_per_second"],
            figure["tokens_per_second"] / short["tokens_per_second"],
            " / ".join(
                f"{base['cpu_seconds_per_thousand_tokens'] / figure['cpu_seconds_per_thousand_tokens']:.2f}"
                for base in (plain, short)
            ),
            figure["preparation_seconds"],
            int(figure["examples"]),
            figure["peak_gigabytes"],
        )
        for recipe, figure in figures.items()
    ]
    return [
        f"## {name}",
        "",
        f"Batches of {result['batch']}, {result['steps']} steps after {result['warmup']}, medians of {result['rounds']} "
        f"rounds; the losses of one batch differ by {result['loss_difference']:.0e} (tolerance {LOSS_TOLERANCE:.0e}). "
        "Preparation is imports, reading and tokenizing the text, and loading the model. Ours has more examples: it keeps "
        "what the stock recipe cuts off long lines and drops behind every thousand lines.",
        "",
        *table(header, rows),
        "",
        f"{result['machine']}; {result['date']}",
        "",
    ]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--batch", type=int, default=16, help="examples of a batch")
    parser.add_argument("--rounds", type=int, default=3, help="turns that each recipe takes")
    parser.add_argument("--steps", type=int, default=12, help="measured steps of a turn")
    parser.add_argument("--warmup", type=int, default=4, help="steps before")
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/results/")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.worker:
        print(json.dumps(run_worker(options.worker)))
        return
    measured = {"machine": hardware_line("cpu"), "date": date.today().isoformat()}
    with tempfile.TemporaryDirectory() as temporary:
        write_inputs(Path(temporary))
        found = {name: compare(name, options, Path(temporary)) | measured for name in options.workloads}
    result = (read_kept(NAME) if options.write else {}) | found
    lines = [line for name in WORKLOADS if name in result for line in format_workload(name, result[name])]
    print("\n".join(lines))
    if options.write:
        write_results(NAME, "Masked language modelling beside run_mlm.py", lines[:-1], result)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
