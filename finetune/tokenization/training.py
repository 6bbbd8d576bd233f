"""Arguments -> trained tokenizer on disk. Every kind writes aside and renames, and never over a file unasked."""

from __future__ import annotations

import json
import logging
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from finetune.arguments.parser import Arguments
from finetune.arguments.tokenizer import (
    WORD_LEVEL,
    RobertaTokenizerArguments,
    SentencePieceArguments,
    TokenizerTrainingArguments,
)
from finetune.data.files import listed
from finetune.data.json_values import parse_json
from finetune.data.text import find_text_files
from finetune.errors import DataError, Problem
from finetune.run.folders_aside import files_written_aside
from finetune.run.output_record import OutputRecord
from finetune.run.workers import one_tokenizer_thread
from finetune.tokenization.casing import set_casing
from finetune.tokenization.loading import CONFIG_FILE, PIECE_LOADERS, find_tokenizer_type, load_auto, open_word_file
from finetune.tokenization.reading_back import ReadBack, read_back, tell_read_back
from finetune.tokenization.sentencepiece_training import PieceSettings, describe_pieces, train_pieces
from finetune.tokenization.subword_training import (
    BERT_TOKENS,
    ROBERTA_TOKENS,
    SubwordSettings,
    SubwordVocabulary,
    train_subwords,
)
from finetune.tokenization.thai_words import THAI_WORD_TOKENIZERS
from finetune.tokenization.training_files import refuse_overwriting
from finetune.tokenization.training_text import LineRules, TrainingText
from finetune.tokenization.vocabulary import MODEL_FILE, SPACE
from finetune.tokenization.word_training import train_word_vocabulary, write_word_vocabulary

logger = logging.getLogger(__name__)

PIECES_BY_DEFAULT = 24_000
SUBWORDS_BY_DEFAULT = 30_000
LINES_IN_MEMORY = 5_000_000  # SentencePiece holds all its lines at once
REMEDY_OF_WORDS = "words below --vocab_min_freq or beyond --vocab_size are, lower the one or raise the other"
REMEDIES = {
    "spm": "--character_coverage 1 learns all characters, --byte_fallback spells the others as bytes",
    "wordpiece": "--limit_alphabet says how many characters are learnt",
    "bpe": "bytes are never unknown, so the text and the files do not belong together",
}
SAID_OF = {
    "nmt_nfkc": "compatible characters become one (full-width punctuation and letters the usual ones), and spaces do",
    "nfkc": "compatible characters become one (full-width punctuation and letters the usual ones)",
    "identity": "characters stay as they are",
}
WRITTEN_BESIDE = {
    "spm": ("{stem}.vocab",),
    "bpe": ("merges.txt", "tokenizer.json", "tokenizer_config.json"),
    "wordpiece": ("tokenizer.json", "tokenizer_config.json"),
}


@dataclass(frozen=True)
class TrainedTokenizer:
    """What was written: the main file first."""

    files: list[Path]
    vocab_size: int
    read_back: ReadBack | None = None

    def facts(self) -> dict[str, Any]:
        facts = self.read_back.facts() if self.read_back else {}
        return {"output_file": str(self.files[0]), "vocab_size": self.vocab_size, **facts}


def find_record(arguments: Arguments) -> OutputRecord:
    """The record beside what `train_tokenizer` writes.

    Raises:
        DataError: the text is missing.
    """
    asked = arguments[TokenizerTrainingArguments]
    return OutputRecord(Path(asked.output_file).expanduser(), arguments, _find_text(asked))


def _find_text(arguments: TokenizerTrainingArguments) -> list[Path]:
    return find_text_files(arguments.train_dir, ext=arguments.ext, flag="--train_dir")


