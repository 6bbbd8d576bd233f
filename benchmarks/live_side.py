"""A side of a comparison that lives in a process of its own: it starts once, warms up, and takes its turn when asked."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from typing import Any

from measure import worker_environment


class LiveSide:
    """`script --worker JSON`, which answers each line of its standard input with a line of JSON that has `seconds`."""

    def __init__(
        self, script: str, options: dict[str, Any], threads: int, isa: str | None = None, python: str = sys.executable
    ) -> None:
        command = [python, script, "--worker", json.dumps(options)]
        environment = worker_environment(threads, isa)
        pipe: Any = subprocess.PIPE
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 -- as long as the process lives
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self.log, text=True, env=environment)

    def ask(self, line: str) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(line, file=self.process.stdin, flush=True)
        for answer in self.process.stdout:
            if answer.startswith('{"seconds"'):
                return json.loads(answer)
        self.log.seek(0)
        sys.exit(f"a side ended early:\n{self.log.read()[-3000:]}")

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
