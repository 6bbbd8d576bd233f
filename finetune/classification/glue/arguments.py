"""What a user can say to run_glue beside the arguments of text classification: the task, and old flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from finetune.arguments.fields import argument
from finetune.arguments.legacy import OldFlag, gone


@dataclass
class GlueArguments:
    """GLUE and other tasks with a name."""

    OLD_FLAGS: ClassVar[dict[str, OldFlag]] = {
        "model_type": gone("the model's configuration says what it is"),
        "eval_all_checkpoints": gone(
            "the best checkpoint by validation is kept and evaluated, the scores of the others are in run.log", "bool"
        ),
    }

    task_name: str | None = argument(
        None,
        metavar="TASK",
        help="cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli, ax (old names too), semeval2014-atsc, or a named corpus",
    )
    do_lower_case: bool | None = argument(
        None, help="lower-case texts, where the tokenizer does not do so itself (by default: as the tokenizer does)"
    )
