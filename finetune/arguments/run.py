"""Arguments of every command: how a run behaves, whatever it trains."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.arguments.fields import argument
from finetune.arguments.training_table import TrainingValues
from finetune.errors import Problem

SHOW_TRACEBACKS = "tracebacks"


@dataclass
class RunArguments:
    """How the run behaves."""

    config_file: str | None = argument(None, metavar="FILE", help="YAML or JSON file of arguments; flags override it")
    print_config: bool = argument(False, help="print every effective argument as YAML for --config_file, and stop")
    dry_run: bool = argument(False, help="read and encode the data, show examples, steps, memory and time, and stop")
    overwrite_output_dir: bool = argument(
        False,
        help="discard a finished or different run in --output_dir; an unfinished run of the same arguments goes on",
    )
    restart: bool = argument(False, help="start anew, whatever run --output_dir holds")
    verbose: bool = argument(False, help="log what libraries say, too")
    debug: bool | str = argument(
        False,
        choices=(SHOW_TRACEBACKS, "underflow_overflow", "tpu_metrics_debug"),
        help="alone: show the traceback of every error; with a value: TrainingArguments.debug",
    )

    @property
    def show_tracebacks(self) -> bool:
        return self.debug in (True, SHOW_TRACEBACKS)

    def training_values(self) -> TrainingValues:
        """`--debug underflow_overflow` is a field of TrainingArguments with the same name."""
        return {} if isinstance(self.debug, bool) or self.show_tracebacks else {"debug": self.debug}

    def problems(self) -> list[Problem]:
        if self.restart and self.dry_run:
            return [Problem("--restart and --dry_run contradict each other", remedy="a dry run starts nothing")]
        return []
