"""SentencePiece models on the Rust library: their ids are SentencePiece's own."""

from __future__ import annotations

import pickle
import unicodedata
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from finetune.errors import DataError
from finetune.tokenization.sentencepiece_models import (
    load_camembert_pieces,
    load_raw_pieces,
)

MODEL = "sentencepiece.bpe.model"
THAI = "กขคงนมรวสอหา ิีุู่้์ำเแ็"


def count_differences(processor, tokenizer, lines: list[str], *, offset: int = 0) -> tuple[int, int]:
    """How many lines have other ids than SentencePiece's, and how many of these have equal scores in both."""
    unknown = processor.unk_id()
    expected = [[3 if offset and i == unknown else i + offset for i in ids] for ids in processor.encode(lines)]
    encodings = tokenizer.backend_tokenizer.encode_batch_fast(lines, add_special_tokens=False)
    found = [encoding.ids for encoding in encodings]

    def score(ids: list[int]) -> float:
        return sum(processor.get_score(unknown if offset and i == 3 else i - offset) for i in ids)

    differing = [pair for pair in zip(expected, found, strict=True) if pair[0] != pair[1]]
    ties = [pair for pair in differing if score(pair[0]) == pytest.approx(score(pair[1]), rel=1e-6)]
    return len(differing), len(ties)


@pytest.mark.slow
def test_raw_ids_are_those_of_sentencepiece_on_every_line(piece_model, processor, thai_lines):
    tokenizer = load_raw_pieces(piece_model("raw") / MODEL)
    lines = [line.replace(" ", "<_>") for line in thai_lines]
    differing, ties = count_differences(processor("raw"), tokenizer, lines)
    assert differing == ties  # only segmentations of equal score differ
    assert ties / len(lines) < 0.005
    spaced = tokenizer(thai_lines[::10], add_special_tokens=False)["input_ids"]
    assert spaced == tokenizer(lines[::10], add_special_tokens=False)["input_ids"]  # spaces become <_> by themselves


def test_camembert_ids_are_those_of_sentencepiece_plus_4(piece_model, processor, thai_lines):
    tokenizer = load_camembert_pieces(piece_model("camembert") / MODEL)
    lines = [line.replace(" ", "<_>") for line in thai_lines[::4]]
    lines = [line for line in lines if line != "<_>"]
    differing, ties = count_differences(processor("camembert"), tokenizer, lines, offset=4)
    assert differing == ties
    assert ties / len(lines) < 0.005


@pytest.mark.parametrize("recipe", ["plain", "bpe", "bytes", "camembert"])
def test_other_models_as_well_with_spaces(recipe, piece_model, processor, some_lines):
    tokenizer = load_raw_pieces(piece_model(recipe) / MODEL)
    more = ["  two  spaces ", "\u00a0<_>\u00a0a\u00a0", "\ufeffbom", "日本語 and emoji 🙂", "a<_>b<_>", "ﬁ ๙ Ⅷ"]
    has_space = "<_>" in tokenizer.get_vocab()
    lines = [line.replace(" ", "<_>") if has_space else line for line in [*some_lines, *more]]
    differing, ties = count_differences(processor(recipe), tokenizer, lines)
    assert differing == ties


@pytest.fixture(scope="module")
def loaded(piece_model, processor) -> dict:
    recipes = ("raw", "camembert", "plain")
    return {recipe: (processor(recipe), load_raw_pieces(piece_model(recipe) / MODEL)) for recipe in recipes}


@settings(max_examples=150, deadline=None)
@given(
    text=st.lists(st.sampled_from([*THAI, "<_>", " ", "  ", "a", "Z", "1", ".", "\u200b", "é"]), max_size=30).map(
        "".join
    )
)
def test_any_mixture_of_spaces_and_symbols(text, loaded):
    for recipe, (oracle, tokenizer) in loaded.items():
        given_text = text if recipe == "plain" else text.replace(" ", "<_>")
        if given_text == "<_>":
            continue  # a text that is one symbol has no prefix here, on purpose
        differing, ties = count_differences(oracle, tokenizer, [given_text])
        assert differing == ties, given_text


