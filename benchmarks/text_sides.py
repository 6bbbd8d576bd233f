"""The two sides of the text classification benchmark: the stock recipe of run_glue.py, and this project's commands.

Both get the same rows, the same starting weights (by seed) and the same number of steps, and both end with the last
checkpoint, so that neither chooses on what is scored.
"""

from __future__ import annotations

import runpy
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measure import DATA, minilm_folder, peak_gigabytes, seconds_of

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
THAI = "downstream/train_sequence_classification_lm_finetuning.py"
BATCH = 32


@dataclass(frozen=True)
class Workload:
    """A task: its name for run_glue (or the Thai command), its folder, what is scored, and how it is trained.

    `fits`: several labels, decided by thresholds fitted on validation.
    """

    name: str
    folder: str
    score: str
    split: str = "validation"
    epochs: int = 3
    rate: float = 5e-5
    length: int = 128
    fits: bool = False


WORKLOADS = {
    item.name: item
    for item in (
        Workload("sst2", "glue", "accuracy", epochs=1),
        Workload("mrpc", "glue", "combined_score", epochs=2),
        Workload("cola", "glue", "matthews_correlation", epochs=2),
        Workload("stsb", "glue", "combined_score", epochs=2),
        Workload("goemotions", "goemotions", "f1_micro", split="test", epochs=2, rate=1e-4, length=64, fits=True),
        Workload("mams", "mams_atsa", "accuracy", split="test", epochs=1),
        Workload("wisesight_sentiment", "wisesight_sentiment", "accuracy", split="test", epochs=1, rate=3e-4),
    )
}


def make_words(workload: Workload, model: str, seed: int, max_steps: int, output: str) -> list[str]:
    """The command line of our side."""
    flags = {
        "data_dir": DATA / workload.folder,
        "max_seq_length": workload.length,
        "per_device_train_batch_size": BATCH,
        "per_device_eval_batch_size": 64,
        "learning_rate": workload.rate,
        "num_train_epochs": workload.epochs,
        "max_steps": max_steps,
        "seed": seed,
        "eval_strategy": "no",
        "save_strategy": "no",
        "load_best_model_at_end": False,
        "warmup_steps": 0.06,
        "weight_decay": 0.0,
        "output_dir": output,
    }
    typed = [str(part) for name, value in flags.items() for part in (f"--{name}", value)]
    if workload.name == "wisesight_sentiment":
        return ["newmm", workload.name, "--model_dir", model, "--space_token", "<_>", *typed]
    stages = ["--do_train", "--do_eval"] + (["--do_predict"] if workload.split == "test" else [])
    return ["--task_name", workload.name, "--model_name_or_path", model, *stages, *typed]


def open_workload(workload: Workload, model: str, seed: int, max_steps: int, output: str) -> Any:
    """The task with its rows encoded, as our command makes it; no model is loaded."""
    from finetune.classification import thai_texts
    from finetune.classification.glue import task as glue
    from finetune.classification.task import open_task

    is_thai = workload.name == "wisesight_sentiment"
    script = runpy.run_path(str(SCRIPTS / (THAI if is_thai else "run_glue.py")))
    arguments = script["make_parser"]().parse(make_words(workload, model, seed, max_steps, output))
    return open_task(arguments, (thai_texts if is_thai else glue).define_task(arguments))


def run_ours(workload: Workload, model: str, seed: int, max_steps: int) -> dict[str, Any]:
    from finetune.classification.results import SplitOutputs, fit_on_validation, score_split
    from finetune.run.folder import Run
    from finetune.supervised.training import build_supervised_trainer

    with tempfile.TemporaryDirectory() as output:
        task = open_workload(workload, model, seed, max_steps, output)
        trainer = build_supervised_trainer(task, Run())
        seconds = seconds_of(trainer.train)
        outputs = SplitOutputs(trainer, task)
        start = time.perf_counter()
        logits = outputs.of(workload.split).outputs
        predicting = time.perf_counter() - start
        fitted = score_split(outputs, task, fit_on_validation(outputs, task), workload.split).summary
        assert fitted is not None
        result = describe(
            workload,
            score_plainly(task, workload.split, logits),
            seconds,
            trainer.state.global_step,
            len(logits),
            predicting,
        )
        return {**result, "fitted_score": fitted.scores[workload.score]}


