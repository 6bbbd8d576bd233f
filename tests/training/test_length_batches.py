from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import TrainingArguments

from finetune.training.length_batches import LengthBatchSampler, fill, split_to, use_length_batches
from finetune.training.trainer import FinetuneTrainer

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=120)


@settings(max_examples=80, deadline=None)
@given(
    lengths=LENGTHS,
    max_tokens=st.one_of(st.none(), st.integers(1, 200)),
    padded=st.booleans(),
    window=st.integers(0, 5),
    processes=st.integers(1, 3),
    seed=st.integers(0, 5),
)
def test_every_sentence_once_an_epoch_within_the_budget(lengths, max_tokens, padded, window, processes, seed):
    options = {"batch_size": 7, "max_tokens": max_tokens, "padded": padded, "window": window, "seed": seed}
    samplers = [LengthBatchSampler(lengths, rank=rank, processes=processes, **options) for rank in range(processes)]
    for epoch in (0, 7):
        shares = []
        for sampler in samplers:
            sampler.set_epoch(epoch)
            shares.append(list(sampler))
        assert {len(share) for share in shares} == {len(samplers[0])}
        batches = [batch for share in shares for batch in share]
        seen = sorted(index for batch in batches for index in batch)
        assert set(seen) == set(range(len(lengths)))
        assert len(seen) == len(lengths) or all(len(batch) == 1 for batch in batches)
        assert len(seen) < len(lengths) + processes
        for batch in batches:
            tokens = [lengths[index] for index in batch]
            cost = max(tokens) * len(tokens) if padded else sum(tokens)
            assert len(batch) == 1 or (len(batch) <= 7 if max_tokens is None else cost <= max_tokens)


def test_epochs_differ_and_the_seed_decides():
    lengths = np.random.default_rng(0).integers(5, 80, 500)
    first, again, other = (LengthBatchSampler(lengths, max_tokens=400, seed=seed) for seed in (1, 1, 2))
    assert list(first) == list(again) != list(other)
    epoch0 = list(first)
    first.set_epoch(1)
    assert list(first) != epoch0 and len(list(first)) == len(epoch0) == len(first)
    first.set_epoch(0)
    assert list(first) == epoch0


def test_a_window_groups_by_length_and_a_budget_is_filled():
    lengths = np.random.default_rng(0).integers(5, 80, 2000)
    grouped = list(LengthBatchSampler(lengths, batch_size=16, window=50))
    padding = sum(lengths[b].max() * len(b) - lengths[b].sum() for b in grouped) / lengths.sum()
    assert padding < 0.03
    means = np.array([lengths[b].mean() for b in grouped])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.3  # steps come in random order of length
    budgeted = list(LengthBatchSampler(lengths, max_tokens=1000))
    assert np.mean([lengths[b].sum() for b in budgeted]) > 930


def test_neighbours_in_length_go_to_different_processes():
    lengths = np.random.default_rng(0).integers(5, 80, 960)
    shares = [list(LengthBatchSampler(lengths, batch_size=8, window=120, processes=2, rank=r)) for r in (0, 1)]
    differences = [abs(lengths[a].mean() - lengths[b].mean()) for a, b in zip(*shares, strict=True)]
    assert np.mean(differences) < 2


def test_long_sentences_stand_alone_and_are_counted():
    sampler = LengthBatchSampler([5, 50, 5, 60], max_tokens=20)
    assert sampler.over_budget == 2
    assert sorted(map(len, sampler)) == [1, 1, 1, 1] or sorted(map(len, sampler)) == [1, 1, 2]
    with pytest.raises(ValueError, match="needs sentences"):
        LengthBatchSampler([], max_tokens=20)


def test_filling_and_splitting():
    lengths = np.array([4, 4, 9, 2])
    assert fill([0, 1, 2, 3], lengths, 8, padded=False) == [[0, 1], [2], [3]]
    assert fill([3, 2, 1, 0], lengths, 18, padded=True) == [[3, 2], [1, 0]]
    assert split_to([[0, 1, 2], [3]], 3) == [[0, 1], [2], [3]]
    assert split_to([[0]], 3) == [[0], [0], [0]]


class Items(torch.utils.data.Dataset):
    def __init__(self, seen: list) -> None:
        self.seen = seen

    def __len__(self) -> int:
        return 23

    def __getitem__(self, index: int) -> dict:
        self.seen.append(index)
        return {"x": torch.tensor([float(index)])}


class Line(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return {"loss": ((x * self.weight - 1) ** 2).mean()}


def make_trainer(folder, seen: list, **options) -> FinetuneTrainer:
    arguments = TrainingArguments(
        output_dir=str(folder), num_train_epochs=3, use_cpu=True, save_strategy="steps", save_steps=7,
        report_to="none", disable_tqdm=True, learning_rate=1e-3, remove_unused_columns=False, **options,
    )  # fmt: skip
    trainer = FinetuneTrainer(model=Line(), args=arguments, train_dataset=Items(seen))
    use_length_batches(trainer, LengthBatchSampler(np.arange(23) + 1, max_tokens=60, seed=3))
    return trainer


@pytest.mark.slow
def test_the_trainer_takes_the_batches_and_resumes_within_an_epoch(tmp_path):
    seen: list[int] = []
    trainer = make_trainer(tmp_path / "whole", seen)
    trainer.train()
    sampler = trainer._get_train_sampler()
    expected = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        expected += [index for batch in sampler for index in batch]
    assert seen == expected
    assert trainer.state.global_step == 3 * len(sampler) == 18

    resumed_seen: list[int] = []
    resumed = make_trainer(tmp_path / "resumed", resumed_seen)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-7"))
    sampler.set_epoch(0)
    assert resumed_seen == expected[-len(resumed_seen) :] and len(resumed_seen) < len(expected)
    assert torch.equal(resumed.model.weight, trainer.model.weight)