def test_a_symbol_in_mid_text_is_not_followed_by_a_prefix(piece_model):
    tokenizer = load_camembert_pieces(piece_model("camembert") / MODEL)
    pieces = tokenizer.tokenize("กิน<_>ข้าว")
    after = pieces[pieces.index("<_>") + 1]
    assert pieces[0].startswith("▁") and not after.startswith("▁")
    assert tokenizer.tokenize("<_>") == ["<_>"]  # a word that is a space is one piece


def test_camembert_special_tokens_exist(piece_model):
    tokenizer = load_camembert_pieces(piece_model("camembert") / MODEL)
    names = ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<s>", "</s>", "<mask>"]
    assert tokenizer.convert_tokens_to_ids(names) == [0, 1, 2, 3, 5, 6, len(tokenizer) - 1]
    assert len(tokenizer) == 1200 + 5
    assert tokenizer.convert_tokens_to_ids("<_>") == 3 + 4
    assert {"<s>NOTUSED", "</s>NOTUSED"} <= set(tokenizer.extra_special_tokens)
    assert tokenizer("👽", add_special_tokens=False)["input_ids"][-1] == 3


def test_layout_and_token_types(piece_model):
    tokenizer = load_raw_pieces(piece_model("raw") / MODEL)
    one, two = (
        tokenizer("ก", add_special_tokens=False)["input_ids"],
        tokenizer("ข", add_special_tokens=False)["input_ids"],
    )
    assert tokenizer("ก")["input_ids"] == [0, *one, 2]
    pair = tokenizer("ก", "ข", return_token_type_ids=True)
    assert pair["input_ids"] == [0, *one, 2, 2, *two, 2]
    assert set(pair["token_type_ids"]) == {0}
    assert "token_type_ids" not in tokenizer("ก")
    assert [tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.mask_token_id] == [1, 3, 4]


@pytest.mark.parametrize(("recipe", "load"), [("raw", load_raw_pieces), ("camembert", load_camembert_pieces)])
def test_saved_and_loaded_again_by_anyone(recipe, load, piece_model, some_lines, tmp_path):
    tokenizer = load(piece_model(recipe) / MODEL, extra_tokens=("<extra>",))
    tokenizer.add_tokens(["ใหม่"])
    lines = [*some_lines, "a<extra>b ใหม่<mask> ค"]
    expected = tokenizer(lines)["input_ids"]
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    plain = AutoTokenizer.from_pretrained(tmp_path)
    travelled = pickle.loads(pickle.dumps(tokenizer))
    for other in (again, plain, travelled):
        assert other(lines)["input_ids"] == expected
        assert len(other) == len(tokenizer)
    assert (tmp_path / MODEL).read_bytes() == (piece_model(recipe) / MODEL).read_bytes()


def test_offsets_point_into_the_text(piece_model, some_lines):
    tokenizer = load_raw_pieces(piece_model("raw") / MODEL)
    lines = [line for line in some_lines[:200] if line.isprintable()]
    encoded = tokenizer(lines, add_special_tokens=False, return_offsets_mapping=True)
    for line, offsets in zip(lines, encoded["offset_mapping"], strict=True):
        assert all(0 <= start <= end <= len(line) for start, end in offsets)
        assert offsets == sorted(offsets)
        assert offsets[-1][1] == len(line) or line.endswith(" ")


def test_decoding_gives_the_text_back(piece_model):
    text = "กิน ข้าว มา 10 จาน"
    for recipe, load in (("raw", load_raw_pieces), ("plain", load_raw_pieces)):
        tokenizer = load(piece_model(recipe) / MODEL)
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True).replace("ํา", "ำ") == text


def test_special_tokens_that_are_no_pieces_are_added(piece_model):
    tokenizer = load_raw_pieces(piece_model("plain") / MODEL)
    assert tokenizer.convert_tokens_to_ids(["<pad>", "<mask>"]) == [1200, 1201]
    assert tokenizer.bos_token_id == 1 and tokenizer.unk_token_id == 0


