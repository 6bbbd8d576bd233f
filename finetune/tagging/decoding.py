"""A trained tagger's answers: every split tagged, by legal sequences where that is asked for."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from transformers import Trainer

from finetune.tagging.evaluation import Decode, TaggedSplit, predict_tags
from finetune.tagging.task import TaggingTask
from finetune.tagging.viterbi import decode_constrained, forbid_illegal


def build_decoder(task: TaggingTask) -> Decode | None:
    """Viterbi over legal tag sequences, with the learned transition scores where there are any."""
    asked = task.options.constrained_decoding
    if asked is None or not task.is_entities:
        return None
    return partial(decode_constrained, transitions=forbid_illegal(task.labels, task.scheme, task.transitions))


class ProbabilityKeeper:
    """Decodes as `decode` does, and keeps the probability of each label for each word."""

    def __init__(self, decode: Decode | None) -> None:
        self.decode, self.probabilities = decode, np.empty((0, 0), np.float16)

    def __call__(self, logits: npt.NDArray, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        self.probabilities = softmax(logits.astype(np.float32), axis=-1).astype(np.float16)
        return logits.argmax(axis=-1) if self.decode is None else self.decode(logits, offsets)


def predict_split(trainer: Trainer, task: TaggingTask, name: str) -> TaggedSplit:
    """Tag a split with the model that the Trainer holds: after training, the best by validation."""
    encoded, side, decode = task.encoded[name], task.tokenizer.padding_side, build_decoder(task)
    if not task.options.save_word_probabilities:
        return predict_tags(trainer, encoded, padding_side=side, decode=decode)
    kept = ProbabilityKeeper(decode)
    tagged = predict_tags(trainer, encoded, padding_side=side, decode=kept)
    return replace(tagged, probabilities=kept.probabilities)
