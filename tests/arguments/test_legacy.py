"""Every flag that transformers 2 to 4 had and 5.23 has not."""

from __future__ import annotations

import json

import pytest

from finetune.arguments.legacy import OLD_FLAGS
from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import CommandParser
from finetune.arguments.run import RunArguments
from finetune.arguments.training_table import TRAINING_FIELDS
from finetune.errors import UsageError

# Fields of TrainingArguments in transformers 2.9 to 4.57 that are gone, as its own changelog and sources list them.
GONE = {
    *("evaluate_during_training", "per_gpu_train_batch_size", "per_gpu_eval_batch_size", "fp16_opt_level"),
    *("model_parallel", "past_index", "evaluation_strategy", "no_cuda"),
    *("logging_dir", "warmup_ratio", "group_by_length", "adafactor"),
    *("half_precision_backend", "fp16_backend", "tpu_num_cores", "tpu_metrics_debug"),
    *("sharded_ddp", "fsdp_min_num_params", "fsdp_transformer_layer_cls_to_wrap", "dispatch_batches"),
    *("split_batches", "save_safetensors", "use_mps_device", "use_ipex"),
    *("jit_mode_eval", "torchdynamo", "xpu_backend", "mp_parameters"),
    *("use_legacy_prediction_loop", "include_tokens_per_second", "include_inputs_for_metrics", "push_to_hub_model_id"),
    *("push_to_hub_token", "push_to_hub_organization", "ray_scope", "overwrite_output_dir"),
}


def parse(*words):
    parser = CommandParser("", [ModelArguments, RunArguments], training_defaults={}, prog="x")
    return parser.parse(["--model_name_or_path", "m", "--output_dir", "o", *words])


def problems_of(*words):
    with pytest.raises(UsageError) as caught:
        parse(*words)
    return [str(problem) for problem in caught.value.problems]


def test_every_gone_flag_is_known():
    own = {"overwrite_output_dir"}  # still ours
    assert GONE - set(OLD_FLAGS) == own


def test_no_entry_hides_a_living_field_but_the_deprecated_ones():
    living = {item.name for item in TRAINING_FIELDS}
    assert set(OLD_FLAGS) & living <= {"local_rank", "gradient_checkpointing", "gradient_checkpointing_kwargs"}


@pytest.mark.parametrize(
    ("words", "training"),
    [
        (["--evaluation_strategy", "steps"], {"eval_strategy": "steps"}),
        (["--evaluate_during_training"], {"eval_strategy": "steps"}),
        (["--evaluate_during_training", "False"], {}),
        (["--per_gpu_train_batch_size", "4"], {"per_device_train_batch_size": 4}),
        (["--per_gpu_eval_batch_size=4"], {"per_device_eval_batch_size": 4}),
        (["--no_cuda"], {"use_cpu": True}),
        (["--no_cuda", "False"], {"use_cpu": False}),
        (["--warmup_ratio", "0.1"], {"warmup_steps": 0.1}),
        (["--warmup_ratio", "0.1", "--warmup_steps", "0"], {"warmup_steps": 0.1}),
        (["--warmup_ratio", "0.1", "--warmup_steps", "50"], {"warmup_steps": 50}),
        (["--group_by_length"], {"train_sampling_strategy": "group_by_length"}),
        (["--group_by_length", "False"], {}),
        (["--label_smoothing", "0.1"], {"label_smoothing_factor": 0.1}),
        (["--adafactor"], {"optim": "adafactor"}),
        (["--tpu_metrics_debug"], {"debug": "tpu_metrics_debug"}),
        (["--gradient_checkpointing"], {"activation_checkpointing": True}),
        (["--no_gradient_checkpointing"], {"activation_checkpointing": False}),
        (["--gradient_checkpointing_kwargs", '{"use_reentrant": false}'],
         {"activation_checkpointing_kwargs": {"use_reentrant": False}}),
        (["--torchdynamo", "inductor"], {"torch_compile": True, "torch_compile_backend": "inductor"}),
        (["--xpu_backend", "gloo"], {"ddp_backend": "gloo"}),
        (["--include_tokens_per_second"], {"include_num_input_tokens_seen": "all"}),
        (["--include_inputs_for_metrics"], {"include_for_metrics": ["inputs"]}),
        (["--push_to_hub_model_id", "a/b"], {"hub_model_id": "a/b"}),
        (["--push_to_hub_token", "hush"], {"hub_token": "hush"}),
        (["--split_batches", "--dispatch_batches", "False"],
         {"accelerator_config": {"split_batches": True, "dispatch_batches": False}}),
        (["--fsdp_min_num_params", "100", "--fsdp_config", '{"cpu_offload": true}'],
         {"fsdp_config": {"min_num_params": 100, "cpu_offload": True}}),
    ],
)  # fmt: skip
def test_translations(words, training):
    arguments = parse(*words)
    assert {name: value for name, value in arguments.training.items() if name != "output_dir"} == training
    names = [word.lstrip("-").partition("=")[0] for word in words]
    old = [name for name in names if name in OLD_FLAGS or name == "no_gradient_checkpointing"]
    assert len(arguments.translated) == len(old)
    assert all("hush" not in line for line in arguments.translated)


