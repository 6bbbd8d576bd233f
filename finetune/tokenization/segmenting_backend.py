"""A word-level tokenizer of the Rust library whose pre-tokenizer is a segmenter in Python.

The library cuts a text at spaces (`<_>`), newlines and special tokens and asks the segmenter for the stretches between.
"""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, NormalizedString, PreTokenizedString, Tokenizer, decoders, models, normalizers
from tokenizers.pre_tokenizers import PreTokenizer

from finetune.tokenization.segmentation import Segmenter
from finetune.tokenization.stretch_ids import IdLookup
from finetune.tokenization.vocabulary import NEWLINE, SPACE

UNKNOWN = "<unk>"
SPACES_ONLY = normalizers.Replace(" ", SPACE).__getstate__()


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
        self.forget()

    def forget(self) -> None:
        """Look ids up anew: the tokens are no longer those that were remembered."""
        self._lookup: IdLookup | None = None

    @property
    def lookup(self) -> IdLookup | None:
        """The same ids without the Rust library; None where the library was given rules that look-up does not know."""
        if self.tokenizer.normalizer.__getstate__() != SPACES_ONLY:  # type: ignore[union-attr]
            return None
        if self._lookup is None:
            unknown = self.tokenizer.token_to_id(UNKNOWN)
            assert unknown is not None, "read_vocabulary refuses vocabularies without an unknown token"
            self._lookup = IdLookup(self.tokenizer, self.segmenter, unknown)
        return self._lookup if self._lookup.is_exact else None

    def __getstate__(self) -> dict[str, Any]:
        bridge = self.tokenizer.pre_tokenizer
        self.tokenizer.pre_tokenizer = None  # type: ignore[assignment]
        try:
            bare = Tokenizer.from_str(self.tokenizer.to_str())
        finally:
            self.tokenizer.pre_tokenizer = bridge
        bare.no_truncation()
        bare.no_padding()
        return {"tokenizer": bare.to_str(), "segmenter": self.segmenter}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(Tokenizer.from_str(state["tokenizer"]), state["segmenter"])  # type: ignore[misc]


def build_word_backend(vocabulary: dict[str, int], *, lowercase: bool = False) -> Tokenizer:
    """The Rust tokenizer of a vocabulary, still without a segmenter."""
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    spaces = normalizers.Replace(" ", SPACE)
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), spaces]) if lowercase else spaces
    # Found after spaces were replaced, and not special to the library, so that decoding keeps them.
    backend.add_tokens([AddedToken(token, normalized=True, special=False) for token in (SPACE, NEWLINE)])
    backend.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.Fuse()])
    return backend
