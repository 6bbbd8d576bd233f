"""Freezing, thawing, rates of parts and layers drawn anew, by what they do to the weights of a training."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from finetune.training.callbacks import GracefulStop


@pytest.fixture
def train(call_command, tiny_bert, tmp_path):
    """run_ner.py on a few sentences of the embedded sample; the folder of what came of it."""

    def call(name: str, *further: object, code: int = 0):
        done = call_command(
            "run_ner.py", "--model_name_or_path", tiny_bert, "--dataset_name", "sample", "--do_train",
            "--output_dir", tmp_path / name, "--max_train_samples", 32, "--per_device_train_batch_size", 8,
            "--max_steps", 4, "--learning_rate", 1e-3, "--weight_decay", 0.1, "--save_steps", 2, *further,
        )  # fmt: skip
        assert done.code == code, done.stderr
        return done if code or "--dry_run" in further else tmp_path / name

    return call


def changed(one, other) -> set[str]:
    """The names of weights that differ between two folders, the encoder's without its prefix."""
    first, second = (load(folder) for folder in (one, other))
    return {name for name in first if name in second and not torch.equal(first[name], second[name])}


def load(folder) -> dict[str, torch.Tensor]:
    weights = load_file(folder / "model.safetensors")
    return {name.removeprefix("bert."): value for name, value in weights.items()}


def parts(names: set[str]) -> set[str]:
    return {name.split(".")[0] if "layer." not in name else f"layer.{name.split('layer.')[1][0]}" for name in names}


@pytest.mark.parametrize("path", [[], ["--no_fast_path"], ["--gradient_checkpointing"]])
def test_frozen_parts_keep_every_bit_and_the_others_learn(path, train, tiny_bert):
    output = train("run", "--freeze", "embeddings,encoder.layer.0-0", *path)
    assert parts(changed(tiny_bert, output)) == {"layer.1"}
    assert parts(changed(tiny_bert, train("bare", *path))) == {"embeddings", "layer.0", "layer.1"}


def test_globs_and_full_names(train, tiny_bert):
    output = train("run", "--freeze", "*.bias, bert.encoder.layer.*.attention")
    moved = changed(tiny_bert, output)
    assert moved and not any(name.endswith("bias") or ".attention." in name for name in moved)


def test_nothing_of_the_flags_moves_a_bit_where_they_say_nothing(train):
    plain = train("plain")
    for name, flags in {"decay": ["--layerwise_lr_decay", 1], "head": ["--head_learning_rate", 1e-3]}.items():
        assert not changed(plain, train(name, *flags)), name


@pytest.mark.parametrize("moment", ["2steps", "0.5"])
def test_frozen_parts_are_trained_once_their_time_has_come(moment, train, tiny_bert):
    output = train("run", "--freeze", "embeddings,encoder", "--unfreeze_after", moment)
    assert parts(changed(tiny_bert, output / "checkpoint-2")) == set()
    assert parts(changed(tiny_bert, output)) == {"embeddings", "layer.0", "layer.1"}


def test_a_run_that_goes_on_after_its_parts_thawed_ends_as_an_undisturbed_one(train, monkeypatch):
    flags = ("--freeze", "embeddings,encoder.layer.0", "--unfreeze_after", "2steps", "--layerwise_lr_decay", 0.5)
    for step in (1, 3):
        whole = train("whole", *flags, "--restart")
        plain = GracefulStop.on_step_end

        def stop(self, args, state, control, step=step, plain=plain, **kwargs):
            self.stop.requested = self.stop.requested or state.global_step == step
            plain(self, args, state, control, **kwargs)

        with monkeypatch.context() as patched:
            patched.setattr(GracefulStop, "on_step_end", stop)
            train(f"part-{step}", *flags, code=75)
        part = train(f"part-{step}", *flags)
        assert not changed(whole, part)
        for name in ("checkpoint-2", "checkpoint-4"):
            states = [(folder / name / "optimizer.pt").read_bytes() for folder in (whole, part)]
            assert states[0] == states[1], name


def test_layers_below_move_less_and_the_head_by_its_own_rate(train, tiny_bert):
    """One step of Adam without warm-up moves every weight that has a gradient by its rate."""
    flags = ("--max_steps", 1, "--lr_scheduler_type", "constant", "--weight_decay", 0, "--bf16", "False")
    before = load(tiny_bert)
    after = load(train("run", *flags, "--layerwise_lr_decay", 0.5, "--head_learning_rate", 0.01))
    moved = {name: (after[name] - before[name]).abs().max().item() for name in after if name in before}
    assert moved["encoder.layer.1.output.dense.weight"] == pytest.approx(5e-4, rel=0.01)
    assert moved["encoder.layer.0.output.dense.weight"] == pytest.approx(2.5e-4, rel=0.01)
    assert moved["embeddings.word_embeddings.weight"] == pytest.approx(1.25e-4, rel=0.01)
    plain = load(train("plain", *flags))["classifier.bias"].abs().max().item()
    assert after["classifier.bias"].abs().max().item() == pytest.approx(10 * plain, rel=0.01)


