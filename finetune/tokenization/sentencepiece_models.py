"""A SentencePiece model file -> a tokenizer on the Rust library that gives SentencePiece's own ids, in two layouts.

- raw: the ids of the pieces (`ThaiRobertaTokenizer`); spaces become the piece `<_>` where the model has it;
- Camembert: piece id + 4, because fairseq put four tokens in front; the unknown piece is 3 and `<mask>` comes last.

What stock conversions lose and these keep: no "▁" is put before a text when the model was trained without
(`--add_dummy_prefix False`) nor after a user-defined symbol in mid-text, spaces beside such a symbol survive, and the
whole pipeline lies in tokenizer.json, so that a saved folder gives the same ids to a plain `AutoTokenizer`.
Unigram scores are added in double precision here and in single precision in SentencePiece, so segmentations of equal
score may differ: 0.2 to 0.3 % of Thai lines, each with the same total score. Decomposed text is composed as SentencePiece
does it, but for marks of composed characters that stand in another order than Unicode's.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path
from shutil import copyfile
from typing import Any

import sentencepiece
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2 as model_format
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import TokenizersBackend
from transformers.tokenization_utils_base import generate_merges

from finetune.errors import DataError, Problem
from finetune.tokenization.vocabulary import MODEL_FILE, SPACE

UNIGRAM, BPE = 1, 2
UNKNOWN_PIECE, CONTROL_PIECE, USER_PIECE = 2, 3, 4
BARRIER = "\ufdd2"  # one of Unicode's noncharacters: no text is meant to hold it, and marks are not moved across it
LAST_COMPOSED = 0x20000
COMPOSED = ("한", "ế", "が")  # each several characters when decomposed
FAIRSEQ_TOKENS = ("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>")
SPECIAL_TOKENS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}


class PieceTokenizer(TokenizersBackend):
    """A tokenizer built from a SentencePiece model; the model file travels with it when it is saved."""

    vocab_files_names = {"vocab_file": MODEL_FILE, "tokenizer_file": "tokenizer.json"}  # noqa: RUF012
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012

    def _save_pretrained(
        self,
        save_directory: Any,
        file_names: tuple[str, ...],
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
    ) -> tuple[str, ...]:
        saved = super()._save_pretrained(save_directory, file_names, legacy_format, filename_prefix)
        source = Path(getattr(self, "vocab_file", None) or "")
        target = Path(save_directory, (f"{filename_prefix}-" if filename_prefix else "") + MODEL_FILE)
        if not source.is_file() or source.resolve() == target.resolve():
            return saved
        copyfile(source, target)
        return (*saved, str(target))


class ThaiRobertaTokenizer(PieceTokenizer):
    """Ids are those of the pieces; layout `<s> X </s>`, pairs `<s> A </s></s> B </s>`, token types 0."""


class ThaiCamembertTokenizer(PieceTokenizer):
    """Ids are those of the pieces + 4. Its own name keeps `AutoTokenizer` from rebuilding it the stock way."""


def load_raw_pieces(model_file: Path, *, extra_tokens: tuple[str, ...] = (), **options: object) -> ThaiRobertaTokenizer:
    """The tokenizer whose ids are those of the pieces.

    Special tokens that are no pieces, and `extra_tokens` that are not, are added behind the pieces.

    Raises:
        DataError: the file is not a unigram or BPE model of SentencePiece.
    """
    model = read_piece_model(model_file)
    pieces = [(piece.piece, piece.score) for piece in model.pieces]
    spaces_as = SPACE if SPACE in dict(pieces) else None
    backend = build_backend(model, pieces, unknown_id=model.trainer_spec.unk_id, spaces_as=spaces_as)
    tokens = SPECIAL_TOKENS | {"unk_token": model.trainer_spec.unk_piece}
    return _finish(ThaiRobertaTokenizer, backend, model_file, tokens, extra_tokens, options)


def load_camembert_pieces(
    model_file: Path, *, extra_tokens: tuple[str, ...] = (), **options: object
) -> ThaiCamembertTokenizer:
    """The tokenizer whose ids are those of the pieces + 4, `<unk>` 3 and `<mask>` the last.

    Raises:
        DataError: not such a model, or one whose unknown piece is not its first (which this layout cannot hold).
    """
    model = read_piece_model(model_file)
    if model.trainer_spec.unk_id != 0:
        found = f"the unknown piece of this model is number {model.trainer_spec.unk_id}"
        remedy = "load it with --tokenizer_type ThaiRobertaTokenizer"
        raise DataError(Problem(found, "CamembertTokenizer needs it to be number 0", remedy, model_file))
    pieces = [(piece.piece, piece.score) for piece in model.pieces]
    front = [(token, 0.0) for token in FAIRSEQ_TOKENS]
    vocabulary = [*front, ("<unk>NOTUSED", -100.0), *pieces[1:], ("<mask>", 0.0)]
    backend = build_backend(model, vocabulary, unknown_id=FAIRSEQ_TOKENS.index("<unk>"))
    tokens: dict[str, Any] = SPECIAL_TOKENS | {"mask_token": AddedToken("<mask>", lstrip=True, special=True)}
    extra = ("<s>NOTUSED", "</s>NOTUSED", *extra_tokens)
    return _finish(ThaiCamembertTokenizer, backend, model_file, tokens, extra, options)


def _finish(
    kind: type, backend: Tokenizer, model_file: Path, tokens: dict[str, Any], extra: tuple[str, ...], options: dict
) -> Any:
    unused = [token for token in extra if token in FAIRSEQ_TOKENS or backend.token_to_id(token) is None]
    tokenizer = kind(
        tokenizer_object=backend, vocab_file=str(model_file), extra_special_tokens=unused, **tokens, **options
    )
    tokenizer.backend_tokenizer.post_processor = sentence_layout(tokenizer)
    return tokenizer


def sentence_layout(tokenizer: TokenizersBackend) -> processors.TemplateProcessing:
    """`<s> X </s>` and `<s> A </s></s> B </s>`, all of token type 0."""
    first, last = tokenizer.cls_token, tokenizer.sep_token
    return processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} {last} $B {last}",
        special_tokens=[(first, tokenizer.cls_token_id), (last, tokenizer.sep_token_id)],
    )


def read_piece_model(model_file: Path) -> Any:
    """Parse a SentencePiece model.

    Raises:
        DataError: it is not one, or of a kind that is not supported (word, character, suffix white space).
    """
    model = model_format.ModelProto()  # type: ignore[attr-defined]
    try:
        model.ParseFromString(model_file.read_bytes())
    except DecodeError as error:
        raise DataError(Problem("this is not a SentencePiece model", path=model_file)) from error
    if not model.pieces:
        raise DataError(Problem("this SentencePiece model holds no pieces", path=model_file))
    kind = model.trainer_spec.model_type
    if kind not in (UNIGRAM, BPE) or model.trainer_spec.treat_whitespace_as_suffix:
        found = "a SentencePiece model of words or characters, or with white space as a suffix, is not supported"
        raise DataError(Problem(found, "unigram and BPE models are", path=model_file))
    return model


def build_backend(
    model: Any, vocabulary: list[tuple[str, float]], *, unknown_id: int, spaces_as: str | None = None
) -> Tokenizer:
    """The Rust tokenizer of a parsed model, with `vocabulary` ([(piece, score)], in the order of the ids)."""
    backend = Tokenizer(_build_model(model, vocabulary, unknown_id))
    backend.normalizer = _build_normalizer(model.normalizer_spec, spaces_as)
    backend.pre_tokenizer = _build_pre_tokenizer(model)
    backend.decoder = _build_decoder(model, spaces_as)
    return backend


def _build_model(model: Any, vocabulary: list[tuple[str, float]], unknown_id: int) -> Any:
    byte_fallback = model.trainer_spec.byte_fallback
    if model.trainer_spec.model_type == UNIGRAM:
        return models.Unigram(vocabulary, unk_id=unknown_id, byte_fallback=byte_fallback)
    ids = {piece: index for index, (piece, _) in enumerate(vocabulary)}
    return models.BPE(
        vocab=ids,
        merges=generate_merges(ids, dict(vocabulary)),
        unk_token=vocabulary[unknown_id][0],
        fuse_unk=True,
        byte_fallback=byte_fallback,
        ignore_merges=True,  # lets a user-defined symbol, cut out below, be looked up whole
    )


def _build_normalizer(spec: Any, spaces_as: str | None) -> normalizers.Normalizer:
    steps: list[normalizers.Normalizer] = []
    if spaces_as:
        steps.append(normalizers.Replace(" ", spaces_as))
    if spec.precompiled_charsmap:
        steps += _build_rules(spec)
    if spec.remove_extra_whitespaces:
        # A leading space is left for the prefix: Metaspace would see a stripped text as one that starts in the middle.
        steps.append(normalizers.Strip(left=not spec.add_dummy_prefix, right=True))
        steps.append(normalizers.Replace(Regex(" {2,}"), " "))
    return normalizers.Sequence(steps)


def _build_rules(spec: Any) -> list[normalizers.Normalizer]:
    """What SentencePiece replaces in a text.

    The library looks up single characters of long graphemes, and drops the marks of short ones that begin with a
    character that is replaced. So what SentencePiece composes (decomposed Korean and Vietnamese, half-width kana) is
    composed before and behind it, and what it lower-cases is lower-cased before.
    """
    rules = model_format.ModelProto(normalizer_spec=spec)  # type: ignore[attr-defined]
    own = sentencepiece.SentencePieceNormalizer(model_proto=rules.SerializeToString())
    composes = all(letter in own.Normalize(unicodedata.normalize("NFD", letter)) for letter in COMPOSED)
    composing = compose_characters() if composes else []
    lowering = [normalizers.Lowercase()] if "q" in own.Normalize("Q") else []
    return [*composing, *lowering, normalizers.Precompiled(spec.precompiled_charsmap), *composing]


def compose_characters() -> list[normalizers.Normalizer]:
    """NFC, but for its reordering of marks that are never composed: Thai vowels and tones, Arabic and Hebrew points are
    often typed in another order than Unicode's, and SentencePiece leaves them so.
    """
    others = rf"[\p{{M}}&&[^{_composing_marks()}]]"
    apart = Regex(rf"(?<=\p{{M}})(?={others})|(?<={others})(?=\p{{M}})")
    return [normalizers.Replace(apart, BARRIER), normalizers.NFC(), normalizers.Replace(BARRIER, "")]


@cache
def _composing_marks() -> str:
    """The marks that follow a letter in some composed character."""
    parts = (unicodedata.decomposition(chr(code)).split() for code in range(LAST_COMPOSED))
    found = {chr(int(pair[1], 16)) for pair in parts if len(pair) == 2 and not pair[0].startswith("<")}
    return "".join(sorted(letter for letter in found if unicodedata.category(letter).startswith("M")))


def _build_pre_tokenizer(model: Any) -> pre_tokenizers.PreTokenizer:
    scheme = "first" if model.normalizer_spec.add_dummy_prefix else "never"
    steps: list[pre_tokenizers.PreTokenizer] = [pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)]
    symbols = "|".join(re.escape(piece.piece) for piece in model.pieces if piece.type == USER_PIECE)
    if symbols:
        # A text that is only a symbol (a space that is a word of its own) is that symbol, without a prefix before it.
        steps.append(pre_tokenizers.Split(Regex(f"^▁(?=({symbols})$)"), "removed"))
        steps.append(pre_tokenizers.Split(Regex(symbols), "isolated"))
    return pre_tokenizers.Sequence(steps)


def _build_decoder(model: Any, spaces_as: str | None) -> decoders.Decoder:
    steps: list[decoders.Decoder] = [decoders.Replace("▁", " ")]
    if spaces_as:
        steps.append(decoders.Replace(spaces_as, " "))
    if model.trainer_spec.byte_fallback:
        steps.append(decoders.ByteFallback())
    steps.append(decoders.Fuse())
    if model.normalizer_spec.add_dummy_prefix:
        steps.append(decoders.Strip(" ", left=1, right=0))
    return decoders.Sequence(steps)
