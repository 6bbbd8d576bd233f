"""Standard input is answered as it comes: whoever sends one text and waits gets its answer."""

from __future__ import annotations

import itertools
import json
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.run.ahead import gather
from tests.prediction.test_shards import tagger  # noqa: F401 -- a fixture


@given(st.lists(st.integers(), max_size=40), st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_gathered_lists_are_the_items_in_order(items, size):
    lists = list(gather(items, size=size, seconds=0.001))
    assert list(itertools.chain.from_iterable(lists)) == items
    assert all(0 < len(part) <= size for part in lists)


def test_an_item_does_not_wait_for_others():
    source: queue.Queue[str | None] = queue.Queue()
    lists = gather(iter(source.get, None), size=1000, seconds=0.02)
    for word in "abc":
        source.put(word)
        assert next(lists) == [word]  # would wait for ever for 1,000
    source.put(None)
    assert list(lists) == []


def test_a_failure_comes_behind_the_items_before_it():
    def items():
        yield from (1, 2)
        raise OSError("gone")

    found = []
    with pytest.raises(OSError, match="gone"):
        for part in gather(items(), size=10, seconds=0.01):
            found += part
    assert found == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text", "jsonl"])
def test_a_text_is_answered_before_the_next_is_sent(tagger, kind):  # noqa: F811
    script = Path(__file__).resolve().parents[2] / "scripts" / "predict.py"
    words = ["--model_name_or_path", str(tagger), "--input_format", kind, "--device", "cpu"]
    words += ["--input_file", "-"] if kind == "text" else []
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, str(script), *words], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    )
    answers: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: [answers.put(line) for line in process.stdout], daemon=True).start()
    waits = []
    for number, text in enumerate(["a b", "", "c c c"] * 5):
        start = time.monotonic()
        process.stdin.write((text if kind == "text" else json.dumps({"text": text, "n": number})) + "\n")
        process.stdin.flush()
        answer = json.loads(answers.get(timeout=120))
        waits.append(time.monotonic() - start)
        assert answer["text"] == text and answer.get("n", number) == number
    process.stdin.close()
    assert process.wait(60) == 0
    assert sorted(waits)[len(waits) // 2] < 2.0  # most of the first is the start of the command


def test_standard_input_is_named_alone(call_command, tagger):  # noqa: F811
    wrong = call_command("predict.py", "--model_name_or_path", str(tagger), "--input_file", "-", "texts.txt")
    assert wrong.code == 2 and "beside other files" in wrong.stderr
