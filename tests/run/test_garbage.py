"""A command looks for garbage rarely until it trains, and not at all differently from Python then."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import gc, json, sys
pythons = gc.get_threshold()
from finetune import cli
from finetune.arguments.parser import CommandParser
from finetune.run import garbage

def main(arguments, run):
    rarely = gc.get_threshold()
    from finetune.training import building
    try:
        building.build_trainer(None, {}, run)
    except Exception:
        pass
    return {"pythons": pythons, "rarely": rarely, "training": gc.get_threshold()}

cli.launch(lambda: CommandParser("", ()), main, needs_folder=False)
"""


def test_training_collects_as_python_does_and_what_comes_before_it_rarely():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["training"] == last["pythons"]
    assert last["rarely"][0] > 10 * last["training"][0]
