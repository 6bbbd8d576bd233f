"""Arguments of the commands that train tokenizers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from finetune.arguments.fields import argument
from finetune.arguments.legacy import OldFlag, gone
from finetune.errors import Problem

WORD_LEVEL = ("newmm", "syllable", "fake_sefr_cut")
PRE_TOKENIZER_TYPES = (*WORD_LEVEL, "spm", "bpe", "wordpiece")
OUTPUT_SUFFIXES = {"spm": ".model", "wordpiece": ".txt"}  # the others write .json
ALGORITHMS = ("BertWordPieceTokenizer", "ByteLevelBPETokenizer", "CharBPETokenizer", "SentencePieceBPETokenizer")


@dataclass
class TokenizerTrainingArguments:
    """Text and vocabulary."""

    LOGGED_AS: ClassVar[str] = "Tokenizer training parameters"
    OLD_FLAGS: ClassVar[dict[str, OldFlag]] = {
        "eval_dir": gone("only the text of --train_dir makes the vocabulary"),
    }

    train_dir: list[str] = argument(
        metavar="PATH", help="text to train on: folders (their *.EXT and *.EXT.gz), files, or patterns in quotes"
    )
    ext: str = argument("txt", help="ending of the files to take from folders, with or without its dot")
    output_file: str = argument(
        metavar="FILE", help="vocabulary to write: .json (newmm, syllable, fake_sefr_cut, bpe), .model (spm), .txt"
    )
    pre_tokenizer_type: str = argument(
        choices=PRE_TOKENIZER_TYPES,
        help="newmm: Thai words; syllable: Thai syllables; fake_sefr_cut: words between marks <|>; spm: SentencePiece; "
        "bpe: byte-level BPE (RoBERTa); wordpiece: BERT",
    )
    overwrite_output_file: bool = argument(False, help="replace an existing --output_file")
    vocab_size: int | None = argument(
        None, minimum=1, help="entries, special tokens included; word-level: all words; spm 24000; bpe, wordpiece 30000"
    )
    vocab_min_freq: int | None = argument(
        None, minimum=1, help="leave out rarer words (bpe and wordpiece: rarer pairs); word-level 1; bpe, wordpiece 2"
    )
    lowercase: bool = argument(False, help="lower-case the text first (for models of lower-cased text)")
    input_sentence_size: int | None = argument(
        None, minimum=1, help="train on at most N lines, drawn evenly; spm 5000000, the others all"
    )
    seed: int = argument(42, help="seed of that draw")
    num_workers: int | None = argument(
        None, minimum=1, metavar="N", help="processes that count words; all cores unless given"
    )
    limit_alphabet: int = argument(1000, minimum=1, help="wordpiece: learn only the N most frequent characters")

    def problems(self) -> list[Problem]:
        suffix = OUTPUT_SUFFIXES.get(self.pre_tokenizer_type, ".json")
        if self.output_file.endswith(suffix):
            return []
        found = f"--output_file {self.output_file} does not end in {suffix}"
        return [Problem(found, f"--pre_tokenizer_type {self.pre_tokenizer_type} writes a {suffix} file")]


@dataclass
class SentencePieceArguments:
    """SentencePiece (--pre_tokenizer_type spm)."""

    model_type: str = argument("unigram", choices=("unigram", "bpe"), help="how subwords are learnt")
    tokenizer_type: str = argument(
        "ThaiRobertaTokenizer",
        choices=("ThaiRobertaTokenizer", "CamembertTokenizer"),
        help="the class that will load the model: it decides the ids of the special tokens",
    )
    character_coverage: float = argument(
        0.9998, minimum=0.98, maximum=1, help="share of the text whose characters are learnt; others become <unk>"
    )
    max_sentencepiece_length: int = argument(10, minimum=1, help="characters of the longest subword")
    max_sentence_length: int = argument(10_000, minimum=10, help="leave out lines of more bytes than this")
    add_dummy_prefix: bool = argument(False, help="put a space before every text, as for languages with spaces")
    normalization: str = argument(
        "nmt_nfkc",
        choices=("nmt_nfkc", "nfkc", "identity"),
        help="what is made one before anything is learnt: compatible characters (full-width punctuation, ligatures) and "
        "kinds of spaces; those characters; nothing. The model does the same to what it encodes",
    )
    byte_fallback: bool = argument(False, help="encode unknown characters as bytes")
    user_defined_symbols: str = argument(
        "", metavar="A,B,...", help="further symbols that are always one subword, beside <_> and <mask>"
    )

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(symbol for symbol in self.user_defined_symbols.split(",") if symbol)


@dataclass
class RobertaTokenizerArguments:
    """Text and vocabulary."""

    data_dir: str = argument(
        "wikitext-2-raw", metavar="FOLDER", help="folder of the text, searched with its subfolders"
    )
    file_suffix: str = argument("raw", help="ending of the files to take; names with `cached` in them are passed over")
    vocab_size: int = argument(50265, minimum=1, help="entries, special tokens included")
    min_frequency: int = argument(2, minimum=1, help="join no pair of subwords that is rarer")
    tokenizer_name: str = argument("BertWordPieceTokenizer", choices=ALGORITHMS, help="what to train")
    output_dir: str = argument(".", metavar="FOLDER", help="where NAME-vocab.json and NAME-merges.txt go")
    overwrite_output_file: bool = argument(False, help="replace files of those names")
    lowercase: bool | None = argument(
        None, help="lower-case the text; BertWordPieceTokenizer does unless False is given"
    )
    strip_accents: bool | None = argument(
        None,
        help="remove combining marks (BertWordPieceTokenizer and CharBPETokenizer); follows --lowercase if not given",
    )
    limit_alphabet: int = argument(1000, minimum=1, help="learn only the N most frequent characters")
    num_workers: int | None = argument(None, minimum=1, metavar="N", help="processes; all cores unless given")


@dataclass
class SefrArguments:
    """Segmentation."""

    input_folder: str = argument(metavar="FOLDER", help="folder whose *.EXT and *.EXT.gz are segmented")
    output_folder: str = argument(metavar="FOLDER", help="where files of the same names go, with <|> between words")
    ext: str = argument("txt", help="ending of the files to take")
    chunk_size: int = argument(200, minimum=1, help="lines that a process is given at a time")
    num_workers: int | None = argument(None, minimum=1, metavar="N", help="processes; all cores unless given")
    overwrite: bool = argument(False, help="replace files of those names; others in the folder stay")


@dataclass
class SefrCacheArguments:
    """Conversion."""

    input_file: str = argument(metavar="FILE", help="the old cache, sefr_cache_tokenizer_dict.pkl")
    output_file: str = argument(
        "sefr_cache_tokenizer_dict.json", metavar="FILE", help="the new one; place it beside fake_sefr_cut.json"
    )
    overwrite_output_file: bool = argument(False, help="replace an existing --output_file")
