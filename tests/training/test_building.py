from __future__ import annotations

import logging

import pytest

from finetune.errors import UsageError
from finetune.training.building import MISSING, TrainerLogRelay, refusing


@pytest.mark.parametrize(
    ("missing", "told"),
    [(["lm_head.weight"], False), (["lm_head.weight", "score.weight"], True), ([], True)],
)
def test_missing_weights_are_told_unless_they_are_tied_to_others(missing, told, caplog):
    relay = TrainerLogRelay(["lm_head.weight", "decoder.weight"])
    record = logging.LogRecord("x", logging.WARNING, "x.py", 1, f"{MISSING}: {missing}.", None, None)
    with caplog.at_level(logging.INFO):
        relay.emit(record)
    assert (str(missing) in caplog.text) is told


def test_what_transformers_refuses_is_one_sentence():
    with pytest.raises(UsageError, match="do not go together: fsdp only works among several"), refusing(ValueError):
        raise ValueError("fsdp only works among several.\nMore")
    with pytest.raises(KeyError), refusing(ValueError):
        raise KeyError("x")