def train_tokenizer(
    arguments: TokenizerTrainingArguments, pieces: SentencePieceArguments, record: OutputRecord | None = None
) -> TrainedTokenizer:
    """Train what `--pre_tokenizer_type` names and write it; over what `record` knows as this command's own, too.

    Raises:
        UsageError: the output exists already.
        DataError: the text is missing, unreadable, not UTF-8, empty, or does not fit the vocabulary size.
    """
    output = Path(arguments.output_file).expanduser()
    kind = arguments.pre_tokenizer_type
    beside = [output.with_name(name.format(stem=output.stem)) for name in WRITTEN_BESIDE.get(kind, ())]
    beside += [output.with_name(CONFIG_FILE)] if kind in WORD_LEVEL and arguments.lowercase else []
    overwrite = arguments.overwrite_output_file or _is_ours(record)
    refuse_overwriting([output, *beside], overwrite=overwrite)
    _say_name(kind, output)
    paths = _find_text(arguments)
    logger.info("Training on %s files: %s.", f"{len(paths):,}", listed([str(path) for path in paths]))
    with files_written_aside(output.parent) as folder:
        size = TRAINERS.get(kind, _train_words)(paths, arguments, pieces, folder / output.name)
        names = sorted((item.name for item in folder.iterdir()), key=lambda name: (name != output.name, name))
        back = _read_back(paths, arguments, pieces, folder / output.name)
        trained = TrainedTokenizer([output.parent / name for name in names], size, back)
        _write_record(record, trained, folder)
    return trained


def _is_ours(record: OutputRecord | None) -> bool:
    return record is not None and record.is_ours()


def _write_record(record: OutputRecord | None, trained: TrainedTokenizer, aside: Path) -> None:
    if record is not None:
        record.write({file.name: aside / file.name for file in trained.files}, trained.facts())


def _read_back(
    paths: list[Path], arguments: TokenizerTrainingArguments, pieces: SentencePieceArguments, file: Path
) -> ReadBack:
    """What the tokenizer makes of its own training text, said."""
    kind = arguments.pre_tokenizer_type
    rules = replace(_piece_settings(arguments, pieces).line_rules(), space_token=None) if kind == "spm" else LineRules()
    if kind == "spm" and pieces.tokenizer_type == "CamembertTokenizer":
        rules = replace(rules, space_token=SPACE)  # commands put it there for this class
    text = TrainingText(paths, rules, workers=arguments.num_workers)
    with one_tokenizer_thread() if arguments.num_workers == 1 else nullcontext():
        tokenizer = _open(kind, pieces, file)
        result = read_back(tokenizer, text, lowercase=arguments.lowercase, spaces_count=kind != "wordpiece")
    tell_read_back(result, REMEDIES.get(kind, REMEDY_OF_WORDS), _describe_normalization(kind, pieces))
    return result


