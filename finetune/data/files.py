"""Opening data files: plain or gzipped, strict UTF-8, lines cut at "\\n" only, every complaint with its place.

Lines are never cut by `str.splitlines`: words and texts hold U+000B, U+0085 and U+2028, which it takes for line ends.
"""

from __future__ import annotations

import glob
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from finetune.arguments.nearest import nearest
from finetune.data.file_kinds import LOOKED_AT, check_text_file
from finetune.errors import DataError, Problem

LARGE, PACKED_TIMES = 256 << 20, 200  # of what is unpacked into memory at once
GZIP_MAGIC = b"\x1f\x8b"
BYTE_ORDER_MARK = "\ufeff"
MAX_LISTED = 20


@dataclass
class TextLines:
    """The lines of one file, without their line ends; `lines[i]` is line i + 1. `notes` says what was repaired."""

    path: Path
    lines: list[str]
    notes: list[str] = field(default_factory=list)


def find_paths(pattern: str | Path, *, flag: str = "") -> list[Path]:
    """The files that a path or a glob pattern (`data/part-*.conll`, `**` too) names, sorted.

    `flag` is what the user typed it after, for the message. A name that exists is never read as a pattern.

    Raises:
        DataError: nothing is there (with the nearest name that is), or it is a folder.
    """
    path = Path(pattern).expanduser()
    if path.is_dir():
        raise DataError(Problem("this is a folder", "one file or a pattern is allowed", _check(flag), path))
    if path.exists():
        return [path]
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True))  # noqa: PTH207 (keeps absolute patterns)
    found = [item for item in found if item.is_file()]
    if not found:
        raise DataError(missing_file(path, flag=flag))
    return found


def missing_file(path: Path, *, flag: str = "") -> Problem:
    """The problem of a file that is not there: the nearest name beside it, or the folder that is missing."""
    if glob.has_magic(str(path)):
        return Problem("no file fits this pattern", remedy=_check(flag), path=path)
    if not path.parent.is_dir():
        return Problem(f"no such file: its folder {path.parent} does not exist", remedy=_check(flag), path=path)
    siblings = sorted(item.name for item in path.parent.iterdir())
    match = nearest(path.name, siblings, cutoff=0.5)
    hint = f"the nearest name in that folder is {match}" if match else f"that folder holds {listed(siblings)}"
    return Problem("no such file", hint, _check(flag), path)


def listed(names: Sequence[str], *, limit: int = 8) -> str:
    """Names in a sentence: `a, b and 3 more`; `nothing` where there are none."""
    if not names:
        return "nothing"
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit:,} more"


def capped(problems: Sequence[Problem], path: Path, *, limit: int = MAX_LISTED) -> list[Problem]:
    """The first problems of a file, and one that counts the others, so that a broken file fills no screen."""
    rest = len(problems) - limit
    if rest <= 0:
        return list(problems)
    return [*problems[:limit], Problem(f"{rest:,} more problems of the same file are not listed", path=path)]


