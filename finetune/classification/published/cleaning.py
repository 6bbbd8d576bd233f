"""Text -> cleaner text: the rules that thai2transformers applied before its tokenizers, one pure function each.

`cleaning_rules` is the whole pipeline in order; `clean_text` applies it. Models trained with thai2transformers expect
their input cleaned this way (Lowphansirikul et al., "WangchanBERTa: Pretraining transformer-based Thai language
models", 2021, section 3.1), so the rules are kept even where another choice would be possible.
"""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import regex

from finetune.run.workers import map_in_order

if TYPE_CHECKING:
    from datasets import Dataset

    from finetune.data.corpus import Corpus
    from finetune.models.settings import ClassifierSettings

SPACE_TOKEN = "<_>"
CHUNK = 500  # texts that a worker cleans at once

HTML_REMNANTS = (
    ("#39;", "'"),
    ("amp;", "&"),
    ("#146;", "'"),
    ("nbsp;", " "),
    ("#36;", "$"),
    ("\\n", "\n"),
    ("quot;", "'"),
    ("<br />", "\n"),
    ('\\"', '"'),
    (" @.@ ", "."),
    (" @-@ ", "-"),
    (" @,@ ", ","),
    ("\\", " \\ "),
)

# What counts as content between brackets. The published rule knew a-z, 0-9 and Thai only, and so deleted every bracket
# that held Chinese or Cyrillic; letters, marks and digits of all scripts are kept here. Variation selectors are marks
# to Unicode but belong to emoji, which the rule removes.
_CONTENT = r"[[\p{L}\p{M}\p{N}ก-๙]--[\uFE00-\uFE0F]]"
_ARTEFACT = r"[^[\p{L}\p{M}\p{N}ก-๙]--[\uFE00-\uFE0F]]"
_BRACKETS = (("(", ")"), ("{", "}"), ("[", "]"))

_SPACES = re.compile(r" {2,}")
_NEWLINE = re.compile(r"\r\n|[\n\r]")
_REPEATED_CHARACTER = re.compile(r"(\S)\1{3,}")
_ONLY_EMOJI = regex.compile(r"\p{Extended_Pictographic}+")


def _bracket_patterns() -> tuple[regex.Pattern[str], ...]:
    """Empty brackets, brackets of punctuation, artefacts after an opening, then before a closing bracket."""
    kinds = (
        "{opening}{closing}",
        "{opening}{artefact}+{closing}",
        "(?<={opening}){artefact}+(?={content})",
        "(?<={content}){artefact}+(?={closing})",
    )
    fields = [
        {"opening": re.escape(opening), "closing": re.escape(closing), "artefact": _ARTEFACT, "content": _CONTENT}
        for opening, closing in _BRACKETS
    ]
    return tuple(regex.compile(kind.format(**field), regex.VERSION1) for kind in kinds for field in fields)


_BRACKET_PATTERNS = _bracket_patterns()


def fix_html(text: str) -> str:
    """Undo the traces that HTML and WikiText markup leave.

    >>> fix_html("Anbsp;amp;nbsp;B @.@ ")
    'A & B.'
    """
    for remnant, replacement in HTML_REMNANTS:
        text = text.replace(remnant, replacement)
    return _SPACES.sub(" ", html.unescape(text))


def rm_brackets(text: str) -> str:
    """Remove brackets without content, and what is not content beside a bracket.

    >>> rm_brackets("hey() whats[;] up{*&} man(hey)")
    'hey whats up man(hey)'
    """
    for pattern in _BRACKET_PATTERNS:
        text = pattern.sub("", text)
    return text


def replace_newlines(text: str) -> str:
    """Strip the text and put a space in place of each line end (DOS line ends count once).

    >>> replace_newlines(" hey\\nwhats\\r\\nup ")
    'hey whats up'
    """
    return _NEWLINE.sub(" ", text.strip())


def rm_useless_spaces(text: str) -> str:
    """Reduce each run of spaces to one.

    >>> rm_useless_spaces("oh         no")
    'oh no'
    """
    return _SPACES.sub(" ", text)


