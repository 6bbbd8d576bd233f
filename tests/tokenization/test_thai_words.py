"""Word-level tokenizers: layout, ids by an independent look-up, saving and loading, travelling to workers."""

from __future__ import annotations

import copy
import json
import pickle
import re
from functools import lru_cache
from pathlib import Path

import pytest
from datasets import Dataset
from datasets.fingerprint import Hasher
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pythainlp.tokenize import syllable_tokenize, word_tokenize
from tokenizers import AddedToken
from transformers import AutoTokenizer

from finetune.errors import DataError
from finetune.tokenization import segmentation
from finetune.tokenization.casing import set_casing
from finetune.tokenization.stretch_ids import LazyEncodings
from finetune.tokenization.thai_words import (
    THAI_WORD_TOKENIZERS,
    FakeSefrCutTokenizer,
    ThaiWordsNewmmTokenizer,
    ThaiWordsSyllableTokenizer,
)
from finetune.tokenization.vocabulary import WORD_LEVEL_TOKENS

CLASSES = {
    "newmm": ThaiWordsNewmmTokenizer,
    "syllable": ThaiWordsSyllableTokenizer,
    "fake_sefr_cut": FakeSefrCutTokenizer,
}
CUTS = {
    "newmm": word_tokenize,
    "syllable": lambda text: syllable_tokenize(text, engine="dict"),
    "fake_sefr_cut": lambda text: text.split("<|>"),
}


def look_up(text: str, vocabulary: dict[str, int], kind: str) -> list[int]:
    """Ids by a Python dictionary, as the published tokenizers find them."""
    parts = re.split("(<_>|\n|<s>|</s>|<pad>|<unk>|<mask>)", text.replace(" ", "<_>"))
    words = [word for part in parts for word in ([part] if part in WORD_LEVEL_TOKENS else CUTS[kind](part)) if word]
    return [vocabulary.get(word, vocabulary["<unk>"]) for word in words]


@pytest.mark.parametrize("kind", CLASSES)
def test_ids_are_those_of_a_dictionary(kind, word_folder, word_vocabulary, some_lines):
    tokenizer = CLASSES[kind].from_pretrained(word_folder(kind))
    lines = some_lines[:250]
    if kind == "fake_sefr_cut":
        lines = ["<|>".join(word_tokenize(line)) for line in lines]
    expected = [look_up(line, word_vocabulary, kind) for line in lines]
    assert tokenizer(lines, add_special_tokens=False)["input_ids"] == expected
    assert tokenizer.is_fast


@pytest.mark.parametrize("kind", CLASSES)
def test_look_up_equals_the_library(kind, word_folder, some_lines):
    """Ids alone are looked up without the Rust library; everything else comes from it."""
    tokenizer = CLASSES[kind].from_pretrained(word_folder(kind), truncation_side="left" if kind == "newmm" else "right")
    tokenizer.add_tokens(["ประเทศ ไทย", "ไทย"])
    lines = [*some_lines[:200], "a</s>b <mask>\n  <_>ประเทศ ไทย<unk><s>", "", " ", "</s>"]
    for options in (
        {},
        {"add_special_tokens": False},
        {"truncation": True, "max_length": 9},
        {"truncation": True, "max_length": 2},
        {"return_token_type_ids": True, "return_attention_mask": False},
    ):
        fast = tokenizer(lines, **options)
        slow = tokenizer(lines, return_offsets_mapping=True, **options)
        assert isinstance(fast, LazyEncodings) == (options.get("max_length") != 2)
        assert not isinstance(slow, LazyEncodings)
        assert fast.data == {name: slow[name] for name in fast}
        assert [e.ids for e in fast.encodings] == [e.ids for e in slow.encodings]
    single = tokenizer("กิน ข้าว")
    assert single["input_ids"] == tokenizer(["กิน ข้าว"])["input_ids"][0]
    assert single.word_ids() == tokenizer("กิน ข้าว", return_offsets_mapping=True).word_ids()
    assert single.is_fast and pickle.loads(pickle.dumps(single)).data == single.data


def test_look_up_knows_tokens_that_are_added_later(word_folder):
    tokenizer = ThaiWordsNewmmTokenizer.from_pretrained(word_folder("newmm"))
    before = tokenizer("กิน<new>")["input_ids"]
    tokenizer.add_tokens(["<new>"])
    after = tokenizer("กิน<new>")["input_ids"]
    assert after != before and after[-2] == len(tokenizer) - 1
    tokenizer.add_tokens([AddedToken("ๆๆ", lstrip=True)])
    assert tokenizer("กิน\tๆๆ")["input_ids"] == tokenizer("กิน\tๆๆ", return_offsets_mapping=True)["input_ids"]


