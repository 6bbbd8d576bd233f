"""Training: right counts, the same result for any number of workers and from run to run, and clear refusals."""

from __future__ import annotations

import gzip
import json
import logging
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from pythainlp.tokenize import word_tokenize
from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer, SentencePieceBPETokenizer
from transformers import AutoTokenizer

from finetune.arguments.tokenizer import (
    RobertaTokenizerArguments,
    SentencePieceArguments,
    TokenizerTrainingArguments,
)
from finetune.data import text as data_text
from finetune.errors import DataError, UsageError
from finetune.tokenization.sentencepiece_models import load_camembert_pieces, load_raw_pieces
from finetune.tokenization.sentencepiece_training import PieceSettings, describe_pieces, train_pieces
from finetune.tokenization.subword_training import BERT_TOKENS, SubwordSettings, train_subwords
from finetune.tokenization.thai_words import ThaiWordsNewmmTokenizer
from finetune.tokenization.training import find_corpus, train_roberta_tokenizer, train_tokenizer
from finetune.tokenization.training_text import LineRules, TrainingText
from finetune.tokenization.vocabulary import WORD_LEVEL_TOKENS
from finetune.tokenization.word_training import choose_words, count_words, train_word_vocabulary


@pytest.fixture
def corpus(tmp_path: Path, some_lines: list[str]) -> list[Path]:
    """Real text in three files, one of them gzipped."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    lines = [line.replace("\n", " ") for line in some_lines[:300]]
    paths = []
    for number in range(3):
        data = ("\n".join(lines[number::3]) + "\n\n").encode()
        path = folder / (f"{number}.txt.gz" if number == 1 else f"{number}.txt")
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        paths.append(path)
    return paths


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of a few kilobytes, so that a small corpus is work for several processes."""
    monkeypatch.setattr(data_text.read_chunks, "__kwdefaults__", {"chunk_bytes": 4096, "lines_matter": True})


def read_all(paths: list[Path]) -> list[str]:
    texts = [gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in paths]
    return [line.strip() for text in texts for line in text.decode().split("\n") if line.strip()]


def plain_text(paths: list[Path], **options) -> TrainingText:
    return TrainingText(paths, LineRules(), **({"workers": 1} | options))


def write_lines(path: Path, lines: list[str]) -> list[Path]:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return [path]


def test_words_are_counted_as_the_tokenizer_cuts_them(corpus):
    expected = Counter(word for line in read_all(corpus) for part in line.split(" ") for word in word_tokenize(part))
    assert count_words(plain_text(corpus), "newmm") == expected


def test_word_counts_do_not_depend_on_workers_or_chunks(corpus, small_chunks):
    one = train_word_vocabulary(plain_text(corpus), "newmm", min_frequency=2)
    two = train_word_vocabulary(plain_text(corpus, workers=2), "newmm", min_frequency=2)
    assert list(one.words.items()) == list(two.words.items())
    assert one == two


def test_the_vocabulary_knows_what_it_was_trained_on(corpus, tmp_path):
    vocabulary = train_word_vocabulary(plain_text(corpus), "newmm")
    path = tmp_path / "newmm.json"
    path.write_text(json.dumps(vocabulary.words), encoding="utf-8")
    tokenizer = ThaiWordsNewmmTokenizer(vocab_file=path)
    assert vocabulary.coverage == 1
    assert not any(3 in ids for ids in tokenizer(read_all(corpus))["input_ids"])


@given(
    st.dictionaries(st.text("abcกข", min_size=1, max_size=3), st.integers(1, 9), min_size=1),
    st.integers(1, 9),
    st.one_of(st.none(), st.integers(8, 30)),
)
def test_frequent_words_come_first_and_ties_in_order(counts, minimum, size):
    frequent = sorted((-count, word) for word, count in counts.items() if count >= minimum)
    kept = [word for _, word in frequent][: None if size is None else size - len(WORD_LEVEL_TOKENS)]
    if not kept:
        with pytest.raises(DataError, match="no word is left"):
            choose_words(Counter(counts), min_frequency=minimum, size=size)
        return
    chosen = choose_words(Counter(counts), min_frequency=minimum, size=size)
    assert list(chosen.words) == [*WORD_LEVEL_TOKENS, *kept]
    assert chosen.coverage == sum(counts[word] for word in kept) / sum(counts.values())


