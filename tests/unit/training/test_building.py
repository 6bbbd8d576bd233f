from __future__ import annotations

import logging

import pytest
import torch
from transformers import Trainer, TrainingArguments

from finetune.training.building import MISSING, TrainerLogRelay, evaluate_every_row


@pytest.mark.parametrize(
    ("missing", "told"),
    [(["lm_head.weight"], False), (["lm_head.weight", "score.weight"], True), ([], True)],
)
def test_missing_weights_are_told_unless_they_are_tied_to_others(missing, told, caplog):
    relay = TrainerLogRelay(["lm_head.weight", "decoder.weight"])
    record = logging.LogRecord("x", logging.WARNING, "x.py", 1, f"{MISSING}: {missing}.", None, None)
    with caplog.at_level(logging.INFO):
        relay.emit(record)
    assert (str(missing) in caplog.text) is told


@pytest.mark.parametrize("strategy", ["random", "group_by_length"])
def test_every_row_is_evaluated_in_its_order_whatever_the_batches_of_training_are(strategy, tmp_path):
    arguments = TrainingArguments(
        str(tmp_path), dataloader_drop_last=True, train_sampling_strategy=strategy, per_device_train_batch_size=4,
        per_device_eval_batch_size=4, accelerator_config={"even_batches": False}, use_cpu=True, report_to="none",
        remove_unused_columns=False,
    )  # fmt: skip
    rows = [{"input_ids": [number] * (number % 5 + 1)} for number in range(14)]
    trainer = Trainer(
        torch.nn.Linear(1, 1), arguments, train_dataset=rows, eval_dataset=rows,
        data_collator=lambda batch: {"first": torch.tensor([row["input_ids"][0] for row in batch])},
    )  # fmt: skip
    evaluate_every_row(trainer)
    for loader in (trainer.get_eval_dataloader(), trainer.get_test_dataloader(rows)):
        assert torch.cat([batch["first"] for batch in loader]).tolist() == list(range(14))
        assert loader.batch_sampler is None or not loader.batch_sampler.drop_last
    trained = [len(batch["first"]) for batch in trainer.get_train_dataloader()]
    assert trained == [4, 4, 4] and not trainer.accelerator.even_batches
