"""Surprisals of GPT-2, 124M parameters, beside transformers alone, minicons, and another version of this project.

    python benchmarks/bench_surprisal_speed.py                                            # ours and transformers
    python benchmarks/bench_surprisal_speed.py --minicons venv/bin/python --before ../old --write

Each side is a process with one thread that holds the model (random weights, the same for all; a byte-level vocabulary
trained on the texts) and scores BLiMP's sentences, a share of them in each round, the sides in turns. Every token's
surprisal must be that of transformers within 0.002 bits in every round, else the program ends. Counted are seconds of the
processor: from texts to the written table (ours), to a list of numbers (the others), the loading of the model left out.
minicons is taken from a Python of its own (`pip install minicons`), another version from a checkout with
benchmarks/surprisal_sides.py.
The last line of standard output is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from bench_surprisal import TOLERANCE_BITS, make_gpt2, read_texts
from measure import HERE, Ratio, call_in_turns, hardware_line, table, worker_environment, write_results

SIZES = {"gpt2": "of 124M parameters", "narrow": "of two layers, 128 wide, with 50,257 subwords"}


@dataclass
class Side:
    """A process that answers with the bits of the texts that it is given."""

    name: str
    process: subprocess.Popen[str]

    @classmethod
    def start(cls, name: str, kind: str, folder: Path, python: str, root: Path) -> Side:
        benchmarks = root / "benchmarks"
        environment = worker_environment(1) | {"PYTHONPATH": os.pathsep.join([str(root), str(benchmarks)])}
        command = [python, str(benchmarks / "surprisal_sides.py"), kind, str(folder)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        side = cls(name, process)
        side._answer()
        return side

    def score(self, texts: list[str]) -> dict[str, Any]:
        assert self.process.stdin is not None
        print(json.dumps(texts), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):  # libraries say this and that
                return dict(json.loads(line))
        sys.exit(f"the side {self.name} ended")


def compare(sides: list[Side], texts: list[str], rounds: int) -> dict[str, Any]:
    """Seconds of every side in every round, with the number of tokens and the largest difference to transformers."""
    size = len(texts) // rounds
    shares = [texts[number * size : (number + 1) * size] for number in range(rounds)]
    by_name = {side.name: side for side in sides}
    for side in sides:
        side.score(shares[0][:32])  # what is built at the first call is no part of a round
    seen = dict.fromkeys(by_name, 0)

    def work(name: str) -> dict[str, Any]:
        share = shares[seen[name]]
        seen[name] += 1
        answer = by_name[name].score(share)
        print(f"  {name}: {answer['cpu_seconds']:.1f} s, {len(answer['bits'])} tokens", file=sys.stderr, flush=True)
        return answer

    runs = call_in_turns([side.name for side in sides], rounds, work)
    return summarize(runs)


def summarize(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    expected = runs["transformers"]
    result: dict[str, Any] = {"tokens": sum(len(run["bits"]) for run in expected), "rounds": len(expected), "sides": {}}
    for name, answers in runs.items():
        different = max(
            abs(a - b)
            for own, theirs in zip(answers, expected, strict=True)
            for a, b in zip(own["bits"], theirs["bits"], strict=True)
        )
        if different > TOLERANCE_BITS:
            sys.exit(f"surprisals of {name} differ by {different} bits, more than {TOLERANCE_BITS}")
        seconds = [answer["cpu_seconds"] for answer in answers]
        ratio = Ratio.of(seconds, [answer["cpu_seconds"] for answer in runs["ours"]])
        result["sides"][name] = {
            "cpu_seconds": seconds,
            "tokens_per_cpu_second": result["tokens"] / sum(seconds),
            "over_ours": [ratio.value, ratio.low, ratio.high],
            "largest_difference_bits": different,
        }
    return result


def format_result(result: dict[str, Any], names: dict[str, str]) -> list[str]:
    rows = [
        [names[name], side["tokens_per_cpu_second"], str(Ratio(*side["over_ours"])), side["largest_difference_bits"]]
        for name, side in result["sides"].items()
    ]
    return [
        f"GPT-2 {result['size']} (random weights), {result['tokens']:,} tokens of BLiMP's sentences in "
        f"{result['rounds']} rounds, each round other sentences, sides in turns; one thread each, seconds of the processor; "
        "ratios of medians with 95 % intervals by bootstrap over rounds.",
        "",
        *table(["side", "tokens a second", "time over ours", "largest difference to transformers, bits"], rows),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=2660, help="sentences of BLiMP, about 8 tokens each")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", choices=("narrow", "gpt2"), default="gpt2")
    parser.add_argument("--minicons", metavar="PYTHON", help="a Python that has minicons")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="another version of this project")
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/results/")
    options = parser.parse_args()
    texts = read_texts(options.texts)
    model, tokenizer = make_gpt2(options.size, texts)
    names = {"ours": "ours, with its table of tokens", "transformers": "transformers, batches as they come, no table"}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        sides = [Side.start(name, name, folder, sys.executable, HERE.parent) for name in ("ours", "transformers")]
        if options.before:
            names["before"] = "ours, the version before"
            sides.append(Side.start("before", "ours", folder, sys.executable, options.before.resolve()))
        if options.minicons:
            names["minicons"] = "minicons"
            sides.append(Side.start("minicons", "minicons", folder, options.minicons, HERE.parent))
        result = compare(sides, texts, options.rounds)
        for side in sides:
            side.process.kill()
    result |= {"hardware": hardware_line("cpu"), "size": SIZES[options.size]}
    lines = [*format_result(result, names), "", result["hardware"]]
    print("\n".join(lines))
    if options.write:
        write_results("surprisal", "Surprisals of GPT-2 beside other ways", lines, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
