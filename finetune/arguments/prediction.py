"""Prediction with a trained model: what comes in, what goes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from finetune.arguments.fields import argument
from finetune.arguments.legacy import OldFlag, switched
from finetune.errors import Problem

INPUT_FORMATS = ("auto", "text", "words", "conll", "conllu", "jsonl", "table")
SEGMENTERS = ("auto", "characters", "words")  # how words are found in raw text: finetune/data/words.py
BACKENDS = ("auto", "torch", "onnx", "openvino")
OUTPUT_FORMATS = ("jsonl", "conll")
STANDARD_INPUT = "-"


@dataclass
class InferenceArguments:
    """How a trained model computes, whoever asks it."""

    batch_size: int = argument(
        32,
        minimum=1,
        aliases=("per_device_eval_batch_size",),
        help="windows or texts at once; more where they are short",
    )
    max_length: int | None = argument(
        None,
        minimum=4,
        aliases=("max_seq_length",),
        help="subwords at once; without it what the model was trained with",
    )
    word_segmenter: str | None = argument(
        None, choices=SEGMENTERS, help="how a tagger finds words in raw text; without it as in training"
    )
    constrained_decoding: bool | None = argument(
        None, help="forbid ill-formed tag sequences; without it as the model was trained"
    )
    device: str = argument("auto", metavar="DEVICE", help="auto, cpu, cuda or cuda:N")
    bf16: bool | None = argument(None, help="compute in bfloat16; without it where the hardware does so natively")
    no_unpad: bool = argument(False, help="let the encoder compute padding, too")
    no_native: bool = argument(False, help="let torch compute an encoder's layers on a CPU one by one")


@dataclass
class AnswerArguments(InferenceArguments):
    """How a trained model computes, and which of its answers count."""

    top_k: int | None = argument(
        None, minimum=1, help="also the K likeliest labels with their probabilities: of a text, or of each word (`top`)"
    )
    threshold: str | None = argument(
        None,
        metavar="P or A=P,B=P",
        help="of a model of several labels: a label is given above this probability, not above the saved threshold",
    )
    abstain_below: float | None = argument(
        None,
        minimum=0.0,
        maximum=1.0,
        help="no answer where its probability is less: no label, no entity, `_` for a word; how often is counted",
    )

    def problems(self) -> list[Problem]:
        return self._of_threshold()

    def thresholds(self) -> dict[str | None, float]:
        """Typed thresholds by label; under None that of all others.

        Raises:
            ValueError: a part is no probability.
        """
        pairs = [part.rpartition("=") for part in (self.threshold or "").split(",") if part.strip()]
        found = {name.strip() if equals else None: float(value) for name, equals, value in pairs}
        if not all(0 <= value <= 1 for value in found.values()):
            raise ValueError("probabilities lie between 0 and 1")
        return found

    def _of_threshold(self) -> list[Problem]:
        try:
            self.thresholds()
        except ValueError:
            allowed = "a probability, or LABEL=PROBABILITY for some labels, apart by commas, is allowed"
            return [Problem(f"--threshold {self.threshold!r} is no probability", allowed)]
        return []


@dataclass
class PredictArguments(AnswerArguments):
    """Prediction."""

    OLD_FLAGS: ClassVar[dict[str, OldFlag]] = {
        "no_cuda": switched({"device": "cpu"}),
        "use_cpu": switched({"device": "cpu"}),
    }

    input_file: list[str] | None = argument(
        None,
        metavar="FILE",
        help="what to predict: texts, or any file that training reads, .gz too, several or patterns; without it, or -, "
        "standard input",
    )
    output_file: str | None = argument(None, metavar="FILE", help="where results go; without it standard output")
    overwrite_output_file: bool = argument(False, help="replace --output_file, or the files in --output_dir")
    output_dir: str | None = argument(
        None,
        metavar="DIR",
        help="a file of results for each input file, named after it; what is there already and whole is not predicted again",
    )
    input_format: str = argument(
        "auto",
        choices=INPUT_FORMATS,
        help="text: one text a line; words: words separated by spaces; conll, conllu: one word a line; jsonl: "
        "objects with text or words; table: CSV or TSV with a header. auto finds out as training does, else text",
    )
    text_column_name: str | None = argument(
        None,
        metavar="COLUMN",
        aliases=("text_column",),
        help="column of the words or texts, several apart by commas; without it as in training, or a usual name",
    )
    text_pair_column: str | None = argument(None, metavar="COLUMN", help="column of the second text of pairs")
    label_column_name: str | None = argument(
        None, metavar="COLUMN", aliases=("label_column",), help="column of the right answers, kept as gold_..."
    )
    column_names: str | None = argument(
        None, metavar="A,B,...", help="what the columns of CSV and TSV files without a header are"
    )
    delimiter: str | None = argument(
        None, metavar="TEXT", aliases=("csv_delimiter",), help="what separates columns; without it it is found out"
    )
    score: bool = argument(False, help="score the predictions against the right answers that the input holds")
    output_format: str = argument("jsonl", choices=OUTPUT_FORMATS, help="conll is for taggers only")
    document_context: int | None = argument(
        None,
        minimum=0,
        metavar="N",
        help="subwords of the document that a tagger reads around each sentence; 0 for none, without it as in training",
    )
    backend: str = argument(
        "auto",
        choices=BACKENDS,
        help="what runs the model: torch takes a run's folder, the others what `finetune export` wrote; auto sees which",
    )

    def __post_init__(self) -> None:
        if self.input_file == [STANDARD_INPUT]:
            self.input_file = None

    def why_one_process(self) -> str | None:
        """What keeps the work from being shared out, in words."""
        if self.device.startswith("cuda"):
            return f"--device {self.device} is of one process"
        return None if self.input_file else "standard input is read by one process"

    def problems(self) -> list[Problem]:
        return [*self._of_outputs(), *super().problems()]

    def _of_outputs(self) -> list[Problem]:
        if STANDARD_INPUT in (self.input_file or ()):
            return [
                Problem("--input_file names standard input (-) beside other files", remedy="name one or the others")
            ]
        if self.output_dir and self.output_file:
            return [Problem("--output_dir and --output_file are two places for the results", remedy="drop one of them")]
        if self.output_dir and not self.input_file:
            return [
                Problem("--output_dir makes a file for each input file, and there is none", remedy="add --input_file")
            ]
        if self.output_format == "conll" and self.output_file and self.output_file.endswith(".jsonl"):
            return [Problem(f"--output_format conll and --output_file {self.output_file} contradict each other")]
        return []
