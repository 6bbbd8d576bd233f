"""Take layers of a teacher as the first weights of its student: DistilBERT, or a shallower model of the same family.

    python scripts/distillation/scripts/extract_distilbert.py --model_type bert --model_name bert-base-uncased \\
        --dump_checkpoint serialization_dir/student.safetensors --vocab_transform

Layers 0 2 4 7 9 11 of twelve, as published, else half of them; --layers takes others. Hand the file to train.py with
--student_pretrained_weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments, CommandParser
from finetune.distillation.data_arguments import ExtractArguments
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(__doc__ or "", [ExtractArguments])


def main(arguments: Arguments, _: Run) -> dict[str, Any]:
    from finetune.distillation.students import extract_student
    from finetune.distillation.teachers import load_teacher, save_weights

    asked = arguments[ExtractArguments]
    teacher = load_teacher(asked.model_name, family=asked.model_type)
    student = extract_student(
        teacher.model,
        asked.layers,
        family=asked.student_type,
        vocab_transform=asked.vocab_transform,
        untrained=teacher.drawn,
    )
    path = save_weights(student.weights, Path(asked.dump_checkpoint))
    if asked.student_config_dump:
        student.config.to_json_file(asked.student_config_dump)
    layers = student.config.num_hidden_layers
    print(f"{layers} layers and {len(student.weights):,} weights written to {path}")
    return {"dump_checkpoint": str(path), "layers": layers, "weights": len(student.weights)}


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False)
