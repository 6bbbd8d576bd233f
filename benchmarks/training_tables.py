"""What the training benchmark found, as Markdown: a table for each task and number of threads, and targets."""

from __future__ import annotations

from statistics import median
from typing import Any

from measure import Ratio, table
from training_sides import RECIPES

TARGETS = {  # task -> at least so many times as fast as stock by processor time; set for CPUs with AMX and two threads
    "ner": {"stock_float32": 6.0, "stock_bf16": 4.0, "ours_without_native": 2.5},
    "mlm": {"stock_bf16": 5.0},
    "xlmr_vocabulary": {"stock_bf16": 3.0},
}
MEMORY_TARGETS = {"xlmr_vocabulary": ("stock_bf16", 0.4)}  # at most this part of a side's peak
ABOUT = {
    "ner": "MiniLM tags WNUT17",
    "ner_256": "MiniLM tags texts of up to 256 subwords, WNUT17's sentences joined",
    "ner_512": "MiniLM tags texts of up to 512 subwords, WNUT17's sentences joined",
    "ner_base": "BERT base (random weights) tags WNUT17",
    "ner_base_256": "BERT base (random weights) tags texts of up to 256 subwords, WNUT17's sentences joined",
    "classification": "MiniLM classifies SST-2",
    "mlm": "MiniLM as a masked language model, blocks of 128 subwords of WikiText-2",
    "mlm_roberta": "MiniLM's sizes with RoBERTa's vocabulary (random weights), blocks of 128 of WikiText-2",
    "mlm_512": "BERT base (random weights) as a masked language model, blocks of 512 of WikiText-2",
    "xlmr_vocabulary": "XLM-R base's size and vocabulary (random weights) tags WNUT17",
    "thainer_base": "XLM-R base's size and vocabulary (random weights) tags ThaiNER",
}


def describe_all(result: dict[str, Any]) -> list[str]:
    parts = [
        describe_profile(one) if "shares" in one else describe(name, one) for name, one in result["tables"].items()
    ]
    scores = "Test scores of whole trainings over paired seeds: token_classification.md, sequence_classification.md."
    how = "What each side includes, and how time is taken, is said in benchmarks/bench_training.py."
    return [result["machine"], "", how, scores, "", *(line for part in parts for line in part)]


def costs(result: dict[str, Any], name: str) -> list[float]:
    """Seconds for a real token in each round: of processors, or by the clock where a GPU computes."""
    key = "cpu_seconds" if result["device"] == "cpu" else "seconds"
    return [run[key] / run["tokens"] for run in result["runs"][name]]


def describe(title: str, result: dict[str, Any]) -> list[str]:
    header = ("side", "stock float32 / it", "stock bf16 / it", "it / ours", "ms a step", "sentences/s", "tokens/s",
              "utilisation", "peak GB")  # fmt: skip
    rows = [describe_side(result, name) for name in result["runs"]]
    load = " to ".join(f"{value:.1f}" for value in result["load"])
    facts = (
        f"{ABOUT[result['task']]}: batches of {result['batch']}, {result['threads']} thread(s), {result['rounds']} rounds "
        f"of {result['steps']} step(s), {result['date']}, load average {load}. "
        + (f"ONEDNN_MAX_CPU_ISA={result['isa']}. " if result["isa"] else "")
        + "Ratios of processor time for a real token, with 95 % intervals; the other columns are medians by the clock."
    )
    told = [*equality_line(result), *rate_line(result), *busy_line(result), *judge(result)]
    return [f"## {title}", "", facts, "", *table(header, rows), "", *told, ""]


def busy_line(result: dict[str, Any]) -> list[str]:
    """What to think of several threads on a machine that had other work."""
    if result["threads"] == 1 or max(result["load"]) < 2 * result["threads"]:
        return []
    return [
        "- The machine was busy: threads that wait for another which the system has put aside spin, and that counts as "
        "processor time, the more the more often a side's threads meet. The table of one thread is the fairer one."
    ]


def describe_side(result: dict[str, Any], name: str) -> tuple[Any, ...]:
    runs, own = result["runs"][name], costs(result, name)
    ratios = [
        str(Ratio.of(costs(result, other), own)) if other in result["runs"] and other != name else ""
        for other in ("stock_float32", "stock_bf16")
    ]
    against_ours = str(Ratio.of(own, costs(result, "ours"))) if name != "ours" else ""
    seconds = median(run["seconds"] for run in runs)
    tokens = median(run["tokens"] / run["seconds"] for run in runs)
    utilisation = median(run["useful_flops"] / run["seconds"] / run["matmul_rate"] for run in runs)
    return (
        name, *ratios, against_ours, 1000 * seconds / result["steps"], result["steps"] * result["batch"] / seconds,
        tokens, f"{utilisation:.0%}", max(run["peak_gigabytes"] for run in runs),
    )  # fmt: skip


def equality_line(result: dict[str, Any]) -> list[str]:
    expected = result["first_losses"]["stock_float32"]
    apart = {
        name: max(abs(a - b) / abs(a) for a, b in zip(expected, found, strict=True))
        for name, found in result["first_losses"].items()
        if name != "stock_float32"
    }
    told = ", ".join(f"{name} {value:.0e}" for name, value in apart.items())
    return [f"- First losses without dropout, largest relative difference from stock_float32: {told}."]


def rate_line(result: dict[str, Any]) -> list[str]:
    """What matrix products reach alone: it tells CPUs of one name apart. The best of all sides, each measured it once."""
    rates: dict[str, float] = {}
    for name, runs in result["runs"].items():
        number = "float32" if RECIPES[name]["float32"] else "bfloat16"
        rates[number] = max(rates.get(number, 0), *(run["matmul_rate"] for run in runs))
    told = ", ".join(f"{number} {rate / 1e9:.0f}" for number, rate in rates.items())
    return [f"- Matrix products alone reach, in GFLOP/s: {told}."]


def judge(result: dict[str, Any]) -> list[str]:
    """A sentence for each target of the task."""
    ours = costs(result, "ours")
    lines = []
    for name, target in TARGETS.get(result["task"], {}).items():
        if name in result["runs"]:
            ratio = Ratio.of(costs(result, name), ours)
            verdict = "met" if ratio.value >= target else f"missed by {1 - ratio.value / target:.0%}"
            lines.append(f"- Target with AMX: {target:g} times as fast as {name}; here {ratio}: {verdict}.")
    name, share = MEMORY_TARGETS.get(result["task"], ("", 0.0))
    if name in result["runs"]:
        peaks = [max(run["peak_gigabytes"] for run in result["runs"][side]) for side in ("ours", name)]
        verdict = "met" if peaks[0] / peaks[1] <= share else "missed"
        lines.append(f"- Target: at most {share:g} of the peak of {name}; here {peaks[0] / peaks[1]:.2f}: {verdict}.")
    return lines


def describe_profile(result: dict[str, Any]) -> list[str]:
    shares = result["shares"]
    names = max(shares.values(), key=len)
    rows = [(name, *(f"{share.get(name, 0.0):.0%}" for share in shares.values())) for name in names]
    text = (
        f"Shares of the time of training steps by operators' own time, {result['threads']} thread(s), {result['date']}, "
        f"load average {result['load']:.1f}; the profiler itself adds some to small ones."
    )
    return [
        f"## Where the time goes, {result['threads']} thread(s)", "", text, "", *table(("what", *shares), rows), "",
    ]  # fmt: skip
