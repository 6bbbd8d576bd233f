"""Thai text of the real data sets, and small models and vocabularies trained on it, once for all test processes."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import sentencepiece
from filelock import FileLock

from finetune.tokenization.segmentation import cut_words
from finetune.tokenization.vocabulary import WORD_LEVEL_TOKENS
from finetune.tokenization.word_training import BORDERS

PIECE_RECIPES = {
    "raw": {  # the documented recipe of the Thai models
        "bos_id": 0,
        "pad_id": 1,
        "eos_id": 2,
        "unk_id": 3,
        "user_defined_symbols": "<mask>,<_>",
        "add_dummy_prefix": False,
        "max_sentencepiece_length": 10,
        "character_coverage": 0.9998,
    },
    "camembert": {"user_defined_symbols": "<_>"},
    "plain": {},
    "bpe": {"model_type": "bpe", "user_defined_symbols": "<_>"},
    "bytes": {"byte_fallback": True, "character_coverage": 0.98, "user_defined_symbols": "<_>"},
}


def read_conll(path: Path) -> Iterator[str]:
    words: list[str] = []
    for line in gzip.decompress(path.read_bytes()).decode("utf-8").split("\n"):
        if line:
            words.append(line.split("\t")[0])
        elif words:
            yield "".join(words)
            words = []


def read_conllu(path: Path) -> Iterator[str]:
    for line in gzip.decompress(path.read_bytes()).decode("utf-8").split("\n"):
        if line.startswith("# text = "):
            yield line.removeprefix("# text = ")


def read_zip(path: Path, key: str) -> Iterator[str]:
    with zipfile.ZipFile(path) as archive:
        for name in ("train", "valid", "test"):
            for line in archive.read(f"data/{name}.jsonl").decode("utf-8").split("\n"):
                if line:
                    yield json.loads(line)[key]


@pytest.fixture(scope="session")
def thai_lines(shared_data: Path) -> list[str]:
    """Every distinct line of Thai text in the shared data: NER, tweets, Wikipedia, treebank."""
    contexts = read_zip(shared_data / "lm/iapp_thai_wiki_qa.zip", "context")
    texts = [
        *read_conll(shared_data / "thainer/data.conll.gz"),
        *read_zip(shared_data / "wisesight_sentiment/data.zip", "texts"),
        *(line for context in dict.fromkeys(contexts) for line in context.split("\n")),
        *(
            text
            for name in ("train", "dev", "test")
            for text in read_conllu(shared_data / f"ud/th_tud-ud-{name}.conllu.gz")
        ),
    ]
    return [text for text in dict.fromkeys(texts) if text]


@pytest.fixture(scope="session")
def some_lines(thai_lines: list[str]) -> list[str]:
    """Every 40th of them: about a thousand."""
    return thai_lines[::40]


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all test processes of this session share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / "trained-tokenizers"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def piece_model(trained_folder: Path, thai_lines: list[str]) -> Callable[[str], Path]:
    """Recipe -> folder with sentencepiece.bpe.model, trained by SentencePiece itself on real text."""

    def train(recipe: str) -> Path:
        folder = trained_folder / f"pieces-{recipe}"
        with FileLock(trained_folder / f"{recipe}.lock"):
            if not folder.exists():
                part = folder.with_suffix(".part")
                part.mkdir(exist_ok=True)
                lines = (line.replace("\n", " ") for line in thai_lines[::50])
                spaced = recipe in ("plain", "bytes")
                sentencepiece.SentencePieceTrainer.train(
                    sentence_iterator=(line if spaced else line.replace(" ", "<_>") for line in lines),
                    model_prefix=str(part / "sentencepiece.bpe"),
                    vocab_size=1200,
                    num_threads=2,
                    minloglevel=2,
                    **PIECE_RECIPES[recipe],
                )
                part.rename(folder)
        return folder

    return train


@pytest.fixture(scope="session")
def processor(piece_model: Callable[[str], Path]) -> Callable[[str], sentencepiece.SentencePieceProcessor]:
    """Recipe -> SentencePiece's own processor, the oracle."""
    return lambda recipe: sentencepiece.SentencePieceProcessor(
        model_file=str(piece_model(recipe) / "sentencepiece.bpe.model")
    )


@pytest.fixture(scope="session")
def word_vocabulary(some_lines: list[str]) -> dict[str, int]:
    """A vocabulary of `newmm` words of some lines, counted here without the code under test."""
    words = dict.fromkeys(word for line in some_lines[::4] for part in BORDERS.split(line) for word in cut_words(part))
    return {word: index for index, word in enumerate(dict.fromkeys([*WORD_LEVEL_TOKENS, *words]))}


@pytest.fixture
def word_folder(tmp_path: Path, word_vocabulary: dict[str, int]) -> Callable[[str], Path]:
    """Kind -> a folder as thai2transformers leaves it: only newmm.json, syllable.json or fake_sefr_cut.json."""

    def make(kind: str) -> Path:
        folder = tmp_path / kind
        folder.mkdir()
        (folder / f"{kind}.json").write_text(json.dumps(word_vocabulary), encoding="utf-8")
        return folder

    return make


@pytest.fixture
def asked_for() -> Callable[..., SimpleNamespace]:
    """What `load_tokenizer` reads of ModelArguments."""

    def make(name: Path | str, kind: str = "AutoTokenizer", **changes) -> SimpleNamespace:
        defaults = {
            "model_name_or_path": str(name),
            "tokenizer_name_or_path": None,
            "tokenizer_type": kind,
            "cache_dir": None,
            "model_revision": "main",
            "token": None,
            "trust_remote_code": False,
        }
        return SimpleNamespace(**(defaults | changes))

    return make
