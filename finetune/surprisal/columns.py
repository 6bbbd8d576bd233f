"""The columns of tables of surprisals: what each is called, what it holds, and in which unit; written beside the tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from finetune.run.manifest import write_json_atomically

FILE = "columns.json"

DESCRIPTIONS: dict[str, tuple[str, str]] = {
    "model_name": ("name or folder of the model", ""),
    "task": ("what was asked of the model: lm (next token), mlm (masked token), seq2seq (labels given a text)", ""),
    "n_params": ("parameters of the model, rounded", "parameters"),
    "item": ("number of the text in its file, from 0", "texts"),
    "original_text": ("the text as its file has it", ""),
    "input_text": ("the text as the model read it", ""),
    "input_label": ("the labels of the text in its file, or as the model was asked for them", ""),
    "generated_sequence_type": ("label_sequence: the labels; generated_sequence: what the model itself says", ""),
    "label_text": ("the labels of the text in its file", ""),
    "word_num": ("number of the word in its text, from 0", "words"),
    "word": ("the word, without the spaces around it", ""),
    "word_char_start": (
        "first character of the word in the text or label that is scored, from 0; empty for generated sequences",
        "characters (code points)",
    ),
    "word_char_end": ("one past the last character of the word", "characters (code points)"),
    "token_num_in_word": ("number of the token in its word, from 0", "tokens"),
    "token": ("the token as the vocabulary spells it", ""),
    "token_id": ("its number in the vocabulary", ""),
    "token_is_start_of_word": ("whether a word begins with it", ""),
    "token_is_word": ("whether its word has no other token", ""),
    "n_words": ("words of the text", "words"),
    "n_tokens": ("tokens of the word, or scored tokens of the text", "tokens"),
    "surprisal": ("-log2 p of the token in its context; of a word or text the sum over its tokens", "bits"),
    "surprisal_corrected": ("-log2 p of the word and nothing longer", "bits"),
    "mean_surprisal": ("surprisal / n_tokens", "bits per token"),
    "perplexity": ("2 to the power of mean_surprisal", "1"),
    "predicted_token": ("the token that the model holds most likely there", ""),
    "predicted_token_id": ("its number in the vocabulary", ""),
    "predicted_token_surprisal": ("-log2 p of it", "bits"),
    "epoch": ("epoch of training, from 1; empty for a model that was not trained", "epochs"),
    "batch_number": ("number of the batch in its epoch or test file, from 1", "batches"),
    "dataset_type": ("train, validation or test", ""),
    "loss": (
        "mean of -ln p over the scored tokens of the text; in losses files the loss of the batch",
        "nats per token",
    ),
    "dataset_name": ("file of the text", ""),
    "seed": ("seed of the run", ""),
    "good": ("the acceptable text of the pair", ""),
    "bad": ("the other text of the pair", ""),
    "surprisal_good": ("surprisal of the acceptable text, summed over its tokens", "bits"),
    "surprisal_bad": ("surprisal of the other text, summed over its tokens", "bits"),
}
OF_PAIRS = frozenset(["good", "bad", "surprisal_good", "surprisal_bad"])
COLUMNS = frozenset(DESCRIPTIONS) - OF_PAIRS


def write_columns(folder: Path, tables: Iterable[Path]) -> None:
    """`columns.json`: for each of the tables that are there, its columns in order."""
    described = {path.name: [_describe(name) for name in _read_names(path)] for path in tables if path.is_file()}
    if described:
        write_json_atomically(folder / FILE, described)


def _read_names(path: Path) -> list[str]:
    if path.suffix == ".parquet":
        return list(pq.read_schema(path).names)
    with pa_csv.open_csv(path) as reader:
        return list(reader.schema.names)


def _describe(name: str) -> dict[str, str | None]:
    description, unit = DESCRIPTIONS.get(name, ("beside the text in its file or metadata, or a loss of that name", ""))
    return {"name": name, "description": description, "unit": unit or None}
