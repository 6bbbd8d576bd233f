"""Adapters by `peft`: put into a model in place, saved with its head, read again, merged.

A folder of an adapter holds what plain `peft` reads (`adapter_config.json`, `adapter_model.safetensors`), and beside it the
configuration of the whole model with its labels. A model that is loaded from such a folder has its adapter merged: it is a
plain one, and everything that serves plain models serves it.
"""

from __future__ import annotations

import copy
import json
import logging
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from finetune.arguments.adapters import AdapterArguments
from finetune.arguments.nearest import allowed_values
from finetune.data.json_values import parse_json
from finetune.errors import DataError, Problem, ProblemList, UsageError
from finetune.models.parts import base_prefix
from finetune.run.atomic_files import atomic_text_file
from finetune.run.checksums import checksum
from finetune.run.failures import first_line, is_of_its_files

logger = logging.getLogger(__name__)

CONFIG, WEIGHTS, BASE = "adapter_config.json", "adapter_model.safetensors", "adapter_base.json"
OTHER_LABELS = "finetune merge makes a plain model of it, which can be given a new head"
ALL_LINEAR = "all-linear"
NAME = "default"
_PREFIX = "base_model.model."
_PLACE = "adapter_of_finetune"
_LOADED = "loaded_by_finetune"
# Names of linear layers, of the families that have them all: queries and values, or what holds both.
_QUERIES_AND_VALUES = (
    *(("query", "value"), ("q_lin", "v_lin"), ("query_proj", "value_proj"), ("q_proj", "v_proj"), ("Wqkv",)),
    *(("c_attn",), ("query_key_value",), ("in_proj",), ("q", "v")),
)
_KEYS_AND_VALUES = (
    *(("key", "value"), ("k_lin", "v_lin"), ("key_proj", "value_proj"), ("k_proj", "v_proj"), ("Wqkv",)),
    *(("c_attn",), ("query_key_value",), ("in_proj",), ("k", "v")),
)
_FED_FORWARD = ("output.dense", "ffn.lin2", "mlp.Wo", "mlp.c_proj", "fc2", "down_proj", "wo")
_TASKS = {
    "TokenClassification": "TOKEN_CLS",
    "SequenceClassification": "SEQ_CLS",
    "CausalLM": "CAUSAL_LM",
    "LMHeadModel": "CAUSAL_LM",
    "ConditionalGeneration": "SEQ_2_SEQ_LM",
}


@dataclass(frozen=True)
class Loaded:
    """Where a model's weights came from: what was drawn because they lack it, and whether rows were added."""

    source: str
    drawn: tuple[str, ...] = ()
    grown: bool = False
    merged: bool = False  # the source is an adapter


@dataclass(frozen=True)
class Adapter:
    """An adapter in a model: `tuner` is peft's, `saved` the modules that are trained and saved whole."""

    tuner: Any
    config: Any
    base: str
    saved: tuple[str, ...]


def remember_loading(model: PreTrainedModel, loaded: Loaded) -> None:
    model.__dict__[_LOADED] = loaded


def find_loading(model: PreTrainedModel) -> Loaded | None:
    """None for a model that was drawn."""
    return model.__dict__.get(_LOADED)


def find_adapter(model: PreTrainedModel) -> Adapter | None:
    return model.__dict__.get(_PLACE)


def find_adapted(module: nn.Module) -> PreTrainedModel | None:
    """The model with an adapter within a module; None where there is none."""
    models = (found for found in module.modules() if isinstance(found, PreTrainedModel))
    return next((found for found in models if find_adapter(found)), None)


def check_adapter(model: PreTrainedModel, asked: AdapterArguments) -> None:
    """Whether the model can be given that adapter.

    Raises:
        UsageError: with every reason against it.
    """
    if asked.peft is None:
        return
    problems, loaded = ProblemList(), find_loading(model)
    if loaded is None:
        found = "--peft trains beside a pretrained model, and this one is drawn anew or put together"
        problems.append(Problem(found, remedy="give a model folder or a hub name, or drop --peft"))
    elif loaded.merged:
        found = f"--peft trains beside a plain model, and {loaded.source} is an adapter"
        problems.append(Problem(found, remedy="finetune merge makes a plain model of it"))
    targets = problems.attempt(find_targets, model, asked) or []
    problems.attempt(find_saved, model, asked)
    if any(model.get_submodule(name)._forward_hooks for name in targets):
        found = "--peft replaces linear layers that a loss looks into (--alpha_relation)"
        problems.append(Problem(found, remedy="drop one of them"))
    problems.raise_any(UsageError)


