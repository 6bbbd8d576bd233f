"""Arguments of the commands that prepare raw text: BERT instances, splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from finetune.arguments.fields import argument
from finetune.errors import Problem


@dataclass
class PregenerationArguments:
    """Text and instances."""

    ON_PROCESSOR: ClassVar[bool] = True  # GPUs have no part in it

    train_corpus: list[str] = argument(
        metavar="PATH",
        help="text, one sentence a line, an empty line between documents: files (.gz too), folders or patterns in quotes",
    )
    ext: str = argument("txt", help="ending of the files to take from folders, with or without its dot")
    output_dir: str = argument(metavar="FOLDER", help="where the epochs go")
    bert_model: str = argument(
        metavar="NAME_OR_FOLDER",
        help="model whose tokenizer is used: a folder, or a hub name such as bert-base-uncased",
    )
    tokenizer_type: str = argument("AutoTokenizer", metavar="TYPE", help="how to load it, as for run_mlm.py")
    do_lower_case: bool = argument(False, help="lower-case the text; models of lower-cased text do so by themselves")
    do_whole_word_mask: bool = argument(False, help="mask all subwords of a word or none")
    reduce_memory: bool = argument(
        False, help="read the tokenized text by plain reads, so that memory stays flat however large the corpus is"
    )
    num_workers: int = argument(1, minimum=1, metavar="N", help="processes; the result is the same for any number")
    epochs_to_generate: int = argument(3, minimum=1, help="epochs of data, each with other pairs and masks")
    max_seq_len: int = argument(128, minimum=5, maximum=65535, help="subwords of an instance, special tokens included")
    short_seq_prob: float = argument(0.1, minimum=0, maximum=1, help="share of the documents cut into short instances")
    masked_lm_prob: float = argument(0.15, minimum=0, maximum=1, help="share of the subwords that are masked")
    max_predictions_per_seq: int = argument(20, minimum=1, help="masked subwords of an instance at most")
    seed: int = argument(42, help="decides pairs and masks")
    output_format: str = argument(
        "binary",
        choices=("binary", "json"),
        help="binary: compact memory-mapped arrays; json: one object a line, as the published script writes them",
    )

    def why_one_process(self) -> None:
        """Nothing does: parts of epochs can be made anywhere."""


@dataclass
class SplitArguments:
    """Text and files."""

    data_path: list[str] = argument(
        metavar="PATH", help="text, an empty line between documents: files (.gz too), folders or patterns in quotes"
    )
    ext: str = argument("txt", help="ending of the files to take from folders, with or without its dot")
    base_path: str = argument(metavar="NAME", help="NAME.train and NAME.valid are written")
    ratio: int = argument(1000, minimum=2, help="one document in so many is for validation")
    shuffle: bool = argument(False, help="take random documents for validation, not the first ones")
    seed: int = argument(42, help="seed of --shuffle")
    overwrite: bool = argument(False, help="replace files of those names")

    def problems(self) -> list[Problem]:
        if self.seed < 0:
            return [Problem(f"--seed is {self.seed}", "a seed is 0 or more")]
        return []