def test_lower_casing_is_kept(word_folder, tmp_path):
    tokenizer = ThaiWordsNewmmTokenizer.from_pretrained(word_folder("newmm"), do_lower_case=True)
    assert tokenizer("Http กิน")["input_ids"] == tokenizer("http กิน")["input_ids"]
    tokenizer.save_pretrained(tmp_path / "saved")
    again = ThaiWordsNewmmTokenizer.from_pretrained(tmp_path / "saved")
    assert again("Http กิน")["input_ids"] == tokenizer("http กิน")["input_ids"]
    later = ThaiWordsNewmmTokenizer.from_pretrained(tmp_path / "newmm")
    set_casing(later, True)
    assert later("HTTP กิน")["input_ids"] == tokenizer("http กิน")["input_ids"]


@pytest.mark.parametrize("kind", CLASSES)
def test_layout(kind, word_folder):
    tokenizer = CLASSES[kind].from_pretrained(word_folder(kind))
    space, newline = 5, 6
    assert tokenizer(" \n")["input_ids"] == [0, space, newline, 2]
    pair = tokenizer(" ", "\n", return_token_type_ids=True)
    assert pair["input_ids"] == [0, space, 2, 2, newline, 2]
    assert set(pair["token_type_ids"]) == {0}
    assert "token_type_ids" not in tokenizer(" ")
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<_>", "\n"]
    assert tokenizer.convert_tokens_to_ids(names) == [0, 1, 2, 3, 4, 5, 6]
    assert tokenizer.extra_special_tokens == ["<_>", "\n"]
    assert tokenizer.special_tokens_map == {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "cls_token": "<s>",
        "mask_token": "<mask>",
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", CLASSES)
def test_saved_and_loaded_gives_the_same_ids_on_every_line(kind, word_folder, thai_lines, tmp_path, monkeypatch):
    remembered = {name: lru_cache(maxsize=None)(cut) for name, cut in segmentation.CUTS.items()}
    monkeypatch.setattr(segmentation, "CUTS", remembered)  # each stretch is cut once for both
    lines = thai_lines if kind == "newmm" else thai_lines[::5]
    if kind == "fake_sefr_cut":
        lines = ["<|>".join(line.split("า")) for line in lines]
    tokenizer = CLASSES[kind].from_pretrained(word_folder(kind))
    tokenizer.add_tokens(["ฮ่าๆๆ"])
    tokenizer.save_pretrained(tmp_path / "saved")
    again = CLASSES[kind].from_pretrained(tmp_path / "saved")
    expected = tokenizer(lines, return_attention_mask=False)["input_ids"]
    assert again(lines, return_attention_mask=False)["input_ids"] == expected
    by_library = again(lines[::30], return_attention_mask=False, return_offsets_mapping=True)["input_ids"]
    assert by_library == expected[::30]
    assert len(again) == len(tokenizer)
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == [f"{kind}.json", "tokenizer_config.json"]


@pytest.mark.parametrize("kind", CLASSES)
def test_saved_twice_keeps_everything(kind, word_folder, some_lines, tmp_path):
    lines = [*some_lines[:100], "กิน<mask> ข้าว\nฮ่าๆๆ </s><new>"]
    tokenizer = CLASSES[kind].from_pretrained(word_folder(kind), model_max_length=77)
    tokenizer.add_tokens(["ฮ่าๆๆ"])
    tokenizer.add_special_tokens({"extra_special_tokens": ["<new>"]}, replace_extra_special_tokens=False)
    expected = tokenizer(lines, lines[::-1])["input_ids"]
    for number in range(2):
        tokenizer.save_pretrained(tmp_path / str(number))
        tokenizer = CLASSES[kind].from_pretrained(tmp_path / str(number))
        assert tokenizer(lines, lines[::-1])["input_ids"] == expected
    assert tokenizer.model_max_length == 77
    assert tokenizer.extra_special_tokens == ["<_>", "\n", "<new>"]


@pytest.mark.parametrize("kind", CLASSES)
def test_travels_to_workers(kind, word_folder, some_lines):
    tokenizer = CLASSES[kind].from_pretrained(word_folder(kind))
    lines = some_lines[:60]
    before = Hasher.hash(tokenizer)
    options = {"padding": True, "truncation": True, "max_length": 20}
    expected = tokenizer(lines, **options)["input_ids"]
    assert pickle.loads(pickle.dumps(tokenizer))(lines, **options)["input_ids"] == expected
    assert copy.deepcopy(tokenizer)(lines, **options)["input_ids"] == expected
    assert tokenizer(lines, **options)["input_ids"] == expected  # and the one that was copied goes on working
    assert Hasher.hash(tokenizer) == before  # datasets' cache is found again after use


def test_works_inside_datasets_map(word_folder, some_lines):
    tokenizer = ThaiWordsNewmmTokenizer.from_pretrained(word_folder("newmm"))
    lines = some_lines[:40]
    data = Dataset.from_dict({"text": lines})

    def encode(batch: dict) -> dict:
        return tokenizer(batch["text"])

    encoded = data.map(encode, batched=True, num_proc=2)
    assert encoded["input_ids"][:] == tokenizer(lines)["input_ids"]
    assert data.map(encode, batched=True)._fingerprint == encoded._fingerprint


def test_offsets_and_word_ids_point_into_the_text(word_folder, some_lines):
    tokenizer = ThaiWordsNewmmTokenizer.from_pretrained(word_folder("newmm"))
    for line in some_lines[:100]:
        encoded = tokenizer(line, add_special_tokens=False, return_offsets_mapping=True)
        words = [line[start:end] for start, end in encoded["offset_mapping"]]
        assert "".join(words) == line
        assert encoded.word_ids() == list(range(len(words)))


def test_words_given_apart_and_windows(word_folder):
    tokenizer = ThaiWordsNewmmTokenizer.from_pretrained(word_folder("newmm"))
    words = ["กินข้าว", " ", "แล้ว"]
    encoded = tokenizer(words, is_split_into_words=True, add_special_tokens=False)
    apart = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in words]
    assert encoded["input_ids"] == [index for ids in apart for index in ids]
    assert encoded.word_ids() == [number for number, ids in enumerate(apart) for _ in ids]
    long = tokenizer("ไป " * 30, max_length=12, truncation=True, stride=3, return_overflowing_tokens=True)
    assert all(len(ids) <= 12 and ids[0] == 0 and ids[-1] == 2 for ids in long["input_ids"])
    assert len(long["input_ids"]) > 3


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text("กขคนมรสหอะาิีุู่้แ abZ12.,\n\u200b🙂", max_size=50))
def test_decoding_gives_any_known_text_back(tmp_path, text):
    words = [word for stretch in re.split("[ \n]", text) for word in word_tokenize(stretch)]
    path = tmp_path / "newmm.json"
    vocabulary = dict.fromkeys([*WORD_LEVEL_TOKENS, *words])
    path.write_text(json.dumps({word: index for index, word in enumerate(vocabulary)}), encoding="utf-8")
    tokenizer = ThaiWordsNewmmTokenizer(vocab_file=path)
    ids = tokenizer(text)["input_ids"]
    assert 3 not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_spaces_and_newlines_may_be_masked(word_folder):
    tokenizer = ThaiWordsNewmmTokenizer.from_pretrained(word_folder("newmm"))
    ids = [0, 7, 5, 8, 6, 2, 2, 9, 2, 1]  # <s> word <_> word \\n </s> </s> word </s> <pad>
    mask = tokenizer.get_special_tokens_mask(ids, already_has_special_tokens=True)
    assert mask == [1, 0, 0, 0, 0, 1, 1, 0, 1, 1]
    body, pair = [7, 5, 8], [9]
    assert tokenizer.get_special_tokens_mask(body, pair) == [1, 0, 0, 0, 1, 1, 0, 1]
    assert tokenizer.get_special_tokens_mask(body) == [1, 0, 0, 0, 1]


