"""Training only reachable embedding rows gives the model that training all of them gives, decay or not."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForTokenClassification,
    RobertaConfig,
    get_linear_schedule_with_warmup,
)
from transformers.models.bert import BertConfig

from finetune.models.sparse_embedding import (
    SparseEmbedding,
    follow_weight_decay,
    serves_optimizer,
    use_full_embedding,
    use_sparse_embedding,
)

SIZES = {
    "vocab_size": 97, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 32, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "num_labels": 3,
}  # fmt: skip
REACHABLE = [2, 3, 5, 8, 13, 21, 34, 55]


def make_model(config=None) -> nn.Module:
    torch.manual_seed(0)
    return AutoModelForTokenClassification.from_config(config or BertConfig(**SIZES)).train()


def make_batches(count: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    batches = []
    for _ in range(count):
        ids = torch.tensor(REACHABLE)[torch.randint(len(REACHABLE), (4, 7), generator=generator)]
        ids[1, 5:] = 0
        mask = torch.ones_like(ids)
        mask[1, 5:] = 0
        labels = torch.randint(3, ids.shape, generator=generator)
        batches.append({"input_ids": ids, "attention_mask": mask, "labels": labels})
    return batches


class Run:
    """AdamW with warmup and clipping by hand; the embedding is in a decayed group as the Trainer has it."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        named = list(model.named_parameters())
        groups = [
            {"params": [p for n, p in named if n.endswith("weight") and "LayerNorm" not in n], "weight_decay": decay},
            {"params": [p for n, p in named if n.endswith("bias") or "LayerNorm" in n], "weight_decay": 0.0},
        ]
        self.model, self.optimizer = model, torch.optim.AdamW(groups, lr=3e-2, fused=True)
        self.schedule = get_linear_schedule_with_warmup(self.optimizer, 3, 20)
        follow_weight_decay(model, self.optimizer)

    def train(self, batches) -> None:
        for batch in batches:
            self.model.train()(**batch).loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 0.5)
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad()


def assert_same_weights(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("config", [BertConfig(**SIZES), RobertaConfig(**SIZES)], ids=["bert", "roberta"])
def test_weights_after_training_are_equal(config, decay):
    whole = make_model(copy.deepcopy(config))
    sparse = copy.deepcopy(whole)
    untouched = whole.get_input_embeddings().weight.detach().clone()
    assert use_sparse_embedding(sparse, REACHABLE) is None
    batches = make_batches(12)
    for batch in batches:
        batch["input_ids"][batch["attention_mask"] == 0] = config.pad_token_id
    for model in (whole, sparse):
        Run(model, decay).train(batches)
    assert sparse.get_input_embeddings().weight.shape == (len({*REACHABLE, config.pad_token_id}), 16)
    expected = whole.state_dict()
    assert_same_weights(sparse.state_dict(), expected)
    if decay:  # the test would notice a decay that is not applied
        full_rows = untouched[90] - whole.get_input_embeddings().weight[90]
        assert full_rows.abs().max() > 1e-3
    use_full_embedding(sparse)
    assert type(sparse.get_input_embeddings()) is nn.Embedding
    assert_same_weights(dict(sparse.named_parameters()), dict(whole.named_parameters()))
    assert sparse.get_input_embeddings().padding_idx == whole.get_input_embeddings().padding_idx


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_saving_evaluating_and_resuming_in_between(tmp_path, monkeypatch, decay, in_file):
    monkeypatch.setattr("finetune.models.rows_without_gradient.WORTHWHILE", 1 if in_file else 2**40)
    whole = make_model()
    sparse = copy.deepcopy(whole)
    use_sparse_embedding(sparse, REACHABLE)
    batches = make_batches(10)
    strangers = torch.randint(97, (3, 9))
    runs = [Run(whole, decay), Run(sparse, decay)]
    for run in runs:
        run.train(batches[:6])
    with torch.no_grad():
        expected, found = (model.eval()(strangers).logits for model in (whole, sparse))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    sparse.save_pretrained(tmp_path)
    states = copy.deepcopy((runs[1].optimizer.state_dict(), runs[1].schedule.state_dict()))
    for run in runs:
        run.train(batches[6:])
    resumed = AutoModelForTokenClassification.from_pretrained(tmp_path)
    assert resumed.get_input_embeddings().weight.shape == (97, 16)
    use_sparse_embedding(resumed, REACHABLE)
    run = Run(resumed, decay)
    run.optimizer.load_state_dict(states[0])
    run.schedule.load_state_dict(states[1])
    run.train(batches[6:])
    for name, weight in sparse.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], weight), name
    assert_same_weights(resumed.state_dict(), whole.state_dict())


