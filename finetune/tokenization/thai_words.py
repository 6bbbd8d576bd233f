"""Word-level tokenizers for Thai: a segmenter of Python in front of a vocabulary of the Rust library.

The Rust library cuts a text at spaces (`<_>`), newlines and special tokens, asks the segmenter for the stretches
between (each distinct one is segmented once), looks every segment up, and adds the special tokens; so batches,
pairs, truncation, overlapping windows, `word_ids` and character offsets work as with any fast tokenizer. Where only ids
are asked for, they are looked up without it (`stretch_ids.py`).

A Python segmenter cannot be written to tokenizer.json, and a folder without it must not be mistaken for a tokenizer
of spaces only: `save_pretrained` writes the vocabulary file (`newmm.json`, ...) and tokenizer_config.json, which
`finetune.tokenization.loading.load_tokenizer` and these classes' own `from_pretrained` read; a plain `AutoTokenizer`
refuses it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import BatchEncoding, TokenizersBackend
from transformers.tokenization_utils_base import TruncationStrategy
from transformers.utils import PaddingStrategy

from finetune.errors import DataError, Problem
from finetune.tokenization.segmentation import Segmenter
from finetune.tokenization.segmenting_backend import SegmentingBackend, build_word_backend
from finetune.tokenization.sentencepiece_models import SPECIAL_TOKENS, sentence_layout
from finetune.tokenization.stretch_ids import LazyEncodings
from finetune.tokenization.vocabulary import (
    NEWLINE,
    SPACE,
    read_segment_cache,
    read_vocabulary,
    write_segment_cache,
    write_vocabulary,
)

KEEP_ALL = TruncationStrategy.DO_NOT_TRUNCATE
LEFT_TO_THE_LIBRARY = (
    "is_split_into_words",
    "return_tensors",
    "return_overflowing_tokens",
    "return_special_tokens_mask",
    "return_offsets_mapping",
    "return_length",
    "split_special_tokens",
    "sanitize_control_tokens",
)


class ThaiWordsTokenizer(TokenizersBackend):
    """Base of the three kinds; layout `<s> X </s>`, pairs `<s> A </s></s> B </s>`, token types 0.

    Parameters
    ----------
    vocab_file
        A JSON object of words with their ids.
    added_tokens_decoder
        Tokens added since, by id, as tokenizer_config.json keeps them.
    do_lower_case
        Lower-case every text first.

    Spaces and newlines are tokens of the text (`<_>`, `\\n`), not control tokens: they are kept in decoding, and
    `get_special_tokens_mask` leaves them open to masking.
    """

    segmenter_kind = ""
    vocab_files_names = {"vocab_file": ""}  # noqa: RUF012
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012

    def __init__(self, vocab_file: str | Path | None = None, **options: object) -> None:
        if vocab_file is None:
            name = self.vocab_files_names["vocab_file"]
            raise DataError(Problem(f"{type(self).__name__} found no vocabulary", f"it needs the file {name}"))
        self.do_lower_case = bool(options.get("do_lower_case"))
        backend = build_word_backend(read_vocabulary(Path(vocab_file)), lowercase=self.do_lower_case)
        self._backend = SegmentingBackend(backend, self._build_segmenter(options))
        settings: dict[str, Any] = {"extra_special_tokens": [SPACE, NEWLINE]} | SPECIAL_TOKENS | options
        super().__init__(vocab_file=str(vocab_file), **settings)
        self._tokenizer.post_processor = sentence_layout(self)

    @classmethod
    def convert_to_native_format(cls, trust_remote_code: bool = False, **kwargs: object) -> dict[str, Any]:  # noqa: ARG003
        """Leave the vocabulary to `__init__`; a tokenizer.json beside it belongs to something else."""
        kwargs.pop("tokenizer_file", None)
        return kwargs

    def _build_segmenter(self, options: dict[str, Any]) -> Segmenter:
        return Segmenter(self.segmenter_kind)

    @property
    def _tokenizer(self) -> Tokenizer:  # type: ignore[override]
        """What the base class calls by this name, kept where it can be pickled (datasets pickles `__dict__`)."""
        return self.__dict__["_backend"].tokenizer

    @_tokenizer.setter
    def _tokenizer(self, tokenizer: Tokenizer) -> None:
        self.__dict__["_backend"].attach(tokenizer)

    def _add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        added = super()._add_tokens(new_tokens, special_tokens)
        self._backend.forget()
        return added

    def _encode_plus(self, text: Any, text_pair: Any = None, **options: Any) -> BatchEncoding:  # type: ignore[override]
        """Ids by look-up where ids and masks of single texts are all that is asked for."""

        def encode() -> BatchEncoding:
            return super(ThaiWordsTokenizer, self)._encode_plus(text, text_pair, **options)

        is_single = isinstance(text, str)
        texts = [text] if is_single else text
        lookup = self._backend.lookup
        if lookup is None or text_pair is not None or not _asks_only_for_ids(texts, options):
            return encode()
        rows = [lookup.encode(item) for item in texts]
        if not self._finish_rows(rows, options):
            return encode()
        data = self._masks_of(rows, options)
        longest = max(data["input_ids"], key=len)
        self._eventual_warn_about_too_long_sequence(longest, options.get("max_length"), options.get("verbose", True))
        columns = {name: column[0] for name, column in data.items()} if is_single else data
        return LazyEncodings(columns, lambda: encode().encodings)

    def _finish_rows(self, rows: list[list[int]], options: dict[str, Any]) -> bool:
        """Truncate rows of ids and add the special tokens, in place; False where the library should do it."""
        adds = options.get("add_special_tokens", True)
        if options.get("truncation_strategy", KEEP_ALL) != KEEP_ALL and options.get("max_length") is not None:
            room = options["max_length"] - 2 * adds
            if room < 1:
                return False
            kept = slice(None, room) if self.truncation_side == "right" else slice(-room, None)
            rows[:] = [row[kept] for row in rows]
        if adds:
            first, last = self.cls_token_id, self.sep_token_id
            rows[:] = [[first, *row, last] for row in rows]
        return True

    def _masks_of(self, rows: list[list[int]], options: dict[str, Any]) -> dict[str, list[list[int]]]:
        """The columns that were asked for, or that the model takes."""
        data = {"input_ids": rows}
        for name, value in (("token_type_ids", 0), ("attention_mask", 1)):
            asked = options.get(f"return_{name}")
            if name in self.model_input_names if asked is None else asked:
                data[name] = [[value] * len(row) for row in rows]
        return data

    def get_special_tokens_mask(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 for control tokens, 0 for the text, of which spaces and newlines are a part."""
        if already_has_special_tokens:
            control = {self.convert_tokens_to_ids(token) for token in self.special_tokens_map.values()}
            return [int(index in control) for index in token_ids_0]
        pair = [] if token_ids_1 is None else [1, *[0] * len(token_ids_1), 1]
        return [1, *[0] * len(token_ids_0), 1, *pair]

    def save_vocabulary(  # type: ignore[override]
        self, save_directory: str, filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write the vocabulary file, without tokens added later (they stand in tokenizer_config.json)."""
        path = self._saved_as(save_directory, "vocab_file", filename_prefix)
        write_vocabulary(path, self._tokenizer.get_vocab(with_added_tokens=False))
        return (str(path),)

    def _saved_as(self, save_directory: str, name: str, filename_prefix: str | None) -> Path:
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        return Path(save_directory, prefix + self.vocab_files_names[name])

    def _save_pretrained(
        self,
        save_directory: Any,
        file_names: tuple[str, ...],
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
    ) -> tuple[str, ...]:
        config_file = Path(file_names[0])
        config = json.loads(config_file.read_text(encoding="utf-8"))
        tokens = self._tokenizer.get_added_tokens_decoder()
        config["added_tokens_decoder"] = {str(index): token.__getstate__() for index, token in sorted(tokens.items())}
        config_file.write_text(
            json.dumps(config, ensure_ascii=False, indent=2, sort_keys=True) + "\n", encoding="utf-8"
        )
        return (*file_names, *self.save_vocabulary(str(save_directory), filename_prefix))


def _asks_only_for_ids(texts: object, options: dict[str, Any]) -> bool:
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
        return False
    pads = options.get("padding_strategy", PaddingStrategy.DO_NOT_PAD) != PaddingStrategy.DO_NOT_PAD
    return not pads and not any(options.get(name) for name in LEFT_TO_THE_LIBRARY)


class ThaiWordsNewmmTokenizer(ThaiWordsTokenizer):
    """Words of PyThaiNLP's `newmm`; vocabulary in `newmm.json`."""

    segmenter_kind = "newmm"
    vocab_files_names = {"vocab_file": "newmm.json"}  # noqa: RUF012


class ThaiWordsSyllableTokenizer(ThaiWordsTokenizer):
    """Syllables of PyThaiNLP's dictionary; vocabulary in `syllable.json`."""

    segmenter_kind = "syllable"
    vocab_files_names = {"vocab_file": "syllable.json"}  # noqa: RUF012


class FakeSefrCutTokenizer(ThaiWordsTokenizer):
    """Words between the marks `<|>` that SEFR CUT left in the text; vocabulary in `fake_sefr_cut.json`.

    Texts without marks are looked up in `sefr_cache_tokenizer_dict.json`, where the folder has one; others count as
    one word.
    """

    segmenter_kind = "fake_sefr_cut"
    vocab_files_names = {  # noqa: RUF012
        "vocab_file": "fake_sefr_cut.json",
        "segment_cache_file": "sefr_cache_tokenizer_dict.json",
    }

    def _build_segmenter(self, options: dict[str, Any]) -> Segmenter:
        cache_file = options.pop("segment_cache_file", None)
        return Segmenter(self.segmenter_kind, read_segment_cache(Path(cache_file)) if cache_file else None)

    def save_vocabulary(  # type: ignore[override]
        self, save_directory: str, filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write the vocabulary file and, where there is one, the cache of segments."""
        saved = super().save_vocabulary(save_directory, filename_prefix)
        known = self._backend.segmenter.known
        if not known:
            return saved
        path = self._saved_as(save_directory, "segment_cache_file", filename_prefix)
        write_segment_cache(path, known)
        return (*saved, str(path))


THAI_WORD_TOKENIZERS: dict[str, type[ThaiWordsTokenizer]] = {
    kind.__name__: kind for kind in (ThaiWordsNewmmTokenizer, ThaiWordsSyllableTokenizer, FakeSefrCutTokenizer)
}