def test_marked_text(tmp_path):
    paths = write_lines(tmp_path / "a.txt", ["กิน<|>ข้าว<|><_><|>กิน", "ข้าว</s>"])
    assert count_words(plain_text(paths), "fake_sefr_cut") == {"กิน": 2, "ข้าว": 2}
    with pytest.raises(DataError, match=r"no line holds the mark <\|>"):
        train_word_vocabulary(plain_text(write_lines(tmp_path / "b.txt", ["กินข้าว"])), "fake_sefr_cut")


def test_a_sample_is_the_same_for_any_workers(corpus, small_chunks, caplog):
    drawn = [plain_text(corpus, workers=workers, sample=50, seed=7) for workers in (1, 2)]
    for text in drawn:
        assert text.survey() == 50
    first, second = (list(text.lines()) for text in drawn)
    assert first == second and len(first) == 50
    assert set(first) <= set(read_all(corpus))
    assert "Trained on 50 lines drawn from 300" in caplog.text
    other = plain_text(corpus, sample=50, seed=8)
    other.survey()
    assert list(other.lines()) != first
    assert plain_text(corpus, sample=400).survey() == 300


def test_a_sample_is_counted_too(corpus, small_chunks):
    text = plain_text(corpus, sample=50)
    counts = count_words(text, "newmm")
    assert counts == Counter(w for line in text.lines() for part in line.split(" ") for w in word_tokenize(part))


def test_lines_that_the_trainer_would_skip_are_counted(tmp_path, caplog):
    paths = write_lines(tmp_path / "a.txt", ["ก" * 40, "ก" * 33, "", "สั้น", "x\u2585y"])
    text = TrainingText(paths, LineRules(longest=100, reserved="\u2585"), workers=1)
    assert text.survey() == 2
    assert text.lines_in_all == 4
    assert "1 of 4 lines are longer than 100 bytes" in caplog.text
    assert "1 of 4 lines hold the character U+2585" in caplog.text


def test_pieces_are_the_same_for_any_workers(corpus, small_chunks):
    settings = PieceSettings(vocab_size=500)
    models = [
        train_pieces(TrainingText(corpus, settings.line_rules(), workers=workers), settings) for workers in (1, 2)
    ]
    processors = [sentencepiece.SentencePieceProcessor(model_proto=model) for model in models]
    assert describe_pieces(models[0]) == describe_pieces(models[1])
    lines = read_all(corpus)
    assert processors[0].encode(lines) == processors[1].encode(lines)
    assert describe_pieces(models[0]).count("\n") == 500


@pytest.mark.parametrize(
    ("layout", "load"), [("ThaiRobertaTokenizer", load_raw_pieces), ("CamembertTokenizer", load_camembert_pieces)]
)
@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_trained_pieces_load_as_the_class_they_were_trained_for(layout, load, model_type, corpus, tmp_path):
    settings = PieceSettings(vocab_size=400, layout=layout, model_type=model_type, user_symbols=("<new>",))
    path = tmp_path / "sentencepiece.bpe.model"
    path.write_bytes(train_pieces(TrainingText(corpus, settings.line_rules(), workers=1), settings))
    tokenizer = load(path)
    assert len(tokenizer) == (400 if layout == "ThaiRobertaTokenizer" else 405)
    assert tokenizer.unk_token_id == 3 and tokenizer.pad_token_id == 1
    assert tokenizer.tokenize("<_>") == ["<_>"] and "<new>" in tokenizer.tokenize("ก<new>ข")


@pytest.mark.parametrize(
    ("lines", "size", "sentence"),
    [
        (["กินข้าวแล้วหรือยัง"], 9000, r"--vocab_size 9,000 is too large for the 1 lines .*; \d+ is the largest possible"),
        (["กินข้าวแล้วหรือยัง"], 12, r"--vocab_size 12 is too small for the 1 lines .*alone need \d+"),
        (["", " "], 100, r"hold no line of text"),
        (["ก" * 5000], 100, r"hold no line of text"),
    ],
)
def test_text_that_does_not_fit_the_pieces_asked_for(lines, size, sentence, tmp_path):
    settings = PieceSettings(vocab_size=size)
    paths = write_lines(tmp_path / "a.txt", lines)
    with pytest.raises(DataError, match=sentence):
        train_pieces(TrainingText(paths, settings.line_rules(), workers=1), settings)


