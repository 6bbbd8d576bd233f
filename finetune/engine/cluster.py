"""A cluster of Ray for one run: one that is there, or one of this machine that ends with the run.

`ray` is imported here and nowhere else, and only where `--engine ray` is given.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from finetune.arguments.engine import AUTO, LOCAL
from finetune.errors import Problem, RunError, UsageError
from finetune.run.folders_aside import temporary_folder
from finetune.run.signals import SIGNALS
from finetune.run.workers import usable_cores

logger = logging.getLogger(__name__)

RAY_ADDRESS = "RAY_ADDRESS"
QUIET = {  # a user's own settings win
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_enable_metrics_collection": "false",
    "RAY_worker_niceness": "0",  # Ray's 15 is for machines whose other work comes first; here this is the work
}
OBJECT_STORE_BYTES = 100 << 20  # only results on their way lie there; what is more goes to the disk
LONGEST_PARENT = 40  # characters: Ray's sockets lie some 65 deeper, and their names have room for 107
SECONDS_TO_ANSWER = 5.0


def require_ray() -> None:
    """Raises:
    UsageError: the extra is not installed.
    """
    if find_spec("ray") is None:
        raise UsageError(Problem("--engine ray: Ray is not installed", remedy="pip install 'finetune[ray]'"))


@contextmanager
def open_cluster(address: str) -> Iterator[Any]:
    """The module `ray`, connected; what was started for this run is gone at the end.

    Raises:
        UsageError: there is no cluster at that address.
        RunError: Ray could not be started.
    """
    require_ray()
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    with temporary_folder("finetune-ray-", _short_parent()) as folder:
        try:
            with keeping_signals():
                _connect(ray, address, folder)
            yield ray
        finally:
            with keeping_signals():
                ray.shutdown()


def _short_parent() -> Path:
    parent = Path(tempfile.gettempdir())
    return parent if len(str(parent)) <= LONGEST_PARENT else Path("/tmp")


def _connect(ray: Any, address: str, folder: Path) -> None:
    common = {"log_to_driver": False, "logging_level": logging.CRITICAL, "configure_logging": False}
    if address != LOCAL:
        named = os.environ.get(RAY_ADDRESS, AUTO) if address == AUTO else address
        if named != AUTO:
            require_answer(named)
        try:
            ray.init(address=named, **common)
            return
        except (ConnectionError, RuntimeError, ValueError) as error:
            if named != AUTO:
                raise UsageError(Problem(f"no Ray cluster can be joined at {named} ({_first_line(error)})")) from error
        logger.info("This machine is part of no Ray cluster; one of its own is started for this run.")
    try:
        ray.init(
            address="local",
            num_cpus=usable_cores(),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=str(folder),
            **common,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise RunError(f"Ray could not be started on this machine: {_first_line(error)}") from error


def require_answer(address: str) -> None:
    """Ray itself would try for minutes.

    Raises:
        UsageError: nobody answers.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()
    except (OSError, ValueError) as error:
        remedy = "start one with `ray start --head`, or give --ray_address local"
        raise UsageError(Problem(f"no Ray cluster answers at {address} ({error})", remedy=remedy)) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def keeping_signals() -> Iterator[None]:
    """Ray puts handlers of its own in the place of those that save a run's state."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            with suppress(TypeError):  # one that was not set by Python
                signal.signal(number, handler)
