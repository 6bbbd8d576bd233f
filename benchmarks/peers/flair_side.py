"""flair: MiniLM under its SequenceTagger (a linear layer), trained by `ModelTrainer.fine_tune`."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from typing import Any

import flair
import torch
from flair.data import Corpus, Sentence
from flair.datasets import FlairDatapointDataset
from flair.embeddings import TransformerWordEmbeddings
from flair.models import SequenceTagger
from flair.trainers import ModelTrainer
from flair.trainers.plugins import TrainerPlugin, TrainingInterrupt
from turns import Turns, answer_predictions, find_spans, read_options, read_sentences, took, write_tags


def make_sentences(read: list[Any]) -> list[Sentence]:
    made = []
    for words, tags in read:
        sentence = Sentence(words)
        for begin, end, kind in find_spans(tags):
            sentence[begin:end].add_label("ner", kind)
        made.append(sentence)
    return made


def build_tagger(model: str, corpus: Corpus) -> SequenceTagger:
    """As flair's tutorial on fine-tuning builds it."""
    embeddings = TransformerWordEmbeddings(
        model=model, layers="-1", subtoken_pooling="first", fine_tune=True, use_context=False
    )
    return SequenceTagger(
        hidden_size=256,
        embeddings=embeddings,
        tag_dictionary=corpus.make_label_dictionary(label_type="ner", add_unk=False),
        tag_type="ner",
        use_crf=False,
        use_rnn=False,
        reproject_embeddings=False,
    )


def predict(tagger: SequenceTagger, read: list[Any]) -> list[list[str]]:
    sentences = [Sentence(words) for words, _ in read]
    tagger.predict(sentences, mini_batch_size=32)
    return [
        write_tags(
            len(words),
            ((s.tokens[0].idx - 1, s.tokens[-1].idx, s.get_label("ner").value) for s in one.get_spans("ner")),
        )
        for one, (words, _) in zip(sentences, read, strict=True)
    ]


class TakingTurns(TrainerPlugin):
    """Stops between the steps of turns, and at the end."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        self.turns, self.batch = Turns(options), options["batch"]

    @TrainerPlugin.hook
    def before_training_epoch(self, epoch: int, **kwargs: Any) -> None:
        if epoch == 1 and not self.turns.begin():
            raise TrainingInterrupt("no turn")

    @TrainerPlugin.hook
    def after_training_batch(self, **kwargs: Any) -> None:
        if not self.turns.end_step(self.batch):
            raise TrainingInterrupt("the last turn is over")


def main() -> None:
    options = read_options()
    torch.set_num_threads(options["threads"])
    logging.getLogger("flair").setLevel(logging.ERROR)
    flair.set_seed(options["seed"])
    train = make_sentences(read_sentences(options["sentences"], "train"))
    test = read_sentences(options["sentences"], "test")
    corpus = Corpus(
        train=FlairDatapointDataset(train), dev=FlairDatapointDataset(train[:16]), sample_missing_splits=False
    )
    tagger = build_tagger(options["model"], corpus)
    if options["mode"] == "predict":
        answer_predictions(lambda: predict(tagger, test[: options["predicted"]]))
        return
    takes_turns = options["mode"] == "train"
    start = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        ModelTrainer(tagger, corpus).fine_tune(
            folder,
            learning_rate=5e-5,
            mini_batch_size=options["batch"],
            max_epochs=100 if takes_turns else options["epochs"],
            plugins=[TakingTurns(options)] if takes_turns else [],
            save_final_model=False,
            create_file_logs=False,
            create_loss_file=False,
        )
    if not takes_turns:
        print(json.dumps({**took(start), "tags": predict(tagger, test)}))


if __name__ == "__main__":
    main()
