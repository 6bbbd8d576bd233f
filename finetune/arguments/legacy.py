"""Flags of transformers 2 to 4, in one table: what each means today, said in one line when it is met.

An entry says how the old flag is read and gives a `Translation`: today's flags with their words, and the sentence
for the user. The parser applies it before anything else is checked, so a value is checked as its new flag.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from finetune.arguments.nearest import allowed_values
from finetune.arguments.values import is_bool, read_bool
from finetune.errors import Problem, UsageError

Words = tuple[str, ...]
Given = Mapping[str, Words | None]  # what else was given, by today's name


@dataclass(frozen=True)
class Translation:
    """What an old flag stands for. `overrides` lets its values win over the same flags given by name."""

    line: str
    values: Mapping[str, Words] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    overrides: bool = False


@dataclass(frozen=True)
class OldFlag:
    """`takes` is "bool" (alone or with True/False), or "value"."""

    takes: Literal["bool", "value"]
    translate: Callable[[str, Given], Translation]


def renamed(new: str, takes: Literal["bool", "value"] = "value") -> OldFlag:
    """The same thing under another name."""

    def translate(word: str, _given: Given) -> Translation:
        shown = "..." if new.endswith("token") else _shown(word)
        return Translation(f"is now --{new} {shown}", {new: (word,)})

    return OldFlag(takes, translate)


def gone(reason: str, takes: Literal["bool", "value"] = "value") -> OldFlag:
    """Accepted without effect; `reason` is the sentence that says so."""
    return OldFlag(takes, lambda _word, _given: Translation(f"has no effect: {reason}"))


def switched(values: dict[str, str]) -> OldFlag:
    """A switch that stands for other flags when on, for nothing when off."""

    def translate(word: str, _given: Given) -> Translation:
        if not read_bool(word):
            return Translation("has no effect: off is what happens without it")
        shown = " ".join(f"--{name} {value}" for name, value in values.items())
        return Translation(f"is now {shown}", {name: (value,) for name, value in values.items()})

    return OldFlag("bool", translate)


def into_environment(variable: str) -> OldFlag:
    """What libraries now read from an environment variable, which is set for this run."""

    def translate(word: str, _given: Given) -> Translation:
        return Translation(f"is now the environment variable {variable}, set to {word!r}", environment={variable: word})

    return OldFlag("value", translate)


def into_json(new: str, key: str, takes: Literal["bool", "value"] = "value") -> OldFlag:
    """One key of a JSON-valued flag; several such old flags are put together."""

    def translate(word: str, given: Given) -> Translation:
        already = given.get(new)
        settings = json.loads(already[0]) if already and already[0].startswith("{") else {}
        settings[key] = read_bool(word) if takes == "bool" else int(word) if word.isdecimal() else word
        text = json.dumps(settings)
        return Translation(f"is now --{new} '{text}'", {new: (text,)}, overrides=True)

    return OldFlag(takes, translate)


def _shown(word: str) -> str:
    return repr(word) if not word or " " in word else word


def _on(given: Given, name: str) -> bool:
    words = given.get(name)
    return words == () or bool(words and is_bool(words[0]) and read_bool(words[0]))


FP16_LEVELS = ("O0", "O1", "O2", "O3")


def _translate_opt_level(word: str, given: Given) -> Translation:
    """NVIDIA apex levels on PyTorch's own mixed precision, which is close to apex O1."""
    if word not in FP16_LEVELS:
        raise UsageError(Problem(f"--fp16_opt_level is {word!r}", allowed_values(word, FP16_LEVELS)))
    if not _on(given, "fp16"):
        return Translation("has no effect without --fp16: training runs in the precision chosen otherwise")
    if word == "O0":
        line = "means float32: --fp16 is switched off"
        return Translation(line, {"fp16": ("False",)}, overrides=True)
    native = "PyTorch's native float16 autocast with float32 weights and loss scaling"
    if word == "O3":
        return Translation(f"is run as {native}; pure float16 (apex O3) is not offered, because it diverges")
    return Translation(f"is run as {native}; NVIDIA apex is not needed")


def _translate_amp_backend(word: str, _given: Given) -> Translation:
    known = ("auto", "amp", "apex", "cuda_amp", "cpu_amp")
    if word not in known:
        raise UsageError(Problem(f"the mixed precision backend is {word!r}", allowed_values(word, known)))
    return Translation("has no effect: mixed precision is PyTorch's native autocast, never apex")


def _translate_warmup_ratio(word: str, given: Given) -> Translation:
    """As in transformers 4, a positive --warmup_steps wins over --warmup_ratio."""
    steps = given.get("warmup_steps")
    if steps and steps[0] not in ("0", "0.0"):
        return Translation(f"has no effect beside --warmup_steps {steps[0]}, as in transformers 4")
    _require_share(word)
    line = f"is now --warmup_steps {word} (below 1 it is a share of all steps)"
    return Translation(line, {"warmup_steps": (word,)}, overrides=True)


