"""`finetune serve`: listen, load, answer until told to stop."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from finetune.errors import Preempted, Problem, UsageError
from finetune.run.signals import StopRequest
from finetune.serving.arguments import ServeArguments, ServedModelArguments, is_loopback

logger = logging.getLogger(__name__)

PACKAGES = ("fastapi", "uvicorn")
SECONDS_TO_LEAVE = 5  # beyond the time of a request, for answers on their way
LONGEST_HEADERS = 16_384  # bytes
IDLE_SECONDS = 5  # after which a connection that asks nothing is closed


def serve(options: ServeArguments, of_model: ServedModelArguments, stop: StopRequest) -> dict[str, Any]:
    """Answer requests until a signal asks to stop; what was answered, for the last line.

    A signal is the usual end of a service, so it ends well: requests that have come are answered first.

    Raises:
        UsageError: a package is missing, or the address cannot be listened to.
        DataError: as `open_model`.
    """
    require_packages()
    with bind(options.host, options.port) as listener:
        try:
            return _serve(listener, options, of_model, stop)
        except Preempted:
            return {"requests": 0}  # before the service was up


def _serve(
    listener: socket.socket, options: ServeArguments, of_model: ServedModelArguments, stop: StopRequest
) -> dict[str, Any]:
    from finetune.serving.app import Service
    from finetune.serving.model import open_model

    service = Service(open_model(options, of_model), options)
    if not is_loopback(options.host):
        logger.warning(
            "Listening on %s: every machine that reaches it can use the model, without a password or encryption. "
            "Put a proxy that has both in front of it.",
            options.host,
        )
    try:
        with stop.deferred(doing="answering the requests that have come"):
            asyncio.run(run_server(service, listener, stop))
    except Preempted:
        logger.info("Stopped by %s.", stop.signal_name)
    metrics = service.metrics
    return {"requests": sum(metrics.requests.values()), "texts": metrics.texts, "batches": metrics.batches}


async def run_server(service: Any, listener: socket.socket, stop: StopRequest) -> None:
    """Serve on a bound socket until `stop` asks to end or the event loop is cancelled."""
    import uvicorn

    from finetune.serving.app import build_app

    class Server(uvicorn.Server):
        """Stops by `stop`, whose handlers stay in place."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

        async def on_tick(self, counter: int) -> bool:
            service.stopping = stop.requested
            return await super().on_tick(counter) or stop.requested

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            host, port = listener.getsockname()[:2]
            logger.info("Serving %s at http://%s:%d", service.model.name, f"[{host}]" if ":" in host else host, port)

    config = uvicorn.Config(
        build_app(service),
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=int(service.options.timeout) + SECONDS_TO_LEAVE,
        h11_max_incomplete_event_size=LONGEST_HEADERS,
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    await Server(config).serve(sockets=[listener])


def require_packages() -> None:
    """Raises:
    UsageError: what serves is not installed.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        found = f"the package {' and '.join(missing)} is not installed, which the service needs"
        raise UsageError(Problem(found, remedy="pip install 'finetune[serve]'"))


def bind(host: str, port: int) -> socket.socket:
    """A socket that holds the address; nobody is let in before the model is ready.

    Raises:
        UsageError: the address is taken, not allowed, or not this machine's.
    """
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, UnicodeError, OverflowError) as error:
        if listener is not None:
            listener.close()
        why = getattr(error, "strerror", None) or str(error)
        found = f"--host {host} --port {port} cannot be listened to: {why}"
        raise UsageError(Problem(found, remedy="choose another --port (0 takes any that is free) or --host")) from error
    return listener
