from __future__ import annotations

import pytest
import torch
from transformers import TrainingArguments

from finetune.errors import UsageError
from finetune.training.trainer import FinetuneTrainer
from finetune.training.whole_evaluation import resolve_evaluation


@pytest.mark.parametrize("strategy", ["random", "group_by_length"])
def test_every_row_is_evaluated_in_its_order_whatever_the_batches_of_training_are(strategy, tmp_path):
    arguments = TrainingArguments(
        str(tmp_path), dataloader_drop_last=True, train_sampling_strategy=strategy, per_device_train_batch_size=4,
        per_device_eval_batch_size=4, accelerator_config={"even_batches": False}, use_cpu=True, report_to="none",
        remove_unused_columns=False,
    )  # fmt: skip
    rows = [{"input_ids": [number] * (number % 5 + 1)} for number in range(14)]
    trainer = FinetuneTrainer(
        torch.nn.Linear(1, 1), arguments, train_dataset=rows, eval_dataset=rows,
        data_collator=lambda batch: {"first": torch.tensor([row["input_ids"][0] for row in batch])},
    )  # fmt: skip
    for loader in (trainer.get_eval_dataloader(), trainer.get_test_dataloader(rows)):
        assert torch.cat([batch["first"] for batch in loader]).tolist() == list(range(14))
        assert loader.batch_sampler is None or not loader.batch_sampler.drop_last
    trained = [len(batch["first"]) for batch in trainer.get_train_dataloader()]
    assert trained == [4, 4, 4] and not trainer.accelerator.even_batches


def test_a_split_is_evaluated_whole(caplog):
    typed = {"seed": 1, "batch_eval_metrics": True, "eval_do_concat_batches": False, "prediction_loss_only": False}
    assert resolve_evaluation(typed) == {"seed": 1, "prediction_loss_only": False}
    assert [record.getMessage().split(" is passed over")[0] for record in caplog.records] == [
        "--batch_eval_metrics True",
        "--eval_do_concat_batches False",
    ]


def test_labels_that_nothing_smooths_are_refused():
    with pytest.raises(UsageError, match=r"--label_smoothing_factor 0\.1 is not for this task; drop it"):
        resolve_evaluation({"label_smoothing_factor": 0.1})
    assert resolve_evaluation({"label_smoothing_factor": 0.0}) == {"label_smoothing_factor": 0.0}