def find_targets(model: PreTrainedModel, asked: AdapterArguments) -> list[str]:
    """The full names of the linear layers that are adapted, all within the shared encoder.

    Raises:
        UsageError: names that mean none of them, each with the nearest.
    """
    prefix = base_prefix(model)
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and name.startswith(prefix) and not name.startswith("lm_head")
    ]
    if asked.lora_target_modules == ALL_LINEAR:
        return linear
    typed = _split(asked.lora_target_modules) or _usual_targets(linear, str(asked.peft))
    if not typed:
        found = f"--peft {asked.peft} does not know the linear layers of {type(model).__name__}"
        raise UsageError(Problem(found, remedy=f"name them with --lora_target_modules, or give {ALL_LINEAR}"))
    problems = ProblemList()
    for name in typed:
        if not _ending(linear, name):
            known = dict.fromkeys(found.rpartition(".")[2] for found in linear)
            problems.append(Problem(f"the model has no linear layer {name!r}", allowed_values(name, known)))
    problems.raise_any(UsageError)
    return [name for name in linear if any(name in _ending(linear, end) for end in typed)]


def _split(typed: str | None) -> list[str]:
    return [part for part in re.split(r"[,\s]+", typed or "") if part]


def _ending(names: Iterable[str], end: str) -> list[str]:
    return [name for name in names if name == end or name.endswith(f".{end}")]


def _usual_targets(linear: list[str], kind: str) -> list[str]:
    groups = _KEYS_AND_VALUES if kind == "ia3" else _QUERIES_AND_VALUES
    attention = next((group for group in groups if all(_ending(linear, end) for end in group)), ())
    fed = next((end for end in _FED_FORWARD if _ending(linear, end)), None) if kind == "ia3" else None
    return [*attention, *([fed] if fed else [])]


def find_saved(model: PreTrainedModel, asked: AdapterArguments) -> list[str]:
    """Modules that are trained and saved whole: heads of labels, what the checkpoint lacked, what was asked for.

    Raises:
        UsageError: names that mean nothing.
    """
    modules = dict(model.named_modules())
    heads = [name for name, _ in model.named_children() if f"{name}." != base_prefix(model)]
    names = heads if "Classification" in type(model).__name__ else []
    loaded = find_loading(model)
    names += [_module_of(name, base_prefix(model)) for name in (loaded.drawn if loaded else ())]
    if loaded and loaded.grown:
        embedding = model.get_input_embeddings()
        names += [name for name, module in modules.items() if module is embedding]
    problems = ProblemList()
    for typed in _split(asked.modules_to_save):
        found = _ending(modules, typed)
        names += found
        if not found:
            problems.append(Problem(f"the model has no module {typed!r} to save", allowed_values(typed, modules)))
    problems.raise_any(UsageError)
    found_names = dict.fromkeys(name for name in names if any(True for _ in modules[name].parameters()))
    return [name for name in found_names if not any(name.startswith(f"{other}.") for other in found_names)]


def _module_of(name: str, prefix: str) -> str:
    """`bert.pooler.dense.weight` -> `bert.pooler`; `cls.predictions.bias` -> `cls`."""
    own = name.removeprefix(prefix)
    return (prefix if own != name else "") + own.split(".")[0]


def add_adapter(model: PreTrainedModel, asked: AdapterArguments, seed: int) -> None:
    """Put a new adapter into a model that was found fit for it; what it does not train is frozen."""
    loaded, targets, saved = cast(Loaded, find_loading(model)), find_targets(model, asked), find_saved(model, asked)
    config = make_config(asked, targets, seed)
    tuner = _inject(model, config)
    model.__dict__[_PLACE] = Adapter(tuner, config, _whole_path(loaded.source), tuple(saved))
    for name, parameter in model.named_parameters():
        if any(name.startswith(f"{module}.") for module in saved):
            parameter.requires_grad_(True)
    trained = sum(item.numel() for item in model.parameters() if item.requires_grad)
    total = sum(item.numel() for item in model.parameters())
    whole = f"; trained and saved whole: {', '.join(saved)}" if saved else ""
    ends = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in targets))
    words = "Adapter %s: %s of %s weights are trained, in %d linear layers (%s)%s."
    logger.info(words, asked.peft, f"{trained:,}", f"{total:,}", len(targets), ends, whole)


def _whole_path(source: str) -> str:
    return str(Path(source).resolve()) if Path(source).is_dir() else source


