"""Chapter 3 of the Hugging Face course with the Trainer, on today's transformers.

    python examples/chapter3_trainer.py
    python examples/chapter3_trainer.py --checkpoint bert-base-uncased --num_epochs 3

What the course's text says and today's library no longer takes is named where it changed.
"""

from __future__ import annotations

import numpy as np
import torch
from chapter3_data import load_mrpc, parse_arguments, run, tokenize
from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding, Trainer, TrainingArguments

from finetune.classification.glue.metrics import score_glue


def compute_metrics(eval_preds):
    """`load_metric("glue", "mrpc")` of the course: accuracy and F1, computed here instead of fetched."""
    logits, labels = eval_preds
    return score_glue(["accuracy", "f1"], np.argmax(logits, axis=-1), labels)


def main() -> None:
    arguments = parse_arguments(__doc__)
    tokenized_datasets, tokenizer = tokenize(
        load_mrpc(arguments.data_dir, arguments.max_train_samples), arguments.checkpoint
    )
    print(tokenizer("This is the first sentence.", "This is the second one."))

    data_collator = DataCollatorWithPadding(tokenizer=tokenizer)
    samples = tokenized_datasets["train"][
        :8
    ]  # the collator pads ids; texts and numbers of lines are none of its business
    samples = {key: value for key, value in samples.items() if key not in ("idx", "sentence1", "sentence2")}
    batch = data_collator(samples)
    print({key: value.shape for key, value in batch.items()})

    # dtype: a checkpoint saved in half precision would otherwise be trained in it.
    model = AutoModelForSequenceClassification.from_pretrained(arguments.checkpoint, num_labels=2, dtype=torch.float32)
    training_args = TrainingArguments(
        arguments.output_dir,
        eval_strategy="epoch",  # was evaluation_strategy
        num_train_epochs=arguments.num_epochs,
        seed=arguments.seed,
        bf16=arguments.bf16,
        fp16=arguments.fp16,
        use_cpu=not torch.cuda.is_available(),
        report_to="none",
    )
    trainer = Trainer(
        model,
        training_args,
        train_dataset=tokenized_datasets["train"],
        eval_dataset=tokenized_datasets["validation"],
        data_collator=data_collator,
        processing_class=tokenizer,  # was tokenizer
        compute_metrics=compute_metrics,
    )
    trainer.train()

    predictions = trainer.predict(tokenized_datasets["validation"])
    print(predictions.predictions.shape, predictions.label_ids.shape)
    print(compute_metrics((predictions.predictions, predictions.label_ids)))


if __name__ == "__main__":
    run(main)
