from __future__ import annotations

import logging

from finetune.run import progress as progress_module
from finetune.run.progress import Progress


def test_log_gets_a_line_with_share_and_rate_now_and_then(caplog, monkeypatch):
    clock = iter([0.0, 10.0, 40.0, 40.0])
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO), Progress("Reading", total=4000, unit="B") as progress:
        progress.advance(1000)
        progress.advance(1000)
    assert caplog.messages == ["Reading: 2.00k of 4.00k B (50 %), 50 B/s."]


def test_without_a_total_the_count_is_said():
    with Progress("Reading", unit="lines") as progress:
        progress.advance(7)
        assert progress.describe().startswith("7 lines, ")
