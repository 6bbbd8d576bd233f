"""Arguments of the commands that prepare distillation: text into ids, counts, layers of a teacher, old pickles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from finetune.arguments.fields import argument


@dataclass
class BinarizeArguments:
    """Text."""

    file_path: list[str] = argument(
        ["data/dump.txt"], metavar="PATH", help="text, one sequence a line: files (.gz too), folders or patterns"
    )
    ext: str = argument("txt", help="ending of the files to take from folders")
    tokenizer_type: str = argument(
        "bert", help="family of the tokenizer (bert, roberta, gpt2, ...); its own files decide, whatever is given here"
    )
    tokenizer_name: str = argument("bert-base-uncased", metavar="NAME_OR_FOLDER", help="the teacher's tokenizer")
    dump_file: str = argument("data/dump", metavar="PREFIX", help="the ids go to the folder PREFIX.TOKENIZER_NAME")
    num_workers: int = argument(1, minimum=1, metavar="N", help="processes that tokenize")
    overwrite: bool = argument(False, help="replace a folder of that name")

    @property
    def folder(self) -> Path:
        return Path(f"{self.dump_file}.{Path(self.tokenizer_name).name}")


@dataclass
class CountArguments:
    """Counting."""

    data_file: str = argument("data/dump.bert-base-uncased", metavar="FOLDER", help="ids that binarized_data.py wrote")
    token_counts_dump: str = argument(
        "data/token_counts.bert-base-uncased.json", metavar="FILE", help="where the counts go: .json or .npy"
    )
    vocab_size: int = argument(30522, minimum=1, help="entries of the tokenizer's vocabulary")


@dataclass
class ExtractArguments:
    """Teacher and student."""

    model_type: str = argument("bert", help="family of the teacher (bert, roberta, electra, ...); its config decides")
    model_name: str = argument("bert-base-uncased", metavar="NAME_OR_FOLDER", help="the teacher")
    dump_checkpoint: str = argument(
        "serialization_dir/student.safetensors",
        metavar="FILE",
        help="where the student's weights go: .safetensors, .pth or .bin",
    )
    vocab_transform: bool = argument(False, help="also take what the head does before its projection to the vocabulary")
    layers: list[int] | None = argument(
        None, help="the teacher's layers to take, from 0; of twelve 0 2 4 7 9 11, else half of them, evenly"
    )
    student_type: str = argument(
        "distilbert", choices=("distilbert", "same"), help="same: a shallower model of the teacher's own family"
    )
    student_config_dump: str | None = argument(
        None, metavar="FILE", help="also write the student's configuration, as train.py --student_config takes it"
    )


@dataclass
class ConvertArguments:
    """Conversion."""

    input_file: str = argument(metavar="FILE", help="an old pickle: binarized text or token counts")
    output_file: str | None = argument(
        None, metavar="PATH", help="counts: a .json or .npy file; text: a folder; unless given, beside the old file"
    )
    overwrite_output_file: bool = argument(False, help="replace what is there")
