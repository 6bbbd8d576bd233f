"""Token classification: which sentences and labels, and how they become training examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from finetune.arguments.fields import argument
from finetune.arguments.legacy import OldFlag, gone
from finetune.arguments.parser import Arguments
from finetune.arguments.prediction import SEGMENTERS
from finetune.errors import Problem
from finetune.supervised.arguments import SupervisedArguments, check_supervised

TASKS = ("ner", "pos", "chunk")


@dataclass
class TaggingDataArguments:
    """Data."""

    LOGGED_AS: ClassVar[str] = "Data parameters"
    OLD_FLAGS: ClassVar[dict[str, OldFlag]] = {
        "preprocessing_num_workers": gone("each distinct word is encoded once, which one process does in seconds"),
        "overwrite_cache": gone("encoded sentences are never cached", "bool"),
    }

    dataset_name: str | None = argument(
        None,
        metavar="NAME",
        help="thainer, lst20, wnut17, conll2003, universal_dependencies, dummytest, sample, sample_th, or a hub data set",
    )
    dataset_config_name: str | None = argument(None, metavar="NAME", help="configuration of --dataset_name")
    data_dir: str | None = argument(
        None,
        metavar="FOLDER",
        help="folder with train, dev and test files (train.txt ...), or with --dataset_name's files",
    )
    train_file: str | None = argument(None, metavar="FILE", help="training sentences; the format follows the suffix")
    validation_file: str | None = argument(None, metavar="FILE", help="sentences that choose the best checkpoint")
    test_file: str | None = argument(None, metavar="FILE", help="sentences to predict and score at the end")
    text_column_name: str | None = argument(
        None, metavar="COLUMN", help="column of the words, by name or number from 0"
    )
    label_column_name: str | None = argument(
        None, metavar="COLUMN", help="column of the tags, by name or number from 0"
    )
    label_name: str | None = argument(
        None, metavar="NAME", help="which tags of a corpus that has several: ner_tags, pos_tags, ..."
    )
    labels: str | None = argument(
        None, metavar="FILE", help="file with one label a line, in order; without it the training data's labels, sorted"
    )
    delimiter: str | None = argument(None, metavar="TEXT", help="what separates columns; without it tab, else spaces")
    field: str | None = argument(
        None, metavar="KEY", help="the key that holds the records, where a JSON file is one object"
    )
    allow_no_entities: bool = argument(
        False, help="train even where every word of the training data has the same tag, or none is in an entity"
    )
    normalize_labels: bool = argument(
        False, help="tags that differ in case, white space or Unicode form only become the one that occurs most"
    )
    lst20_data_dir: str | None = argument(None, metavar="FOLDER", help="folder of LST20, which has to be asked for")
    fix_labels: bool = argument(False, help="repair ill-formed tag sequences (an I- that follows nothing becomes B-)")
    max_train_samples: int | None = argument(None, minimum=1, help="use only the first N training sentences")
    max_eval_samples: int | None = argument(None, minimum=1, help="use only the first N validation sentences")
    max_predict_samples: int | None = argument(None, minimum=1, help="use only the first N test sentences")
    filter_thainer_with_mbert_tokenizer_threshold: int | None = argument(
        None, minimum=1, help="keep only ThaiNER test sentences of fewer than N multilingual BERT subwords"
    )

    @property
    def files(self) -> dict[str, str]:
        """The files given by flag, by the flag's name."""
        names = ("train_file", "validation_file", "test_file")
        return {name: path for name in names if (path := getattr(self, name)) is not None}

    @property
    def has_folder_or_name(self) -> bool:
        return self.dataset_name is not None or self.data_dir is not None

    def problems(self) -> list[Problem]:
        return [*self._source_problems(), *self._corpus_problems()]

    def _source_problems(self) -> list[Problem]:
        problems = [
            Problem(f"--{source} and --{name} are both given", remedy="the data comes from one of them: drop the other")
            for source in ("dataset_name", "data_dir")
            for name in self.files
            if getattr(self, source) is not None
        ]
        if self.dataset_config_name is not None and self.dataset_name is None:
            problems.append(Problem("--dataset_config_name needs --dataset_name"))
        return problems

    def _corpus_problems(self) -> list[Problem]:
        belonging = {"lst20_data_dir": "lst20", "filter_thainer_with_mbert_tokenizer_threshold": "thainer"}
        return [
            Problem(
                f"--{flag} is only for --dataset_name {corpus}", f"--dataset_name is {self.dataset_name or 'not set'}"
            )
            for flag, corpus in belonging.items()
            if getattr(self, flag) is not None and self.dataset_name != corpus
        ]


