"""Data and models of the fast path's benchmark: the same rows and the same weights for every recipe."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from measure import DATA, minilm_folder

MASKED_SHARE = 0.15


@dataclass
class Workload:
    """What a recipe needs: `rows` (a datasets.Dataset), `model` (made anew), `tokenizer`, and the kind of head."""

    kind: str  # "tagging", "classification" or "mlm"
    rows: Any
    tokenizer: Any
    make_model: Callable[[], Any]


def load_workload(name: str) -> Workload:
    return {
        "ner": ner,
        "ner_256": lambda: ner(256),
        "ner_512": lambda: ner(512),
        "classification": classification,
        "mlm": mlm,
        "mlm_roberta": mlm_roberta,
        "xlmr_vocabulary": xlmr_vocabulary,
        "ner_base": ner_base,
        "ner_base_256": lambda: ner_base(256),
        "thainer_base": thainer_base,
        "mlm_512": mlm_512,
    }[name]()


def load_tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(minilm_folder())


def read_wnut17(file: str) -> list[tuple[list[str], list[str]]]:
    with gzip.open(DATA / "wnut17" / file, "rt", encoding="utf-8") as stream:
        text = stream.read()
    sentences = [
        [line.split("\t") for line in block.splitlines() if line.strip()] for block in re.split(r"\n\s*\n", text)
    ]
    return [([word for word, *_ in rows], [row[-1] for row in rows]) for rows in sentences if rows]


def encode_wnut17(tokenizer: Any, file: str = "wnut17train.conll.gz", length: int | None = None) -> tuple[Any, int]:
    """WNUT17's sentences, or with a `length` texts of nearly so many subwords, made of sentences that follow another."""
    sentences = read_wnut17(file)
    return encode_words(
        tokenizer, join_sentences(sentences, tokenizer, length) if length else sentences, max_length=length or 128
    )


def join_sentences(
    sentences: list[tuple[list[str], list[str]]], tokenizer: Any, length: int
) -> list[tuple[list[str], list[str]]]:
    """Texts of as many following sentences as fit into `length` subwords with the two special ones."""
    encoded = tokenizer([words for words, _ in sentences], is_split_into_words=True, add_special_tokens=False)
    joined: list[tuple[list[str], list[str]]] = []
    room = 0
    for (words, tags), ids in zip(sentences, encoded["input_ids"], strict=True):
        if len(ids) > room:
            joined.append(([], []))
            room = length - 2
        joined[-1][0].extend(words)
        joined[-1][1].extend(tags)
        room -= len(ids)
    return joined


def encode_words(tokenizer: Any, sentences: list[tuple[list[str], list[str]]], max_length: int) -> tuple[Any, int]:
    """Rows with the label on the first subword of each word, and the number of labels."""
    from datasets import Dataset

    number = {tag: index for index, tag in enumerate(sorted({tag for _, tags in sentences for tag in tags}))}
    encoded = tokenizer(
        [words for words, _ in sentences], is_split_into_words=True, truncation=True, max_length=max_length
    )
    labels = [label_row(encoded.word_ids(row), tags, number) for row, (_, tags) in enumerate(sentences)]
    return Dataset.from_dict({"input_ids": encoded["input_ids"], "labels": labels}), len(number)


def label_row(words: list[int | None], tags: list[str], number: dict[str, int]) -> list[int]:
    firsts = [word is not None and word != before for word, before in zip(words, [None, *words], strict=False)]
    return [
        number[tags[word]] if first and word is not None else -100 for word, first in zip(words, firsts, strict=True)
    ]


def from_pretrained(head: str, **options: Any) -> Callable[[], Any]:
    def make() -> Any:
        import torch
        import transformers

        return getattr(transformers, head).from_pretrained(minilm_folder(), dtype=torch.float32, **options)

    return make


def from_config(head: str, config: Any) -> Callable[[], Any]:
    def make() -> Any:
        import transformers

        return getattr(transformers, head)._from_config(config)

    return make


def ner(length: int | None = None) -> Workload:
    tokenizer = load_tokenizer()
    rows, labels = encode_wnut17(tokenizer, length=length)
    make = from_pretrained("AutoModelForTokenClassification", num_labels=labels)
    return Workload("tagging", rows, tokenizer, make)


def load_prediction(length: int | None = None) -> Workload:
    """The test sentences under the tagger of `ner`, or texts of them that are nearly so many subwords long."""
    workload = ner()
    rows, _ = encode_wnut17(workload.tokenizer, "emerging.test.annotated.gz", length)
    return Workload("tagging", rows, workload.tokenizer, workload.make_model)


def classification() -> Workload:
    from datasets import Dataset

    tokenizer = load_tokenizer()
    with gzip.open(DATA / "glue" / "SST-2" / "train.first20000.tsv.gz", "rt", encoding="utf-8") as file:
        lines = [line.rstrip("\n").split("\t") for line in file][1:]
    ids = tokenizer([text for text, _ in lines], truncation=True, max_length=128)["input_ids"]
    rows = Dataset.from_dict({"input_ids": ids, "labels": [int(label) for _, label in lines]})
    return Workload("classification", rows, tokenizer, from_pretrained("AutoModelForSequenceClassification"))