def test_loading_a_state_dict_brings_back_every_row():
    model = make_model()
    use_sparse_embedding(model, REACHABLE)
    best = copy.deepcopy(model.state_dict())
    Run(model, 0.1).train(make_batches(3))
    assert not torch.equal(model.state_dict()["bert.embeddings.word_embeddings.weight"][90], best[
        "bert.embeddings.word_embeddings.weight"][90])  # fmt: skip
    model.load_state_dict(best)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, best[name])


def test_unreachable_ids_in_training_are_an_error():
    model = make_model()
    use_sparse_embedding(model, REACHABLE)
    with pytest.raises(IndexError, match=r"\[90\]"):
        model(torch.tensor([[2, 90]]))
    with pytest.raises(IndexError, match="from 0 to 97"):
        use_sparse_embedding(make_model(), [2, 97])


def test_shared_frozen_or_almost_fully_used_matrices_stay_whole():
    tied = AutoModelForMaskedLM.from_config(BertConfig(**SIZES))
    reason = use_sparse_embedding(tied, REACHABLE)
    assert reason == "the embedding matrix is shared by bert.embeddings.word_embeddings and cls.predictions.decoder"
    frozen = make_model()
    frozen.get_input_embeddings().requires_grad_(False)
    assert use_sparse_embedding(frozen, REACHABLE) == "the input embedding is frozen"
    assert use_sparse_embedding(make_model(), range(95)) == "the data reaches 95 of 97 embedding rows"
    twice = make_model()
    assert use_sparse_embedding(twice, REACHABLE) is None
    assert use_sparse_embedding(twice, REACHABLE) == "the input embedding is a SparseEmbedding"


def test_copies_are_independent():
    model = make_model()
    use_sparse_embedding(model, REACHABLE)
    twin = copy.deepcopy(model)
    Run(twin, 0.5).train(make_batches(2))
    assert isinstance(twin.get_input_embeddings(), SparseEmbedding)
    assert model.get_input_embeddings().pending_decay == 1.0 > twin.get_input_embeddings().pending_decay


def test_only_elementwise_optimizers_with_decoupled_decay_are_served():
    assert serves_optimizer("adamw_torch_fused", 0.01) and serves_optimizer("sgd", 0.0)
    assert not serves_optimizer("sgd", 0.01) and not serves_optimizer("adafactor", 0.0)


def test_a_step_that_a_gradient_scaler_skips_decays_nothing():
    model = make_model()
    use_sparse_embedding(model, REACHABLE)
    run = Run(model, 0.5)
    embedding = model.get_input_embeddings()
    for overflow, decays in ((1.0, False), (0.0, True)):
        before, weight = embedding.pending_decay, embedding.weight.detach().clone()
        model(**make_batches(1)[0]).loss.backward()
        run.optimizer.param_groups[0]["lr"] = 0.1
        run.optimizer.grad_scale, run.optimizer.found_inf = torch.tensor(1.0), torch.tensor(overflow)
        run.optimizer.step()
        assert (embedding.pending_decay != before) == decays
        assert torch.equal(embedding.weight, weight) != decays
