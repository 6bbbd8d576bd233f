"""Raw text of any size: files, `.gz`, patterns, folders -> chunks of whole lines, documents. No file is read whole.

A chunk is the unit of parallel work: about half a megabyte, cut behind a line end, at places that depend on the
content alone. So whatever is computed chunk by chunk is the same for any number of workers, and for a file and its
gzipped copy. Documents are runs of lines between empty lines, as BERT's data preparation has them; a file ends one too.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.data.files import BYTE_ORDER_MARK, find_paths, iterate_lines, listed, open_binary, require_text
from finetune.errors import DataError, Problem, ProblemList

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 19
LONGEST_LINE = 1 << 22  # bytes; a corpus in one line is cut at spaces about here
PACKED_SUFFIX = ".gz"
WHITE_SPACE = b" \t\v\f\r"


@dataclass(frozen=True)
class TextChunk:
    """Whole lines of one file, still as bytes.

    `starts_file`: nothing of the file comes before. `continues`: the first line is the rest of one that was too long
    for a chunk.
    """

    data: bytes
    starts_file: bool = False
    continues: bool = False

    def lines(self) -> list[str]:
        """The lines without line ends (`\\n`, `\\r\\n`) and byte order mark.

        Raises:
            UnicodeDecodeError: the chunk is not UTF-8; `explain_unreadable` finds the places.
        """
        text = self._decode()
        lines = text.removesuffix("\n").split("\n")
        return [line.removesuffix("\r") for line in lines] if "\r" in text else lines

    def text(self) -> str:
        """All of it, every line ending in "\\n" alone.

        Raises:
            UnicodeDecodeError: as `lines`.
        """
        return self._decode().replace("\r\n", "\n")

    def _decode(self) -> str:
        text = self.data.decode("utf-8")
        return text.removeprefix(BYTE_ORDER_MARK) if self.starts_file else text


def find_text_files(sources: Sequence[str | Path], *, ext: str = "txt", flag: str = "") -> list[Path]:
    """Files that `sources` name: each a file, a pattern (`news/*.txt.gz`, `**` too) or a folder.

    Of a folder, the files right in it that end in `.ext` or `.ext.gz` are taken, sorted by name. `ext` is given with or
    without its dot. A file that several sources name is taken once.

    Raises:
        DataError: every source that is missing, or a folder without such files (with the extensions that it has).
    """
    problems = ProblemList()
    found: dict[Path, None] = {}
    for source in sources:
        path = Path(source).expanduser()
        if path.is_dir():
            paths = problems.attempt(_files_of_folder, path, ext)
        else:
            paths = problems.attempt(find_paths, source, flag=flag)
        found.update(dict.fromkeys(paths or []))
    problems.raise_any()
    return list(found)


def _files_of_folder(folder: Path, ext: str) -> list[Path]:
    suffix = "." + ext.lstrip(".")
    files = sorted(item for item in folder.iterdir() if item.is_file() and not item.name.startswith("."))
    chosen = [item for item in files if item.name.endswith((suffix, suffix + PACKED_SUFFIX))]
    if chosen:
        return chosen
    if not files:
        raise DataError(Problem("the folder holds no files", f"files named *{suffix} are read", path=folder))
    endings = sorted({item.suffix or "no extension" for item in files})
    raise DataError(
        Problem(
            f"no file of this folder ends in {suffix} or {suffix}{PACKED_SUFFIX}",
            f"its files end in: {listed(endings)}",
            "give --ext, or name the files",
            folder,
        )
    )


def read_chunks(
    paths: Sequence[Path], *, chunk_bytes: int = CHUNK_BYTES, lines_matter: bool = True
) -> Iterator[TextChunk]:
    """The text of all files, in order, in chunks of about `chunk_bytes`; it is said where lines had to be cut, if they
    matter.

    Raises:
        DataError: a file is missing, unreadable, UTF-16, or a damaged gzip file.
    """
    cut_lines = 0
    for path in paths:
        try:
            for chunk in _chunks_of(path, chunk_bytes):
                cut_lines += chunk.continues
                yield chunk
        except (OSError, EOFError, zlib.error) as error:
            explain_unreadable([path])
            raise error
    if cut_lines and lines_matter:
        logger.warning(
            "Lines of more than %s bytes were cut at spaces, %s times.", f"{LONGEST_LINE:,}", f"{cut_lines:,}"
        )


def _chunks_of(path: Path, chunk_bytes: int) -> Iterator[TextChunk]:
    with open_binary(path) as stream:
        require_text(stream, path)
        rest, first, continues = b"", True, False
        while block := stream.read(chunk_bytes):
            block = rest + block
            cut = block.rfind(b"\n") + 1
            is_line_end = cut > 0
            if not is_line_end and len(block) >= LONGEST_LINE:
                cut = _cut_long_line(block)
            rest = block[cut:]
            if cut:
                yield TextChunk(block[:cut], first, continues)
                first, continues = False, not is_line_end
        if rest:
            yield TextChunk(rest, first, continues)


def _cut_long_line(block: bytes) -> int:
    """Where to cut a subword of one endless line: before its last white space, else between two characters."""
    space = max(block.rfind(bytes([byte])) for byte in WHITE_SPACE)
    if space > len(block) // 2:
        return space
    cut = len(block) - 1
    while cut > len(block) - 4 and block[cut] & 0xC0 == 0x80:  # inside a UTF-8 sequence
        cut -= 1
    return cut


def iterate_documents(paths: Sequence[Path]) -> Iterator[list[str]]:
    """Documents as lists of stripped lines: runs between empty lines; a file's end ends one too.

    Raises:
        DataError: as `files.iterate_lines`.
    """
    for path in paths:
        document: list[str] = []
        for line in iterate_lines(path):
            stripped = line.strip()
            if stripped:
                document.append(stripped)
            elif document:
                yield document
                document = []
        if document:
            yield document


def explain_unreadable(paths: Sequence[Path]) -> None:
    """Read files again, slowly, to say what is wrong with them: the first undecodable line of each, with its place.

    Raises:
        DataError: the problems of all files. Nothing is raised where all can be read.
    """
    problems = ProblemList()
    for path in paths:
        if path.is_file() and path.stat().st_size == 0:
            continue  # an empty file among others is no fault of the encoding
        problems.attempt(_exhaust, path)
    problems.raise_any()


def _exhaust(path: Path) -> None:
    for _ in iterate_lines(path):
        pass