def test_rows_that_the_data_cannot_reach_decay_at_the_rate_of_the_embeddings(train, tiny_bert):
    flags = ("--layerwise_lr_decay", 0.5, "--bf16", "False")
    fast, plain = (load(train(name, *flags, *more)) for name, more in {"a": [], "b": ["--no_trim_vocabulary"]}.items())
    name = "embeddings.word_embeddings.weight"
    assert torch.allclose(fast[name], plain[name], atol=1e-6) and not torch.equal(fast[name], load(tiny_bert)[name])


def test_layers_are_drawn_anew_from_the_seed(train, tiny_bert):
    flags = ("--learning_rate", 0, "--weight_decay", 0)
    output, again = train("run", *flags, "--reinit_layers", 1), train("again", *flags, "--reinit_layers", 1)
    assert parts(changed(tiny_bert, output)) == {"layer.1"} and not changed(output, again)
    drawn = load(output)["encoder.layer.1.output.dense.weight"]
    assert drawn.std().item() == pytest.approx(0.02, rel=0.1)
    other = train("other", *flags, "--reinit_layers", 1, "--seed", 5)
    assert parts(changed(output, other) - {"classifier.weight"}) == {"layer.1"}


def test_the_table_of_a_dry_run(train):
    done = train(
        "dry", "--freeze", "embeddings", "--layerwise_lr_decay", 0.5, "--head_learning_rate", 0.01, "--dry_run"
    )
    rows = {(row["name"], row["decay"]): row for row in done.last["groups"]}
    assert rows["head", 0.1]["rate"] == 0.01 and rows["encoder.layer.0", 0.0]["rate"] == 2.5e-4
    assert rows["not trained: embeddings", 0]["parameters"] == 30522 * 32 + 128 * 32 + 2 * 32 + 64
    assert "parameters of" in done.stdout and "not trained: embeddings" in done.stdout
    assert {row["name"] for row in train("bare", "--dry_run").last["groups"]} == {"head down to embeddings"}


def test_flags_that_change_nothing_are_said(train, call_command, tmp_path):
    output = train("run")
    done = call_command(
        "run_ner.py", "--model_name_or_path", output, "--dataset_name", "sample", "--do_eval", "--max_eval_samples", 9,
        "--output_dir", tmp_path / "scored", "--freeze", "embeddings", "--ema", 0.9, "--peft", "lora",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert "Nothing is trained; without effect: --freeze, --peft, --ema." in done.stderr
    assert "Adapter lora" not in done.stderr and "Frozen" not in done.stderr


def test_mistakes_are_told_all_at_once(train, tmp_path):
    done = train("bad", "--freeze", "embedings,encoder.layer.0-5", "--reinit_layers", 7, code=2)
    for sentence in (
        "--reinit_layers 7 is more than the 2 layers of this model",
        "the model has no parameter 'embedings'; did you mean 'embeddings'",
        "the model has no encoder.layer.2 (encoder.layer.0-5); encoder.layer has 0 to 1",
    ):
        assert sentence in str(done.last["reason"])
    assert not (tmp_path / "bad").exists()
    assert "leaves nothing to be trained" in str(train("bad", "--freeze", "*", code=2).last["reason"])
    done = train("bad", "--unfreeze_after", "soon", "--layerwise_lr_decay", 1.5, code=2)
    assert (
        "--unfreeze_after soon is no time in a training" in done.stderr and "--layerwise_lr_decay is 1.5" in done.stderr
    )
    assert "without --freeze changes nothing" in str(train("bad", "--unfreeze_after", 1, code=2).last["reason"])


def test_language_models_and_their_experiments_freeze_the_same_way(call_command, tiny_bert, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"the {n} cats saw the dogs of number {n}" for n in range(40)) + "\n")
    common = ("--model_name_or_path", tiny_bert, "--train_file", text, "--freeze", "embeddings,encoder.layer.1")
    done = call_command(
        "run_mlm.py", *common, "--output_dir", tmp_path / "mlm", "--do_train", "--max_steps", 3, "--max_seq_length", 32,
        "--learning_rate", 1e-3,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert parts(changed(tiny_bert, tmp_path / "mlm")) == {"layer.0"}
    done = call_command(
        "finetune_lm.py", *common, "--validation_file", text, "--output_dir", tmp_path / "lm", "--epochs", 1,
        "--model_task", "mlm", "--train_optimizer_kwargs.lr", 1e-3, "--layerwise_lr_decay", 0.5, "--head_learning_rate", 0,
        "--data_preprocessing_fn", "mask_random_tokens", "--seed", 1,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert parts(changed(tiny_bert, tmp_path / "lm/model")) == {"layer.0"}
