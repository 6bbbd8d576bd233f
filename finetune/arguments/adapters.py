"""Adapters: a few new weights beside a frozen model, and the head; for every command that trains a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from finetune.arguments.fields import argument
from finetune.errors import Problem

TAKEN_BY = {  # which kinds take a flag
    "lora_r": ("lora", "dora", "vera"),
    "lora_alpha": ("lora", "dora"),
    "lora_dropout": ("lora", "dora", "vera"),
    "use_rslora": ("lora", "dora"),
    "lora_target_modules": ("lora", "dora", "ia3", "vera"),
    "modules_to_save": ("lora", "dora", "ia3", "vera"),
    "load_in_4bit": ("lora", "ia3"),
}


@dataclass
class AdapterArguments:
    """Adapters: a few new weights are trained beside a frozen model."""

    peft: str | None = argument(
        None, choices=("lora", "dora", "ia3", "vera"), help="train an adapter of this kind and the head, nothing else"
    )
    lora_r: int | None = argument(
        None, minimum=1, metavar="RANK", help="rank of lora and dora (8 without it) and vera (256)"
    )
    lora_alpha: float | None = argument(
        None,
        minimum=0,
        metavar="A",
        help="what is learnt is scaled by A over the rank (16 without it), or over its root",
    )
    lora_dropout: float | None = argument(None, minimum=0, maximum=1, help="dropout in front of what is learnt")
    use_rslora: bool = argument(False, help="scale by the root of the rank: larger ranks learn more")
    lora_target_modules: str | None = argument(
        None,
        metavar="NAME,...",
        help="the linear layers that are adapted, by the ends of their names, or all-linear; without it those of queries "
        "and values (ia3: keys, values and the end of the feed-forward network)",
    )
    modules_to_save: str | None = argument(
        None, metavar="NAME,...", help="modules that are trained and saved whole, beside the head"
    )

    load_in_4bit: bool = argument(
        False,
        help="keep the frozen linear layers of the encoder in 4 bits (NF4; Dettmers et al. 2023), on an NVIDIA GPU",
    )

    def problems(self) -> list[Problem]:
        typed: dict[str, Any] = {name: getattr(self, name) for name in TAKEN_BY}
        asked = [name for name, value in typed.items() if value not in (None, False)]
        if self.peft is None:
            remedy = "add --peft lora, or drop it"
            return [Problem(f"--{name} says how an adapter is, and none is trained", remedy=remedy) for name in asked]
        return [
            Problem(f"--{name} means nothing to --peft {self.peft}", f"it is for {', '.join(TAKEN_BY[name])}")
            for name in asked
            if self.peft not in TAKEN_BY[name]
        ]
