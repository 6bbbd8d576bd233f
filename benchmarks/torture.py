"""Runs that are killed, interrupted, damaged and starved, until they are done: is the end the undisturbed one?

    python benchmarks/torture.py --work /tmp/torture --faults 1000 --write     # hours on two cores; goes on where it stopped
    python benchmarks/torture.py --work /tmp/torture --only run_ner --minutes 10
    python benchmarks/torture.py --work /tmp/torture --only 'run_ner, one save' --each    # each call fails once, in turn
    python benchmarks/torture.py --work /tmp/torture --again 417               # one trial again, its folder kept

A trial starts a command of `torture_workloads.py`, lets one to three faults befall it, starts it again until it is done, and
compares every file that is left with the undisturbed run's, bit for bit (`NOT_COMPARED`, `TIMED` and `ATTEMPTS` in
`torture_trial.py` name what legitimately differs). Exit codes must be those of docs/errors.md. Faults:

    signal, twice     SIGKILL, SIGTERM, SIGINT, SIGHUP, SIGUSR1 at a random moment, once or one after another
    at a call         the same at a random write, fsync, rename, open, mkdir or removal; a killed write is half done
    call fails        one such call fails once, chosen at random; of workloads that are short enough each one in turn
    disk fills        from a random call on, every call fails as on a full disk
    small disk        the folder lies on a tmpfs that is too small, later enlarged (as root)
    small files       RLIMIT_FSIZE
    damage            after a SIGKILL a file of the newest checkpoint is damaged: bits, zeros, garbage, cut, removed
    cold              a signal to a process that has to import everything first

Trials are drawn from --seed and their number alone. A C compiler is needed, for `failing_calls.c`. Never in CI.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure import RESULTS, hardware_line
from torture_trial import HANGS, Ended, Fault, Library, differences, empty, import_as, run, snapshot
from torture_workloads import OUTPUT, Workload, make_inputs, make_workloads, prepare_made_inputs

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
KINDS = {"signal": 5, "twice": 3, "at a call": 8, "call fails": 5, "disk fills": 2, "small disk": 2, "small files": 2,
         "damage": 3, "cold": 1}  # fmt: skip
FAULTS_AT_MOST = 3
ASKED_ONCE = ("*.so", "matrix-rate-*.json")  # of the machine, not of a run
SLOW_ONES = 3  # one trial in so many turns
VARIABLES = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "0"}
IMPORTS = ("torch", "transformers", "transformers.trainer", "datasets", "accelerate", "sklearn.metrics", "pandas")
COLUMNS = ("trials", "faults", "in effect", "different files", "stray files", "wrong exit codes", "hangs")


@dataclass
class Reference:
    """The undisturbed run of one workload."""

    files: dict[str, str]
    seconds: float
    calls: int
    size: int


@dataclass
class Verdict:
    """What a trial found; empty lists where all is well."""

    number: int
    workload: str
    kind: str
    faults: list[str] = field(default_factory=list)
    codes: list[Any] = field(default_factory=list)
    in_effect: int = 0
    other: list[str] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    hangs: int = 0
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        return not (self.other or self.stray or self.wrong or self.hangs)


class Torture:
    """The campaign: references first, then trials."""

    def __init__(self, work: Path, seed: int) -> None:
        self.work, self.seed = work, seed
        self.inputs = work / "inputs"
        self.library = Library()
        self.references: dict[str, Reference] = {}

    def prepare(self, folder: Path) -> None:
        self.folder = folder
        make_inputs(self.inputs)
        prepare_made_inputs(
            self.inputs, lambda command: subprocess.run([sys.executable, *command], check=False).returncode
        )
        self.kernels = sorted(self.work.glob("kernels/*"))
        self.workloads = {item.name: item for item in make_workloads(self.inputs)}

    def start(self, workload: Workload, fault: Fault) -> Ended:
        return run(
            self.library, workload.command(), self.folder, fault, {"FINETUNE_CACHE_DIR": str(self.folder / "cache")}
        )

    def reference(self, workload: Workload) -> Reference:
        """Twice, because the first may compile the kernels; both must leave the same."""
        if workload.name not in self.references:
            runs = []
            for _ in range(2):
                empty(self.folder, self.kernels)
                ended = self.start(workload, Fault())
                if ended.code:
                    sys.exit(f"{workload.name}: {ended.code}\n{ended.stderr[-3000:]}")
                self._keep_kernels()
                import_as(self.folder)
                runs.append((snapshot(self.folder), ended))
            if any(differences(runs[0][0], runs[1][0])):
                sys.exit(f"{workload.name} differs from itself: {differences(runs[0][0], runs[1][0])}")
            size = sum(
                path.stat().st_size for path in self.folder.rglob("*") if path.is_file() and path.suffix != ".so"
            )
            files, ended = runs[1]
            self.references[workload.name] = Reference(files, ended.seconds, ended.calls, size)
        return self.references[workload.name]

    def _keep_kernels(self) -> None:
        (self.work / "kernels").mkdir(exist_ok=True)
        for pattern in ASKED_ONCE:
            for path in (self.folder / "cache").glob(pattern):
                if not (self.work / "kernels" / path.name).exists():
                    shutil.copy(path, self.work / "kernels")
        self.kernels = sorted(self.work.glob("kernels/*"))

    def try_once(self, number: int, name: str, kind: str, nth: int) -> Verdict:
        """One trial: faults, starts until it is done, comparison."""
        workload, draw = self.workloads[name], random.Random(f"{self.seed} {number}")
        reference = self.reference(workload)
        verdict = Verdict(number, name, kind)
        began = time.monotonic()
        disk = SmallDisk(self.folder, draw, reference.size) if kind == "small disk" else None
        empty(self.folder, [] if disk else self.kernels)
        if disk:
            disk.mount(self.kernels)
        try:
            self._befall(workload, verdict, draw, nth, disk)
            self._compare(reference, verdict, kind)
        finally:
            if disk:
                disk.unmount()
        verdict.seconds = time.monotonic() - began
        return verdict

    def _befall(
        self, workload: Workload, verdict: Verdict, draw: random.Random, nth: int, disk: SmallDisk | None
    ) -> None:
        reference = self.references[workload.name]
        count = 1 if nth or disk else draw.choice((1, 1, 2, FAULTS_AT_MOST))
        ended: Ended | None = None
        for _ in range(count):
            fault = draw_fault(verdict.kind, draw, reference, nth)
            ended = self.start(workload, fault)
            self._judge(verdict, ended, fault, disk)
            if verdict.kind == "damage" and ended.code != 0 and not self._is_done():
                verdict.faults.append(damage(self.folder / OUTPUT, draw))
            if ended.code == 0:
                return
        if disk:
            disk.enlarge()
        ended = self.start(workload, Fault())
        self._judge(verdict, ended, Fault(), disk)

    def _is_done(self) -> bool:
        """Killed after its end was recorded: what is damaged then, nobody looks at again."""
        record = self.folder / OUTPUT / "run.json"
        return record.exists() and json.loads(record.read_text(encoding="utf-8"))["status"] == "done"

    def _judge(self, verdict: Verdict, ended: Ended, fault: Fault, disk: SmallDisk | None) -> None:
        verdict.codes.append(ended.code)
        if fault.kind != "none":
            verdict.faults.append(f"{fault.kind} {ended.what}".strip())
            verdict.in_effect += bool(ended.code or ended.hits)
        verdict.hangs += ended.code == HANGS
        verdict.wrong += wrong_ends(ended, fault)
        state = self.folder / OUTPUT / "run.json"
        said = ended.last.get("status")
        if said in ("preempted", "done") and state.exists():
            recorded = json.loads(state.read_text(encoding="utf-8"))["status"]
            if recorded != said:
                verdict.wrong.append(f"run.json says {recorded}, the last line {said}")

    def _compare(self, reference: Reference, verdict: Verdict, kind: str) -> None:
        if verdict.codes[-1] != 0:
            return  # counted already: the last start must end with 0
        verdict.other, stray = differences(reference.files, snapshot(self.folder))
        kept = [fault for fault in verdict.faults if "unlink" in fault]  # what could not be removed stays
        verdict.stray = [name for name in stray if not any(fault.endswith(name) for fault in kept)]


def wrong_ends(ended: Ended, fault: Fault) -> list[str]:
    """What contradicts the documented ends of a command."""
    expected = {0: ("done", "already_done"), 1: ("failed",), 75: ("preempted",)}
    found = []
    if ended.code not in fault.codes and ended.code != HANGS:
        reason = ended.last.get("reason") or ended.stderr[-300:]
        found.append(f"{ended.code} after {fault.kind} {ended.what}: {reason}")
    elif ended.code in expected and ended.last.get("status") not in expected[ended.code]:
        found.append(f"{ended.code}, but the last line says {ended.last.get('status')}")
    if "bug in finetune" in ended.stderr + ended.stdout:
        found.append(f"called a bug after {fault.kind} {ended.what}: {ended.stderr[-400:]}")
    return found


def draw_fault(kind: str, draw: random.Random, reference: Reference, nth: int) -> Fault:
    """One fault of a kind; `nth` is the call of those that go through all."""
    delay, call = draw.uniform(0, reference.seconds), nth or draw.randint(1, reference.calls)
    one = draw.choice(SIGNALS)
    makers: dict[str, Callable[[], Fault]] = {
        "signal": lambda: Fault(kind, (one,), delay),
        "twice": lambda: Fault(kind, (draw.choice(SIGNALS[1:]), one), delay, draw.choice((0.0, 0.01, 0.1, 0.5))),
        "at a call": lambda: Fault(kind, nth=call, at_call=one, times=draw.choice((1, 1, 2))),
        "call fails": lambda: Fault(kind, nth=call),
        "disk fills": lambda: Fault(kind, nth=call, lasting=True),
        "small disk": lambda: Fault(kind),
        "small files": lambda: Fault(kind, file_size=int(2 ** draw.uniform(8, 18))),
        "damage": lambda: Fault(kind, (signal.SIGKILL,), delay),
        "cold": lambda: Fault(kind, (draw.choice(SIGNALS[1:]),), draw.uniform(0, 12), cold=True),
    }
    return makers[kind]()


def damage(output: Path, draw: random.Random) -> str:
    """Damage one file of the newest checkpoint, as disks and hasty hands do."""
    checkpoints = sorted(output.glob("checkpoint-*"), key=lambda path: path.stat().st_mtime)
    files = [path for path in sorted(checkpoints[-1].rglob("*")) if path.is_file()] if checkpoints else []
    if not files:
        return "nothing to damage"
    path, how = draw.choice(files), draw.choice(("bit", "zeros", "garbage", "cut", "removed", "empty"))
    content = bytearray(path.read_bytes())
    place = draw.randrange(max(len(content), 1))
    if how == "removed":
        path.unlink()
    elif content:
        path.write_bytes(_damaged(content, how, place, draw))
    return f"{how} in {path.relative_to(output)}"


def _damaged(content: bytearray, how: str, place: int, draw: random.Random) -> bytes:
    if how in ("cut", "empty"):
        return bytes(content[: place if how == "cut" else 0])
    if how == "bit":
        content[place] ^= 1 << draw.randrange(8)
        return bytes(content)
    end = min(place + 512, len(content))
    content[place:end] = bytes(end - place) if how == "zeros" else draw.randbytes(end - place)
    return bytes(content)


class SmallDisk:
    """A tmpfs that holds a part of what a run needs, and later all of it."""

    def __init__(self, folder: Path, draw: random.Random, needed: int) -> None:
        self.folder = folder
        self.kibibytes = max(int(needed * draw.uniform(0.05, 1.1) / 1024), 8)

    def mount(self, kernels: list[Path]) -> None:
        """Kernels are links to what lies outside, so that they take no room."""
        options = f"size={self.kibibytes}k"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)], check=True)
        (self.folder / "cache").mkdir()
        for kernel in kernels:
            (self.folder / "cache" / kernel.name).symlink_to(kernel)

    def enlarge(self) -> None:
        subprocess.run(["mount", "-o", "remount,size=512m", str(self.folder)], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=False)


def plan(
    workloads: dict[str, Workload], references: Callable[[Workload], Reference], seed: int, *, each_only: bool = False
) -> Iterator[tuple[str, str, int]]:
    """(workload, kind, n-th call or 0), without end: calls that fail one after another among faults that are drawn.

    With `each_only` those calls alone, in their order.
    """
    kinds = [kind for kind, weight in KINDS.items() for _ in range(weight)]
    if not can_mount():
        kinds = [kind for kind in kinds if kind != "small disk"]
    each = [
        (item.name, "call fails", nth)
        for item in workloads.values()
        if item.exhaustive
        for nth in range(1, references(item).calls + 1)
    ]
    if each_only:
        yield from each
        return
    draw = random.Random(f"{seed} plan")
    draw.shuffle(each)
    names = list(workloads)
    number = 0
    while True:
        if each and number % 2:
            yield each.pop()
        else:
            workload = workloads[names[number // 2 % len(names)]]
            if workload.slow and number // 2 // len(names) % SLOW_ONES:
                workload = workloads[names[0]]
            choices = kinds if workload.trains else [kind for kind in kinds if kind != "damage"]
            yield workload.name, draw.choice(choices), 0
        number += 1


def can_mount() -> bool:
    return os.geteuid() == 0 and shutil.which("mount") is not None


def read_verdicts(work: Path) -> list[dict[str, Any]]:
    """What earlier starts and other workers have found."""
    lines = (
        line for path in sorted(work.glob("trials*.jsonl")) for line in path.read_text(encoding="utf-8").splitlines()
    )
    return sorted((json.loads(line) for line in lines), key=lambda item: item["number"])


def faults_of(verdict: dict[str, Any]) -> int:
    return len(verdict["faults"])


def tabulate(verdicts: list[dict[str, Any]], key: str) -> list[str]:
    rows: dict[str, Counter[str]] = {}
    for item in verdicts:
        rows.setdefault(item[key], Counter()).update(_counted(item))
        rows.setdefault("all", Counter()).update(_counted(item))
    rows["all"] = rows.pop("all", Counter())
    lines = [f"| {key} | {' | '.join(COLUMNS)} |", "|---|" + "---:|" * len(COLUMNS)]
    return lines + [
        f"| {name} | {' | '.join(f'{row[column]:,}' for column in COLUMNS)} |" for name, row in rows.items()
    ]


def _counted(item: dict[str, Any]) -> dict[str, int]:
    return {
        "trials": 1,
        "faults": faults_of(item),
        "in effect": item["in_effect"],
        "different files": len(item["other"]),
        "stray files": len(item["stray"]),
        "wrong exit codes": len(item["wrong"]),
        "hangs": item["hangs"],
    }


def write_tables(verdicts: list[dict[str, Any]], note: str) -> None:
    """benchmarks/results/torture.md and .json."""
    lines = ["# Faults: every file that is left compared with the undisturbed run's", "", hardware_line("cpu"), ""]
    lines += [note, ""] if note else []
    for key in ("workload", "kind"):
        lines += [*tabulate(verdicts, key), ""]
    (RESULTS / "torture.md").write_text("\n".join(lines), encoding="utf-8")
    bad = [item for item in verdicts if item["other"] or item["stray"] or item["wrong"] or item["hangs"]]
    total: Counter[str] = Counter()
    for item in verdicts:
        total.update(_counted(item))
    facts = {"machine": hardware_line("cpu"), "totals": total, "found": bad}
    (RESULTS / "torture.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def restart_with_library(work: Path) -> None:
    """Start this program anew with the calls of `failing_calls.c` in between."""
    library = work / f"failing_calls-{os.getpid()}.so"
    if os.environ.get("LD_PRELOAD", "").startswith(str(work)):
        Path(
            os.environ.pop("LD_PRELOAD")
        ).unlink()  # mapped already, and not for the processes that are started from here
        return
    source = Path(__file__).with_name("failing_calls.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl", "-lpthread"], check=True)
    os.environ.update(VARIABLES, LD_PRELOAD=str(library))
    os.execv(sys.executable, [sys.executable, *sys.argv])


def campaign(torture: Torture, options: argparse.Namespace) -> None:
    deadline = time.monotonic() + options.minutes * 60
    known = read_verdicts(torture.work)
    done, faults = {item["number"] for item in known}, sum(map(faults_of, known))
    found = torture.work / f"trials-{options.worker}.jsonl"
    chosen = {name: item for name, item in torture.workloads.items() if options.only in name}
    for number, (name, kind, nth) in enumerate(plan(chosen, torture.reference, options.seed, each_only=options.each)):
        if time.monotonic() > deadline or faults >= options.faults / options.workers:
            return
        if number in done or number % options.workers != options.worker:
            continue
        verdict = torture.try_once(number, name, kind, nth)
        faults += len(verdict.faults)
        with found.open("a", encoding="utf-8") as file:
            file.write(json.dumps(vars(verdict), ensure_ascii=False) + "\n")
        print(f"{number} {name}, {kind}: {verdict.codes} {'' if verdict.is_good else vars(verdict)}", flush=True)
        if not verdict.is_good:
            keep(torture, number)


def keep(torture: Torture, number: int) -> None:
    kept = torture.work / "kept" / str(number)
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(torture.folder, kept, symlinks=True, ignore=shutil.ignore_patterns("*.so"))
    for suffix in (".out", ".err"):
        shutil.copy(torture.folder.with_name(torture.folder.name + suffix), kept / f"last{suffix}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for inputs, trials and what they found")
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="workloads whose name holds this")
    parser.add_argument("--each", action="store_true", help="only calls that fail one after another, without draws")
    parser.add_argument("--again", type=int, help="one trial again, by its number")
    parser.add_argument("--worker", type=int, default=0, help="which of --workers this process is")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--write", action="store_true", help="the table of all trials in --work, to benchmarks/results/"
    )
    parser.add_argument("--note", default="", help="a line for the table")
    options = parser.parse_args()
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    restart_with_library(options.work)
    if options.faults:
        for name in IMPORTS:
            importlib.import_module(name)
        torture = Torture(options.work, options.seed)
        torture.prepare(options.work / f"trial-{options.worker}")
        campaign(torture, options) if options.again is None else try_again(torture, options)
    verdicts = read_verdicts(options.work)
    print("\n".join(tabulate(verdicts, "kind")))
    if options.write:
        write_tables(verdicts, options.note)


def try_again(torture: Torture, options: argparse.Namespace) -> None:
    chosen = {name: item for name, item in torture.workloads.items() if options.only in name}
    for number, (name, kind, nth) in enumerate(plan(chosen, torture.reference, options.seed, each_only=options.each)):
        if number == options.again:
            print(json.dumps(vars(torture.try_once(number, name, kind, nth)), indent=1))
            keep(torture, number)
            return


if __name__ == "__main__":
    main()
