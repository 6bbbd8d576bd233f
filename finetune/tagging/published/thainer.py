"""ThaiNER 1.3: its labels, its unconfirmed tag, its splits, and its filter.

https://github.com/wannaphong/thai-ner. The Hugging Face loader `thainer` declared the labels in the order below, 28 with
the stray class "not confirmed" (ids 13 and 26), and thai2transformers turned that class into `O` without shortening the
list: so models fine-tuned with either have 28 outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from datasets import Dataset

from finetune.data.corpus import Corpus, select_rows
from finetune.data.splits import split_rows
from finetune.errors import DataError, Problem
from finetune.tagging.formats.sentences import Sentences

UNCONFIRMED = "ไม่ยืนยัน"
SPLIT_SEED = 2020  # whatever --seed says: everybody's test set is the same
HELD_OUT_FRACTION = 0.2

_TYPES = (
    "DATE",
    "EMAIL",
    "LAW",
    "LEN",
    "LOCATION",
    "MONEY",
    "ORGANIZATION",
    "PERCENT",
    "PERSON",
    "PHONE",
    "TIME",
    "URL",
)
# In sorted order; a ZIP has one word, so there is no I-ZIP.
NER_TAGS = (
    *(f"B-{name}" for name in (*_TYPES, "ZIP", UNCONFIRMED)),
    *(f"I-{name}" for name in (*_TYPES, UNCONFIRMED)),
    "O",
)
POS_TAGS = (
    *("ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "NOUN", "NUM", "PART", "PRON", "PROPN", "PUNCT", "SCONJ", "VERB"),
)


def clean_thainer(sentences: Sentences, task: str) -> Sentences:
    """Tags that are unconfirmed, or none of the corpus, become `O`, counted; parts of speech stay."""
    if task != "ner_tags" or sentences.tags is None:
        return sentences
    confirmed = {tag for tag in NER_TAGS if UNCONFIRMED not in tag}
    changed = sum(tag not in confirmed for tags in sentences.tags for tag in tags)
    if changed:
        sentences.tags = [[tag if tag in confirmed else "O" for tag in tags] for tags in sentences.tags]
        sentences.notes.append(f"{changed:,} unconfirmed tags (B-/I-{UNCONFIRMED}) became O.")
    return sentences


def split_thainer(rows: Dataset) -> dict[str, Dataset]:
    """Eight tenths, one, one, drawn with seed 2020: of 6,348 sentences 5,078, 635, 635."""
    train, held_out = split_rows(len(rows), HELD_OUT_FRACTION, SPLIT_SEED)
    validation, test = split_rows(len(held_out), 0.5, SPLIT_SEED)
    indices = {"train": train, "validation": held_out[validation], "test": held_out[test]}
    return {split: select_rows(rows, chosen) for split, chosen in indices.items()}


def filter_long_tests(
    corpus: Corpus, tokenize: Callable[[str], Sequence[object]], threshold: int, space_token: str = "<_>"
) -> None:
    """Keep the test sentences with fewer than `threshold` subwords, in place, and note how many went.

    `tokenize` gives the subwords of one word (multilingual BERT's, in the published comparison), in which spaces are
    written `space_token`. What `--filter_thainer_with_mbert_tokenizer_threshold` asks for.

    Raises:
        DataError: no test sentence is left.
    """
    rows = corpus.splits.get("test")
    if rows is None:
        return
    words_of_rows = rows["words"][:]
    subwords = {word: len(tokenize(word.replace(" ", space_token))) for words in words_of_rows for word in set(words)}
    kept = [row for row, words in enumerate(words_of_rows) if sum(subwords[word] for word in words) < threshold]
    if not kept:
        found = f"zero test sentences are left: each of {len(rows):,} has {threshold:,} subwords or more"
        raise DataError(Problem(found, "", "raise --filter_thainer_with_mbert_tokenizer_threshold"))
    corpus.splits["test"] = select_rows(rows, kept)
    corpus.notes.append(
        f"{len(rows) - len(kept):,} of {len(rows):,} test sentences have {threshold:,} subwords or more and were left out."
    )
