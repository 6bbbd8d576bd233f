"""What a file is that is no UTF-8 text: a workbook, an archive, UTF-16; told by its bytes, with what to do about it."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from finetune.errors import Problem

ZIP_MAGIC = b"PK\x03\x04"
OLD_OFFICE_MAGIC = b"\xd0\xcf\x11\xe0"  # .xls, .doc
PDF_MAGIC = b"%PDF-"
PARQUET_MAGIC = b"PAR1"
WORKBOOK_SUFFIXES = (".xlsx", ".xlsm", ".xls", ".ods")
WORKBOOK_MEMBERS = (b"xl/workbook", b"xl/worksheets", b"[Content_Types].xml", b"opendocument.spreadsheet")
MARKS = {b"\xff\xfe\x00\x00": "UTF-32LE", b"\x00\x00\xfe\xff": "UTF-32BE", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
MISREAD_MARKS = ("\u00ff\u00fe".encode(), "\u00fe\u00ff".encode())  # UTF-16 that was converted as if it were Latin 1
CONTROLS = bytes(
    [*range(0x00, 0x09), *range(0x0E, 0x1A)]
)  # in no text of bytes; 1A to 1F end or separate parts of some
BAD_KINDS = ("Cc", "Cn", "Co", "Cs")  # kinds of characters that no text holds, but line ends and tabs
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
HTML_PAGE = re.compile(rb"\s*<(?:!doctype\s+html|html|head)\b", re.IGNORECASE)
LOOKED_AT = 4096


def check_text_file(data: bytes, path: Path) -> list[Problem]:
    """What speaks against reading bytes (a whole file, or its beginning) as UTF-8 text; nothing where they may be it."""
    if data.startswith((ZIP_MAGIC, OLD_OFFICE_MAGIC)):
        return [_workbook(path) if _is_workbook(data, path) else _archive(path)]
    if data.startswith(PDF_MAGIC):
        return [Problem("this is a PDF document", "text is read", "copy its text into a file", path)]
    if data.startswith(PARQUET_MAGIC):
        return [Problem("this is a Parquet file", "its name ends in .parquet then", "rename it", path)]
    if data.startswith(LFS_POINTER):
        found = "this is a pointer of Git LFS, not the file itself"
        return [Problem(found, "", "fetch it with 'git lfs pull', or download the file itself", path)]
    if HTML_PAGE.match(data) and path.suffix.lower() not in (".txt", ".html", ".htm", ".xml"):
        found = "this is an HTML page, perhaps an error message or the page around the data"
        return [Problem(found, "", "download the file itself (the 'raw' one)", path)]
    encoding = guess_wide_encoding(data)
    if encoding is None:
        return []
    if data.startswith(MISREAD_MARKS):
        found = "the file was UTF-16 and was converted as if it were something else"
        return [Problem(found, "UTF-8 is read", "convert the original anew: iconv -f UTF-16 -t UTF-8", path, 1)]
    remedy = f"save it as UTF-8: iconv -f {encoding} -t UTF-8 {path.name} > utf8-{path.name}"
    return [Problem(f"the file is {encoding}", "UTF-8 is read", remedy, path, 1)]


def guess_wide_encoding(data: bytes) -> str | None:
    """UTF-16 or UTF-32, told by its mark, or by bytes that are control characters where they are not; None for others.

    Each character of UTF-16 is two bytes, one of which tells its script: zero for Latin, 0x0E for Thai. So a text holds
    many bytes that are in no text of single bytes or of UTF-8, in whatever script it is written. Its spaces and line ends
    hold a zero byte; where there is none, one and the same byte must tell the script throughout.
    """
    for mark, name in MARKS.items():
        if data.startswith(mark):
            return name
    head = data[: min(len(data), LOOKED_AT) // 2 * 2]
    controls = len(head) - len(head.translate(None, CONTROLS))
    if controls < max(2, len(head) // 50):  # a stray one is none of it
        return None
    if b"\0" not in head and not _is_one_script(head):
        return None
    shares = {name: _share_of_text(head, name) for name in ("UTF-16LE", "UTF-16BE")}
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] > 0.9 else None


def _is_one_script(data: bytes) -> bool:
    """Whether nearly every second byte is the same control character, as 0x0E in a word of Thai."""
    halves = (data[0::2], data[1::2])
    return any(10 * max(map(half.count, CONTROLS)) > 8 * len(half) for half in halves)


def _share_of_text(data: bytes, encoding: str) -> float:
    """How many of the characters that the bytes are in that encoding can stand in a text; spaces and line ends do most."""
    text = data.decode(encoding, "replace")
    good = sum(letter in " \t\r\n" or unicodedata.category(letter) not in BAD_KINDS for letter in text)
    good -= text.count("\ufffd")
    return (good + sum(map(text.count, " \n"))) / max(len(text), 1)


def _is_workbook(data: bytes, path: Path) -> bool:
    old_office = data.startswith(OLD_OFFICE_MAGIC) and path.suffix.lower() != ".doc"
    named = path.suffix.lower() in WORKBOOK_SUFFIXES
    return named or old_office or any(member in data for member in WORKBOOK_MEMBERS)


def _workbook(path: Path) -> Problem:
    named = "" if path.suffix.lower() in WORKBOOK_SUFFIXES else f", whatever its name {path.name} says"
    found = f"this is a workbook of a spreadsheet program (Excel, LibreOffice){named}"
    remedy = "open it there and save the sheet as 'CSV UTF-8'"
    return Problem(found, "CSV, TSV, JSON lines and Parquet are read", remedy, path)


def _archive(path: Path) -> Problem:
    found = "this is a zip archive, as workbooks of spreadsheet programs (.xlsx, .ods) are, too"
    return Problem(found, "", "unpack it; or open it in such a program and save the sheet as 'CSV UTF-8'", path)
