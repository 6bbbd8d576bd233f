"""Arguments of merging an adapter into the model that it was trained on."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.arguments.fields import argument


@dataclass
class MergeArguments:
    """Merging."""

    run: str = argument(metavar="RUN", help="the folder of the adapter: a run with --peft, a checkpoint, or peft's own")
    output_dir: str = argument(metavar="FOLDER", help="where the plain model goes")
    base_model: str | None = argument(
        None, metavar="FOLDER", help="the model that the adapter was trained on, where it is not where it was"
    )
