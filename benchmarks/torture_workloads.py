"""What torture.py does to itself: commands that train or take long, on models of some kilobytes, each done in seconds."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

WORDS = [
    "the",
    "a",
    "dog",
    "cat",
    "key",
    "keys",
    "cabinet",
    "saw",
    "sees",
    "found",
    "near",
    "big",
    "old",
    "red",
    "runs",
    "Ann",
    "Bo",
    "Paris",
    "Rome",
    "in",
    "to",
    "of",
    "and",
    "was",
]
OUTPUT = "out"
CONSTANT = ("--lr_scheduler_type", "constant")
LINEAR = ("--lr_scheduler_type", "linear", "--warmup_steps", 2)


@dataclass(frozen=True)
class Workload:
    """A command line, in a folder of its own; everything it writes there is compared."""

    name: str
    script: str
    words: tuple[object, ...]
    trains: bool = True
    exhaustive: bool = False  # each call that changes a file fails once
    slow: bool = False  # takes long, as it starts processes of its own which import everything: tried less often

    def command(self) -> list[str]:
        return [str(REPOSITORY / "scripts" / self.script), *map(str, self.words)]


def sentences(count: int) -> list[str]:
    """Sentences of few different words, the same every time."""
    draw = random.Random(5)
    return [" ".join(draw.choices(WORDS, k=draw.randint(11, 20))) for _ in range(count)]


def make_inputs(folder: Path) -> None:
    """Models and data of all workloads, once."""
    if (folder / "done").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    _write_data(folder)
    _save_models(folder)
    (folder / "done").touch()


def _write_data(folder: Path) -> None:
    lines = sentences(48)
    (folder / "text.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "documents.txt").write_text(
        "".join(line + "\n" + ("\n" if number % 5 == 4 else "") for number, line in enumerate(lines)), encoding="utf-8"
    )
    (folder / "dev.txt").write_text("\n".join(sentences(8)) + "\n", encoding="utf-8")
    for name, part in {"train": lines[:36], "dev": lines[36:]}.items():
        rows = [(line, "good" if "dog" in line.split() else "bad") for line in part]
        text = "".join(f"{line},{label}\n" for line, label in rows)
        (folder / f"{name}.csv").write_text("text,label\n" + text, encoding="utf-8")
        tagged = ("".join(f"{word}\t{_tag(word)}\n" for word in line.split()) for line in part)
        (folder / f"{name}.conll").write_text("\n".join(tagged), encoding="utf-8")
    (folder / "story.txt").write_text("Ann saw Paris\nBo runs in Rome\n", encoding="utf-8")
    (folder / "story.ann").write_text("T1\tPER 0 3\tAnn\nT2\tPER 14 16\tBo\n", encoding="utf-8")
    student = {"n_layers": 1, "dim": 16, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 64}
    (folder / "student.json").write_text(json.dumps({**student, "vocab_size": len(_vocabulary())}), encoding="utf-8")


def _tag(word: str) -> str:
    return {"Ann": "B-PER", "Bo": "B-PER", "Paris": "B-LOC", "Rome": "B-LOC"}.get(word, "O")


def _vocabulary() -> list[str]:
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({word.lower() for word in WORDS})]


def _save_models(folder: Path) -> None:
    import torch
    from transformers import AutoTokenizer, BertForMaskedLM, BertForTokenClassification, BertModel

    from finetune.distillation.binarized import binarize, count_tokens, open_binarized, write_counts
    from tests import tiny

    bert = folder / "bert"
    bert.mkdir(exist_ok=True)
    (bert / "vocab.txt").write_text("\n".join(_vocabulary()) + "\n", encoding="utf-8")
    config = tiny.bert_config(len(_vocabulary()), max_position_embeddings=64, num_hidden_layers=2)
    config.save_pretrained(bert)
    tokenizer = AutoTokenizer.from_pretrained(bert, model_max_length=64)
    torch.manual_seed(0)
    tiny.save(BertModel(config), tokenizer, bert)
    tiny.save(BertForMaskedLM(config), tokenizer, folder / "mlm")
    config.id2label = {0: "O", 1: "B-PER", 2: "I-PER"}
    config.label2id = {"O": 0, "B-PER": 1, "I-PER": 2}
    tiny.save(BertForTokenClassification(config), tokenizer, folder / "tagger")
    letters = tiny.byte_level(sentences(64), 320)
    tiny.save(tiny.gpt2(len(letters), n_positions=64), letters, folder / "gpt2")
    binarize([folder / "text.txt"], tokenizer, folder / "text.dump", workers=1)
    write_counts(folder / "counts.json", count_tokens(open_binarized(folder / "text.dump"), len(_vocabulary())))


def _steps(steps: int, every: int) -> tuple[object, ...]:
    return (
        *("--max_steps", steps, "--eval_strategy", "steps", "--eval_steps", every, "--save_steps", every),
        *("--logging_steps", 3, "--learning_rate", 1e-2, "--seed", 7, "--report_to", "none"),
    )


def _tagger(data: Path, *more: object) -> tuple[object, ...]:
    files = ("--train_file", data / "train.conll", "--validation_file", data / "dev.conll")
    return (
        *("--model_name_or_path", data / "bert", *files, "--do_train", "--do_eval", "--output_dir", OUTPUT),
        *("--per_device_train_batch_size", 4, *more),
    )


def make_workloads(data: Path) -> list[Workload]:
    """All of them, over the inputs in a folder."""
    language = ("--train_file", data / "text.txt", "--validation_file", data / "dev.txt", "--do_train", "--do_eval")
    language += ("--output_dir", OUTPUT, "--per_device_train_batch_size", 4)
    tables = ("--epochs", 2, "--use_gpu", "False", "--seed", 1, "--output_dir", OUTPUT)
    pregenerated = ("--bert_model", data / "bert", "--epochs", 2, "--train_batch_size", 16, "--logging_steps", 2)
    alphas = {"ce": 5, "mlm": 2, "cos": 1, "clm": 0}
    return [
        Workload("run_ner, one save", "run_ner.py", _tagger(data, *_steps(2, 2), *CONSTANT), exhaustive=True),
        Workload("run_ner, constant", "run_ner.py", _tagger(data, *_steps(12, 4), *CONSTANT)),
        Workload(
            "run_ner, linear, epochs",
            "run_ner.py",
            _tagger(
                data, *LINEAR, "--num_train_epochs", 2, "--learning_rate", 1e-2, "--gradient_accumulation_steps", 2
            ),
        ),
        Workload(
            "run_glue, linear",
            "run_glue.py",
            (
                *("--model_name_or_path", data / "bert", "--train_file", data / "train.csv", "--do_train", "--do_eval"),
                *("--validation_file", data / "dev.csv", "--output_dir", OUTPUT, *_steps(12, 4), *LINEAR),
                *(
                    "--per_device_train_batch_size",
                    4,
                ),
            ),
        ),
        Workload(
            "run_mlm, constant",
            "run_mlm.py",
            ("--model_name_or_path", data / "mlm", *language, *_steps(9, 3), *CONSTANT, "--max_seq_length", 32),
        ),
        Workload(
            "run_clm, linear",
            "run_clm.py",
            ("--model_name_or_path", data / "gpt2", *language, *_steps(9, 3), *LINEAR, "--block_size", 32),
        ),
        Workload(
            "finetune_lm",
            "finetune_lm.py",
            (
                *("--model_name_or_path", data / "gpt2", "--train_file", data / "text.txt"),
                *("--validation_file", data / "dev.txt", "--test_file", data / "dev.txt", *tables),
            ),
        ),
        Workload(
            "pregenerate_training_data",
            "pregenerate_training_data.py",
            (
                *("--train_corpus", data / "documents.txt", "--bert_model", data / "bert", "--do_lower_case"),
                *("--output_dir", OUTPUT, "--epochs_to_generate", 2, "--max_seq_len", 32, "--num_workers", 1),
            ),
            trains=False,
            exhaustive=True,
        ),
        Workload(
            "finetune_on_pregenerated",
            "finetune_on_pregenerated.py",
            (*pregenerated, "--pregenerated_data", data / "pregenerated", "--output_dir", OUTPUT, "--save_steps", 4),
        ),
        Workload(
            "simple_lm_finetuning",
            "simple_lm_finetuning.py",
            (
                *("--train_corpus", data / "documents.txt", "--bert_model", data / "bert", "--do_train"),
                *("--output_dir", OUTPUT, "--max_seq_length", 32, "--num_train_epochs", 2, "--train_batch_size", 8),
                *("--save_steps", 5, "--logging_steps", 2),
            ),
        ),
        Workload(
            "distillation/train",
            "distillation/train.py",
            (
                *("--student_type", "distilbert", "--student_config", data / "student.json", "--teacher_type", "bert"),
                *("--teacher_name", data / "mlm", "--data_file", data / "text.dump", "--mlm", "--bf16", "False"),
                *("--token_counts", data / "counts.json", "--dump_path", OUTPUT, "--n_epoch", 2, "--batch_size", 8),
                *("--gradient_accumulation_steps", 1, "--log_interval", 2, "--checkpoint_interval", 4),
                *(word for name, value in alphas.items() for word in (f"--alpha_{name}", value)),
            ),
        ),
        Workload(
            "predict",
            "predict.py",
            (
                *("--model_name_or_path", data / "tagger", "--input_file", data / "text.txt"),
                *("--output_file", f"{OUTPUT}/answers.jsonl"),
            ),
            trains=False,
            exhaustive=True,
        ),
        Workload(
            "score",
            "score.py",
            (*("--model_name_or_path", data / "gpt2", "--test_file", data / "dev.txt", "--output_dir", OUTPUT),),
            trains=False,
            exhaustive=True,
        ),
        Workload(
            "train_tokenizer, bpe",
            "train_tokenizer.py",
            (
                *("--train_dir", data / "text.txt", "--pre_tokenizer_type", "bpe", "--vocab_size", 300),
                *("--output_file", f"{OUTPUT}/vocab.json"),
            ),
            trains=False,
            exhaustive=True,
        ),
        Workload(
            "run_ner, lora, ema",
            "run_ner.py",
            _tagger(data, *_steps(6, 2), *LINEAR, "--peft", "lora", "--lora_r", 2, "--ema", 0.9),
        ),
        Workload(
            "run_ner, unfreezing, plain step",
            "run_ner.py",
            _tagger(
                *(data, *_steps(6, 2), *LINEAR, "--freeze", "embeddings,encoder.layer.0", "--unfreeze_after", "3steps"),
                *("--no_native", "--layerwise_lr_decay", 0.9),
            ),
        ),
        Workload(
            "predict, brat",
            "predict.py",
            (
                *("--model_name_or_path", data / "tagger", "--input_file", data / "story.ann", "--score"),
                *("--output_file", f"{OUTPUT}/answers.conll", "--output_format", "conll"),
            ),
            trains=False,
            exhaustive=True,
        ),
        Workload(
            "export, onnx",
            "export.py",
            (data / "trained", "--output_dir", OUTPUT),
            trains=False,
            slow=True,
        ),
        Workload(
            "distillation/train, tagger",
            "distillation/train.py",
            (
                *(
                    "--task",
                    "token_classification",
                    "--teacher_name",
                    data / "trained",
                    "--student_name",
                    data / "bert",
                ),
                *("--train_file", data / "train.conll", "--validation_file", data / "dev.conll", "--do_eval"),
                *("--output_dir", OUTPUT, *_steps(6, 2), *LINEAR, "--per_device_train_batch_size", 4),
            ),
        ),
        Workload(
            "sweep",
            "sweep.py",
            (
                *("run_ner", "--output_dir", OUTPUT, "--grid", "seed=1", "--", "--model_name_or_path", data / "bert"),
                *("--train_file", data / "train.conll", "--validation_file", data / "dev.conll", "--do_train"),
                *("--do_eval", "--max_steps", 2, "--report_to", "none"),
            ),
            trains=False,
            slow=True,
        ),
        Workload(
            "repeat",
            "repeat.py",
            (
                *("run_ner", "--output_dir", OUTPUT, "--seeds", 2, "--", "--model_name_or_path", data / "bert"),
                *("--train_file", data / "train.conll", "--validation_file", data / "dev.conll", "--do_train"),
                *("--do_eval", "--max_steps", 2, "--report_to", "none"),
            ),
            trains=False,
            slow=True,
        ),
    ]


def prepare_made_inputs(data: Path, run: Callable[[list[str]], int]) -> None:
    """Inputs that are made by commands: pregenerated epochs, a trained tagger."""
    for name, source in {"pregenerated": "pregenerate_training_data", "trained": "run_ner, one save"}.items():
        if (data / name).exists():
            continue
        workload = next(item for item in make_workloads(data) if item.name == source)
        if run([word if word != OUTPUT else str(data / name) for word in workload.command()]):
            sys.exit(f"{source} failed")
