"""The record beside an output file of a command that has no folder: by it the same command, started again, is known as done.

`answers.jsonl.run.json` holds the arguments, fingerprints of the inputs and checksums of what was written. It is there
before the output has its name, so that a kill in between leaves nothing that the same command would take for somebody's.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from finetune.arguments.parser import Arguments
from finetune.run.checksums import checksum
from finetune.run.comparing import NOT_COMPARED, argument_differences, fingerprints, input_differences
from finetune.run.manifest import library_versions, now, plain, write_json_atomically

logger = logging.getLogger(__name__)

SUFFIX = ".run.json"
LONGEST_NAME = 255  # bytes
KINDS = {"arguments": dict, "inputs": dict, "files": dict, "result": dict}  # what a record is known by


class OutputRecord:
    """What an output was made with and whether it is whole; `inputs` are the files that this command reads."""

    def __init__(
        self, output: Path, arguments: Arguments, inputs: Iterable[Path], *, ignored: Collection[str] = ()
    ) -> None:
        """`ignored` arguments change nothing of this output."""
        self.output, self.path = output, output.with_name(output.name + SUFFIX)
        self._arguments, self._ignored = arguments, ignored
        self._inputs = sorted({path.resolve() for path in inputs})
        self._before = _read(self.path)
        self.result: dict[str, Any] = self._before.get("result", {})

    @property
    def inputs(self) -> list[Path]:
        """The files that this command reads."""
        return list(self._inputs)

    def describe_work(self) -> dict[str, Any]:
        """What decides the output: arguments, and the inputs by their fingerprints."""
        left_out = {*NOT_COMPARED, *self._ignored}
        arguments = {name: value for name, value in self._arguments.effective().items() if name not in left_out}
        return {"program": _program(), "arguments": plain(arguments), "inputs": fingerprints(self._inputs)}

    def is_ours(self) -> bool:
        """Whether what is there was written by this command from these inputs, all of it or a part; differences are said."""
        if not self._before:
            return False
        files = self._before["files"]
        damaged = [name for name, facts in files.items() if self._is_there(name) and not self._is_whole(name, facts)]
        differences = [*self._differences(), *(f"{self._place(name)} has changed since" for name in damaged)]
        for difference in differences:
            logger.info("%s is not the output of this command: %s.", self.output, difference)
        return not differences

    def is_finished(self) -> bool:
        """Whether this command has nothing left to do, which is said."""
        if not self.is_ours() or not all(map(self._is_there, self._before["files"])):
            return False
        again = "--overwrite_output_file does it again"
        logger.info("%s is the output of this command, whole; nothing is left to do (%s).", self.output, again)
        return True

    def _differences(self) -> list[str]:
        program = self._before.get("program")
        other = [] if program == _program() else [f"the command was {program}, is now {_program()}"]
        effective, typed = self._arguments.effective(), self._arguments.typed
        arguments = {name: value for name, value in effective.items() if name not in self._ignored}
        known = {str(path) for path in self._inputs}
        return [
            *other,
            *argument_differences(self._before["arguments"], arguments, typed),
            *input_differences(self._before["inputs"]),
            *(f"{path} is new" for path in sorted(known - set(self._before["inputs"]))),
            *(f"{path} is no longer read" for path in sorted(set(self._before["inputs"]) - known)),
        ]

    def _place(self, name: str) -> Path:
        return self.output.with_name(name)

    def _is_there(self, name: str) -> bool:
        return self._place(name).is_file()

    def _is_whole(self, name: str, facts: Any) -> bool:
        try:
            return isinstance(facts, dict) and checksum(self._place(name)) == facts.get("xxh3")
        except OSError:
            return False

    def write(self, files: Mapping[str, Path], result: Mapping[str, Any]) -> None:
        """Record files that are about to get these names beside the output, and what the last line says.

        Raises:
            OSError: the disk is full, or a file cannot be read.
        """
        facts = {name: {"bytes": path.stat().st_size, "xxh3": checksum(path)} for name, path in files.items()}
        record = {
            "program": _program(),
            "command": self._arguments.command_line(),
            "arguments": plain(self._arguments.effective()),
            "inputs": fingerprints(self._inputs),
            "files": facts,
            "result": dict(result),
            "finished": now(),
            "versions": library_versions(),
        }
        write_json_atomically(self.path, record)


def _program() -> str:
    return Path(sys.argv[0]).name


def _read(path: Path) -> dict[str, Any]:
    """What a record holds; nothing where there is none, or none of ours."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    is_ours = isinstance(found, dict) and all(isinstance(found.get(name), kind) for name, kind in KINDS.items())
    return found if is_ours and all(map(_is_name, found["files"])) else {}


def _is_name(text: str) -> bool:
    if not 0 < len(text.encode("utf-8", "surrogatepass")) <= LONGEST_NAME or "\0" in text:
        return False
    return text not in (".", "..") and Path(text).name == text
