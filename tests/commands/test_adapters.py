"""Adapters through the command lines: what is trained, saved, gone on from, read again, merged."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    DistilBertConfig,
    DistilBertModel,
)

from finetune.arguments.adapters import AdapterArguments
from finetune.arguments.model import ModelArguments
from finetune.models.adapters import adapter_weights, add_adapter
from finetune.models.loading import load_model
from finetune.models.quantizing import quantize_encoder
from tests import tiny

KINDS = ("lora", "dora", "ia3", "vera")


@pytest.fixture(scope="module")
def base(tiny_bert, tmp_path_factory) -> Path:
    """The tiny BERT in a folder of its own."""
    return Path(shutil.copytree(tiny_bert, tmp_path_factory.mktemp("bases") / "base"))


@pytest.fixture
def train(call_command, base, tmp_path):
    """run_ner.py on a few sentences of the embedded sample; the folder of what came of it."""

    def call(name: str, *further: object, code: int = 0, model: Path = base):
        done = call_command(
            "run_ner.py", "--model_name_or_path", model, "--dataset_name", "sample", "--do_train", "--do_eval",
            "--output_dir", tmp_path / name, "--max_train_samples", 64, "--max_eval_samples", 20, "--max_steps", 8,
            "--learning_rate", 3e-2, "--save_steps", 4, "--eval_steps", 4, "--eval_strategy", "steps", *further,
        )  # fmt: skip
        assert done.code == code, done.stderr
        return done if code else tmp_path / name

    return call


def tag(call_command, folder: Path, output: Path) -> list[str]:
    done = call_command(
        "predict.py", "--model_name_or_path", folder, "--input_file", output.parent / "raw.txt", "--output_file", output,
        "--bf16", "False", "--overwrite_output_file",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return output.read_text().splitlines()


def logits_of(model, folder: Path) -> torch.Tensor:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(["Maria flew to Berlin in July .", "no more"], padding=True, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**batch).logits


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_learns_beside_a_frozen_model_and_is_read_by_peft_and_merged(
    kind, train, call_command, base, tmp_path
):
    output = train("run", "--peft", kind)
    weights = load_file(output / "adapter_model.safetensors")
    assert {"base_model.model.classifier.weight", "base_model.model.classifier.bias"} <= set(weights)
    assert not any("word_embeddings" in name for name in weights) and not (output / "model.safetensors").exists()
    labels = json.loads((output / "config.json").read_text())["id2label"]
    plain = AutoModelForTokenClassification.from_pretrained(base, num_labels=len(labels))
    before = logits_of(plain, output)
    by_peft = logits_of(PeftModel.from_pretrained(plain, output), output)
    done = call_command("merge.py", output, "--output_dir", tmp_path / "merged")
    assert done.code == 0, done.stderr
    merged = AutoModelForTokenClassification.from_pretrained(tmp_path / "merged")
    assert torch.allclose(by_peft, logits_of(merged, output), atol=1e-5)
    assert not torch.allclose(before, by_peft, atol=1e-2)
    frozen = load_file(base / "model.safetensors")["encoder.layer.0.attention.self.query.weight"]
    moved = load_file(tmp_path / "merged/model.safetensors")["bert.encoder.layer.0.attention.self.query.weight"]
    assert torch.equal(frozen, moved) == (kind == "ia3"), "ia3 adapts keys and values"
    (tmp_path / "raw.txt").write_text("Maria flew to Berlin in July .\nno more\n")
    results = [tag(call_command, folder, tmp_path / "tags.jsonl") for folder in (output, tmp_path / "merged")]
    assert results[0] == results[1] and len(results[0]) == 2
    assert tag(call_command, output / "checkpoint-8", tmp_path / "tags.jsonl")


def test_rank_scale_targets_and_further_modules(train, base):
    output = train(
        "run", "--peft", "lora", "--lora_r", 3, "--lora_alpha", 6, "--lora_target_modules", "key,intermediate.dense",
        "--modules_to_save", "embeddings.LayerNorm", "--use_rslora", "--lora_dropout", 0.1,
    )  # fmt: skip
    weights = load_file(output / "adapter_model.safetensors")
    adapted = {name.split(".lora_")[0].rpartition("layer.")[2] for name in weights if "lora_A" in name}
    assert adapted == {f"{n}.{end}" for n in (0, 1) for end in ("attention.self.key", "intermediate.dense")}
    assert {tuple(value.shape) for name, value in weights.items() if "lora_A" in name} == {(3, 32)}
    moved = weights["base_model.model.bert.embeddings.LayerNorm.weight"]
    assert not torch.equal(moved, load_file(base / "model.safetensors")["embeddings.LayerNorm.weight"])
    config = json.loads((output / "adapter_config.json").read_text())
    assert (config["use_rslora"], config["lora_dropout"], config["lora_alpha"]) == (True, 0.1, 6)
    everywhere = load_file(
        train("all", "--peft", "dora", "--lora_target_modules", "all-linear") / "adapter_model.safetensors"
    )
    assert sum("lora_A" in name for name in everywhere) == 12 and any("magnitude" in name for name in everywhere)


def give_adapter(base, **asked):
    """The base as a tagger without dropout, with an adapter of rank 4 whose second factor is no zero."""
    quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    arguments, config = ModelArguments(model_name_or_path=str(base)), AutoConfig.from_pretrained(base, **quiet)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = load_model(arguments, config, tokenizer, task="token_classification", new_head=False)
    add_adapter(model, AdapterArguments(peft="lora", lora_r=4, **asked), seed=0)
    layer = model.bert.encoder.layer[0].attention.self.query
    torch.nn.init.constant_(layer.lora_B["default"].weight, 0.1)
    return model, layer


@pytest.mark.parametrize(
    ("asked", "scale"), [({}, 4.0), ({"lora_alpha": 6}, 1.5), ({"lora_alpha": 6, "use_rslora": True}, 3.0)]
)
def test_what_is_learnt_is_scaled_by_alpha_and_the_rank_or_its_root(asked, scale, base):
    _, layer = give_adapter(base, **asked)
    inputs = torch.randn(2, 32)
    added = layer(inputs) - layer.base_layer(inputs)
    product = inputs @ layer.lora_A["default"].weight.T @ layer.lora_B["default"].weight.T
    assert torch.allclose(added, scale * product, atol=1e-5) and added.abs().max() > 1e-3


@pytest.mark.parametrize("dropout", [None, 0.5])
def test_dropout_stands_in_front_of_what_is_learnt_while_it_is_trained(dropout, base):
    model, _ = give_adapter(base, lora_dropout=dropout)
    ids = torch.randint(5, 100, (2, 9))
    first, second = (model.train()(ids).logits for _ in range(2))
    assert torch.equal(first, second) == (dropout is None)
    first, second = (model.eval()(ids).logits for _ in range(2))
    assert torch.equal(first, second)


def test_a_head_that_the_base_had_is_the_trained_one_afterwards(train, call_command, tmp_path):
    """The base is a trained tagger of the same labels: its head must not come back in the place of the new one."""
    whole = train("whole")
    output = train("run", "--peft", "lora", model=whole)
    done = call_command("merge.py", output, "--output_dir", tmp_path / "merged")
    assert done.code == 0, done.stderr
    heads = [load_file(folder / "model.safetensors")["classifier.weight"] for folder in (whole, tmp_path / "merged")]
    saved = load_file(output / "adapter_model.safetensors")["base_model.model.classifier.weight"]
    assert torch.equal(heads[1], saved) and not torch.equal(heads[0], saved)
    again = call_command(
        "run_ner.py", "--model_name_or_path", output, "--dataset_name", "sample", "--do_eval", "--max_eval_samples", 20,
        "--output_dir", tmp_path / "scored", "--bf16", "False",
    )  # fmt: skip
    assert again.code == 0, again.stderr


@pytest.mark.parametrize("kind", ["lora", "vera"])
def test_an_interrupted_run_ends_with_the_same_bits(kind, train, stopped_at_step):
    flags = ("--peft", kind, "--lora_dropout", 0.2, "--layerwise_lr_decay", 0.9)
    whole = train("whole", *flags)
    with stopped_at_step(5):
        train("part", *flags, code=75)
    part = train("part", *flags)
    assert (whole / "adapter_model.safetensors").read_bytes() == (part / "adapter_model.safetensors").read_bytes()


def test_two_processes_train_one_adapter(train, run_two_processes, base, tmp_path):
    """With averages and rates of layers; the whole batch of one process is the two halves of two."""
    flags = ("--peft", "lora", "--ema", 0.9, "--layerwise_lr_decay", 0.9, "--bf16", "False")
    still = ("--config_overrides", "hidden_dropout_prob=0.0,attention_probs_dropout_prob=0.0")
    whole = train("whole", *flags, *still, "--learning_rate", 1e-3, "--per_device_train_batch_size", 8)
    done = run_two_processes(
        "run_ner.py", "--model_name_or_path", base, "--dataset_name", "sample", "--do_train", "--do_eval",
        "--output_dir", tmp_path / "two", "--max_train_samples", 64, "--max_eval_samples", 20, "--max_steps", 8,
        "--save_steps", 4, "--eval_steps", 4, "--eval_strategy", "steps", *flags, *still, "--learning_rate", 1e-3,
        "--per_device_train_batch_size", 4,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    one, other = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "two"))
    assert whole and all(torch.allclose(value, other[name], atol=1e-4) for name, value in one.items())


def test_mistakes_are_told_all_at_once(train, call_command, base, tmp_path):
    done = train("bad", "--peft", "lora", "--lora_target_modules", "querry,value", "--modules_to_save", "poler",
                 "--freeze", "embeddings", "--reinit_layers", 9, code=2)  # fmt: skip
    for sentence in (
        "the model has no linear layer 'querry'; did you mean 'query'",
        "the model has no module 'poler' to save",
        "--freeze with --peft",
        "--reinit_layers 9 is more than the 2 layers",
    ):
        assert sentence in str(done.last["reason"])
    assert not (tmp_path / "bad").exists()
    done = train("bad", "--lora_r", 4, code=2)
    assert "--lora_r says how an adapter is, and none is trained" in str(done.last["reason"])
    done = train("bad", "--peft", "ia3", "--use_rslora", code=2)
    assert "--use_rslora means nothing to --peft ia3" in str(done.last["reason"])


def test_an_adapter_of_another_base_is_refused_with_both_names(train, call_command, base, tmp_path):
    own = Path(shutil.copytree(base, tmp_path / "own"))
    output = train("run", "--peft", "lora", model=own)
    stranger = tiny.save(BertForSequenceClassification(tiny.bert_config(30522)), AutoTokenizer.from_pretrained(base),
                         tmp_path / "stranger")  # fmt: skip
    done = call_command("merge.py", output, "--output_dir", tmp_path / "merged", "--base_model", stranger)
    assert done.code == 2 and f"was trained on {own}, and {stranger} is another model" in str(done.last["reason"])
    done = train("again", "--peft", "lora", model=output, code=2)
    assert f"{output} is an adapter" in str(done.last["reason"])
    shutil.copyfile(stranger / "model.safetensors", own / "model.safetensors")
    (tmp_path / "raw.txt").write_text("Maria\n")
    flags = ("--input_file", tmp_path / "raw.txt", "--output_file", tmp_path / "tags.jsonl")
    done = call_command("predict.py", "--model_name_or_path", output, *flags)
    assert done.code == 2 and f"was trained on {own}, whose weights are others now" in done.stderr
    shutil.rmtree(own)
    done = call_command("predict.py", "--model_name_or_path", output, *flags)
    assert done.code == 2 and f"was trained on {own}, which is not there" in done.stderr
    done = call_command("merge.py", base, "--output_dir", tmp_path / "nothing")
    assert done.code == 2 and "holds no adapter" in str(done.last["reason"])


def test_an_adapter_whose_head_has_other_labels_is_refused_with_both(train, call_command, tmp_path):
    output = train("run", "--peft", "lora")
    other = tmp_path / "other.conll"
    other.write_text("ann\tB-FOO\nran\tO\n\nthe\tO\ncat\tO\n\n" * 9)
    flags = ("--train_file", other, "--validation_file", other, "--do_train", "--max_steps", 1)
    done = call_command("run_ner.py", "--model_name_or_path", output, *flags, "--output_dir", tmp_path / "again")
    assert done.code == 2 and "has a head of other labels (O, B-PER, " in str(done.last["reason"])
    assert "than the data (B-FOO, O)" in str(done.last["reason"]) and "finetune merge" in str(done.last["reason"])
    (output / "config.json").unlink()  # as plain peft writes adapters
    done = call_command("run_ner.py", "--model_name_or_path", output, *flags, "--output_dir", tmp_path / "again")
    assert done.code == 2 and "has a head of 11 labels (classifier.bias), and 2 are needed" in str(done.last["reason"])


def test_an_adapter_teaches_as_its_merged_model_does(train, call_command, base, tmp_path):
    teacher = train("teacher", "--peft", "lora")
    assert call_command("merge.py", teacher, "--output_dir", tmp_path / "merged").code == 0
    weights = []
    for name, folder in (("adapter", teacher), ("plain", tmp_path / "merged")):
        done = call_command(
            "distillation/train.py", "--task", "token_classification", "--teacher_name", folder, "--student_name", base,
            "--dataset_name", "sample", "--max_train_samples", 40, "--max_steps", 3, "--output_dir", tmp_path / name,
            "--alpha_hard", 0, "--learning_rate", 1e-2,
        )  # fmt: skip
        assert done.code == 0, done.stderr
        weights.append(load_file(tmp_path / name / "model.safetensors"))
    assert all(torch.allclose(value, weights[1][name], atol=1e-4) for name, value in weights[0].items())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU that takes 4-bit layers")
def test_four_bits_are_refused_without_a_gpu_beside_everything_else(train, tmp_path):
    done = train("bad", "--peft", "lora", "--load_in_4bit", "--lora_target_modules", "querry", code=2)
    assert "--load_in_4bit needs an NVIDIA GPU" in str(done.last["reason"])
    assert "no linear layer 'querry'" in str(done.last["reason"]) and not (tmp_path / "bad").exists()
    done = train("bad", "--load_in_4bit", code=2)
    assert "--load_in_4bit says how an adapter is, and none is trained" in str(done.last["reason"])
    done = train("bad", "--peft", "vera", "--load_in_4bit", code=2)
    assert "--load_in_4bit means nothing to --peft vera" in str(done.last["reason"])


def test_an_adapter_learns_beside_layers_in_four_bits(base, tmp_path):
    """On the CPU, which bitsandbytes computes on, too; the command line asks for a GPU."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    tokenizer = AutoTokenizer.from_pretrained(base)
    wide = BertConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
    )
    folder = tiny.save(BertForTokenClassification(wide), tokenizer, tmp_path / "wide")  # whole blocks of 64 weights
    arguments, config = ModelArguments(model_name_or_path=str(folder)), AutoConfig.from_pretrained(folder)
    model = load_model(arguments, config, tokenizer, task="token_classification", new_head=False)
    ids = torch.randint(5, 100, (2, 9))
    before = model.eval()(ids).logits
    assert quantize_encoder(model, torch.float32) == 12
    add_adapter(model.to("cpu"), AdapterArguments(peft="lora", load_in_4bit=True), seed=0)
    layer = model.bert.encoder.layer[0].attention.self.query
    assert type(layer.base_layer).__name__ == "Linear4bit" and not layer.base_layer.weight.requires_grad
    logits = model.eval()(ids).logits
    assert torch.allclose(logits, before, atol=0.3) and not torch.equal(logits, before), "rounded to 4 bits"
    logits.square().sum().backward()
    assert layer.lora_B["default"].weight.grad.abs().sum() > 0
    assert not any("base_layer" in name for name in adapter_weights(model))


