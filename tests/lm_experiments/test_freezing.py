"""Frozen entries stay bit-identical through weight decay and momentum, and everything else moves; GPT-2, BERT, T5."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from finetune.errors import UsageError
from finetune.lm_experiments.freezing import (
    FreezeWordTokensCallback,
    PartiallyFrozenModelCallback,
    UnfreezeWordTokensCallback,
)
from finetune.lm_experiments.hooks import HookCallback, Hooks
from finetune.lm_experiments.modifiers import add_new_tokens
from tests.tiny import bert_config, gpt2

SIZE = 40
KINDS = ("lm", "mlm", "seq2seq")


def make_model(kind: str, size: int = SIZE):
    torch.manual_seed(0)
    if kind == "lm":
        return gpt2(size, n_embd=8, n_layer=2, n_positions=16).train()
    if kind == "mlm":
        return BertForMaskedLM(bert_config(size, hidden_size=8, intermediate_size=16))
    shape = {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    return T5ForConditionalGeneration(T5Config(vocab_size=size, decoder_start_token_id=0, **shape))


def train_steps(model, callback, optimizer=None, steps: int = 4) -> dict[str, torch.Tensor]:
    """The parameters before; then AdamW with decay and momentum, each step seen by the callback."""
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    free = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = optimizer or torch.optim.AdamW(free, lr=0.1, weight_decay=0.5)
    arguments, state = TrainingArguments(output_dir="unused", use_cpu=True), TrainerState(epoch=1.5)
    bridge = HookCallback(Hooks({"pre_train_step": [callback]}))
    ids = torch.arange(12).view(2, 6)
    for _ in range(steps):
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        bridge.on_pre_optimizer_step(arguments, state, TrainerControl())
        optimizer.step()
        bridge.on_optimizer_step(arguments, state, TrainerControl())
    return before


def moved(model, before) -> set[str]:
    return {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}


@pytest.fixture(scope="module")
def tokenizer(minilm_folder):
    return AutoTokenizer.from_pretrained(minilm_folder)


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_rows_stay_bit_by_bit_and_others_move(kind):
    model = make_model(kind)
    name = next(name for name, value in model.named_parameters() if value is model.get_input_embeddings().weight)
    callback = PartiallyFrozenModelCallback(model, None, frozen_params=[f"{name}[2]", f"{name}[5:8,:4]"])
    before = train_steps(model, callback)[name]
    after = model.get_parameter(name).detach()
    assert torch.equal(after[2], before[2]) and torch.equal(after[5:8, :4], before[5:8, :4])
    assert (after[3] != before[3]).all() and (after[5:8, 4:] != before[5:8, 4:]).all()


def test_momentum_from_before_moves_nothing():
    model = make_model("lm")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    train_steps(model, lambda epoch, batch: None, optimizer)
    callback = PartiallyFrozenModelCallback(model, None, frozen_params="transformer.wte.weight[3]")
    before = train_steps(model, callback, optimizer)["transformer.wte.weight"]
    assert torch.equal(model.transformer.wte.weight[3], before[3])
    assert not torch.equal(model.transformer.wte.weight[4], before[4])


def test_several_unfrozen_parameters_all_train():
    model = make_model("lm")
    unfrozen = ["transformer.h.0", "transformer.ln_f.bias", "transformer.wpe.weight[0:2]"]
    callback = PartiallyFrozenModelCallback(model, None, unfrozen_params=unfrozen)
    before = train_steps(model, callback)
    changed = moved(model, before)
    assert changed == {
        name for name in before if name.startswith(("transformer.h.0.", "transformer.ln_f.bias", "transformer.wpe"))
    }
    assert torch.equal(model.transformer.wpe.weight[2:], before["transformer.wpe.weight"][2:])


def test_gradients_of_frozen_entries_do_not_count_when_clipped():
    model = make_model("lm")
    PartiallyFrozenModelCallback(model, None, frozen_params="transformer.wte.weight[0:20]")
    ids = torch.arange(12).view(2, 6)
    model(input_ids=ids, labels=ids).loss.backward()
    assert not model.transformer.wte.weight.grad[:20].any() and model.transformer.wte.weight.grad[20:].any()


def test_every_wrong_entry_is_named():
    model = make_model("lm")
    wrong = ["transformer.wte.wieght", "transformer.wte.weight[99]", "transformer.h.0[1]", "transformer.wte.weight[a]"]
    with pytest.raises(UsageError) as raised:
        PartiallyFrozenModelCallback(model, None, frozen_params=wrong)
    text = [str(problem) for problem in raised.value.problems]
    assert len(text) == 4 and "did you mean 'transformer.wte.weight'" in text[0]
    assert "its shape is (40, 8)" in text[1] and "is a module" in text[2] and "no index that can be read" in text[3]
    for both in ({}, {"frozen_params": "x", "unfrozen_params": "y"}):
        with pytest.raises(UsageError, match="give one of them"):
            PartiallyFrozenModelCallback(model, None, **both)


def test_a_tied_matrix_is_found_by_either_name():
    model = make_model("lm")
    before = train_steps(model, PartiallyFrozenModelCallback(model, None, frozen_params="lm_head.weight[1]"))
    assert torch.equal(model.transformer.wte.weight[1], before["transformer.wte.weight"][1])


@pytest.mark.parametrize("kind", KINDS)
def test_word_tokens_frozen_or_the_only_ones_trained(kind, tokenizer):
    number = tokenizer.convert_tokens_to_ids("cat")
    for callback_class, words in [
        (FreezeWordTokensCallback, {"words_to_freeze": "cat"}),
        (UnfreezeWordTokensCallback, {"words_to_unfreeze": ["cat"]}),
    ]:
        model = make_model(kind, len(tokenizer))
        embeddings = model.get_input_embeddings().weight
        name = next(name for name, value in model.named_parameters() if value is embeddings)
        before = train_steps(model, callback_class(model, tokenizer, **words), steps=2)
        same = (embeddings == before[name]).all(1)
        if callback_class is FreezeWordTokensCallback:
            assert same[number] and same.sum() == 1 and len(moved(model, before)) > 1
        else:
            assert not same[number] and same.sum() == len(tokenizer) - 1 and moved(model, before) == {name}


def test_words_of_several_tokens_are_refused(tokenizer):
    model = make_model("mlm", len(tokenizer))
    with pytest.raises(UsageError, match="'electroencephalography' is not one known token"):
        FreezeWordTokensCallback(model, tokenizer, words_to_freeze=["electroencephalography", "cat"])


@pytest.mark.parametrize("kind", KINDS)
def test_new_tokens_get_rows(kind, minilm_folder, caplog):
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    size = len(tokenizer)
    model, same = add_new_tokens(make_model(kind, size), tokenizer, added_tokens=["blick", "blorp", "cat"])
    assert same is tokenizer and len(tokenizer) == size + 2
    assert model.get_input_embeddings().weight.shape[0] == size + 2
    assert model(input_ids=torch.tensor([[size + 1]]), labels=torch.tensor([[size + 1]])).logits.shape[-1] == size + 2
    assert tokenizer.tokenize("a blorp") == ["a", "blorp"]
    assert "1 words are tokens already" in caplog.text
