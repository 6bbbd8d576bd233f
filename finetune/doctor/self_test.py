"""A tiny random tagger learns made-up sentences, is saved, loaded and predicts: the whole way in a few seconds."""

from __future__ import annotations

import time
from pathlib import Path

from finetune.doctor.findings import Finding
from finetune.run.folders_aside import temporary_folder

SENTENCES = ("Anna lives in Oslo", "Ben lives in Rome", "in Oslo lives Ben", "in Rome lives Anna")
TAGS = {"Anna": 1, "Ben": 1, "Oslo": 2, "Rome": 2}  # 0 is every other word
STEPS = 40


def check_training() -> list[Finding]:
    """Whether the tagger, read back from its folder, tags every word as it was taught."""
    started = time.monotonic()
    with temporary_folder("finetune-doctor-") as folder:
        first, last = train_tagger(folder)
        right, words = count_right(folder)
    course = f"loss {first:.3f} -> {last:.3f} in {STEPS} steps, {right} of {words} words right"
    if not last < first or right < words:
        return [Finding("wrong", "self-test", course, "install torch and transformers again")]
    return [Finding("ok", "self-test", f"{course}, {time.monotonic() - started:.1f} s")]


def train_tagger(folder: Path) -> tuple[float, float]:
    """Save a tagger that has learned the sentences; its first and its last loss."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", *sorted({word for line in SENTENCES for word in line.split()})]
    rust = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    rust.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=rust, pad_token="[PAD]", unk_token="[UNK]")
    torch.manual_seed(42)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
    )
    config.num_labels = 3
    model = BertForTokenClassification(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    batch, labels = tokenizer(list(SENTENCES), return_tensors="pt"), torch.tensor(expected_tags())
    losses = []
    for _ in range(STEPS):
        loss = model(**batch, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return losses[0], losses[-1]


def count_right(folder: Path) -> tuple[int, int]:
    """How many words the saved tagger tags as expected, and of how many."""
    import torch
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        found = model(**tokenizer(list(SENTENCES), return_tensors="pt")).logits.argmax(-1)
    same = found == torch.tensor(expected_tags())
    return int(same.sum()), same.numel()


def expected_tags() -> list[list[int]]:
    return [[TAGS.get(word, 0) for word in line.split()] for line in SENTENCES]
