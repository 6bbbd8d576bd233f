"""Around every route: which host names are answered, headers that bind browsers, counts, and no traceback to anybody."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from finetune.serving.arguments import LOOPBACK, is_loopback
from finetune.serving.metrics import Metrics

logger = logging.getLogger(__name__)

WRONG_HOST, BUG = 421, 500
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Guard:
    """An application around another one.

    Bound to loopback, only requests to a loopback name are answered: a page in a browser on this machine could otherwise
    reach the service under a name of its own (DNS rebinding). An error inside is logged, and answered with one sentence.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, *, host: str, paths: Collection[str]) -> None:
        self.app, self.metrics, self.paths = app, metrics, frozenset(paths)
        self.names = frozenset({*LOOPBACK, host.lower()}) if is_loopback(host) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = _Answer(send)
        if not self._is_known(scope):
            await answer.say(WRONG_HOST, "This service answers to the names of this machine alone (localhost).")
        else:
            await self._answer(scope, receive, answer)
        path = scope["path"] if scope["path"] in self.paths else "other"
        self.metrics.requests[path, answer.status] += 1

    async def _answer(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        try:
            await self.app(scope, receive, answer)
        except Exception:
            if not answer.status:  # else Starlette has answered, and hands the error on to be logged
                logger.exception("A request could not be answered.")
                await answer.say(BUG, "The service failed at this request; its log tells more.")
                return
            logger.exception("A request was answered in part.")

    def _is_known(self, scope: Scope) -> bool:
        host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1").lower()
        return self.names is None or name_of(host) in self.names


def name_of(host: str) -> str:
    """A `Host` header without its port and brackets."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


class _Answer:
    """Sends on, with our headers; knows the status."""

    def __init__(self, send: Send) -> None:
        self.send, self.status = send, 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", ()), *own]}
        await self.send(message)

    async def say(self, status: int, sentence: str) -> None:
        body = json.dumps({"error": sentence}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})
