"""A trained tagger's answers: every split tagged, by legal sequences where that is asked for."""

from __future__ import annotations

from functools import partial

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


def predict_split(trainer: Trainer, task: TaggingTask, name: str) -> TaggedSplit:
    """Tag a split with the model that the Trainer holds: after training, the best by validation."""
    return predict_tags(
        trainer, task.encoded[name], padding_side=task.tokenizer.padding_side, decode=build_decoder(task)
    )
