"""Where the time of training steps goes, by what is computed: torch's profiler, operators put into groups."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

# Group -> names of operators without "aten::"; a name that ends in * is a beginning. What is in no group, and the time in
# which no operator runs (Python, autograd), is the rest.
GROUPS = {
    "matrix products": ("mm", "addmm", "linear"),
    "attention": ("bmm", "baddbmm", "_softmax", "_softmax_backward_data", "_PaddedAttention*", "_scaled_dot_product*",
                  "_flash_attention*", "_efficient_attention*"),
    "casts and copies": ("copy_", "_to_copy", "to", "clone", "contiguous", "cat"),
    "dropout": ("bitwise_and", "neg_", "_FastDropout*", "native_dropout*", "bernoulli_", "dropout"),
    "optimizer, clipping": ("_fused_adamw_", "_foreach_*", "linalg_vector_norm", "Optimizer.*"),
    "activations, norms": ("gelu", "gelu_backward", "native_layer_norm", "native_layer_norm_backward"),
    "gathers, embedding": ("index_select", "index_fill_", "fill_", "zero_", "embedding*", "index_put_*", "index", "_*Rows*"),
    "sums, elementwise": ("add", "add_", "mul", "mul_", "div", "div_", "sum", "where", "masked_fill*"),
    "loss": ("_log_softmax*", "nll_loss*", "cross_entropy*"),
}  # fmt: skip


def group_of(name: str) -> str | None:
    bare = name.removeprefix("aten::")
    for group, patterns in GROUPS.items():
        if any(bare.startswith(pattern[:-1]) if pattern.endswith("*") else bare == pattern for pattern in patterns):
            return group
    return None


def share_out(events: Iterable[Any], total_seconds: float) -> dict[str, float]:
    """Share of each group in the total, largest first, by the operators' own time; the last is the rest."""
    seconds = dict.fromkeys(GROUPS, 0.0)
    for event in events:
        group = group_of(event.key)
        if group is not None:
            seconds[group] += event.self_cpu_time_total / 1e6
    shares = {name: value / total_seconds for name, value in sorted(seconds.items(), key=lambda item: -item[1])}
    return {**shares, "the rest": 1 - sum(shares.values())}


def profile_steps(trainer: Any, warmup: int, steps: int) -> dict[str, float]:
    """Train `warmup` steps, then `steps` under the profiler; returns the shares of the groups in the time of the latter."""
    from torch.profiler import ProfilerActivity, profile
    from transformers import TrainerCallback

    profiler = profile(activities=[ProfilerActivity.CPU], acc_events=True)
    times: list[float] = []

    class Profiling(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == warmup:
                profiler.start()
                times.append(time.perf_counter())
            elif state.global_step == warmup + steps:
                times.append(time.perf_counter())
                profiler.stop()

    trainer.add_callback(Profiling())
    trainer.train()
    return share_out(profiler.key_averages(), times[1] - times[0])
