"""Name, file or folder -> tokenizer, by `--tokenizer_type`.

A folder may hold only what a trainer wrote: `sentencepiece.bpe.model`, `newmm.json`, `syllable.json`,
`fake_sefr_cut.json` or `vocab.txt`. A folder that this project saved says itself what it is (the class name in
tokenizer_config.json), so that the default type loads it again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerBase
from transformers.utils import cached_file

from finetune.arguments.nearest import allowed_values
from finetune.data.files import listed
from finetune.data.json_values import parse_json
from finetune.errors import DataError, Problem, UsageError
from finetune.run.failures import first_line, is_of_its_files, is_panic
from finetune.tokenization.pre_tokenizers import read_pre_tokenizers
from finetune.tokenization.sentencepiece_models import (
    PieceTokenizer,
    ThaiCamembertTokenizer,
    ThaiRobertaTokenizer,
    load_camembert_pieces,
    load_raw_pieces,
)
from finetune.tokenization.thai_words import THAI_WORD_TOKENIZERS, ThaiWordsTokenizer
from finetune.tokenization.vocabulary import MODEL_FILE, SPACE

logger = logging.getLogger(__name__)

PUBLIC_MODELS = {
    "mbert": "bert-base-multilingual-cased",
    "xlmr": "xlm-roberta-base",
    "xlmr-large": "xlm-roberta-large",
}
DEPRECATED_SPACE = "<th_roberta_space_token>"
TOKENIZER_TYPES = ("AutoTokenizer", "ThaiRobertaTokenizer", *THAI_WORD_TOKENIZERS, "CamembertTokenizer", "skip")
SHORT_TYPES = {  # as --tokenizer_type newmm of the pretraining documents
    "newmm": "ThaiWordsNewmmTokenizer",
    "syllable": "ThaiWordsSyllableTokenizer",
    "fake_sefr_cut": "FakeSefrCutTokenizer",
    "sefr_cut": "FakeSefrCutTokenizer",
    "spm": "ThaiRobertaTokenizer",
    "spm_camembert": "CamembertTokenizer",
}
PIECE_TOKENIZERS: dict[str, type[PieceTokenizer]] = {
    "ThaiRobertaTokenizer": ThaiRobertaTokenizer,
    "CamembertTokenizer": ThaiCamembertTokenizer,
}
PIECE_LOADERS: dict[str, Callable[..., PieceTokenizer]] = {
    "ThaiRobertaTokenizer": load_raw_pieces,
    "CamembertTokenizer": load_camembert_pieces,
}
CONFIG_FILE = "tokenizer_config.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json and merges.txt", MODEL_FILE)


class TokenizerArguments(Protocol):
    """What is read of `ModelArguments`."""

    @property
    def model_name_or_path(self) -> str | None: ...

    tokenizer_name_or_path: str | None
    tokenizer_type: str
    cache_dir: str | None
    model_revision: str
    token: Any
    trust_remote_code: bool


def load_tokenizer(
    arguments: TokenizerArguments,
    *,
    space_token: str | None = None,
    add_prefix_space: bool = False,
    more: Mapping[str, Any] | None = None,
) -> PreTrainedTokenizerBase:
    """Load the tokenizer that a command asked for.

    Args:
        arguments: name or path, `--tokenizer_type` and the hub's settings.
        space_token: what the command puts for spaces inside words. None or " ": spaces stay. It becomes a token of
            its own where the vocabulary lacks it. `find_space_token` tells what to use.
        add_prefix_space: byte-level tokenizers treat a word as one in mid-sentence (token classification needs it).
        more: further keywords for `from_pretrained` of an `AutoTokenizer`.

    Raises:
        UsageError: an unknown `--tokenizer_type`.
        DataError: the folder lacks the files of that type, they are broken, or the hub is out of reach.
    """
    given = arguments.tokenizer_name_or_path or arguments.model_name_or_path
    if not given:
        raise UsageError(Problem("no tokenizer was named", remedy="give --tokenizer_name_or_path"))
    name = resolve_name(given)
    kind = find_tokenizer_type(arguments.tokenizer_type, name)
    hub = {"cache_dir": arguments.cache_dir, "revision": arguments.model_revision, "token": arguments.token}
    if kind in THAI_WORD_TOKENIZERS:
        tokenizer: PreTrainedTokenizerBase = load_thai_words(THAI_WORD_TOKENIZERS[kind], name, hub)
    elif kind in PIECE_LOADERS:
        tokenizer = load_pieces(kind, name, hub)
    else:
        options = hub | {"trust_remote_code": arguments.trust_remote_code} | dict(more or {})
        tokenizer = load_auto(name, options, add_prefix_space=add_prefix_space)
    if kind != "skip":
        add_space_token(tokenizer, space_token)
    logger.info("Tokenizer: %s from %s, %s tokens.", type(tokenizer).__name__, name, f"{len(tokenizer):,}")
    return tokenizer


def resolve_name(name: str) -> str:
    """The hub's name of `mbert`, `xlmr` and `xlmr-large`, unless a folder of that name exists; others as they are."""
    return name if Path(name).exists() else PUBLIC_MODELS.get(name, name)


