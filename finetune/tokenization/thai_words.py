"""Word-level tokenizers for Thai: a segmenter of Python in front of a vocabulary of the Rust library.

The Rust library cuts a text at spaces (`<_>`), newlines and special tokens, asks the segmenter for the stretches
between (each distinct one is segmented once), looks every segment up, and adds the special tokens; so batches,
pairs, truncation, overlapping windows, `word_ids` and character offsets work as with any fast tokenizer.

A Python segmenter cannot be written to tokenizer.json, and a folder without it must not be mistaken for a tokenizer
of spaces only: `save_pretrained` writes the vocabulary file (`newmm.json`, ...) and tokenizer_config.json, which
`finetune.tokenization.loading.load_tokenizer` and these classes' own `from_pretrained` read; a plain `AutoTokenizer`
refuses it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, NormalizedString, PreTokenizedString, Tokenizer, decoders, models, normalizers
from tokenizers.pre_tokenizers import PreTokenizer
from transformers import TokenizersBackend

from finetune.errors import DataError, Problem
from finetune.tokenization.pieces import SPECIAL_TOKENS, sentence_layout
from finetune.tokenization.segmentation import Segmenter
from finetune.tokenization.vocabulary import (
    NEWLINE,
    SPACE,
    read_segment_cache,
    read_vocabulary,
    write_segment_cache,
    write_vocabulary,
)


class SegmenterBridge:
    """What the Rust library calls for each stretch between spaces and special tokens."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter

    def pre_tokenize(self, text: PreTokenizedString) -> None:
        text.split(self.split)

    def split(self, _: int, text: NormalizedString) -> list[NormalizedString]:
        return [text[span] for span in self.segmenter.spans(text.normalized)]  # type: ignore[misc]


class SegmentingBackend:
    """A Rust tokenizer whose pre-tokenizer is a segmenter, in a form that can be pickled and copied.

    Truncation and padding are settings of the last call, not of the tokenizer, so they stay behind.
    """

    def __init__(self, tokenizer: Tokenizer, segmenter: Segmenter) -> None:
        self.segmenter = segmenter
        self.attach(tokenizer)

    def attach(self, tokenizer: Tokenizer) -> None:
        """Let `tokenizer` ask the segmenter from now on."""
        tokenizer.pre_tokenizer = PreTokenizer.custom(SegmenterBridge(self.segmenter))
        self.tokenizer = tokenizer

    def __getstate__(self) -> dict[str, Any]:
        self.tokenizer.pre_tokenizer = None  # type: ignore[assignment]
        try:
            bare = Tokenizer.from_str(self.tokenizer.to_str())
        finally:
            self.attach(self.tokenizer)
        bare.no_truncation()
        bare.no_padding()
        return {"tokenizer": bare.to_str(), "segmenter": self.segmenter}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(Tokenizer.from_str(state["tokenizer"]), state["segmenter"])  # type: ignore[misc]


class ThaiWordsTokenizer(TokenizersBackend):
    """Base of the three kinds; layout `<s> X </s>`, pairs `<s> A </s></s> B </s>`, token types 0.

    Parameters
    ----------
    vocab_file
        A JSON object of words with their ids.
    added_tokens_decoder
        Tokens added since, by id, as tokenizer_config.json keeps them.

    Spaces and newlines are tokens of the text (`<_>`, `\\n`), not control tokens: they are kept in decoding, and
    `get_special_tokens_mask` leaves them open to masking.
    """

    segmenter_kind = ""
    vocab_files_names = {"vocab_file": ""}  # noqa: RUF012
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012

    def __init__(self, vocab_file: str | Path | None = None, **options: Any) -> None:
        if vocab_file is None:
            name = self.vocab_files_names["vocab_file"]
            raise DataError(Problem(f"{type(self).__name__} found no vocabulary", f"it needs the file {name}"))
        backend = _build_backend(read_vocabulary(Path(vocab_file)))
        self._backend = SegmentingBackend(backend, self._build_segmenter(options))
        settings: dict[str, Any] = {"extra_special_tokens": [SPACE, NEWLINE]} | SPECIAL_TOKENS | options
        super().__init__(vocab_file=str(vocab_file), **settings)
        self._tokenizer.post_processor = sentence_layout(self)

    @classmethod
    def convert_to_native_format(cls, trust_remote_code: bool = False, **kwargs: Any) -> dict[str, Any]:  # noqa: ARG003
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


def _build_backend(vocabulary: dict[str, int]) -> Tokenizer:
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.normalizer = normalizers.Replace(" ", SPACE)
    # Found after spaces were replaced, and not special to the library, so that decoding keeps them.
    backend.add_tokens([AddedToken(token, normalized=True, special=False) for token in (SPACE, NEWLINE)])
    backend.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.Fuse()])
    return backend


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