def test_peft_is_imported_only_where_adapters_or_a_trainer_are(base):
    code = "import sys, finetune.tagging.opening, finetune.serving.task; print('peft' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture
def text(tmp_path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("\n".join(f"the {n} cats saw the dogs of number {n}" for n in range(40)) + "\n")
    return path


def test_language_models_are_adapted_scored_and_merged(call_command, text, tmp_path):
    tokenizer = tiny.byte_level(text.read_text().splitlines(), 300)
    base = tiny.save(tiny.gpt2(len(tokenizer), n_positions=64), tokenizer, tmp_path / "gpt2")
    common = ("--model_name_or_path", base, "--train_file", text)
    adapter = ("--peft", "lora", "--learning_rate", 3e-2)
    done = call_command(
        "run_clm.py", *common, *adapter, "--output_dir", tmp_path / "clm", "--do_train", "--max_steps", 6,
        "--block_size", 32,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    done = call_command(
        "finetune_lm.py", *common, *adapter[:2], "--validation_file", text, "--output_dir", tmp_path / "lm", "--epochs", 2,
        "--train_optimizer_kwargs.lr", 1e-2, "--seed", 1,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    for folder in (tmp_path / "clm", tmp_path / "lm"):
        merged = tmp_path / f"{folder.name}-merged"
        assert call_command("merge.py", folder, "--output_dir", merged).code == 0
        own = folder / "model" if folder.name == "lm" else folder
        assert (own / "adapter_model.safetensors").is_file()
        scores = [score(call_command, place, text) for place in (own, merged, base)]
        assert scores[0] == pytest.approx(scores[1], rel=1e-4) and scores[0] != pytest.approx(scores[2], rel=1e-3)


def score(call_command, model: Path, text: Path) -> float:
    done = call_command("score.py", "--model_name_or_path", model, "--test_file", text)
    assert done.code == 0, done.stderr
    return sum(float(word) for word in re.findall(r"\d+\.\d+", done.stdout))


def test_masked_models_and_classifiers(call_command, base, text, tmp_path):
    done = call_command(
        "run_mlm.py", "--model_name_or_path", base, "--train_file", text, "--output_dir", tmp_path / "mlm", "--do_train",
        "--max_steps", 3, "--max_seq_length", 32, "--peft", "lora",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert any(".cls." in name for name in load_file(tmp_path / "mlm/adapter_model.safetensors")), "its head was new"
    assert call_command("merge.py", tmp_path / "mlm", "--output_dir", tmp_path / "merged").code == 0
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\n" + "".join(f"text {n},{'good' if n % 2 else 'bad'}\n" for n in range(40)))
    done = call_command(
        "run_glue.py", "--model_name_or_path", tmp_path / "merged", "--train_file", rows, "--validation_file", rows,
        "--do_train", "--do_eval", "--max_steps", 6, "--output_dir", tmp_path / "texts", "--peft", "lora",
        "--learning_rate", 1e-2, "--gradient_checkpointing",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    names = set(load_file(tmp_path / "texts/adapter_model.safetensors"))
    assert any("classifier" in name for name in names) and any("pooler" in name for name in names)


def test_students_and_pretraining_on_pregenerated_data(train, call_command, base, text, tmp_path):
    teacher = train("teacher")
    config = DistilBertConfig(
        vocab_size=30522, n_layers=1, dim=16, n_heads=2, hidden_dim=24, max_position_embeddings=128
    )
    student = tiny.save(DistilBertModel(config), AutoTokenizer.from_pretrained(base), tmp_path / "student")
    common = ("--task", "token_classification", "--teacher_name", teacher, "--student_name", student, "--peft", "lora")
    done = call_command(
        "distillation/train.py", *common, "--dataset_name", "sample", "--max_train_samples", 40, "--max_steps", 4,
        "--output_dir", tmp_path / "distilled", "--export", tmp_path / "export", "--alpha_hidden", 0.1,
        "--learning_rate", 1e-2,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    plain = AutoModelForTokenClassification.from_pretrained(tmp_path / "export")
    assert call_command("merge.py", tmp_path / "distilled", "--output_dir", tmp_path / "merged").code == 0
    merged = AutoModelForTokenClassification.from_pretrained(tmp_path / "merged")
    assert all(torch.equal(value, merged.state_dict()[name]) for name, value in plain.state_dict().items())
    done = call_command("distillation/train.py", *common, "--dataset_name", "sample", "--output_dir", tmp_path / "bad",
                        "--alpha_relation", 0.1)  # fmt: skip
    assert done.code == 2 and "--alpha_relation" in str(done.last["reason"])
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n\n".join("\n".join(text.read_text().splitlines()[n : n + 4]) for n in range(0, 40, 4)) + "\n")
    flags = ("--bert_model", base, "--do_lower_case", "--output_dir")
    done = call_command("pregenerate_training_data.py", "--train_corpus", corpus, "--epochs_to_generate", 1,
                        "--max_seq_len", 64, *flags, tmp_path / "pregenerated")  # fmt: skip
    assert done.code == 0, done.stderr
    done = call_command("finetune_on_pregenerated.py", "--pregenerated_data", tmp_path / "pregenerated", "--epochs", 1,
                        "--train_batch_size", 4, *flags, tmp_path / "adapted", "--peft", "lora")  # fmt: skip
    assert done.code == 0, done.stderr
    assert (tmp_path / "adapted/adapter_model.safetensors").is_file()
    assert call_command("merge.py", tmp_path / "adapted", "--output_dir", tmp_path / "whole").code == 0
