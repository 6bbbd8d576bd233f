"""spaCy with spacy-curated-transformers: MiniLM under spaCy's own named-entity recognizer, trained by `nlp.update`."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from typing import Any

import spacy
import torch
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Adam
from turns import Turns, answer_predictions, find_spans, read_options, read_sentences, took, write_tags

PREFIX = "spacy-curated-transformers"


def build_pipeline(model: str) -> Any:
    """A pipeline of encoder and recognizer as `spacy init config` proposes it, for MiniLM's sizes."""
    nlp = spacy.blank("en")
    encoder = {
        "@architectures": f"{PREFIX}.BertTransformer.v1", "vocab_size": 30522, "hidden_width": 384,
        "intermediate_width": 1536, "num_attention_heads": 12, "num_hidden_layers": 6,
        "piece_encoder": {"@architectures": f"{PREFIX}.BertWordpieceEncoder.v1"},
        "with_spans": {"@architectures": f"{PREFIX}.WithStridedSpans.v1", "stride": 96, "window": 128},
    }  # fmt: skip
    nlp.add_pipe("curated_transformer", config={"model": encoder})
    listener = {
        "@architectures": f"{PREFIX}.LastTransformerLayerListener.v1", "width": 384, "upstream": "*",
        "pooling": {"@layers": "reduce_mean.v1"},
    }  # fmt: skip
    recognizer = {
        "@architectures": "spacy.TransitionBasedParser.v2", "state_type": "ner", "extra_state_tokens": False,
        "hidden_width": 64, "maxout_pieces": 2, "use_upper": False, "tok2vec": listener,
    }  # fmt: skip
    nlp.add_pipe("ner", config={"model": recognizer})
    nlp.config["initialize"]["components"]["curated_transformer"] = {
        "encoder_loader": {"@model_loaders": f"{PREFIX}.HFTransformerEncoderLoader.v1", "name": model},
        "piecer_loader": {"@model_loaders": f"{PREFIX}.HFPieceEncoderLoader.v1", "name": model},
    }
    return nlp


def make_examples(nlp: Any, sentences: list[Any]) -> list[Any]:
    examples = []
    for words, tags in sentences:
        doc = Doc(nlp.vocab, words=words)
        gold = Doc(nlp.vocab, words=words)
        gold.set_ents([spacy.tokens.Span(gold, *span) for span in find_spans(tags)], default="outside")
        examples.append(Example(doc, gold))
    return examples


def draw_batches(examples: list[Any], batch: int, epochs: int, seed: int) -> Iterator[list[Any]]:
    order = random.Random(seed)
    for _ in range(epochs):
        order.shuffle(examples)
        for place in range(0, len(examples), batch):
            chosen = examples[place : place + batch]
            yield [Example(one.x.copy(), one.y) for one in chosen]


def predict(nlp: Any, sentences: list[Any]) -> list[list[str]]:
    docs = nlp.pipe((Doc(nlp.vocab, words=words) for words, _ in sentences), batch_size=128)
    return [write_tags(len(doc), ((e.start, e.end, e.label_) for e in doc.ents)) for doc in docs]


def main() -> None:
    options = read_options()
    torch.set_num_threads(options["threads"])
    spacy.util.fix_random_seed(options["seed"])
    nlp = build_pipeline(options["model"])
    examples = make_examples(nlp, read_sentences(options["sentences"], "train"))
    test = read_sentences(options["sentences"], "test")
    nlp.initialize(lambda: examples)
    optimizer = Adam(learn_rate=5e-5, L2=0.01, L2_is_weight_decay=True, grad_clip=1.0)
    if options["mode"] == "predict":
        answer_predictions(lambda: predict(nlp, test[: options["predicted"]]))
        return
    epochs = options["epochs"] if options["mode"] == "score" else 1000
    batches = draw_batches(examples, options["batch"], epochs, options["seed"])
    if options["mode"] == "train":
        turns = Turns(options)
        goes_on = turns.begin()
        while goes_on:
            batch = next(batches)
            nlp.update(batch, sgd=optimizer, drop=0.1)
            goes_on = turns.end_step(len(batch))
        return
    start = time.perf_counter(), time.process_time()
    for batch in batches:
        nlp.update(batch, sgd=optimizer, drop=0.1)
    print(json.dumps({**took(start), "tags": predict(nlp, test)}))


if __name__ == "__main__":
    main()
