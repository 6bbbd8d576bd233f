"""Scoring with any language model: which texts, which way of masking, which tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from finetune.arguments.fields import argument
from finetune.arguments.legacy import OldFlag, switched
from finetune.errors import Problem
from finetune.surprisal.pair_arguments import PairArguments

MODEL_TASKS = ("lm", "mlm", "seq2seq")
MASKINGS = ("within_word_l2r", "single", "given")
TABLE_FORMATS = ("csv", "parquet")
TABLE_DETAILS = ("token", "word", "sentence", "none")


@dataclass
class ScoreArguments(PairArguments):
    """Scoring."""

    OLD_FLAGS: ClassVar[dict[str, OldFlag]] = {"no_cuda": switched({"device": "cpu"})}

    test_file: list[str] | None = argument(
        None,
        metavar="FILE",
        aliases=("input_file",),
        help="texts to score: .txt (one a line) or .json (text, labels), .gz too, several files or patterns; a file "
        "X_metadata.json beside one adds columns. Without it standard input",
    )
    output_dir: str | None = argument(
        None, metavar="FOLDER", help="folder for the tables; without it they go to standard output as CSV"
    )
    model_task: str | None = argument(
        None,
        choices=MODEL_TASKS,
        help="causal, masked or sequence-to-sequence; without it as config.architectures says",
    )
    source_lang: str | None = argument(
        None, metavar="CODE", help="language of the texts, where the tokenizer has tokens for languages (mBART, NLLB)"
    )
    target_lang: str | None = argument(None, metavar="CODE", help="language of the labels, the same")
    masking: str = argument(
        "within_word_l2r",
        choices=MASKINGS,
        help="masked models. single: each token alone (Salazar et al. 2020); within_word_l2r: with the later tokens of "
        "its word (Kauf & Ivanova 2023); given: the masks that the texts hold, their labels beside them",
    )
    metrics_format: str = argument("csv", choices=TABLE_FORMATS, help="csv is csv.gz; parquet is 20 times faster")
    metrics_detail: str = argument("token", choices=TABLE_DETAILS, help="what has a row; none: totals only")
    test_output_file_prefix: str | None = argument(
        None, metavar="NAME", help="tables are NAME-test_results; without it the model's name"
    )
    batch_size: int = argument(
        32, minimum=1, aliases=("per_device_test_batch_size", "per_device_eval_batch_size"), help="rows at once"
    )
    max_length: int | None = argument(
        None, minimum=8, help="tokens at once; longer texts are read in windows. Without it what the model takes"
    )
    device: str = argument("auto", metavar="DEVICE", help="auto, cpu, cuda or cuda:N")
    bf16: bool = argument(False, help="compute in bfloat16: faster, surprisals to about two digits")

    def why_one_process(self) -> str | None:
        """What keeps the work from being shared out, in words."""
        if self.evaluate:
            return "--evaluate scores pairs in one process"
        if self.device.startswith("cuda"):
            return f"--device {self.device} is of one process"
        return None if self.test_file else "standard input is read by one process"

    def problems(self) -> list[Problem]:
        found = self.pair_problems()
        if self.evaluate and self.test_file:
            found.append(Problem("--evaluate and --test_file contradict each other", remedy="give one of them"))
        if self.output_dir and not self.test_file and not self.evaluate:
            remedy = "give --test_file, or leave --output_dir out to have the table on standard output"
            found.append(Problem("standard input cannot be recorded in an output folder", remedy=remedy))
        if self.test_output_file_prefix and "/" in self.test_output_file_prefix:
            found.append(Problem(f"--test_output_file_prefix {self.test_output_file_prefix} holds a slash"))
        return found