def test_the_largest_possible_size_is_possible(tmp_path):
    settings = PieceSettings(vocab_size=9000)
    paths = write_lines(tmp_path / "a.txt", ["กินข้าวแล้วหรือยัง", "ยังไม่กิน"])
    with pytest.raises(DataError) as refused:
        train_pieces(TrainingText(paths, settings.line_rules(), workers=1), settings)
    largest = int(refused.value.problems[0].allowed.split()[0])
    fitting = PieceSettings(vocab_size=largest)
    assert train_pieces(TrainingText(paths, fitting.line_rules(), workers=1), fitting)


SUBWORDS_IN_A_FRESH_PROCESS = """
import hashlib, json, sys
from pathlib import Path
from finetune.tokenization.subword_training import *
from finetune.tokenization.training_text import *
for algorithm in ALGORITHMS:
    settings = SubwordSettings(algorithm, 900, limit_alphabet=120)
    text = TrainingText([Path(name) for name in sys.argv[1:]], LineRules(), workers=1)
    trained = train_subwords(text, settings)
    print(algorithm, hashlib.sha256(json.dumps([trained.tokens, trained.merges]).encode()).hexdigest(), len(trained.tokens))
"""


def test_subwords_are_the_same_from_run_to_run(corpus):
    """The library's own WordPiece and suffixed BPE trainers give another vocabulary in every process."""
    outputs = []
    for threads in ("1", "2"):
        command = [sys.executable, "-c", SUBWORDS_IN_A_FRESH_PROCESS, *map(str, corpus)]
        environment = os.environ | {"RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true"}
        outputs.append(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)
    assert outputs[0] == outputs[1]
    assert outputs[0].count(" 900\n") == 4


@pytest.mark.parametrize(
    ("algorithm", "stock"),
    [("ByteLevelBPETokenizer", ByteLevelBPETokenizer), ("SentencePieceBPETokenizer", SentencePieceBPETokenizer)],
)
def test_bpe_equals_the_stock_trainer(algorithm, stock, corpus):
    settings = SubwordSettings(algorithm, 900, limit_alphabet=10_000)
    trained = train_subwords(plain_text(corpus), settings)
    reference = stock()
    options = {} if stock is ByteLevelBPETokenizer else {"limit_alphabet": 10_000}
    special = list(settings.special_tokens)
    reference.train_from_iterator(
        read_all(corpus), vocab_size=900, min_frequency=2, special_tokens=special, show_progress=False, **options
    )
    assert trained.tokens == reference.get_vocab()


def test_wordpiece_is_as_good_as_the_stock_trainer(corpus):
    """Ties are broken otherwise, so the vocabularies differ a little; what they make of the text hardly does."""
    settings = SubwordSettings("BertWordPieceTokenizer", 900, special_tokens=BERT_TOKENS, strip_accents=False)
    trained = train_subwords(plain_text(corpus), settings)
    reference = BertWordPieceTokenizer(lowercase=False, strip_accents=False)
    reference.train_from_iterator(
        read_all(corpus), vocab_size=900, special_tokens=list(BERT_TOKENS), show_progress=False
    )
    ours = BertWordPieceTokenizer(vocab=trained.tokens, lowercase=False, strip_accents=False)
    encoded = [one.encode_batch(read_all(corpus), add_special_tokens=False) for one in (ours, reference)]
    lengths = [sum(len(line.ids) for line in lines) for lines in encoded]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.01)
    assert len(trained.tokens.keys() & reference.get_vocab().keys()) > 850


def test_the_alphabet_is_limited_by_count_then_order(tmp_path, caplog):
    paths = write_lines(tmp_path / "a.txt", ["aab bba cd dc e " * 3])
    settings = SubwordSettings("SentencePieceBPETokenizer", 60, limit_alphabet=3)
    pieces = train_subwords(plain_text(paths), settings).tokens
    assert {piece for piece in pieces if len(piece) == 1} == {"a", "b", "▁", "c"}  # c and d are equally frequent
    assert "The 2 rarest of 5 characters" in caplog.text


