"""Text of users (file names, labels, command lines) inside Markdown: it stays text, whatever it holds."""

from __future__ import annotations

import re

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_CONTROL |= {9: "\\t", 10: "\\n", 13: "\\r", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def one_line(text: str) -> str:
    """The text with line ends and other control characters spelt out, so that it cannot begin a line of its own."""
    return text.translate(_CONTROL)


def code_span(text: str) -> str:
    """Inline code that ends where the text ends: its backticks outnumber those inside (CommonMark 0.31, 6.1).

    >>> code_span("a`b")
    '``a`b``'
    """
    text = one_line(text)
    fence = "`" * (_longest_run(text) + 1)
    padding = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{padding}{text}{padding}{fence}"


def code_block(text: str) -> str:
    """A fenced block that no line of the text closes (CommonMark 0.31, 4.5)."""
    fence = "`" * max(_longest_run(text) + 1, 3)
    return f"{fence}\n{text}\n{fence}\n"


def table_cell(text: str) -> str:
    """A cell of a pipe table: no line end, and no border but its own."""
    return one_line(text).replace("|", "\\|")


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
