"""`load_tokenizer`: every type, from the barest folder that it can live in, and what it says when it cannot."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
from transformers import BertTokenizer, RobertaTokenizer

from finetune.errors import DataError, UsageError
from finetune.tokenization import loading
from finetune.tokenization.loading import find_space_token, load_tokenizer, resolve_name
from finetune.tokenization.sentencepiece_models import ThaiCamembertTokenizer, ThaiRobertaTokenizer
from finetune.tokenization.subword_training import SubwordSettings, train_subwords
from finetune.tokenization.thai_words import FakeSefrCutTokenizer, ThaiWordsNewmmTokenizer, ThaiWordsSyllableTokenizer
from finetune.tokenization.training_text import LineRules, TrainingText


@pytest.fixture
def byte_level_folder(tmp_path: Path) -> Path:
    """A RoBERTa tokenizer trained on a few English lines, saved."""
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat\nthe dog sat on the cat\n" * 20, encoding="utf-8")
    settings = SubwordSettings("ByteLevelBPETokenizer", vocab_size=300)
    trained = train_subwords(TrainingText([text], LineRules(), workers=1), settings)
    folder = tmp_path / "roberta"
    RobertaTokenizer(vocab=trained.tokens, merges=trained.merges).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "file", "expected"),
    [
        ("ThaiWordsNewmmTokenizer", "newmm", ThaiWordsNewmmTokenizer),
        ("ThaiWordsSyllableTokenizer", "syllable", ThaiWordsSyllableTokenizer),
        ("FakeSefrCutTokenizer", "fake_sefr_cut", FakeSefrCutTokenizer),
        ("newmm", "newmm", ThaiWordsNewmmTokenizer),
    ],
)
def test_word_level_from_folder_file_and_saved(kind, file, expected, word_folder, asked_for, tmp_path):
    folder = word_folder(file)
    from_folder = load_tokenizer(asked_for(folder, kind))
    from_file = load_tokenizer(asked_for(folder / f"{file}.json", kind))
    by_content = load_tokenizer(asked_for(folder))  # AutoTokenizer sees newmm.json
    from_folder.save_pretrained(tmp_path / "saved")
    saved = load_tokenizer(asked_for(tmp_path / "saved"))
    text = "กินข้าว แล้ว\n"
    for tokenizer in (from_folder, from_file, by_content, saved):
        assert type(tokenizer) is expected
        assert tokenizer(text)["input_ids"] == from_folder(text)["input_ids"]


@pytest.mark.parametrize(
    ("kind", "recipe", "expected"),
    [
        ("ThaiRobertaTokenizer", "raw", ThaiRobertaTokenizer),
        ("CamembertTokenizer", "camembert", ThaiCamembertTokenizer),
    ],
)
def test_pieces_from_folder_and_saved(kind, recipe, expected, piece_model, asked_for, tmp_path):
    tokenizer = load_tokenizer(asked_for(piece_model(recipe), kind), space_token="<_>")
    tokenizer.save_pretrained(tmp_path)
    for again in (load_tokenizer(asked_for(tmp_path)), load_tokenizer(asked_for(tmp_path, kind))):
        assert type(again) is type(tokenizer) is expected
        assert again("กิน<_>ข้าว ไป")["input_ids"] == tokenizer("กิน<_>ข้าว ไป")["input_ids"]


def test_pieces_saved_as_one_type_asked_for_as_another(piece_model, asked_for, tmp_path):
    load_tokenizer(asked_for(piece_model("camembert"), "CamembertTokenizer")).save_pretrained(tmp_path)
    other = load_tokenizer(asked_for(tmp_path, "ThaiRobertaTokenizer"))
    assert type(other) is ThaiRobertaTokenizer
    assert other.convert_tokens_to_ids("<_>") == 3


def test_a_folder_with_only_vocab_txt(minilm_folder, asked_for, tmp_path):
    shutil.copy(minilm_folder / "vocab.txt", tmp_path)
    tokenizer = load_tokenizer(asked_for(tmp_path))
    assert isinstance(tokenizer, BertTokenizer)
    assert tokenizer.tokenize("Hello World") == ["hello", "world"]
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nHello\nhello\n", encoding="utf-8")
    assert load_tokenizer(asked_for(tmp_path)).tokenize("Hello") == ["Hello"]


def test_the_tokenizer_of_a_model_folder(minilm_folder, asked_for):
    tokenizer = load_tokenizer(asked_for(minilm_folder))
    assert tokenizer.tokenize("playing") == ["playing"]
    assert len(tokenizer) == 30522
    named = load_tokenizer(asked_for("nowhere", tokenizer_name_or_path=str(minilm_folder)))
    assert len(named) == 30522


def test_space_token_becomes_a_token(minilm_folder, asked_for, caplog):
    caplog.set_level(logging.INFO)
    tokenizer = load_tokenizer(asked_for(minilm_folder), space_token="<_>")
    assert tokenizer.convert_tokens_to_ids("<_>") == 30522 and len(tokenizer) == 30523
    assert tokenizer.tokenize("a<_>b") == ["a", "<_>", "b"]
    assert "[INFO] space_token = `<_>`" in caplog.text and "added as token 30,522" in caplog.text
    assert len(load_tokenizer(asked_for(minilm_folder), space_token=" ")) == 30522
    assert len(load_tokenizer(asked_for(minilm_folder, "skip"), space_token="<_>")) == 30522


def test_space_token_is_the_piece_where_there_is_one(piece_model, asked_for, caplog):
    arguments = asked_for(piece_model("camembert"), "CamembertTokenizer")
    tokenizer = load_tokenizer(arguments, space_token="<_>")
    assert tokenizer.convert_tokens_to_ids("<_>") == 7 and len(tokenizer) == 1205
    caplog.set_level(logging.INFO)
    old = load_tokenizer(arguments, space_token="<th_roberta_space_token>")
    assert len(old) == 1205
    assert find_space_token(old, "<th_roberta_space_token>") == "<_>"
    assert "old name of <_>" in caplog.text and "[INFO] space_token = `<_>`" in caplog.text
    assert find_space_token(old, "<other>") == "<other>"
    assert find_space_token(old, " ") is None
    other = load_tokenizer(arguments, space_token="<other>")
    assert other.tokenize("ก<other>ข").count("<other>") == 1 and len(other) == 1206


def test_byte_level_words_in_mid_sentence(byte_level_folder, asked_for):
    plain = load_tokenizer(asked_for(byte_level_folder))
    prefixed = load_tokenizer(asked_for(byte_level_folder), add_prefix_space=True)
    words = ["the", "cat", "sat"]
    expected = prefixed(words, is_split_into_words=True, add_special_tokens=False)["input_ids"]
    assert prefixed("the cat sat", add_special_tokens=False)["input_ids"] == expected
    assert plain("the", add_special_tokens=False)["input_ids"] != prefixed("the", add_special_tokens=False)["input_ids"]


def test_prefix_space_survives_saving(byte_level_folder, asked_for, tmp_path):
    prefixed = load_tokenizer(asked_for(byte_level_folder), add_prefix_space=True)
    prefixed.save_pretrained(tmp_path / "saved")
    again = load_tokenizer(asked_for(tmp_path / "saved"))
    assert again("the cat")["input_ids"] == prefixed("the cat")["input_ids"]


def test_add_prefix_space_changes_no_other_tokenizer(minilm_folder, asked_for):
    assert load_tokenizer(asked_for(minilm_folder), add_prefix_space=True).tokenize("the cat") == ["the", "cat"]


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ("ThaiRobertTokenizer", "ThaiRobertaTokenizer"),
        ("autotokenizer", "AutoTokenizer"),
        ("Camembert", "CamembertTokenizer"),
    ],
)
def test_unknown_types_name_the_nearest(asked, nearest, asked_for, tmp_path):
    with pytest.raises(UsageError, match=f"--tokenizer_type {asked} is unknown; did you mean '{nearest}'"):
        load_tokenizer(asked_for(tmp_path, asked))


def test_short_names_of_public_models(tmp_path, monkeypatch):
    assert resolve_name("mbert") == "bert-base-multilingual-cased"
    assert [resolve_name(name) for name in ("xlmr", "xlmr-large")] == ["xlm-roberta-base", "xlm-roberta-large"]
    assert resolve_name("some/model") == "some/model"
    monkeypatch.chdir(tmp_path)
    Path("mbert").mkdir()
    assert resolve_name("mbert") == "mbert"


def test_nothing_was_named(asked_for):
    with pytest.raises(UsageError, match="no tokenizer was named"):
        load_tokenizer(asked_for("", model_name_or_path=None))


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("ThaiRobertaTokenizer", "sentencepiece.bpe.model"),
        ("CamembertTokenizer", "sentencepiece.bpe.model"),
        ("ThaiWordsNewmmTokenizer", "newmm.json"),
        ("FakeSefrCutTokenizer", "fake_sefr_cut.json"),
    ],
)
def test_missing_files_are_named(kind, file, asked_for, tmp_path):
    (tmp_path / "notes.md").touch()
    with pytest.raises(DataError, match=rf"no {file}; it holds notes.md; place {file} there"):
        load_tokenizer(asked_for(tmp_path, kind))
    with pytest.raises(DataError, match=rf"no tokenizer folder 'no/where'.*folder that holds {file}"):
        load_tokenizer(asked_for("no/where", kind))


def test_auto_tokenizer_that_cannot_be_reached(asked_for, tmp_path):
    with pytest.raises(DataError, match=r"no tokenizer folder 'bert-base-multilingual-cased'.*tokenizer.json or"):
        load_tokenizer(asked_for("mbert"))
    with pytest.raises(
        DataError, match=r"no tokenizer can be loaded .* the folder holds nothing; place tokenizer.json"
    ):
        load_tokenizer(asked_for(tmp_path))


def test_a_lone_piece_model_needs_its_type(piece_model, asked_for):
    with pytest.raises(DataError, match=r"--tokenizer_type ThaiRobertaTokenizer \(ids of the pieces\) or Camembert"):
        load_tokenizer(asked_for(piece_model("camembert")))


def test_a_piece_model_is_no_list_of_words(piece_model, asked_for):
    file = piece_model("camembert") / "sentencepiece.bpe.model"
    with pytest.raises(DataError, match="this is a SentencePiece model, not a list of words; say --tokenizer_type"):
        load_tokenizer(asked_for(file, "ThaiWordsNewmmTokenizer"))


def test_broken_files_are_sentences(asked_for, tmp_path):
    (tmp_path / "tokenizer_config.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"tokenizer_config.json: not valid JSON"):
        load_tokenizer(asked_for(tmp_path))
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"}', encoding="utf-8")
    with pytest.raises(DataError, match="no tokenizer can be loaded"):
        load_tokenizer(asked_for(tmp_path))


def test_every_documented_type_is_known():
    assert set(loading.TOKENIZER_TYPES) == {
        "AutoTokenizer",
        "ThaiRobertaTokenizer",
        "ThaiWordsNewmmTokenizer",
        "ThaiWordsSyllableTokenizer",
        "FakeSefrCutTokenizer",
        "CamembertTokenizer",
        "skip",
    }
