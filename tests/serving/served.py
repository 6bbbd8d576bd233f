"""Small models and a service of them in a process of its own, for the tests of this folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

from finetune.models.settings import ClassifierSettings

REPOSITORY = Path(__file__).resolve().parents[2]
HEADS = {
    "tagger": (AutoModelForTokenClassification, ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]),
    "classifier": (AutoModelForSequenceClassification, ["bad", "fine", "good"]),
    "pairs": (AutoModelForSequenceClassification, ["bad", "fine", "good"]),
    "several": (AutoModelForSequenceClassification, ["bad", "fine", "good"]),
    "values": (AutoModelForSequenceClassification, ["value"]),
}
PROBLEMS = {"several": "multi_label_classification", "values": "regression"}
SETTINGS = {
    "pairs": ClassifierSettings(pairs=True),
    "several": ClassifierSettings(problem_type=PROBLEMS["several"], thresholds={"bad": 0.4, "fine": 0.6, "good": 0.5}),
    "values": ClassifierSettings(problem_type=PROBLEMS["values"]),
}


def make_model(base: Path, head: str, folder: Path) -> Path:
    """A model with a random head whose answers differ from text to text."""
    kind, labels = HEADS[head]
    config = AutoConfig.from_pretrained(
        base, id2label=dict(enumerate(labels)), label2id={n: i for i, n in enumerate(labels)}
    )
    if head in PROBLEMS:
        config.problem_type = PROBLEMS[head]
    torch.manual_seed(1)
    model = kind.from_pretrained(base, config=config)
    for weight in model.parameters():
        weight.data.mul_(3)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    if head in SETTINGS:
        SETTINGS[head].save(folder)
    return folder


class Service:
    """A running `serve.py`: its address, its process, and what it has said."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        self.up = threading.Event()
        self.url = ""
        self.reader = threading.Thread(target=self._listen, daemon=True)
        self.reader.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(r"Serving .* at (http://\S+)", line):
                self.url = found.group(1)
                self.up.set()
        self.up.set()

    def post(self, body: Any, **options: Any) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        return httpx.post(f"{self.url}/predict", content=content, headers=headers, timeout=60, **options)

    def end(self) -> tuple[int, dict[str, Any]]:
        """The exit code and the last line after SIGTERM."""
        self.process.terminate()
        assert self.process.stdout is not None
        last = self.process.stdout.read().strip().splitlines()[-1]
        return self.process.wait(timeout=60), json.loads(last)


@contextmanager
def serving(model: Path, *more: object) -> Iterator[Service]:
    command = [sys.executable, str(REPOSITORY / "scripts/serve.py"), str(model), "--port", "0", *map(str, more)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    service = Service(process)
    try:
        assert service.up.wait(120) and service.url, "".join(service.said)
        yield service
    finally:
        process.kill()
        process.wait()
