"""A Slurm array script for a list of commands: one or more a task, resumed by requeueing."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from finetune.report.files import write_text

SCRIPT, COMMANDS, LOGS = "sweep.sbatch", "commands.txt", "logs"
TASKS_AT_MOST = 1000  # Slurm's MaxArraySize is 1,001 unless the cluster raises it

TEMPLATE = """#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --array=0-{last}{at_once}
#SBATCH --output={logs}/%a.out
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
{options}
# {count} commands, one a line; task N runs {per_task} of them from line N * {per_task} + 1. Finished ones exit at once.
cd {working_directory} || exit 1
commands={commands}
first=$((SLURM_ARRAY_TASK_ID * {per_task} + 1))
failed=0
for number in $(seq "$first" $((first + {per_task} - 1))); do
    command=$(sed -n "${{number}}p" "$commands")
    [ -n "$command" ] || break
    bash -c "exec $command" &
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
    """Write `sweep.sbatch` and `commands.txt`; returns the script.

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
    write_text(folder / COMMANDS, "".join(f"{shlex.join(command)}\n" for command in commands))
    text = TEMPLATE.format(
        name=folder.name,
        last=-(-len(commands) // per_task) - 1,
        at_once=f"%{at_once}" if at_once else "",
        logs=folder / LOGS,
        options="".join(f"#SBATCH --{option.lstrip('-')}\n" for option in options),
        count=len(commands),
        per_task=per_task,
        working_directory=shlex.quote(str(Path.cwd())),
        commands=shlex.quote(str(folder / COMMANDS)),
    )
    return write_text(folder / SCRIPT, text)