def make_config(asked: AdapterArguments, targets: list[str], seed: int) -> Any:
    """Peft's configuration."""
    import peft

    dropout = asked.lora_dropout or 0.0
    if asked.peft == "ia3":
        fed = [name for name in targets if any(name.endswith(f".{end}") for end in _FED_FORWARD)]
        attention = [name for name in fed if "attention.output" in name]
        return peft.IA3Config(
            target_modules=targets, feedforward_modules=[name for name in fed if name not in attention]
        )
    if asked.peft == "vera":
        # The projections are no weights: peft draws them again from their key, on the CPU, where the folder is read.
        more: dict[str, Any] = {"projection_prng_key": seed, "save_projection": False, "vera_dropout": dropout}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of those projections
            return peft.VeraConfig(target_modules=targets, r=asked.lora_r or 256, **more)
    return peft.LoraConfig(
        target_modules=targets,
        r=asked.lora_r or 8,
        lora_alpha=cast(int, asked.lora_alpha if asked.lora_alpha is not None else 16),
        lora_dropout=dropout,
        use_rslora=asked.use_rslora,
        use_dora=asked.peft == "dora",
    )


def _inject(model: PreTrainedModel, config: Any) -> Any:
    """Peft's own object over the model, whose linear layers it has replaced."""
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
    from peft.tuners.tuners_utils import BaseTunerLayer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of transposed weights
        with _seen_as_quantized(model):
            tuner = PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type](model, config, NAME)
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.register_forward_hook(_as_autocast)
    return tuner


@contextmanager
def _seen_as_quantized(model: PreTrainedModel) -> Iterator[None]:
    """Let peft find 4-bit layers, which it looks for only in models that say so; afterwards others would trip over that."""
    if not any(type(module).__name__ == "Linear4bit" for module in model.modules()):
        yield
        return
    model.__dict__["is_loaded_in_4bit"] = True
    try:
        yield
    finally:
        del model.__dict__["is_loaded_in_4bit"]