def test_a_model_with_another_order_is_refused_as_camembert(piece_model):
    with pytest.raises(DataError, match=r"unknown piece of this model is number 3.*ThaiRobertaTokenizer"):
        load_camembert_pieces(piece_model("raw") / MODEL)


def test_files_that_are_no_models(tmp_path: Path):
    path = tmp_path / MODEL
    path.write_text("this is text, not a model", encoding="utf-8")
    with pytest.raises(DataError, match="not a SentencePiece model"):
        load_raw_pieces(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="holds no pieces"):
        load_raw_pieces(path)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c"] * 9),
        model_prefix=str(tmp_path / "w"),
        model_type="word",
        vocab_size=6,
        minloglevel=2,
    )
    with pytest.raises(DataError, match="of words or characters"):
        load_raw_pieces(tmp_path / "w.model")


DECOMPOSABLE = [
    "한국어는 한국에서 쓰이는 언어이다.", "서울은 대한민국의 수도이며 정치와 경제의 중심지이다.", "나는 학교에 갑니다",
    "Tiếng Việt là ngôn ngữ của người Việt.", "Hà Nội là thủ đô của nước Việt Nam", "Những người ấy đã đến rồi ạ",
    "日本語のガラスとパンがあります。", "ﾊﾝｶｸｶﾞﾊﾟ と ｗｉｄｅ ， （ ～ ）", "Ärzte naïve Ångström ﬁne ①②",
    "สวัสดีครับ น้ำ ผู้ ผ\u0e49\u0e39",
    "مُحَمَّد ك\u0651\u064eك\u064e\u0651", "שָׁלוֹם ש\u05c1\u05b8ש\u05b8\u05c1",
]  # fmt: skip


@pytest.fixture(scope="module", params=["nmt_nfkc", "nfkc", "identity", "nmt_nfkc_cf"])
def rules(request, tmp_path_factory) -> Path:
    """A model of Korean, Vietnamese and Japanese under each set of rules."""
    folder = tmp_path_factory.mktemp(request.param)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(DECOMPOSABLE * 20), model_prefix=str(folder / "sentencepiece.bpe"), vocab_size=200,
        character_coverage=1.0, hard_vocab_limit=False, normalization_rule_name=request.param, minloglevel=2,
    )  # fmt: skip
    return folder / MODEL


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_text_in_every_unicode_form_has_the_ids_of_sentencepiece(form, rules, tmp_path):
    tokenizer, processor = load_raw_pieces(rules), sentencepiece.SentencePieceProcessor(model_file=str(rules))
    lines = [unicodedata.normalize(form, line) for line in DECOMPOSABLE]
    differing, ties = count_differences(processor, tokenizer, lines)
    assert differing == ties
    if form == "NFD" and rules.parent.name[:8] != "identity":
        assert tokenizer.unk_token_id not in tokenizer(lines[:6])["input_ids"][0]
    tokenizer.save_pretrained(tmp_path)
    saved = AutoTokenizer.from_pretrained(tmp_path)
    assert saved(lines)["input_ids"] == tokenizer(lines)["input_ids"]


WORDS = sorted({word for line in DECOMPOSABLE for word in unicodedata.normalize("NFC", line).split()} | {"Ọ̀rọ̀", "X̌"})


@settings(max_examples=200, deadline=None)
@given(
    words=st.lists(st.sampled_from(WORDS), max_size=6),
    form=st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]),
    joint=st.sampled_from(["", " ", "  "]),
)
def test_any_words_in_every_unicode_form_have_the_ids_of_sentencepiece(words, form, joint, rules):
    text = unicodedata.normalize(form, joint.join(words))
    tokenizer, processor = load_raw_pieces(rules), sentencepiece.SentencePieceProcessor(model_file=str(rules))
    differing, ties = count_differences(processor, tokenizer, [text])
    assert differing == ties