def _open(kind: str, pieces: SentencePieceArguments, file: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in the files just written."""
    if kind == "spm":
        return PIECE_LOADERS[pieces.tokenizer_type](file)
    if kind in WORD_LEVEL:
        return open_word_file(THAI_WORD_TOKENIZERS[find_tokenizer_type(kind, str(file))], file)
    return load_auto(str(file.parent), {})


def _describe_normalization(kind: str, pieces: SentencePieceArguments) -> str:
    return f"--normalization {pieces.normalization}" if kind == "spm" else ""


def _say_name(kind: str, output: Path) -> None:
    if kind in ("bpe", "wordpiece"):
        return  # tokenizer.json beside it is what is looked for
    expected = MODEL_FILE if kind == "spm" else f"{kind}.json"
    if output.name != expected:
        logger.warning(
            "In a tokenizer folder this file is looked for as %s; under the name %s it is found only when "
            "--tokenizer_name_or_path gives the file itself.",
            expected,
            output.name,
        )


def _text(
    paths: list[Path], arguments: TokenizerTrainingArguments, rules: LineRules, sample: int | None
) -> TrainingText:
    return TrainingText(paths, rules, sample=sample, seed=arguments.seed, workers=arguments.num_workers)


def _train_words(
    paths: list[Path], arguments: TokenizerTrainingArguments, _: SentencePieceArguments, output: Path
) -> int:
    text = _text(paths, arguments, LineRules(arguments.lowercase), arguments.input_sentence_size)
    vocabulary = train_word_vocabulary(
        text,
        arguments.pre_tokenizer_type,
        min_frequency=arguments.vocab_min_freq or 1,
        size=arguments.vocab_size,
    )
    write_word_vocabulary(vocabulary, output)
    if arguments.lowercase or _says_lower_case(Path(arguments.output_file).expanduser().with_name(CONFIG_FILE)):
        kind = find_tokenizer_type(arguments.pre_tokenizer_type, str(output))
        config = {"tokenizer_class": kind, "do_lower_case": arguments.lowercase}
        output.with_name(CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return len(vocabulary.words)


def _says_lower_case(config_file: Path) -> bool:
    """Whether an earlier training of this folder left word that text is lower-cased."""
    try:
        config = parse_json(config_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return config.get("tokenizer_class") in THAI_WORD_TOKENIZERS and bool(config.get("do_lower_case"))


def _train_pieces(
    paths: list[Path], arguments: TokenizerTrainingArguments, pieces: SentencePieceArguments, output: Path
) -> int:
    settings = _piece_settings(arguments, pieces)
    logger.info("Text is normalized by %s (--normalization): %s.", pieces.normalization, SAID_OF[pieces.normalization])
    rules = settings.line_rules(lowercase=arguments.lowercase)
    text = _text(paths, arguments, rules, arguments.input_sentence_size or LINES_IN_MEMORY)
    model = train_pieces(text, settings)
    output.write_bytes(model)
    described = describe_pieces(model)
    output.with_suffix(".vocab").write_text(described, encoding="utf-8")
    return described.count("\n")


def _piece_settings(arguments: TokenizerTrainingArguments, pieces: SentencePieceArguments) -> PieceSettings:
    return PieceSettings(
        vocab_size=arguments.vocab_size or PIECES_BY_DEFAULT,
        model_type=pieces.model_type,
        layout=pieces.tokenizer_type,
        character_coverage=pieces.character_coverage,
        max_piece_length=pieces.max_sentencepiece_length,
        max_sentence_length=pieces.max_sentence_length,
        add_dummy_prefix=pieces.add_dummy_prefix,
        byte_fallback=pieces.byte_fallback,
        user_symbols=pieces.symbols,
        normalization=pieces.normalization,
        lowercase=arguments.lowercase,
    )


def _train_byte_level(
    paths: list[Path], arguments: TokenizerTrainingArguments, _: SentencePieceArguments, output: Path
) -> int:
    from transformers import RobertaTokenizer

    settings = SubwordSettings(
        "ByteLevelBPETokenizer",
        arguments.vocab_size or SUBWORDS_BY_DEFAULT,
        min_frequency=arguments.vocab_min_freq or 2,
    )
    text = _text(paths, arguments, LineRules(arguments.lowercase), arguments.input_sentence_size)
    vocabulary = train_subwords(text, settings)
    write_subwords(vocabulary, output, output.with_name("merges.txt"))
    merges: Any = vocabulary.merges
    tokenizer: PreTrainedTokenizerBase = RobertaTokenizer(vocab=vocabulary.tokens, merges=merges)
    if arguments.lowercase:
        tokenizer = set_casing(tokenizer, True)
    tokenizer.save_pretrained(output.parent)
    return len(vocabulary.tokens)


def _train_wordpiece(
    paths: list[Path], arguments: TokenizerTrainingArguments, _: SentencePieceArguments, output: Path
) -> int:
    from transformers import BertTokenizer

    settings = SubwordSettings(
        "BertWordPieceTokenizer",
        arguments.vocab_size or SUBWORDS_BY_DEFAULT,
        min_frequency=arguments.vocab_min_freq or 2,
        special_tokens=BERT_TOKENS,
        limit_alphabet=arguments.limit_alphabet,
        lowercase=arguments.lowercase,
        strip_accents=False,  # in Thai, Hindi or Arabic these are letters
    )
    text = _text(paths, arguments, LineRules(), arguments.input_sentence_size)
    vocabulary = train_subwords(text, settings)
    write_subwords(vocabulary, output, None)
    tokenizer = BertTokenizer(vocab=vocabulary.tokens, do_lower_case=arguments.lowercase, strip_accents=False)
    tokenizer.save_pretrained(output.parent)
    return len(vocabulary.tokens)


TRAINERS = {"spm": _train_pieces, "bpe": _train_byte_level, "wordpiece": _train_wordpiece}


def write_subwords(vocabulary: SubwordVocabulary, vocab_file: Path, merges_file: Path | None) -> None:
    """Write subword tokens as JSON with ids (BPE) or one a line (WordPiece), and merges one a line."""
    ordered = dict(sorted(vocabulary.tokens.items(), key=lambda item: item[1]))
    if merges_file is None:
        vocab_file.write_text("".join(f"{token}\n" for token in ordered), encoding="utf-8")
        return
    vocab_file.write_text(json.dumps(ordered, ensure_ascii=False), encoding="utf-8")
    merges = "".join(f"{left} {right}\n" for left, right in vocabulary.merges or [])
    merges_file.write_text(f"#version: 0.2\n{merges}", encoding="utf-8")


def find_corpus(data_dir: str, suffix: str) -> list[Path]:
    """Files of a folder and its subfolders that end in `suffix`, without those with `cached` in their name, sorted.

    Raises:
        DataError: the folder is missing or holds no such file.
    """
    folder = Path(data_dir).expanduser()
    if not folder.is_dir():
        raise DataError(Problem("there is no such folder", remedy="check --data_dir", path=folder))
    files = [item for item in sorted(folder.rglob("*")) if item.is_file() and "cached" not in item.name]
    ending = "." + suffix.lstrip(".")
    found = [item for item in files if item.name.endswith((ending, f"{ending}.gz"))]
    if not found:
        endings = sorted({item.suffix or "no extension" for item in files})
        allowed = f"its files end in: {listed(endings)}"
        raise DataError(Problem(f"no file of this folder ends in {ending}", allowed, "give --file_suffix", folder))
    return found


def find_roberta_record(arguments: Arguments) -> OutputRecord:
    """The record beside what `train_roberta_tokenizer` writes.

    Raises:
        DataError: the text is missing.
    """
    asked = arguments[RobertaTokenizerArguments]
    first, *_ = _roberta_files(asked)
    return OutputRecord(first, arguments, find_corpus(asked.data_dir, asked.file_suffix))


def _roberta_files(arguments: RobertaTokenizerArguments) -> list[Path]:
    name, folder = arguments.tokenizer_name, Path(arguments.output_dir).expanduser()
    endings = ["-vocab.txt"] if name == "BertWordPieceTokenizer" else ["-vocab.json", "-merges.txt"]
    return [folder / f"{name}{ending}" for ending in endings]


def train_roberta_tokenizer(
    arguments: RobertaTokenizerArguments, record: OutputRecord | None = None
) -> TrainedTokenizer:
    """Train one of the four algorithms and write `<name>-vocab.json` and `<name>-merges.txt` (WordPiece: `.txt` alone).

    Raises:
        UsageError: those files exist already.
        DataError: as `find_corpus` and `train_subwords`.
    """
    name = arguments.tokenizer_name
    is_wordpiece = name == "BertWordPieceTokenizer"
    files = _roberta_files(arguments)
    refuse_overwriting(files, overwrite=arguments.overwrite_output_file or _is_ours(record))
    paths = find_corpus(arguments.data_dir, arguments.file_suffix)
    logger.info("Training on %s files: %s.", f"{len(paths):,}", listed([str(path) for path in paths]))
    settings = SubwordSettings(
        name,
        arguments.vocab_size,
        min_frequency=arguments.min_frequency,
        special_tokens=ROBERTA_TOKENS,
        limit_alphabet=arguments.limit_alphabet,
        lowercase=is_wordpiece if arguments.lowercase is None else arguments.lowercase,
        strip_accents=arguments.strip_accents,
    )
    if settings.lowercase:
        logger.warning(
            "%s are of lower-cased text and do not say so: lower-case what they are to encode.",
            " and ".join(map(str, files)),
        )
    vocabulary = train_subwords(TrainingText(paths, LineRules(), workers=arguments.num_workers), settings)
    trained = TrainedTokenizer(files, len(vocabulary.tokens))
    with files_written_aside(files[0].parent) as aside:
        write_subwords(vocabulary, aside / files[0].name, None if is_wordpiece else aside / files[1].name)
        _write_record(record, trained, aside)
    return trained