def replace_spaces(text: str, space_token: str = SPACE_TOKEN) -> str:
    """Write `space_token` in place of each space; nothing changes where the token is itself a space.

    >>> replace_spaces("oh no")
    'oh<_>no'
    """
    return text.replace(" ", space_token)


def replace_rep_after(text: str) -> str:
    """Reduce a character that stands more than three times in a row to one.

    >>> replace_rep_after("มากกกกก"), replace_rep_after("มากกก")
    ('มาก', 'มากกก')
    """
    return _REPEATED_CHARACTER.sub(r"\1", text)


def split_thai_words(text: str) -> list[str]:
    """Cut a text into dictionary words with PyThaiNLP's newmm; spaces stay, so that joining gives the text back."""
    from pythainlp.tokenize import word_tokenize

    return word_tokenize(text, engine="newmm", keep_whitespace=True)


def ungroup_emoji(words: Sequence[str]) -> list[str]:
    """Cut words of several one-character emoji apart; joined sequences, flags and skin tones stay whole.

    >>> ungroup_emoji(["ดี", "😀😀"])
    ['ดี', '😀', '😀']
    """
    subwords = (list(word) if _ONLY_EMOJI.fullmatch(word) else [word] for word in words)
    return list(itertools.chain.from_iterable(subwords))


def replace_wrep_post(words: Iterable[str]) -> list[str]:
    """Reduce a word that is repeated at once to one.

    >>> replace_wrep_post(["กา", "น้ำ", "น้ำ", "น้ำ"])
    ['กา', 'น้ำ']
    """
    return [word for word, _ in itertools.groupby(words)]


def cleaning_rules(
    space_token: str = SPACE_TOKEN, split_words: Callable[[str], list[str]] = split_thai_words
) -> tuple[Callable[[Any], Any], ...]:
    """The whole pipeline in its order: six rules on the text, the word splitter, two rules on words, joining."""
    return (
        fix_html,
        rm_brackets,
        replace_newlines,
        rm_useless_spaces,
        partial(replace_spaces, space_token=space_token),
        replace_rep_after,
        split_words,
        ungroup_emoji,
        replace_wrep_post,
        "".join,
    )


def clean_text(
    text: str,
    *,
    space_token: str = SPACE_TOKEN,
    lowercase: bool = False,
    split_words: Callable[[str], list[str]] = split_thai_words,
) -> str:
    """Apply all `cleaning_rules` to one text; `lowercase` comes before them."""
    value: Any = text.lower() if lowercase else text
    for rule in cleaning_rules(space_token, split_words):
        value = rule(value)
    return value


def clean_corpus(corpus: Corpus, clean: Callable[[str], str], *, workers: int = 1) -> None:
    """Clean the texts of all splits, in place, by so many processes; texts that are empty afterwards are noted."""
    for split, rows in corpus.splits.items():
        columns = {}
        for name in ("text", "text_pair"):
            if name in rows.column_names:
                texts = rows[name][:]
                chunks = (texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK))
                parts = map_in_order(partial(_clean_chunk, clean=clean), chunks, workers=workers)
                columns[name] = list(itertools.chain.from_iterable(parts))
        corpus.splits[split] = _replace_columns(rows, columns)
        emptied = sum(not text for text in columns["text"])
        if emptied:
            corpus.notes.append(f"{split}: nothing is left of {emptied:,} of {len(rows):,} texts after cleaning.")


def _clean_chunk(texts: list[str], clean: Callable[[str], str]) -> list[str]:
    return [clean(text) for text in texts]


def _replace_columns(rows: Dataset, columns: dict[str, list[str]]) -> Dataset:
    import pyarrow as pa  # cleaning one text needs neither of them
    from datasets import Dataset

    table = rows.with_format("arrow")[:]
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values, pa.string()))
    return Dataset(table)


def make_cleaner(settings: ClassifierSettings) -> Callable[[str], str]:
    """What is done to a text before it is cut into subwords."""
    if settings.cleaning:
        return partial(clean_text, space_token=settings.space_token or " ", lowercase=settings.lowercase)
    return str.lower if settings.lowercase else str
