from __future__ import annotations

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer, BertForTokenClassification, ModernBertConfig, ModernBertForTokenClassification
from transformers.models.bert import BertConfig

from finetune.arguments.fast_path import FastPathArguments
from finetune.models.sparse_embedding import SparseEmbedding
from finetune.models.unpadding.hooks import is_unpadded
from finetune.run.folder import Run
from finetune.training.building import TrainerParts, build_trainer, train
from finetune.training.collators import TaggingCollator
from finetune.training.losses import TokenLoss
from finetune.training.unpadded_batches import HostLengths, ReadPositions

PLAIN = FastPathArguments(no_fast_path=True)


@pytest.fixture(scope="module")
def tokenizer(minilm_folder):
    return AutoTokenizer.from_pretrained(minilm_folder)


def make_rows(count: int = 24) -> Dataset:
    generator = np.random.default_rng(0)
    lengths = generator.integers(2, 14, count)
    ids = [[101, *generator.integers(1000, 1040, length).tolist(), 102] for length in lengths]
    labels = [[-100, *generator.integers(0, 3, length).tolist(), -100] for length in lengths]
    return Dataset.from_dict({"input_ids": ids, "labels": labels})


def make_model(dropout: float = 0.0) -> BertForTokenClassification:
    torch.manual_seed(0)
    # The padding id of the model is not the tokenizer's, as in many converted checkpoints.
    config = BertConfig(
        vocab_size=30522, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, num_labels=3,
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, pad_token_id=1,
    )  # fmt: skip
    return BertForTokenClassification(config)


def make_modern_model(dropout: float = 0.0) -> ModernBertForTokenClassification:
    torch.manual_seed(0)
    config = ModernBertConfig(
        vocab_size=30522, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, num_labels=3,
        attention_dropout=dropout, mlp_dropout=dropout, embedding_dropout=dropout, local_attention=8, pad_token_id=0,
        bos_token_id=101, eos_token_id=102, cls_token_id=101, sep_token_id=102,
    )  # fmt: skip
    return ModernBertForTokenClassification(config)


def run(
    folder, tokenizer, fast_path: FastPathArguments, *, dropout: float = 0.0, resume=None, make=make_model, **values
):
    model = make(dropout)
    parts = TrainerParts(
        model=model, tokenizer=tokenizer, collator=TaggingCollator.for_tokenizer(tokenizer), loss=TokenLoss(),
        train=make_rows(), sparse_embedding=True,
    )  # fmt: skip
    settled = {
        "output_dir": str(folder), "do_train": True, "num_train_epochs": 2, "per_device_train_batch_size": 4,
        "learning_rate": 1e-2, "weight_decay": 0.1, "max_grad_norm": 0.3, "save_strategy": "no", "use_cpu": True,
        "logging_steps": 1, "bf16": False,
    } | values  # fmt: skip
    trainer = build_trainer(parts, settled, Run(), fast_path=fast_path)
    before = is_unpadded(model), isinstance(model.get_input_embeddings(), SparseEmbedding)
    train(trainer, Run(checkpoint=resume))
    return trainer, before


@pytest.mark.slow
@pytest.mark.parametrize("make", [make_model, make_modern_model])
def test_the_whole_fast_path_trains_what_the_plain_recipe_trains(tmp_path, tokenizer, make):
    fast, (unpadded, sparse) = run(tmp_path / "fast", tokenizer, FastPathArguments(), make=make)
    plain, before = run(tmp_path / "plain", tokenizer, PLAIN, make=make)
    assert unpadded and sparse and before == (False, False)
    expected = dict(plain.model.named_parameters())
    for name, weight in fast.model.named_parameters():
        torch.testing.assert_close(
            weight, expected[name], rtol=2e-3, atol=2e-4, msg=lambda m, name=name: f"{name}: {m}"
        )
    losses = [[line["loss"] for line in t.state.log_history if "loss" in line] for t in (plain, fast)]
    assert len(losses[0]) == 12 and losses[1] == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.slow
