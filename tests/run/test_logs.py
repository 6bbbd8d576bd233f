from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

SCRIPT = """
import logging, sys, warnings
from pathlib import Path
from finetune.run.logs import set_up_logging
log = set_up_logging(verbose="verbose" in sys.argv, only_warnings="further" in sys.argv)
own, other = logging.getLogger("finetune.data"), logging.getLogger("somebody")
own.info("own info")
if "libraries" in sys.argv:
    from transformers.utils import logging as transformers_logging
    import datasets
    import transformers.integrations.integration_utils
    transformers_logging.get_logger("transformers.models").warning("transformers warns")
    datasets.logging.get_logger("datasets.builder").warning("datasets warns")
other.info("other info")
other.warning("other warning")
warnings.warn("a python warning")
if "start" in sys.argv:
    log.open_in(Path(sys.argv[1]))
    own.warning("after the start")
log.close()
own.info("after the end")
"""


@pytest.fixture
def run_script(tmp_path, repository):
    def run(*words):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path), *words]
        environment = {**os.environ, "WANDB_MODE": "offline"}
        done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True, env=environment)
        assert done.stdout == "", "standard output is for results, even with WANDB_MODE=offline"
        file = tmp_path / "run.log"
        return done.stderr, file.read_text() if file.exists() else None

    return run


def test_stderr_carries_our_lines_and_only_warnings_of_others(run_script):
    err, _ = run_script("start")
    assert "INFO - finetune.data -   own info\n" in err and "WARNING - somebody -   other warning" in err
    assert "other info" not in err and "python warning" not in err


def test_the_log_file_holds_everything_from_the_beginning(run_script):
    _, log = run_script("start")
    for text in ("own info", "other info", "other warning", "a python warning", "after the start"):
        assert log.count(text) == 1, text
    assert "after the end" not in log


def test_a_run_that_never_started_has_no_log_file(run_script):
    assert run_script()[1] is None


def test_verbose_shows_what_libraries_say(run_script):
    err, _ = run_script("verbose")
    assert "other info" in err and "a python warning" in err


def test_a_further_process_of_the_same_run_only_warns(run_script):
    err, log = run_script("start", "further", "verbose")
    assert "own info" not in err and "other info" not in err and "WARNING - somebody -   other warning" in err
    assert "own info" in log


@pytest.mark.slow
def test_libraries_with_handlers_of_their_own_reach_the_log_once(run_script):
    err, log = run_script("start", "libraries")
    for text in ("transformers warns", "datasets warns"):
        assert log.count(text) == 1 and err.count(text) == 1, text


def test_lines_begin_as_users_know_them(run_script):
    err, _ = run_script()
    assert re.match(r"\d\d/\d\d/\d{4} \d\d:\d\d:\d\d - INFO - finetune\.data -   own info$", err.splitlines()[0])