@dataclass
class TaggingArguments(SupervisedArguments):
    """Token classification."""

    task_name: str = argument(
        "ner", choices=TASKS, aliases=("task_type",), help="what the tags are; decides the scores"
    )
    max_length: int | None = argument(
        None,
        minimum=4,
        aliases=("max_seq_length",),
        help="subwords in a window, special tokens included; longer sentences are cut into several windows. Without it "
        "the model's longest input",
    )
    stride: int | None = argument(
        None,
        minimum=0,
        help="subwords that neighbouring windows of a long sentence share; without it a quarter of a window, at most 32",
    )
    document_context: int = argument(
        0,
        minimum=0,
        metavar="N",
        help="let every sentence be read with up to N subwords of its document before it and behind it, which are never "
        "labelled or scored; the data must mark documents. 0: sentences are read by themselves",
    )
    context_separator: bool = argument(
        True, help="with --document_context: put the tokenizer's separator between a sentence and its neighbours"
    )
    label_all_tokens: bool = argument(False, help="train on all subwords of a word instead of the first")
    continue_labels: bool = argument(
        True, help="with --label_all_tokens: later subwords of a B- word are I-, as in run_ner.py, not B- again"
    )
    space_token: str | None = argument(None, metavar="TEXT", help="what replaces spaces inside words, e.g. <_>")
    lowercase: bool = argument(False, help="lower-case words before they are cut into subwords")
    word_segmenter: str | None = argument(
        None,
        choices=SEGMENTERS,
        help="how words are found in raw text, here and by predict.py with this model. auto: at spaces and punctuation, "
        "Thai by dictionary, scripts without spaces (Chinese, Japanese, Lao, Khmer, Burmese) by characters; characters: "
        "every character is a word; words: at spaces and punctuation only. Without it auto, or as given words are cut",
    )
    constrained_decoding: str | None = argument(
        None,
        const="zero",
        choices=("zero", "learned"),
        help="forbid tag sequences that are ill-formed (Viterbi), with transition scores of zero or learned from the "
        "training tags",
    )
    return_entity_level_metrics: bool = argument(False, help="add scores for each entity type to the metrics")
    save_word_probabilities: bool = argument(
        False, help="write predictions.<split>.npz: the probability of each label for each word"
    )
    skip_do_eval: bool = argument(False, help="no evaluation after training, even with --do_eval")
    no_train_report: bool = argument(False, help="no report on the training sentences")
    no_eval_report: bool = argument(False, help="no report on the validation sentences")
    no_test_report: bool = argument(False, help="no report on the test sentences")

    def problems(self) -> list[Problem]:
        if self.max_length is None or self.stride is None or self.stride < self.max_length:
            return []
        found = f"--stride {self.stride} is not smaller than --max_length {self.max_length}"
        return [Problem(found, remedy=f"windows would not advance; try --stride {self.max_length // 4}")]


def check_tagging(arguments: Arguments) -> list[Problem]:
    """What only shows when the groups are seen together: stages without data, idle options."""
    data = arguments[TaggingDataArguments]
    files = [name.removesuffix("_file") for name in data.files]
    return check_supervised(arguments, files, has_source=data.has_folder_or_name)
