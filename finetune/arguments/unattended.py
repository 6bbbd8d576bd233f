"""Arguments of every command that trains: what it does where nobody watches."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.arguments.fields import argument


@dataclass
class UnattendedArguments:
    """Trainings left alone."""

    save_minutes: float | None = argument(
        None,
        minimum=0,
        metavar="N",
        help="save a checkpoint, too, at the end of a step once N minutes have passed since the one before",
    )
    skip_nonfinite: int = argument(
        0,
        minimum=0,
        metavar="N",
        help="pass over up to N steps of the run whose loss or gradient is no finite number, each said in the log; "
        "one more ends the run with exit code 3",
    )
