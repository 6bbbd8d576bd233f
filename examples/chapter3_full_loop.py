"""Chapter 3 of the Hugging Face course without the Trainer: the whole loop, on Accelerate, with its progress bar.

    python examples/chapter3_full_loop.py
    accelerate launch examples/chapter3_full_loop.py --num_epochs 3

Accelerate places batches and model on the devices there are and gathers predictions of all processes.
"""

from __future__ import annotations

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from chapter3_data import load_mrpc, parse_arguments, run, tokenize
from torch.optim import AdamW  # was transformers.AdamW
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding, get_scheduler

from finetune.classification.glue.metrics import score_glue
from finetune.run.process_exit import leave


class StreamingMetric:
    """`load_metric("glue", "mrpc")`: takes batches as they come, scores them at the end."""

    def __init__(self) -> None:
        self.predictions: list[np.ndarray] = []
        self.references: list[np.ndarray] = []

    def add_batch(self, *, predictions: torch.Tensor, references: torch.Tensor) -> None:
        self.predictions.append(predictions.cpu().numpy())
        self.references.append(references.cpu().numpy())

    def compute(self) -> dict[str, float]:
        return score_glue(["accuracy", "f1"], np.concatenate(self.predictions), np.concatenate(self.references))


def main() -> None:
    arguments = parse_arguments(__doc__)
    accelerator = Accelerator(mixed_precision="bf16" if arguments.bf16 else "fp16" if arguments.fp16 else None)
    set_seed(arguments.seed)
    raw_datasets = load_mrpc(arguments.data_dir, arguments.max_train_samples)
    tokenized_datasets, tokenizer = tokenize(raw_datasets, arguments.checkpoint)
    tokenized_datasets = tokenized_datasets.remove_columns(["sentence1", "sentence2", "idx"])
    tokenized_datasets = tokenized_datasets.rename_column("label", "labels")
    tokenized_datasets.set_format("torch")
    print(tokenized_datasets["train"].column_names)

    data_collator = DataCollatorWithPadding(tokenizer=tokenizer)
    train_dataloader = DataLoader(tokenized_datasets["train"], shuffle=True, batch_size=8, collate_fn=data_collator)
    eval_dataloader = DataLoader(tokenized_datasets["validation"], batch_size=8, collate_fn=data_collator)

    model = AutoModelForSequenceClassification.from_pretrained(arguments.checkpoint, num_labels=2, dtype=torch.float32)
    optimizer = AdamW(model.parameters(), lr=5e-5)
    train_dataloader, eval_dataloader, model, optimizer = accelerator.prepare(
        train_dataloader, eval_dataloader, model, optimizer
    )
    num_training_steps = arguments.num_epochs * len(train_dataloader)
    lr_scheduler = get_scheduler(
        "linear", optimizer=optimizer, num_warmup_steps=0, num_training_steps=num_training_steps
    )

    progress_bar = tqdm(range(num_training_steps), disable=not accelerator.is_local_main_process)
    model.train()
    for _epoch in range(arguments.num_epochs):
        for batch in train_dataloader:
            loss = model(**batch).loss
            accelerator.backward(loss)
            optimizer.step()
            lr_scheduler.step()
            optimizer.zero_grad()
            progress_bar.update(1)

    metric = StreamingMetric()
    model.eval()
    for batch in eval_dataloader:
        with torch.no_grad():
            outputs = model(**batch)
        predictions = outputs.logits.argmax(dim=-1)
        predictions, references = accelerator.gather_for_metrics((predictions, batch["labels"]))
        metric.add_batch(predictions=predictions, references=references)
    accelerator.print(metric.compute())


if __name__ == "__main__":
    run(main)
    leave(0)  # a plain exit aborts now and then where several processes trained
