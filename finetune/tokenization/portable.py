"""A tokenizer of transformers without transformers: tokenizer.json, run by `tokenizers`, with what it does not say.

It answers what encoding asks of a tokenizer, as transformers' own does; `describe_tokenizer` compares both before a
tokenizer is exported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, get_type_hints

from tokenizers import Encoding, Tokenizer

from finetune.data.json_values import is_of_type
from finetune.run.failures import is_panic

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROLES = ("unk_token", "bos_token", "eos_token", "cls_token", "sep_token", "pad_token", "mask_token")
LARGEST_ID = 1 << 31
PROBES = (
    "Hello, world! don't  stop", "ภาษาไทย ง่าย นิดเดียว", "中文 test", "naïve Café 1,234.5", "a<_>b", "", " ", "👩‍👩‍👧 ok",
    "नमस्ते दुनिया", "مرحبا", "[SEP] </s> <mask>", "e\u0301", "\u200b",
)  # fmt: skip


@dataclass(frozen=True)
class TokenizerFacts:
    """What tokenizer.json does not say: roles of special tokens, sides, and what the model takes."""

    kind: str
    roles: dict[str, str]
    special_ids: list[int]
    padding_side: str = "right"
    truncation_side: str = "right"
    pad_token_type_id: int = 0
    model_input_names: list[str] = field(default_factory=lambda: ["input_ids", "attention_mask"])

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Encoded:
    """What a call gives: one encoding for each text; `[name]` is of the one text, or of all where several were given."""

    encodings: list[Encoding]
    is_batch: bool

    def __getitem__(self, name: str) -> Any:
        attribute = {"input_ids": "ids", "token_type_ids": "type_ids"}.get(name, name)
        values = [getattr(encoding, attribute) for encoding in self.encodings]
        return values if self.is_batch else values[0]

    def sequence_ids(self, index: int = 0) -> list[int | None]:
        return self.encodings[index].sequence_ids


class PortableTokenizer:
    """Called as a fast tokenizer of transformers is, for what encoding needs of it."""

    is_fast = True

    def __init__(self, rust: Tokenizer, facts: TokenizerFacts) -> None:
        rust.no_truncation()
        rust.no_padding()
        self.backend_tokenizer, self.facts = rust, facts
        self.padding_side, self.truncation_side = facts.padding_side, facts.truncation_side
        self.pad_token_type_id, self.model_input_names = facts.pad_token_type_id, facts.model_input_names
        self.all_special_ids = facts.special_ids
        for role in ROLES:
            name = facts.roles.get(role)
            setattr(self, role, name)
            setattr(self, f"{role}_id", None if name is None else rust.token_to_id(name))

    def __len__(self) -> int:
        return self.backend_tokenizer.get_vocab_size(with_added_tokens=True)

    def __call__(
        self,
        texts: str | Sequence[Any],
        pairs: str | None = None,
        *,
        is_split_into_words: bool = False,
        add_special_tokens: bool = True,
        split_special_tokens: bool | None = None,
        **_asked: Any,
    ) -> Encoded:
        """Encodings of a text, of a pair, or of several texts; of words that are given, if `is_split_into_words`."""
        is_batch = not isinstance(texts, str) and not (is_split_into_words and texts and isinstance(texts[0], str))
        inputs = list(texts) if is_batch else [texts if pairs is None else (texts, pairs)]
        self.backend_tokenizer.encode_special_tokens = bool(split_special_tokens)
        encodings = self.backend_tokenizer.encode_batch(
            inputs, is_pretokenized=is_split_into_words, add_special_tokens=add_special_tokens
        )
        return Encoded(encodings, is_batch)

    def convert_tokens_to_ids(self, token: str) -> int | None:
        """The id of a token; that of the unknown token, or None, for one that is none."""
        index = self.backend_tokenizer.token_to_id(token)
        return getattr(self, "unk_token_id") if index is None else index  # noqa: B009 -- set by role

    def get_vocab(self) -> dict[str, int]:
        return self.backend_tokenizer.get_vocab(with_added_tokens=True)

    def decode(self, ids: Sequence[int]) -> str:
        return self.backend_tokenizer.decode(list(ids), skip_special_tokens=False)


def load_portable(rust_json: str, facts: Mapping[str, Any]) -> PortableTokenizer:
    """The tokenizer of a tokenizer.json and the facts that `describe_tokenizer` told.

    Raises:
        ValueError: the text is no tokenizer, or a fact of another kind.
        TypeError: facts are missing.
    """
    try:
        rust = Tokenizer.from_str(rust_json)
        rust.encode_batch([PROBES[0]])
    except BaseException as error:  # the Rust library raises a bare Exception, or panics, which is no Exception at all
        if isinstance(error, Exception) or is_panic(error):
            raise ValueError(str(error)) from error
        raise
    kinds = get_type_hints(TokenizerFacts)
    if wrong := [name for name, value in facts.items() if name in kinds and not is_of_type(value, kinds[name])]:
        raise ValueError(f"{wrong[0]} is {facts[wrong[0]]!r:.60}")
    told = TokenizerFacts(**facts)
    if not all(0 <= number < LARGEST_ID for number in (told.pad_token_type_id, *told.special_ids)):
        raise ValueError("an id is none")
    if not {told.padding_side, told.truncation_side} <= {"left", "right"} or "input_ids" not in told.model_input_names:
        raise ValueError("it has no side that there is, or no ids for its model")
    return PortableTokenizer(rust, told)


def describe_tokenizer(tokenizer: PreTrainedTokenizerBase) -> tuple[str, TokenizerFacts] | None:
    """The tokenizer.json of a tokenizer and the facts beside it; None where they do not make the same tokenizer."""
    if not tokenizer.is_fast:
        return None
    try:
        rust_json = tokenizer.backend_tokenizer.to_str()
    except Exception:  # parts written in Python cannot be told as JSON; the library raises a bare Exception
        return None
    facts = TokenizerFacts(
        type(tokenizer).__name__,
        {role: str(name) for role in ROLES if (name := getattr(tokenizer, role, None)) is not None},
        list(tokenizer.all_special_ids),
        tokenizer.padding_side,
        tokenizer.truncation_side,
        tokenizer.pad_token_type_id,
        list(tokenizer.model_input_names),
    )
    portable = load_portable(rust_json, facts.as_dict())
    return (portable.backend_tokenizer.to_str(), facts) if _agree(portable, tokenizer) else None


def _agree(portable: PortableTokenizer, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether both give the same ids, types and words for texts of several scripts, whole, in words and in pairs."""
    words = [text.split(" ") for text in PROBES if text]
    for split_special in (False, True):
        options: dict[str, Any] = {
            "split_special_tokens": split_special,
            "return_token_type_ids": True,
            "verbose": False,
        }
        for add in (False, True):
            ours = portable(list(PROBES), add_special_tokens=add, **options)
            theirs = tokenizer(list(PROBES), add_special_tokens=add, **options)
            if any(ours[name] != theirs[name] for name in ("input_ids", "token_type_ids")):
                return False
        split = portable(words, is_split_into_words=True, add_special_tokens=False, **options)
        expected = tokenizer(words, is_split_into_words=True, add_special_tokens=False, **options)
        if [item.word_ids for item in split.encodings] != [item.word_ids for item in expected.encodings]:
            return False
        if split["input_ids"] != expected["input_ids"]:
            return False
    return portable("a", "b")["input_ids"] == tokenizer("a", "b")["input_ids"] and len(portable) == len(tokenizer)
