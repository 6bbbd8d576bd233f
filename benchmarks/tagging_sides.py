"""The two sides of the token classification benchmark: the stock recipe of run_ner.py, and this project's training.

Both get the same sentences, the same starting weights (by seed) and the same batches.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import DATA, minilm_folder, peak_gigabytes

BATCH = 16
LONGEST = {"wnut17": 128, "thainer": 510}  # subwords
WARMUP = 2  # steps


def load_corpus(name: str) -> tuple[dict[str, Any], list[str]]:
    """The splits with columns `words` and `tags`, and the names of the labels."""
    from finetune.encoding.labels import build_label_list
    from finetune.tagging.arguments import TaggingDataArguments
    from finetune.tagging.corpus import load_tagging_corpus

    arguments = TaggingDataArguments(dataset_name=name, label_name="ner_tags", data_dir=str(DATA / name))
    corpus = load_tagging_corpus(arguments, seed=42)
    labels = build_label_list(corpus)
    return (keep_comparable(corpus.splits) if name == "thainer" else corpus.splits), labels


def keep_comparable(splits: dict[str, Any]) -> dict[str, Any]:
    """What both sides read alike: no sentence that the stock recipe would cut, no word that it would lose."""
    short = {name: split.filter(lambda row: len(row["words"]) <= 150) for name, split in splits.items()}
    return {name: split.map(keep_visible_words) for name, split in short.items()}


def keep_visible_words(row: dict) -> dict:
    """The words with a visible character, spaces written as the space token."""
    pairs = [
        (word.replace("\ufeff", "").replace("\u200b", ""), tag)
        for word, tag in zip(row["words"], row["tags"], strict=True)
    ]
    kept = [(word.replace(" ", "<_>"), tag) for word, tag in pairs if word] or [("-", "O")]
    return {"words": [word for word, _ in kept], "tags": [tag for _, tag in kept]}


def find_model(name: str, thai_folder: Path) -> str:
    """MiniLM for WNUT17; for ThaiNER a small RoBERTa, made where it is not there yet."""
    if name == "wnut17":
        return minilm_folder()
    if not (thai_folder / "config.json").is_file():
        make_thai_roberta(thai_folder, load_corpus(name)[0]["train"]["words"][:])
    return str(thai_folder)


def make_thai_roberta(folder: Path, sentences: list[list[str]]) -> None:
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


def encode_stock(split: Any, tokenizer: Any, labels: list[str], max_length: int) -> Any:
    """The recipe of run_ner.py: one call over pre-split sentences, the label on the first subword of each word."""
    number = {label: index for index, label in enumerate(labels)}

    def encode(batch: dict[str, Any]) -> Any:
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


def run_worker(options: dict[str, Any]) -> dict[str, Any]:
    """One training of one side in this process; returns its figures."""
    import torch
    from transformers import AutoModelForTokenClassification, AutoTokenizer, set_seed

    data, is_ours = options["data"], options["side"] == "ours"
    folder = find_model(data, Path(options["thai_folder"]))
    splits, labels = load_corpus(data)
    tokenizer = AutoTokenizer.from_pretrained(folder, add_prefix_space=True)
    start = time.perf_counter()
    encode = encode_ours if is_ours else encode_stock
    encoded = {name: encode(splits[name], tokenizer, labels, LONGEST[data]) for name in ("train", "test")}
    encoding = time.perf_counter() - start
    set_seed(options["seed"])
    changes = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0} if options.get("no_dropout") else {}
    model = AutoModelForTokenClassification.from_pretrained(
        folder, num_labels=len(labels), dtype=torch.float32, **changes
    )
    clock = make_clock()
    with tempfile.TemporaryDirectory() as output:
        values = make_values(options, output)
        trainer = (train_ours if is_ours else train_stock)(model, tokenizer, encoded, values, clock)
        result = {
            "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry][:3],
            "sentences_per_second": BATCH / statistics.median(clock.seconds[WARMUP:] or clock.seconds),
            "training_seconds": sum(clock.seconds),
            "encoding_seconds": encoding,
            "gigabytes": peak_gigabytes("cpu"),
        }
        return {**result, **score_test(trainer, encoded["test"], labels)} if options.get("score") else result


def make_values(options: dict[str, Any], output: str) -> dict[str, Any]:
    """TrainingArguments by name; what they leave open each side decides as it does by default."""
    values = {
        "output_dir": output,
        "per_device_train_batch_size": BATCH,
        "per_device_eval_batch_size": BATCH,
        "learning_rate": 5e-5,
        "num_train_epochs": options.get("epochs", 1),
        "max_steps": options.get("steps", -1),
        "seed": options["seed"],
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1,
        "use_cpu": True,
    }
    return values if options.get("bf16") is None else {**values, "bf16": options["bf16"]}


def make_clock() -> Any:
    """A callback that keeps the seconds of every step."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.seconds: list[float] = []

        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.start = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.seconds.append(time.perf_counter() - self.start)

    return Clock()


def encode_ours(split: Any, tokenizer: Any, labels: list[str], max_length: int) -> Any:
    from finetune.tagging.encoding import encode_tagging

    return encode_tagging(split, tokenizer, labels, max_length=max_length).dataset


def train_stock(model: Any, tokenizer: Any, encoded: dict[str, Any], values: dict[str, Any], clock: Any) -> Any:
    from transformers import DataCollatorForTokenClassification, Trainer, TrainingArguments

    trainer = Trainer(
        model=model,
        args=TrainingArguments(**values),
        train_dataset=encoded["train"],
        data_collator=DataCollatorForTokenClassification(tokenizer),
        processing_class=tokenizer,
        callbacks=[clock],
    )
    trainer.train()
    return trainer


def train_ours(model: Any, tokenizer: Any, encoded: dict[str, Any], values: dict[str, Any], clock: Any) -> Any:
    from finetune.run.folder import Run
    from finetune.training.building import TrainerParts, build_trainer, train
    from finetune.training.collators import TaggingCollator
    from finetune.training.losses import TokenLoss

    parts = TrainerParts(
        model=model, tokenizer=tokenizer, collator=TaggingCollator.for_tokenizer(tokenizer), loss=TokenLoss(),
        train=encoded["train"], callbacks=[clock], sparse_embedding=True,
    )  # fmt: skip
    run = Run()
    trainer = build_trainer(parts, values, run)
    train(trainer, run)
    return trainer


def score_test(trainer: Any, rows: Any, labels: list[str]) -> dict[str, float]:
    """Entity F1 of the test split, the words it was computed over, and how long prediction took."""
    start = time.perf_counter()
    output = trainer.predict(rows)
    seconds = time.perf_counter() - start
    predictions = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
    predicted, gold = np.asarray(predictions), np.asarray(output.label_ids)
    predicted = predicted.argmax(-1) if predicted.ndim == 3 else predicted
    return {
        "f1": score_words(predicted, gold, labels),
        "words_scored": int((gold != -100).sum()),
        "prediction_seconds": seconds,
    }


def score_words(predicted: np.ndarray, gold: np.ndarray, labels: list[str]) -> float:
    """Entity F1 of first subwords by seqeval (lenient, as run_ner.py): the same function for both sides."""
    from seqeval.metrics import f1_score

    rows = [
        (
            [labels[g] for g in gold_row if g != -100],
            [labels[p] for p, g in zip(row, gold_row, strict=True) if g != -100],
        )
        for row, gold_row in zip(predicted, gold, strict=True)
    ]
    return float(f1_score([gold for gold, _ in rows], [predicted for _, predicted in rows]))