def find_tokenizer_type(asked: str, name: str) -> str:
    """The type to load: what was asked, or for `AutoTokenizer` what the folder says of itself.

    Raises:
        UsageError: there is no such type.
    """
    kind = SHORT_TYPES.get(asked, asked)
    if kind not in TOKENIZER_TYPES:
        allowed = allowed_values(asked, TOKENIZER_TYPES)
        raise UsageError(Problem(f"--tokenizer_type {asked} is unknown", allowed))
    if kind != "AutoTokenizer" or not Path(name).is_dir():
        return kind
    found = _read_class_name(Path(name)) or _guess_by_files(Path(name))
    if found and found != kind:
        logger.info("[INFO] tokenizer_type = `%s`, as the files in %s show", found, name)
    return found or kind


def _read_class_name(folder: Path) -> str | None:
    """The type of a folder that this project saved."""
    by_class = {"ThaiCamembertTokenizer": "CamembertTokenizer", "ThaiRobertaTokenizer": "ThaiRobertaTokenizer"}
    by_class |= {name: name for name in THAI_WORD_TOKENIZERS}
    return by_class.get(_read_config(folder).get("tokenizer_class", ""))


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        return {}
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(Problem(f"not valid JSON: {error}", path=path)) from error


def _guess_by_files(folder: Path) -> str | None:
    """The type of a folder that holds a Thai vocabulary file and nothing that says otherwise."""
    if (folder / "tokenizer.json").is_file() or (folder / CONFIG_FILE).is_file():
        return None
    for name, kind in THAI_WORD_TOKENIZERS.items():
        if (folder / kind.vocab_files_names["vocab_file"]).is_file():
            return name
    return None


def load_thai_words(kind: type[ThaiWordsTokenizer], name: str, hub: dict[str, Any]) -> ThaiWordsTokenizer:
    """A word-level tokenizer from its vocabulary file, a folder that holds it, or the hub.

    Raises:
        DataError: no such file, or one that is no vocabulary of this kind.
    """
    file = find_file(name, kind.vocab_files_names["vocab_file"], hub)
    if file.suffix == ".model":
        remedy = "say --tokenizer_type ThaiRobertaTokenizer or CamembertTokenizer"
        raise DataError(Problem("this is a SentencePiece model, not a list of words", remedy=remedy, path=file))
    settings = hub | {"revision": hub["revision"] or "main"}
    return open_word_file(kind, file) if Path(name).is_file() else kind.from_pretrained(name, **settings)


def open_word_file(kind: type[ThaiWordsTokenizer], file: Path) -> ThaiWordsTokenizer:
    """A word-level tokenizer from its vocabulary alone; a tokenizer_config.json beside it says whether it lower-cases."""
    config = _read_config(file.parent)
    lowers = config.get("tokenizer_class") == kind.__name__ and bool(config.get("do_lower_case"))
    return kind(vocab_file=file, do_lower_case=True) if lowers else kind(vocab_file=file)


def load_pieces(kind: str, name: str, hub: dict[str, Any]) -> PieceTokenizer:
    """A SentencePiece tokenizer from a folder that this project saved, or from its model file alone.

    Raises:
        DataError: no model file, or one that does not fit this type.
    """
    folder = Path(name)
    if folder.is_dir() and _read_class_name(folder) == kind and (folder / "tokenizer.json").is_file():
        return PIECE_TOKENIZERS[kind].from_pretrained(name)
    return PIECE_LOADERS[kind](find_file(name, MODEL_FILE, hub))