def test_predictions_of_words_without_tags_are_those_of_the_plain_recipe(tmp_path, tokenizer):
    """Of two subwords a word the first decides it; where nothing is labelled, the deciding positions are still computed."""
    rows = make_rows().map(
        lambda row: {
            "labels": [-100] * len(row["labels"]),
            "word_positions": [i // 2 if i % 2 and label != -100 else -100 for i, label in enumerate(row["labels"])],
        }
    )
    logits, widths = [], []
    for fast_path in (FastPathArguments(), PLAIN):
        trainer, _ = run(tmp_path, tokenizer, fast_path, num_train_epochs=1)
        last = trainer.model.bert.encoder.layer[-1]
        last.register_forward_hook(lambda module, args, output: widths.append(output.shape[:2].numel()))
        trainer.model.load_state_dict(make_model().state_dict())
        features = [rows[index] for index in range(24)]
        batch = trainer.data_collator(features)
        with torch.no_grad():
            logits.append(trainer.model.eval()(**{k: v for k, v in batch.items() if k != "labels"}).logits)
    fast, plain = logits
    deciding = TaggingCollator.for_tokenizer(tokenizer)(
        [{"input_ids": row["input_ids"], "labels": row["word_positions"]} for row in features]
    )["labels"]
    assert (deciding != -100).sum() > 60 and widths[0] < 0.7 * int(batch["attention_mask"].sum()) < widths[1]
    torch.testing.assert_close(fast[deciding != -100], plain[deciding != -100], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_positions_that_are_read_lie_where_the_rows_stand_in_the_padded_batch(side):
    collator = ReadPositions(TaggingCollator(pad_token_id=0, padding_side=side))
    rows = [{"input_ids": [5, 6, 7, 8], "labels": [-100, 1, -100, 2]}, {"input_ids": [9, 5], "labels": [-100, 0]}]
    batch = collator(rows)
    positions = batch["read_positions"][0].tolist()
    assert positions[:3] == [1, 3, 7 if side == "left" else 5] and set(positions[3:]) <= {0}
    assert "read_positions" not in collator([{"input_ids": [5, 6]}])


def test_lengths_on_the_host_travel_through_the_trainer_to_the_encoder(tmp_path, tokenizer):
    """As on an accelerator, where looking at the mask would make every step wait."""
    parts = TrainerParts(
        model=make_model(), tokenizer=tokenizer, collator=TaggingCollator.for_tokenizer(tokenizer), loss=TokenLoss(),
        train=make_rows(), sparse_embedding=True,
    )  # fmt: skip
    values = {"output_dir": str(tmp_path), "do_train": True, "max_steps": 2, "use_cpu": True, "save_strategy": "no"}
    trainer = build_trainer(parts, values, Run())
    trainer.data_collator = HostLengths(trainer.data_collator)
    lengths = []
    trainer.model.register_forward_pre_hook(
        lambda module, args, kwargs: lengths.append(kwargs["sequence_lengths"]), with_kwargs=True
    )
    trainer.train()
    assert len(lengths) == 2 and all(isinstance(length, int) and 4 <= length <= 15 for row in lengths for length in row)


def test_batches_are_filled_by_tokens(tmp_path, tokenizer):
    rows = make_rows()
    options = FastPathArguments(max_tokens_per_batch=40)
    trainer, _ = run(tmp_path, tokenizer, options, max_steps=3)
    tokens = [int(batch["attention_mask"].sum()) for batch in trainer.get_train_dataloader()]
    assert sum(tokens) == sum(map(len, rows["input_ids"])) and max(tokens) <= 40 and len(set(tokens)) > 1


@pytest.mark.slow
@pytest.mark.parametrize("make", [make_model, make_modern_model])
def test_a_run_resumed_within_an_epoch_is_the_same_bit_for_bit(tmp_path, tokenizer, make):
    """Dropout masks, batches by length, full_rows rows and moments all go on from the checkpoint."""
    options = FastPathArguments(max_tokens_per_batch=40, length_window=2)
    common = {"make": make, "dropout": 0.2, "save_strategy": "steps", "save_steps": 5, "save_total_limit": 9}
    whole, _ = run(tmp_path / "run", tokenizer, options, **common)
    resumed, _ = run(tmp_path / "run", tokenizer, options, resume=tmp_path / "run" / "checkpoint-5", **common)
    assert whole.state.global_step == resumed.state.global_step > 8
    expected = whole.model.state_dict()
    for name, weight in resumed.model.state_dict().items():
        assert torch.equal(weight, expected[name]), name