def wikitext_blocks(tokenizer: Any, length: int) -> Any:
    from datasets import Dataset

    with gzip.open(DATA / "lm" / "wikitext-2" / "valid.txt.gz", "rt", encoding="utf-8") as stream:
        subwords = tokenizer(stream.read().splitlines(), add_special_tokens=False)["input_ids"]
    flat = np.concatenate([np.array(row, dtype=np.int64) for row in subwords if row])
    inner = length - 2
    blocks = flat[: len(flat) // inner * inner].reshape(-1, inner)
    ends = np.full((len(blocks), 1), 1)
    ids = np.hstack((ends * tokenizer.cls_token_id, blocks, ends * tokenizer.sep_token_id))
    return Dataset.from_dict({"input_ids": ids.tolist()})


def mlm() -> Workload:
    tokenizer = load_tokenizer()
    return Workload("mlm", wikitext_blocks(tokenizer, 128), tokenizer, from_pretrained("BertForMaskedLM"))


def mlm_roberta() -> Workload:
    """MiniLM's sizes with RoBERTa's vocabulary; the blocks hold MiniLM's ids, which are valid ids there."""
    from transformers import RobertaConfig

    tokenizer = load_tokenizer()
    config = RobertaConfig(
        vocab_size=50_265, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536,
        max_position_embeddings=514, type_vocab_size=1, pad_token_id=1,
    )  # fmt: skip
    return Workload("mlm", wikitext_blocks(tokenizer, 128), tokenizer, from_config("RobertaForMaskedLM", config))


def xlmr_vocabulary() -> Workload:
    """XLM-R base from its config, on WNUT17's sentences with ids spread over the vocabulary of 250,002."""
    from transformers import XLMRobertaConfig

    tokenizer = load_tokenizer()
    rows, labels = encode_wnut17(tokenizer)
    ids = np.random.default_rng(0).permutation(np.arange(4, 250_002))
    rows = rows.map(lambda row: {"input_ids": [int(ids[i]) for i in row["input_ids"]]})
    config = XLMRobertaConfig(
        vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1, num_labels=labels, pad_token_id=1
    )
    return Workload("tagging", rows, tokenizer, from_config("XLMRobertaForTokenClassification", config))


def ner_base(length: int | None = None) -> Workload:
    """BERT base from its config on WNUT17."""
    from transformers import BertConfig

    tokenizer = load_tokenizer()
    rows, labels = encode_wnut17(tokenizer, length=length)
    return Workload(
        "tagging", rows, tokenizer, from_config("BertForTokenClassification", BertConfig(num_labels=labels))
    )


def thainer_base() -> Workload:
    """XLM-R base from its config on ThaiNER, whose words MiniLM's tokenizer cuts into about as many subwords as letters."""
    from transformers import XLMRobertaConfig

    from finetune.tagging.arguments import TaggingDataArguments
    from finetune.tagging.corpus import load_tagging_corpus

    asked = TaggingDataArguments(dataset_name="thainer", label_name="ner_tags", data_dir=str(DATA / "thainer"))
    train = load_tagging_corpus(asked, seed=42).splits["train"]
    tokenizer = load_tokenizer()
    rows, labels = encode_words(tokenizer, list(zip(train["words"], train["tags"], strict=True)), max_length=510)
    config = XLMRobertaConfig(
        vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1, num_labels=labels, pad_token_id=1
    )
    return Workload("tagging", rows, tokenizer, from_config("XLMRobertaForTokenClassification", config))


def mlm_512() -> Workload:
    """BERT base from its config on blocks of 512 tokens."""
    from transformers import BertConfig

    tokenizer = load_tokenizer()
    return Workload("mlm", wikitext_blocks(tokenizer, 512), tokenizer, from_config("BertForMaskedLM", BertConfig()))


def useful_flops(workload: Workload, model: Any, batch: list[dict[str, Any]]) -> float:
    """Arithmetic that a forward pass over `batch` (rows) cannot do without: no padding, no unread logits.

    Two operations per weight of a layer's matrices and token, four per pair of tokens and hidden unit in attention, and
    the vocabulary where a label is. Elementwise work is not counted.
    """
    config = model.config
    hidden, layers = config.hidden_size, config.num_hidden_layers
    lengths = np.array([len(row["input_ids"]) for row in batch], dtype=np.float64)
    weights = layers * (4 * hidden**2 + 2 * hidden * config.intermediate_size)
    flops = 2 * weights * lengths.sum() + layers * 4 * hidden * (lengths**2).sum()
    if workload.kind == "mlm":
        flops += 2 * hidden * config.vocab_size * MASKED_SHARE * lengths.sum()
    return float(flops)
