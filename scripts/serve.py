"""Serve a trained tagger or classifier over HTTP: POST /predict, a page to try it, /health, /metrics, /openapi.json.

    python serve.py outputs/wnut17
    curl -s localhost:8000/predict -H 'Content-Type: application/json' -d '{"texts": ["Maria flew to Berlin"]}'

Requests that come at the same time are computed together; each answer is that of predict.py. It listens on this machine
alone unless told another --host, and stops on SIGTERM or Ctrl-C once the requests that have come are answered.
docs/serving.md tells more.
"""

from __future__ import annotations

from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.run import RunArguments
from finetune.run.folder import Run
from finetune.serving.arguments import ServeArguments, ServedModelArguments


def make_parser() -> CommandParser:
    return CommandParser(__doc__ or "", (ServeArguments, ServedModelArguments, RunArguments), positionals=("run",))


def main(arguments: Arguments, run: Run) -> dict[str, Any]:
    from finetune.serving.task import serve

    return serve(arguments[ServeArguments], arguments[ServedModelArguments], run.stop)


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False)
