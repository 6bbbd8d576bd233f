"""A Slurm array script for a list of commands: one or more a task, resumed by requeueing.

The commands lie in a JSON file as lists of words, and a task starts its own by `execvp`: no shell ever reads them, so that a
word may hold anything, line ends and quotes included.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from finetune.report.files import write_text

SCRIPT, COMMANDS, LOGS = "sweep.sbatch", "commands.json", "logs"
TASKS_AT_MOST = 1000  # Slurm's MaxArraySize is 1,001 unless the cluster raises it

START_ONE = "import json, os, sys; words = json.load(open(sys.argv[1]))[int(sys.argv[2])]; os.execvp(words[0], words)"

TEMPLATE = """#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --array=0-{last}{at_once}
#SBATCH --output={logs}/%a.out
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
{options}
# {count} commands, counted from 0; task N runs {per_task} of them from number N * {per_task}. Finished ones exit at once.
cd {working_directory} || exit 1
first=$((SLURM_ARRAY_TASK_ID * {per_task}))
failed=0
for number in $(seq "$first" $((first + {per_task} - 1))); do
    [ "$number" -lt {count} ] || break
    {python} -c {start_one} {commands} "$number" &
    child=$!
    trap 'kill -TERM $child' TERM           # two minutes before the end: the run saves its state
    wait $child; code=$?
    while kill -0 $child 2>/dev/null; do wait $child; code=$?; done
    if [ "$code" -eq 75 ]; then             # stopped with its state saved: the same task goes on later
        scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
        exit 75
    fi
    [ "$code" -eq 0 ] || failed=$code
done
exit $failed
"""


def write_array_script(
    folder: Path,
    commands: Sequence[Sequence[str]],
    *,
    at_once: int | None = None,
    options: Sequence[str] = (),
    per_task: int | None = None,
) -> Path:
    """Write `sweep.sbatch` and `commands.json`; returns the script.

    Args:
        folder: of the sweep; logs go to `logs/` in it.
        commands: the words of each run.
        at_once: tasks that run together at most.
        options: for further `#SBATCH` lines, with or without dashes.
        per_task: commands of a task; without it as many as keep the array below 1,000 tasks.
    """
    per_task = per_task or -(-len(commands) // TASKS_AT_MOST) or 1
    folder = folder.resolve()
    (folder / LOGS).mkdir(parents=True, exist_ok=True)
    rows = ",\n".join(json.dumps(list(command), ensure_ascii=False) for command in commands)
    write_text(folder / COMMANDS, f"[\n{rows}\n]\n")
    text = TEMPLATE.format(
        name=re.sub(r"[^\w.-]", "_", folder.name),
        last=-(-len(commands) // per_task) - 1,
        at_once=f"%{at_once}" if at_once else "",
        logs=_slurm_path(folder / LOGS),
        options="".join(f"#SBATCH --{option.lstrip('-')}\n" for option in options),
        count=len(commands),
        per_task=per_task,
        working_directory=shlex.quote(str(Path.cwd())),
        commands=shlex.quote(str(folder / COMMANDS)),
        python=shlex.quote(sys.executable),
        start_one=shlex.quote(START_ONE),
    )
    return write_text(folder / SCRIPT, text)


def _slurm_path(path: Path) -> str:
    """A path as `#SBATCH` lines spell it: `%` begins a replacement there, a backslash keeps a space in the word."""
    return re.sub(r"([\\\s\"'])", r"\\\1", str(path).replace("%", "%%"))