def find_file(name: str, file: str, hub: dict[str, Any]) -> Path:
    """The path of a tokenizer's file: given itself, in a folder, or fetched from the hub.

    Raises:
        DataError: it is in none of them; says which file to place where.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.is_dir():
        if (path / file).is_file():
            return path / file
        held = listed(sorted(item.name for item in path.iterdir()))
        raise DataError(Problem(f"the tokenizer folder has no {file}", f"it holds {held}", f"place {file} there", path))
    try:
        found = cached_file(name, file, **hub)
    except (OSError, ValueError) as error:
        raise DataError(out_of_reach(name, (file,))) from error
    if found is None:
        raise DataError(out_of_reach(name, (file,)))
    return Path(found)


def out_of_reach(name: str, files: Iterable[str]) -> Problem:
    """One sentence for a name that is neither a folder nor on a hub that can be reached."""
    found = f"there is no tokenizer folder {name!r}, and no tokenizer of that name can be fetched from the hub"
    remedy = f"make a folder that holds {' or '.join(files)} and give its path instead"
    return Problem(found, remedy=remedy)


def load_auto(name: str, options: dict[str, Any], *, add_prefix_space: bool = False) -> PreTrainedTokenizerBase:
    """A tokenizer of transformers, from the hub or a folder; a folder with only `vocab.txt` is BERT's.

    Raises:
        DataError: nothing there that can be loaded.
    """
    folder = Path(name)
    if folder.is_dir():
        held = {item.name for item in folder.iterdir()}
        if "vocab.txt" in held and not held & {"tokenizer.json", "tokenizer_config.json", "config.json"}:
            return BertTokenizer.from_pretrained(name, do_lower_case=_is_uncased(folder / "vocab.txt"))
        _refuse_lone_piece_model(folder, held)
    tokenizer = _open_auto(name, options)
    if add_prefix_space and _lacks_prefix_space(tokenizer):
        return _open_auto(name, options | {"add_prefix_space": True})
    return tokenizer


def _open_auto(name: str, options: dict[str, Any]) -> PreTrainedTokenizerBase:
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **options)
        if tokenizer.is_fast:
            tokenizer.backend_tokenizer.encode_batch(["a"])  # a file that contradicts itself shows only here
    except BaseException as error:
        if is_panic(error) or (isinstance(error, Exception) and is_of_its_files(error)):
            raise DataError(_explain(name, error)) from error
        raise
    return tokenizer


def _explain(name: str, error: BaseException) -> Problem:
    path = Path(name)
    if not path.exists():
        return out_of_reach(name, TOKENIZER_FILES)
    held = listed(sorted(item.name for item in path.iterdir())) if path.is_dir() else path.name
    reason = first_line(error)
    remedy = f"place {', '.join(TOKENIZER_FILES[:-1])} or {TOKENIZER_FILES[-1]} there"
    return Problem(f"no tokenizer can be loaded ({reason})", f"the folder holds {held}", remedy, path)


def _refuse_lone_piece_model(folder: Path, held: set[str]) -> None:
    """Ids of the same model file differ by type, so a guess could be wrong without anyone noticing."""
    if MODEL_FILE in held and not held & {"tokenizer.json", "tokenizer_config.json", "config.json"}:
        found = f"the folder holds {MODEL_FILE} and nothing that says how its ids are counted"
        remedy = "say --tokenizer_type ThaiRobertaTokenizer (ids of the pieces) or CamembertTokenizer (ids + 4)"
        raise DataError(Problem(found, remedy=remedy, path=folder))


def _is_uncased(vocab_file: Path) -> bool:
    """Whether a BERT vocabulary has no upper-case Latin letter outside its special tokens."""
    words = vocab_file.read_text(encoding="utf-8").split("\n")
    return not any("A" <= letter <= "Z" for word in words if not word.startswith("[") for letter in word)


def _lacks_prefix_space(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a byte-level tokenizer encodes a word as if it began the text, and could be told not to.

    Where texts are split before the byte-level part (Qwen2, Llama 3, Falcon, BLOOM), its prefix space would stand before
    every split, within words too: `tagging/words.py` puts a space before words of those.
    """
    if not tokenizer.is_fast:
        return hasattr(tokenizer, "add_prefix_space") and not tokenizer.add_prefix_space
    first = next(iter(read_pre_tokenizers(tokenizer)), {})
    return first.get("type") == "ByteLevel" and not first.get("add_prefix_space")


def find_space_token(tokenizer: PreTrainedTokenizerBase, asked: str | None) -> str | None:
    """What to put for spaces: what was asked, or `<_>` where an old name was asked that only it stands for.

    Returns:
        None where spaces stay spaces.
    """
    if asked in (None, "", " "):
        return None
    known = tokenizer.get_vocab()
    return SPACE if asked == DEPRECATED_SPACE and asked not in known and SPACE in known else asked


def add_space_token(tokenizer: PreTrainedTokenizerBase, asked: str | None) -> str | None:
    """Make the space token a token: its piece where the vocabulary has one, else a new one at the end.

    Returns:
        The token in effect, None where spaces stay spaces.
    """
    token = find_space_token(tokenizer, asked)
    logger.info("[INFO] space_token = `%s`", " " if token is None else token)
    if token is None:
        return None
    if token != asked:
        logger.warning(
            "The space token %s is the old name of %s, which this vocabulary has and which is used.", asked, token
        )
    if token not in tokenizer.get_vocab():
        tokenizer.add_tokens([token], special_tokens=False)
        logger.warning(
            "The vocabulary has no space token %s: it was added as token %s, so the model's embedding grows by one.",
            token,
            f"{tokenizer.convert_tokens_to_ids(token):,}",
        )
    return token