def test_a_plain_auto_tokenizer_refuses_the_folder(word_folder, tmp_path):
    """Without the segmenter every phrase would be unknown; that must not happen silently."""
    ThaiWordsNewmmTokenizer.from_pretrained(word_folder("newmm")).save_pretrained(tmp_path / "saved")
    with pytest.raises(ValueError, match="instantiate the backend tokenizer"):
        AutoTokenizer.from_pretrained(tmp_path / "saved")


def test_known_segments_of_sefr(word_folder, word_vocabulary, tmp_path):
    folder = word_folder("fake_sefr_cut")
    first, second = [word for word in word_vocabulary if len(word) > 2 and word.isalpha()][:2]
    cache = {f"{first}{second}": [first, second], f"x<_>{second}{first}": ["x", "<_>", second, first]}
    (folder / "sefr_cache_tokenizer_dict.json").write_text(json.dumps(cache), encoding="utf-8")
    tokenizer = FakeSefrCutTokenizer.from_pretrained(folder)
    assert tokenizer.tokenize(first + second) == [first, second]
    assert tokenizer.tokenize(f"x {second}{first}") == ["<unk>", "<_>", second, first]
    assert tokenizer.tokenize(f"{first}<|><_><|>{second}") == [first, "<_>", second]
    tokenizer.save_pretrained(tmp_path / "saved")
    assert FakeSefrCutTokenizer.from_pretrained(tmp_path / "saved").tokenize(first + second) == [first, second]


def test_a_missing_space_token_is_added_at_the_end(tmp_path: Path):
    path = tmp_path / "newmm.json"
    path.write_text(json.dumps({token: index for index, token in enumerate(WORD_LEVEL_TOKENS[:5])}), encoding="utf-8")
    tokenizer = ThaiWordsNewmmTokenizer(vocab_file=path)
    assert tokenizer.convert_tokens_to_ids(["<_>", "\n"]) == [5, 6]


def test_no_vocabulary_file():
    for kind in THAI_WORD_TOKENIZERS.values():
        with pytest.raises(DataError, match=kind.vocab_files_names["vocab_file"]):
            kind()
