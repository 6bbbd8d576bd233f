"""The routes of the service and what guards them, as a FastAPI application."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from finetune.data.prediction_input import InputText
from finetune.serving.arguments import ServeArguments
from finetune.serving.batching import Batcher
from finetune.serving.guard import Guard
from finetune.serving.metrics import Metrics
from finetune.serving.model import ServedModel
from finetune.serving.openapi import PREDICT
from finetune.serving.requests import TOO_LARGE, Refusal, RequestReader

PAGES = Path(__file__).parent / "pages"
PATHS = frozenset({"/", "/predict", "/health", "/metrics", "/openapi.json", "/page.css", "/page.js"})
BODIES_AT_ONCE = 64 * 1024 * 1024  # bytes of all request bodies together, whatever their number
SHORT = 2000  # characters: counting their tokens takes less time than asking a thread to do it
LATE, BUSY, NOT_JSON, SLOW = 503, 429, 415, 408


@dataclass
class Arrived:
    """How much of a body has come."""

    size: int = 0
    whole: bool = False


@dataclass
class Service:
    """One model with what surrounds it while it is served."""

    model: ServedModel
    options: ServeArguments
    metrics: Metrics = field(default_factory=Metrics)
    requests: int = 0  # to /predict that are not answered yet
    body_bytes: int = 0  # that these requests have sent
    stopping: bool = False

    def __post_init__(self) -> None:
        self.reader: RequestReader = self.model.make_reader(self.options)
        self.batcher = Batcher(self.model.predict, batch_tokens=self.options.batch_tokens, metrics=self.metrics)

    @asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(self.batcher.run())
        try:
            yield
        finally:
            task.cancel()
            self.batcher.close()

    async def predict(self, request: Request) -> Response:
        """The predictions of one request.

        Raises:
            Refusal: whatever is wrong with it, too much to do, or too late.
        """
        require_json(request)
        if self.requests >= self.options.max_waiting:
            raise self.busy(f"{self.requests:,} requests wait already")
        self.requests += 1
        start = time.monotonic()
        arrived = Arrived()
        try:
            async with asyncio.timeout(self.options.timeout) as limit:
                body = await self.read_body(request, arrived)
                texts = self.reader.read(body)
                tokens = await self.count_tokens(texts)
                answers = await self.batcher.answer(texts, tokens)
        except TimeoutError:
            if not limit.expired():
                raise
            raise self.too_late(arrived) from None
        finally:
            self.requests -= 1
            self.body_bytes -= arrived.size
        self.metrics.seconds.observe(time.monotonic() - start)
        return json_response({"predictions": answers})

    async def read_body(self, request: Request, arrived: Arrived) -> bytes:
        """The body, no further than it may go.

        Raises:
            Refusal: it is too long, or all bodies together are.
        """
        allowed = self.options.max_body
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced[:20]) > allowed:
            raise Refusal(TOO_LARGE, f"The body has {int(announced[:20]):,} bytes; at most {allowed:,} are allowed.")
        parts = []
        async for part in request.stream():
            arrived.size += len(part)
            self.body_bytes += len(part)
            if arrived.size > allowed:
                raise Refusal(TOO_LARGE, f"The body has more than {allowed:,} bytes, which are allowed.")
            if self.body_bytes > max(BODIES_AT_ONCE, allowed):
                raise self.busy("the bodies of the waiting requests fill the memory that is meant for them")
            parts.append(part)
        arrived.whole = True
        return b"".join(parts)

    async def count_tokens(self, texts: list[InputText]) -> list[int]:
        """Subword tokens of each text.

        Raises:
            Refusal: one has too many.
        """
        if sum(len(text.text) for text in texts) < SHORT:
            counts = self.model.counter.count(texts)
        else:
            counts = await asyncio.to_thread(self.model.counter.count, texts)
        self.reader.require_tokens(counts)
        return counts

    def busy(self, why: str) -> Refusal:
        seconds = self.batcher.seconds_of_queue()
        return Refusal(BUSY, f"Too much to do: {why}; come again in {seconds} s.", seconds)

    def too_late(self, arrived: Arrived) -> Refusal:
        if not arrived.whole:
            return Refusal(SLOW, f"The body did not arrive within {self.options.timeout:g} s.")
        seconds = self.batcher.seconds_of_queue()
        return Refusal(LATE, f"The answer took longer than {self.options.timeout:g} s; come again later.", seconds)

    def health(self) -> dict[str, Any]:
        model = self.model
        facts = {"model": model.name, "task": model.task, "pairs": model.needs_pairs, "labels": model.predictor.labels}
        return {"status": "stopping" if self.stopping else "ok", **facts}


def build_app(service: Service) -> Guard:
    """The application, guarded."""
    app = FastAPI(
        title=f"finetune serve: {service.model.name}",
        version="1",
        docs_url=None,  # its page would load its script from another host
        redoc_url=None,
        lifespan=service.running,
    )

    @app.post("/predict", openapi_extra=PREDICT, response_class=Response)
    async def predict(request: Request) -> Response:
        """Predict each text, as `finetune predict` does."""
        return await service.predict(request)

    @app.get("/health")
    async def health() -> Response:
        """Whether requests are taken: 200, or 503 while the service ends."""
        return json_response(service.health(), status=LATE if service.stopping else 200)

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counts in Prometheus' text format."""
        text = service.metrics.format(service.requests, len(service.batcher.waiting))
        return Response(text, media_type="text/plain; version=0.0.4")

    for path, (name, media_type) in {
        "/": ("index.html", "text/html"),
        "/page.css": ("page.css", "text/css"),
        "/page.js": ("page.js", "text/javascript"),
    }.items():
        file = Response((PAGES / name).read_bytes(), media_type=media_type)
        app.add_api_route(path, _giving(file), include_in_schema=False)
    app.add_exception_handler(Refusal, _refuse)
    app.add_exception_handler(HTTPException, _refuse_route)
    app.add_exception_handler(ClientDisconnect, _refuse_disconnected)
    return Guard(app, service.metrics, host=service.options.host, paths=PATHS)


def _giving(file: Response) -> Any:
    async def give() -> Response:
        return file

    return give


def require_json(request: Request) -> None:
    """A page of another host can send any other content type without asking; JSON it cannot.

    Raises:
        Refusal: the body is something else, or compressed.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        found = f"The content type is {kind[:60] or 'missing'}"
        raise Refusal(NOT_JSON, f"{found}; send the header Content-Type: application/json.")
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise Refusal(NOT_JSON, f"The content encoding is {coding[:60]}; send the body as it is.")


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    content = json.dumps(value, ensure_ascii=False).encode("utf-8")
    return Response(content, status, headers, media_type="application/json")


def _refuse(_: Request, error: Any) -> Response:
    again = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return json_response({"error": error.sentence}, error.status, again)


def _refuse_route(request: Request, error: Any) -> Response:
    sentences = {
        404: f"There is nothing at {request.url.path[:60]!r}; try /predict, /health, /metrics or /openapi.json.",
        405: f"{request.method} is not allowed at {request.url.path[:60]}.",
    }
    sentence = sentences.get(error.status_code, str(error.detail))
    return json_response({"error": sentence}, error.status_code, dict(error.headers or {}))


def _refuse_disconnected(_: Request, __: Any) -> Response:
    return Response(status_code=400)  # nobody reads it