def _require_share(word: str) -> None:
    try:
        fits = 0 <= float(word) < 1
    except ValueError:
        fits = False
    if not fits:
        raise UsageError(
            Problem(
                f"--warmup_ratio is {word!r}",
                "it takes a share of all steps, from 0 to below 1",
                "for a number of steps use --warmup_steps",
            )
        )


def _translate_evaluate_during_training(word: str, _given: Given) -> Translation:
    if not read_bool(word):
        return Translation("has no effect: off is what happens without it")
    line = "is now --eval_strategy steps (every --eval_steps, else every --logging_steps)"
    return Translation(line, {"eval_strategy": ("steps",)})


def _translate_group_by_length(word: str, _given: Given) -> Translation:
    if not read_bool(word):
        return Translation("has no effect: off is what happens without it")
    new = "train_sampling_strategy"
    return Translation(f"is now --{new} group_by_length", {new: ("group_by_length",)})


def _translate_compile_backend(word: str, _given: Given) -> Translation:
    values = {"torch_compile": ("True",), "torch_compile_backend": (word,)}
    return Translation(f"is now --torch_compile --torch_compile_backend {word}", values)


def _translate_safetensors(word: str, _given: Given) -> Translation:
    never = "" if read_bool(word) else ", never as pytorch_model.bin"
    return Translation(f"has no effect: weights are always saved as model.safetensors{never}")


_LAUNCHER = "the launcher (torchrun) tells each process its rank in the environment"
_NATIVE = "PyTorch does this on its own today"

OLD_FLAGS: dict[str, OldFlag] = {
    # transformers 2 and 3
    "evaluate_during_training": OldFlag("bool", _translate_evaluate_during_training),
    "per_gpu_train_batch_size": renamed("per_device_train_batch_size"),
    "per_gpu_eval_batch_size": renamed("per_device_eval_batch_size"),
    "fp16_opt_level": OldFlag("value", _translate_opt_level),
    "local_rank": gone(_LAUNCHER),
    "model_parallel": gone("use --fsdp to spread a model over several GPUs", "bool"),
    "past_index": gone("models return their caches by name"),
    "server_ip": gone("remote debugging went with the old example scripts"),
    "server_port": gone("remote debugging went with the old example scripts"),
    # transformers 4
    "evaluation_strategy": renamed("eval_strategy"),
    "no_cuda": renamed("use_cpu", "bool"),
    "logging_dir": into_environment("TENSORBOARD_LOGGING_DIR"),
    "warmup_ratio": OldFlag("value", _translate_warmup_ratio),
    "group_by_length": OldFlag("bool", _translate_group_by_length),
    "label_smoothing": renamed("label_smoothing_factor"),
    "adafactor": switched({"optim": "adafactor"}),
    "half_precision_backend": OldFlag("value", _translate_amp_backend),
    "fp16_backend": OldFlag("value", _translate_amp_backend),
    "tpu_num_cores": gone("the number of TPU cores is chosen by the launcher (accelerate launch)"),
    "tpu_metrics_debug": switched({"debug": "tpu_metrics_debug"}),
    "sharded_ddp": gone("FairScale is no longer supported; use --fsdp"),
    "fsdp_min_num_params": into_json("fsdp_config", "min_num_params"),
    "fsdp_transformer_layer_cls_to_wrap": into_json("fsdp_config", "transformer_layer_cls_to_wrap"),
    "dispatch_batches": into_json("accelerator_config", "dispatch_batches", "bool"),
    "split_batches": into_json("accelerator_config", "split_batches", "bool"),
    "save_safetensors": OldFlag("bool", _translate_safetensors),
    "use_mps_device": gone("Apple GPUs are used where they are found; --use_cpu avoids them", "bool"),
    "use_ipex": gone(f"Intel's extension is no longer needed; {_NATIVE}", "bool"),
    "jit_mode_eval": gone("use --torch_compile", "bool"),
    "torchdynamo": OldFlag("value", _translate_compile_backend),
    "xpu_backend": renamed("ddp_backend"),
    "mp_parameters": gone("SageMaker's model parallelism is no longer supported"),
    "use_legacy_prediction_loop": gone("there is one prediction loop", "bool"),
    "include_tokens_per_second": switched({"include_num_input_tokens_seen": "all"}),
    "include_inputs_for_metrics": switched({"include_for_metrics": "inputs"}),
    "gradient_checkpointing": renamed("activation_checkpointing", "bool"),
    "gradient_checkpointing_kwargs": renamed("activation_checkpointing_kwargs"),
    "push_to_hub_model_id": renamed("hub_model_id"),
    "push_to_hub_token": renamed("hub_token"),
    "push_to_hub_organization": gone("write the organization into --hub_model_id, as organization/name"),
    "ray_scope": into_environment("RAY_SCOPE"),
}
