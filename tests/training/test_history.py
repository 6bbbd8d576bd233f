"""The file of what was logged is the same whether a training was interrupted or not."""

from __future__ import annotations

import json
from types import SimpleNamespace

from finetune.run.course import HISTORY
from finetune.training.history import write_history


def test_entries_read_from_a_checkpoint_have_the_order_of_those_that_were_just_logged(tmp_path):
    """transformers writes trainer_state.json with sorted names: a curve's colour followed the interruption."""
    log = [{"eval_loss": 0.5, "eval_f1": 1.0, "eval_accuracy": 1.0, "step": 4}, {"loss": 0.1, "epoch": 1.0, "step": 6}]
    written = []
    for entries in (log, json.loads(json.dumps(log, sort_keys=True))):
        state = SimpleNamespace(global_step=6, epoch=1.0, log_history=entries)
        run = SimpleNamespace(folder=tmp_path, writes=True)
        assert write_history(run, SimpleNamespace(state=state)) == tmp_path / HISTORY
        written.append((tmp_path / HISTORY).read_bytes())
    assert written[0] == written[1] and json.loads(written[0])["log"] == log