def test_the_debug_option_of_tpus_reaches_our_own_flag_of_that_name():
    assert parse("--tpu_metrics_debug")[RunArguments].debug == "tpu_metrics_debug"
    assert parse("--debug", "tpu_metrics_debug").training["debug"] == "tpu_metrics_debug"


@pytest.mark.parametrize(
    ("words", "variables"),
    [
        (["--logging_dir", "runs/a"], {"TENSORBOARD_LOGGING_DIR": "runs/a"}),
        (["--ray_scope", "all"], {"RAY_SCOPE": "all"}),
    ],
)
def test_what_became_an_environment_variable(words, variables):
    arguments = parse(*words)
    assert arguments.environment == variables
    assert next(iter(variables)) in arguments.translated[0]


@pytest.mark.parametrize(
    "words",
    [
        *(
            ["--" + name]
            for name in ("use_mps_device", "use_ipex", "jit_mode_eval", "save_safetensors", "use_fast_tokenizer")
        ),
        ["--save_safetensors", "False"],
        ["--use_fast_tokenizer", "False"],
        *(["--" + name, "1"] for name in ("past_index", "tpu_num_cores", "sharded_ddp", "mp_parameters", "local_rank")),
    ],
)
def test_flags_without_effect_are_accepted_and_said(words):
    arguments = parse(*words)
    assert arguments.training == {"output_dir": "o"}
    assert len(arguments.translated) == 1 and "has no effect" in arguments.translated[0]


@pytest.mark.parametrize(
    ("words", "fp16", "said"),
    [
        (["--fp16", "--fp16_opt_level", "O0"], False, "means float32: --fp16 is switched off"),
        (["--fp16_opt_level", "O0", "--fp16"], False, "means float32: --fp16 is switched off"),
        (["--fp16", "--fp16_opt_level", "O1"], True, "float16 autocast"),
        (["--fp16", "--fp16_opt_level", "O2"], True, "float16 autocast"),
        (["--fp16", "--fp16_opt_level", "O3"], True, "pure float16 (apex O3) is not offered"),
        (["--fp16_opt_level", "O1"], None, "has no effect without --fp16"),
        (["--fp16", "False", "--fp16_opt_level", "O1"], False, "has no effect without --fp16"),
        (["--fp16", "--half_precision_backend", "apex"], True, "native autocast, never apex"),
        (["--fp16", "--fp16_backend", "amp"], True, "native autocast"),
    ],
)
def test_apex_levels_become_native_precision(words, fp16, said):
    arguments = parse(*words)
    assert arguments.training.get("fp16") is fp16
    assert len(arguments.translated) == 1 and said in arguments.translated[0]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--fp16_opt_level", "O4"], "--fp16_opt_level is 'O4'; allowed: O0, O1, O2, O3"),
        (["--fp16_opt_level"], "--fp16_opt_level is given without a value"),
        (["--fp16_backend", "apx"], "did you mean 'apex'"),
        (["--warmup_ratio", "100"], "--warmup_ratio is '100'; it takes a share of all steps, from 0 to below 1"),
        (["--per_gpu_train_batch_size", "x"], "--per_gpu_train_batch_size is 'x'; it takes a whole number"),
        (["--evaluation_strategy", "step"], "--evaluation_strategy is 'step'; did you mean 'steps'"),
        (["--no_cuda", "abc"], "unexpected word 'abc' after --no_cuda"),
        (
            ["--evaluation_strategy", "no", "--eval_strategy", "steps"],
            "contradict each other: both set --eval_strategy",
        ),
        (["--adafactor", "--optim", "sgd"], "contradict each other: both set --optim"),
        (["--label_smothing", "1"], "did you mean --label_smoothing"),
    ],
)
def test_mistakes_in_old_flags(words, sentence):
    found = problems_of(*words)
    assert len(found) == 1 and sentence in found[0]


def test_old_names_in_a_config_file(tmp_path):
    file = tmp_path / "old.json"
    file.write_text(json.dumps({"evaluation_strategy": "steps", "no_cuda": True, "fp16_opt_level": "O1"}))
    arguments = parse("--config_file", str(file), "--eval_strategy", "epoch")
    assert arguments.training == {"output_dir": "o", "eval_strategy": "epoch", "use_cpu": True}
    assert len(arguments.translated) == 3