def _as_autocast(_module: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
    """What a linear layer gives under autocast; vera's ends with a product in float32, and attention takes one dtype."""
    kind = output.device.type
    return output.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else output


def save_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Adapter, modules that are saved whole, peft's configuration, and that of the whole model."""
    adapter = find_adapter(model)
    assert adapter is not None
    folder.mkdir(parents=True, exist_ok=True)
    save_file(adapter_weights(model), folder / WEIGHTS, metadata={"format": "pt"})
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    kind = next((task for name, task in _TASKS.items() if type(model).__name__.endswith(name)), None)
    facts = {
        **adapter.config.to_dict(),
        "base_model_name_or_path": adapter.base,
        "modules_to_save": list(adapter.saved) or None,
        "task_type": kind,
        "inference_mode": True,
    }
    _write_json(folder / CONFIG, {name: sorted(v) if isinstance(v, set) else v for name, v in facts.items()})
    _write_json(folder / BASE, {"base": adapter.base, "checksum": _checksum_of(adapter.base)})


def _write_json(path: Path, facts: Mapping[str, Any]) -> None:
    with atomic_text_file(path) as file:
        file.write(json.dumps(facts, indent=2, sort_keys=True, default=str) + "\n")


def _checksum_of(base: str) -> str | None:
    weights = Path(base) / "model.safetensors"
    return checksum(weights) if weights.is_file() else None


def adapter_weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """By peft's names: what the adapter has learnt, and the modules that are saved whole."""
    from peft import get_peft_model_state_dict

    adapter = find_adapter(model)
    assert adapter is not None
    state = model.state_dict()
    own = get_peft_model_state_dict(model, state_dict=state, adapter_name=NAME, save_embedding_layers=False)
    whole = {name: value for name, value in state.items() if any(name.startswith(f"{m}.") for m in adapter.saved)}
    return {f"{_PREFIX}{name}": value.detach().clone().contiguous() for name, value in {**own, **whole}.items()}


def load_adapter_weights(model: PreTrainedModel, folder: Path) -> set[str]:
    """Put the weights of a folder into a model that has the adapter already; returns their names in the model.

    Raises:
        RuntimeError: weights of other shapes, or that have no place.
    """
    from peft import set_peft_model_state_dict

    weights = load_file(folder / WEIGHTS)
    result: Any = set_peft_model_state_dict(model, weights, adapter_name=NAME)
    lost = [name for name in result.missing_keys if re.search(r"lora_|ia3_|vera_lambda", name)]
    strange = list(result.unexpected_keys)
    if lost or strange:
        raise RuntimeError(f"no place for {', '.join(strange[:3])}" if strange else f"it lacks {', '.join(lost[:3])}")
    return {name.removeprefix(_PREFIX) for name in weights}


def plain_model(model: PreTrainedModel) -> PreTrainedModel:
    """The model itself, or a copy into which its adapter is merged."""
    if find_adapter(model) is None:
        return model
    twin = copy.deepcopy(model)
    merge_adapter(twin)
    return twin


def merge_adapter(model: PreTrainedModel) -> None:
    """Add what the adapter has learnt to the weights beside it, in place; the model is a plain one then."""
    adapter = model.__dict__.pop(_PLACE)
    adapter.tuner.merge_and_unload()
    model.requires_grad_(True)


@dataclass(frozen=True)
class AdapterFolder:
    """A folder that holds an adapter, and the model that it was trained on."""

    folder: Path
    base: str
    checksum: str | None
    named: str = ""  # the base that it was trained on, where another one was given

    def problems(self) -> list[Problem]:
        """The base is not there, or another one by now."""
        place = Path(self.base)
        if self.named and self.checksum and _checksum_of(self.base) != self.checksum:
            found = f"the adapter was trained on {self.named}, and {self.base} is another model"
            return [Problem(found, remedy="give it the model that it was trained on", path=self.folder)]
        if place.is_absolute() and not place.is_dir():
            found = f"the adapter was trained on {self.base}, which is not there"
            return [Problem(found, remedy=f"put it back, or write its place into {CONFIG}", path=self.folder)]
        if self.checksum and (now := _checksum_of(self.base)) != self.checksum:
            found = f"the adapter was trained on {self.base}, whose weights are others now"
            allowed = f"checksum {now or 'none'}, not {self.checksum}"
            return [Problem(found, allowed, "give it the model that it was trained on", self.folder)]
        return []


def read_adapter(name: str) -> AdapterFolder | None:
    """The adapter in a folder; None where it is a plain model.

    Raises:
        DataError: its configuration cannot be read.
    """
    folder = Path(name)
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        return None
    try:
        base = parse_json((folder / CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"]
        kept = parse_json((folder / BASE).read_text(encoding="utf-8")) if (folder / BASE).is_file() else {}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(Problem(f"{CONFIG} cannot be read: {error}", path=folder)) from error
    if not isinstance(kept, dict):
        raise DataError(Problem(f"{BASE} is no JSON object", path=folder))
    return AdapterFolder(folder, str(base), kept.get("checksum") if kept.get("base") == base else None)


def put_adapter(model: PreTrainedModel, found: AdapterFolder) -> set[str]:
    """Put the adapter of a folder into its base and merge it; returns the names of weights that came whole.

    Raises:
        DataError: it was trained on another base.
    """
    from peft import PeftConfig

    try:
        config = PeftConfig.from_pretrained(str(found.folder))
        config.inference_mode, saved = False, tuple(getattr(config, "modules_to_save", None) or ())
        config.modules_to_save = None
    except Exception as error:
        if not is_of_its_files(error):
            raise
        raise DataError(Problem(f"{CONFIG} cannot be used: {first_line(error)}", path=found.folder)) from error
    try:
        _require_same_head(model, found)
        model.__dict__[_PLACE] = Adapter(_inject(model, config), config, found.base, saved)
        names = load_adapter_weights(model, found.folder)
    except SafetensorError as error:
        found_out, remedy = f"{WEIGHTS} cannot be read ({first_line(error)})", "copy the adapter again"
        raise DataError(Problem(found_out, remedy=remedy, path=found.folder)) from error
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(explain_other_base(found, model.config, error)) from error
    merge_adapter(model)
    logger.info("The adapter in %s is merged into %s.", found.folder, found.base)
    return names


def _require_same_head(model: PreTrainedModel, found: AdapterFolder) -> None:
    """Nothing, unless the adapter came with a head of another number of labels than the model is to have.

    Raises:
        DataError: with both numbers.
    """
    own, wanted = model.state_dict(), model.config.num_labels
    for name, value in load_file(found.folder / WEIGHTS).items():
        here = own.get(name.removeprefix(_PREFIX).replace(".modules_to_save", ""))
        if here is None or here.shape == value.shape or len(here) != wanted or here.shape[1:] != value.shape[1:]:
            continue
        words = f"the adapter has a head of {len(value)} labels ({name.removeprefix(_PREFIX)}), and {wanted} are needed"
        raise DataError(Problem(words, remedy=OTHER_LABELS, path=found.folder))


def explain_other_base(found: AdapterFolder, config: PretrainedConfig, error: Exception) -> Problem:
    reason = str(error).strip().splitlines()[-1].strip().rstrip(".")
    other = f"{found.named}, not on {found.base}" if found.named else f"another model than {found.base} is now"
    words = f"the adapter in {found.folder} was trained on {other} ({config.model_type}; {reason})"
    return Problem(words, remedy="give it the model that it was trained on")
