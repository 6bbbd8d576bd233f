"""However a batch is cut into micro-batches, the training loss and the gradient norm are the same."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer, BertForTokenClassification, Trainer, TrainingArguments

from finetune.run.folder import Run
from finetune.training.building import TrainerParts, build_trainer, train
from finetune.training.collators import TaggingCollator
from finetune.training.losses import TokenLoss
from tests import tiny

EXAMPLES = 20  # the last batch of eight is ragged


@pytest.fixture(scope="module")
def examples(tiny_bert) -> Dataset:
    """Rows of very different lengths, some positions unlabelled: averages of averages would differ from the mean."""
    generator = torch.Generator().manual_seed(3)
    rows = []
    for number in range(EXAMPLES):
        length = 3 + (number * 7) % 23
        ids = torch.randint(1000, 2000, (length,), generator=generator).tolist()
        labels = torch.randint(0, 5, (length,), generator=generator).tolist()
        labels = [-100 if position % 3 == 0 else label for position, label in enumerate(labels)]
        rows.append({"input_ids": [101, *ids, 102], "labels": [-100, *labels, -100]})
    return Dataset.from_list(rows)


def make_model() -> BertForTokenClassification:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = tiny.bert_config(2100, **shape, **still, num_labels=5)
    return BertForTokenClassification(config)


def make_values(folder, batch: int, accumulation: int) -> dict:
    return {
        "output_dir": str(folder),
        "do_train": True,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "num_train_epochs": 2,
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "seed": 5,
    }


def read_history(trainer: Trainer, key: str) -> list[float]:
    return [entry[key] for entry in trainer.state.log_history if key in entry]


def train_ours(examples, tokenizer, folder, batch: int, accumulation: int) -> Trainer:
    collator = TaggingCollator.for_tokenizer(tokenizer)
    parts = TrainerParts(make_model(), tokenizer, collator, TokenLoss(), train=examples)
    run = Run()
    trainer = build_trainer(parts, make_values(folder, batch, accumulation), run)
    train(trainer, run)
    return trainer


def test_8x1_4x2_and_2x4_agree(examples, tiny_bert, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    runs = [train_ours(examples, tokenizer, tmp_path / str(n), 8 // n, n) for n in (1, 2, 4)]
    for key in ("loss", "grad_norm"):
        first, *others = [read_history(trainer, key) for trainer in runs]
        assert len(first) == 6
        for other in others:
            assert other == pytest.approx(first, rel=2e-4), key


def test_the_stock_trainer_does_not_agree(examples, tiny_bert, tmp_path):
    """What the loss above mends: if this fails, transformers has mended it too and ours may go."""
    from transformers import DataCollatorForTokenClassification

    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    losses = []
    for accumulation in (1, 4):
        values = make_values(tmp_path / f"stock-{accumulation}", 8 // accumulation, accumulation)
        trainer = Trainer(
            model=make_model(),
            args=TrainingArguments(**values, report_to="none", disable_tqdm=True),
            train_dataset=examples,
            data_collator=DataCollatorForTokenClassification(tokenizer),
        )
        trainer.train()
        losses.append(read_history(trainer, "loss")[0])
    assert losses[1] > 2 * losses[0]