def raise_problems(problems: Sequence[Problem], path: Path) -> None:
    """Raise the first problems of a file and the count of the others, if there are any."""
    if problems:
        raise DataError(*capped(problems, path))


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked where it is gzipped (told by its first bytes, whatever it is called).

    Raises:
        DataError: the file is missing, unreadable, empty, a damaged gzip file or a zip archive.
    """
    with _file_problems(path):
        data = path.read_bytes()
        if data.startswith(GZIP_MAGIC):
            data = _unpack(data, path)
    if not data:
        raise DataError(Problem("the file is empty (0 bytes)", path=path))
    return data


def _unpack(packed: bytes, path: Path) -> bytes:
    """What a gzip file holds, never more than memory was meant for: a few megabytes can be made to hold gigabytes.

    Raises:
        DataError: it holds more than 256 MiB and more than 200 times its own size, which no text of people does.
    """
    limit = max(LARGE, PACKED_TIMES * len(packed))
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        found = f"the gzip file of {len(packed):,} bytes unpacks to more than {limit:,} bytes"
        raise DataError(Problem(found, "", "unpack it yourself if that is right", path))
    return data


def read_text(path: Path) -> str:
    """The decoded content of a file, without a byte order mark; line ends as they are.

    Raises:
        DataError: as `read_bytes`, or bytes that are not UTF-8, each with its line and offset.
    """
    return decode_utf8(read_bytes(path), path).removeprefix(BYTE_ORDER_MARK)


def read_lines(path: Path) -> TextLines:
    """All lines of a file that fits in memory. DOS line ends and a byte order mark are dropped and noted.

    Raises:
        DataError: as `read_text`, or the file holds nothing but white space.
    """
    text = decode_utf8(read_bytes(path), path)
    if not text.strip("\r\n\t " + BYTE_ORDER_MARK):
        raise DataError(Problem("the file is empty (nothing but white space)", path=path))
    notes = []
    if text.startswith(BYTE_ORDER_MARK):
        text = text[1:]
        notes.append(f"{path}: the byte order mark at its start was dropped.")
    if "\n" not in text.rstrip("\r\n") and "\r" in text.rstrip("\r\n"):
        text = text.replace("\r\n", "\r").replace("\r", "\n")
        notes.append(f"{path}: its lines end at CR alone, as old Macs write them; they were cut there.")
    lines = text.removesuffix("\n").split("\n")
    dos_lines = sum(line.endswith("\r") for line in lines) if "\r" in text else 0
    if dos_lines:
        lines = [line.removesuffix("\r") for line in lines]
        notes.append(f"{path}: {dos_lines:,} of {len(lines):,} lines had DOS line ends (CR LF); the CR was dropped.")
    return TextLines(path, lines, notes)


def iterate_lines(path: Path) -> Iterator[str]:
    """The lines of a file of any size, one at a time, without line ends (`\\n` or `\\r\\n`) and byte order mark.

    Raises:
        DataError: as `read_bytes`, while iterating; at the first line that is not UTF-8.
    """
    offset = 0
    with _file_problems(path), open_binary(path) as stream:
        require_text(stream, path)
        for number, line in enumerate(stream, start=1):  # a binary stream cuts at b"\n" only
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(_not_utf8(error, path, number, offset)) from error
            text = text.removesuffix("\n").removesuffix("\r")
            yield text.removeprefix(BYTE_ORDER_MARK) if number == 1 else text
            offset += len(line)
    if offset == 0:
        raise DataError(Problem("the file is empty (0 bytes)", path=path))


def open_binary(path: Path) -> io.BufferedReader:
    """A stream of the content of a file, unpacked where it is gzipped."""
    with path.open("rb") as stream:
        packed = stream.read(2) == GZIP_MAGIC
    return cast(io.BufferedReader, gzip.open(path, "rb")) if packed else path.open("rb")


def require_text(stream: io.BufferedReader, path: Path) -> None:
    """Look at the beginning of a stream, which stays there to be read.

    Raises:
        DataError: it is no UTF-8 text, but a workbook, an archive, UTF-16.
    """
    raise_problems(check_text_file(stream.peek(LOOKED_AT)[:LOOKED_AT], path), path)


def decode_utf8(data: bytes, path: Path) -> str:
    """Bytes as text.

    Raises:
        DataError: a workbook, an archive, UTF-16; every line that is not UTF-8 (the first 20 of them), with its number
            and the byte's offset.
    """
    raise_problems(check_text_file(data, path), path)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(*capped(_undecodable_lines(data, path), path)) from error


def fingerprint(path: Path) -> dict[str, str | int]:
    """Path, size in bytes and sha256 of a file as it lies on the disk (packed files stay packed)."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": digest}


def content_sha256(path: Path) -> str:
    """The sha256 of what a file holds: the same for a file and for its gzipped copy."""
    with _file_problems(path), open_binary(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]


def _check(flag: str) -> str:
    return f"check {flag}" if flag else ""


@contextmanager
def _file_problems(path: Path) -> Iterator[None]:
    """What the operating system or gzip says about a user's file, as a problem of that file."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(missing_file(path)) from error
    except IsADirectoryError as error:
        raise DataError(Problem("this is a folder", "one file is allowed", path=path)) from error
    except PermissionError as error:
        raise DataError(Problem("the file may not be read (permission denied)", path=path)) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(Problem(f"the gzip file is damaged ({error})", "", "fetch it again", path)) from error


def _undecodable_lines(data: bytes, path: Path) -> list[Problem]:
    problems, offset = [], 0
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            problems.append(_not_utf8(error, path, number, offset))
        offset += len(line) + 1
    return problems


def _not_utf8(error: UnicodeDecodeError, path: Path, line: int, line_offset: int) -> Problem:
    value, offset = error.object[error.start], line_offset + error.start
    found = f"byte 0x{value:02X} at offset {offset:,} of the file is not UTF-8"
    name = path.name.removesuffix(".gz")
    remedy = f"convert the file, for example: iconv -f {_guess_encoding(error.object)} -t UTF-8 {name} > utf8-{name}"
    return Problem(found, "files are read as UTF-8", remedy, path, line)


def _guess_encoding(line: bytes) -> str:
    """Thai text in its old one-byte encoding is nearly all high bytes; Western text holds a few of them."""
    high = sum(byte >= 0x80 for byte in line)
    return "WINDOWS-874" if high > sum(0x41 <= byte < 0x7F for byte in line) else "WINDOWS-1252"