def test_an_alphabet_larger_than_the_vocabulary(corpus):
    with pytest.raises(DataError, match=r"--vocab_size 60 is too small; the characters of the text and the special"):
        train_subwords(plain_text(corpus), SubwordSettings("BertWordPieceTokenizer", 60))


def test_thai_letters_that_would_be_stripped_are_said(corpus, caplog):
    train_subwords(plain_text(corpus), SubwordSettings("BertWordPieceTokenizer", 900, lowercase=True))
    assert "combining marks, such as Thai vowels" in caplog.text


def asked(corpus: list[Path], output: Path, kind: str, **changes) -> TokenizerTrainingArguments:
    return TokenizerTrainingArguments(
        train_dir=[str(corpus[0].parent)], output_file=str(output), pre_tokenizer_type=kind, num_workers=1, **changes
    )


@pytest.mark.parametrize(("kind", "name"), [("bpe", "vocab.json"), ("wordpiece", "vocab.txt")])
def test_what_is_written_loads_in_transformers(kind, name, corpus, tmp_path):
    output = tmp_path / "new" / name
    trained = train_tokenizer(asked(corpus, output, kind, vocab_size=800), SentencePieceArguments())
    assert trained.files[0] == output and trained.vocab_size == 800
    tokenizer = AutoTokenizer.from_pretrained(output.parent)
    line = read_all(corpus)[0]
    ids = tokenizer(line)["input_ids"]
    assert len(tokenizer) == 800
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == line.replace(" ", "")
    assert sorted(path.name for path in output.parent.iterdir()) == sorted(path.name for path in trained.files)


def test_nothing_is_overwritten_unasked(corpus, tmp_path):
    output = tmp_path / "newmm.json"
    output.write_text("precious", encoding="utf-8")
    with pytest.raises(UsageError, match=r"newmm.json: this file exists already; say --overwrite_output_file"):
        train_tokenizer(asked(corpus, output, "newmm"), SentencePieceArguments())
    assert output.read_text(encoding="utf-8") == "precious"
    train_tokenizer(asked(corpus, output, "newmm", overwrite_output_file=True), SentencePieceArguments())
    assert json.loads(output.read_text(encoding="utf-8"))["<s>"] == 0


def test_a_failure_leaves_nothing_behind(corpus, tmp_path):
    output = tmp_path / "new" / "sentencepiece.bpe.model"
    with pytest.raises(DataError):
        train_tokenizer(asked(corpus, output, "spm", vocab_size=90_000), SentencePieceArguments())
    assert list(output.parent.iterdir()) == []


def test_another_file_name_is_said(corpus, tmp_path, caplog):
    train_tokenizer(asked(corpus, tmp_path / "words.json", "newmm"), SentencePieceArguments())
    assert "looked for as newmm.json" in caplog.text


def test_the_classic_trainer_writes_names_and_ids_as_documented(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    corpus = tmp_path / "wikitext"
    (corpus / "deep").mkdir(parents=True)
    for name in ("a.raw", "deep/b.raw", "cached_c.raw", "d.txt"):
        write_lines(corpus / name, [f"{name[0]} word that is here"] * 5)
    assert [path.name for path in find_corpus(str(corpus), "raw")] == ["a.raw", "b.raw"]
    arguments = RobertaTokenizerArguments(
        data_dir=str(corpus), vocab_size=300, tokenizer_name="ByteLevelBPETokenizer", output_dir=str(tmp_path / "out")
    )
    trained = train_roberta_tokenizer(arguments)
    names = ["ByteLevelBPETokenizer-vocab.json", "ByteLevelBPETokenizer-merges.txt"]
    assert [path.name for path in trained.files] == names
    vocabulary = json.loads(trained.files[0].read_text(encoding="utf-8"))
    assert list(vocabulary)[:5] == ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    loaded = ByteLevelBPETokenizer.from_file(*map(str, trained.files))
    assert loaded.decode(loaded.encode("a word that is here").ids) == "a word that is here"
    with pytest.raises(DataError, match=r"no file of this folder ends in .xml; its files end in: .raw, .txt"):
        find_corpus(str(corpus), "xml")
    with pytest.raises(DataError, match="there is no such folder"):
        find_corpus(str(tmp_path / "nowhere"), "raw")