def run_stock(
    workload: Workload, model: str, seed: int, max_steps: int, *, dynamic: bool, bf16: bool = False
) -> dict[str, Any]:
    """What transformers' own run_glue.py and run_classification.py do: `dynamic` is --pad_to_max_length False."""
    from transformers import (
        AutoModelForSequenceClassification,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        default_data_collator,
        set_seed,
    )

    with tempfile.TemporaryDirectory() as output:
        task = open_workload(workload, model, seed, 1, output)
        splits = ["train", workload.split, *(["validation"] if workload.fits else [])]
        rows = {name: tokenize_stock(task, name, padded=not dynamic) for name in splits}
        set_seed(seed)
        network = AutoModelForSequenceClassification.from_pretrained(
            model,
            num_labels=len(task.labels),
            problem_type=task.problem_type.value,
            dtype="float32",
        )
        arguments = TrainingArguments(
            output,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=64,
            learning_rate=workload.rate,
            num_train_epochs=workload.epochs,
            max_steps=max_steps,
            warmup_steps=0.06,
            seed=seed,
            bf16=bf16,
            use_cpu=True,  # without it transformers refuses bf16 where there is no GPU
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        collator = DataCollatorWithPadding(task.tokenizer) if dynamic else default_data_collator
        trainer = Trainer(network, arguments, data_collator=collator, train_dataset=rows["train"])
        seconds = seconds_of(trainer.train)
        start = time.perf_counter()
        logits = trainer.predict(rows[workload.split]).predictions
        predicting = time.perf_counter() - start
        scores = score_plainly(task, workload.split, logits)
        result = describe(workload, scores, seconds, trainer.state.global_step, len(rows[workload.split]), predicting)
        if not workload.fits:
            return result
        fitted = score_fitted(task, workload.split, logits, trainer.predict(rows["validation"]).predictions)
        return {**result, "fitted_score": fitted[workload.score]}


def tokenize_stock(task: Any, split: str, *, padded: bool) -> Any:
    from finetune.classification.encoding import encode_labels

    rows, tokenizer = task.corpus.splits[split], task.tokenizer
    labels = encode_labels(rows, task.labels, task.problem_type).tolist()
    options = {"truncation": True, "max_length": task.settings.max_length, "padding": "max_length" if padded else False}

    def tokenize(batch: dict[str, Any], indices: list[int]) -> dict[str, Any]:
        texts = (batch["text"], batch["text_pair"]) if "text_pair" in batch else (batch["text"],)
        return {**tokenizer(*texts, **options), "labels": [labels[index] for index in indices]}

    return rows.map(tokenize, batched=True, with_indices=True, remove_columns=rows.column_names, keep_in_memory=True)


def score_plainly(task: Any, split: str, logits: Any) -> dict[str, float]:
    """Scores of the stock decisions, for both sides: the largest logit, logits above 0, the value itself."""
    from finetune.classification.decisions import plain_decision

    decided = plain_decision(task.problem_type, task.labels).decide(np.asarray(logits))
    return task.scoring.score(decided, task.encoded[split].labels)


def score_fitted(task: Any, split: str, logits: Any, on_validation: Any) -> dict[str, float]:
    """Scores of the stock side as our side decides by default: thresholds fitted on validation."""
    from finetune.classification.decisions import fit_decision, plain_decision
    from finetune.classification.thresholds import ThresholdScope

    plain, known = plain_decision(task.problem_type, task.labels), task.encoded["validation"].labels
    decision = fit_decision(np.asarray(on_validation), known, plain, scope=ThresholdScope.PER_LABEL)
    return task.scoring.score(decision.decide(np.asarray(logits)), task.encoded[split].labels)


def describe(
    workload: Workload, scores: dict[str, float], seconds: float, steps: int, texts: int, predicting: float
) -> dict[str, Any]:
    return {
        "score": scores[workload.score],
        "train_per_second": steps * BATCH / seconds,
        "predict_per_second": texts / predicting,
        "gigabytes": peak_gigabytes("cpu"),
    }


def majority_score(workload: Workload, model: str) -> float:
    """The score of always saying what train says most: a label, the label most often given, the mean value."""
    with tempfile.TemporaryDirectory() as output:
        task = open_workload(workload, model, 1, 1, output)
    train, expected = task.encoded["train"].labels, task.encoded[workload.split].labels
    if task.problem_type.value == "regression":
        decided = np.full(len(expected), train.mean())
    elif train.ndim == 2:
        decided = np.zeros_like(expected)
        decided[:, train.sum(axis=0).argmax()] = 1
    else:
        decided = np.full(len(expected), np.bincount(train).argmax())
    return task.scoring.score(decided, expected)[workload.score]


def make_thai_model(folder: Path) -> str:
    """A small RoBERTa with random weights, and a newmm tokenizer made of wisesight's training texts."""
    import subprocess
    import sys

    import torch
    from transformers import RobertaConfig, RobertaForMaskedLM

    from finetune.classification.corpora import read_archive
    from finetune.classification.published.cleaning import clean_text
    from finetune.tokenization.thai_words import ThaiWordsNewmmTokenizer

    if (folder / "config.json").is_file():
        return str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    texts = read_archive(DATA / "wisesight_sentiment" / "data.zip", "train").columns["texts"]
    (folder / "texts.txt").write_text("\n".join(map(clean_text, texts)), encoding="utf-8")
    command = [sys.executable, str(SCRIPTS / "train_tokenizer.py"), "--train_dir", str(folder / "texts.txt")]
    command += ["--pre_tokenizer_type", "newmm", "--vocab_min_freq", "3", "--output_file", str(folder / "newmm.json")]
    subprocess.run(command, check=True, capture_output=True)
    tokenizer = ThaiWordsNewmmTokenizer(vocab_file=folder / "newmm.json")
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=130 + 2,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    RobertaForMaskedLM(config).save_pretrained(folder)
    return str(folder)


def find_model(workload: Workload, thai_folder: str) -> str:
    return make_thai_model(Path(thai_folder)) if workload.name == "wisesight_sentiment" else minilm_folder()
