from __future__ import annotations

import io
import json
from itertools import chain

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from transformers.tokenization_utils_base import generate_merges

from finetune.data.documents import Boundary, read_documents
from finetune.encoding.documents import (
    DocumentRules,
    PieceEncoder,
    TextCutter,
    TextUnit,
    batch_pieces,
    cut_documents,
    encode_documents,
    find_text_ends,
)
from finetune.encoding.subwords import SubwordEncoder
from finetune.errors import DataError
from tests import tiny
from tests.family_tokenizers import CORPUS, ROBERTA_TOKENS, WordLevelTokenizer

PARAGRAPHS = [
    "The quick brown fox, isn't it?\n\nA second paragraph.\n",
    " indented  twice\n\t tabs\tand  spaces   \n\n\n\nfour line ends",
    "สวัสดีครับ วันนี้อากาศดีมาก\nภาษาไทย ง่าย นิดเดียว\n",
    "汉字没有空格所以很难切断。第二句话！\n",
    "emoji 🙂🙂 caf\u0065\u0301 naïve 1,234.5\r\n",
    "x" * 70 + "\n",
    "\n",
    " ",
]
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_bpe_pieces() -> tuple[dict[str, int], list[tuple[str, str]]]:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=written, vocab_size=500, model_type="bpe", byte_fallback=True,
        hard_vocab_limit=False, character_coverage=0.98, minloglevel=2,
    )  # fmt: skip
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(written.getvalue())
    vocabulary = {piece.piece: index for index, piece in enumerate(model.pieces)}
    return vocabulary, generate_merges(vocabulary, {piece.piece: piece.score for piece in model.pieces})


def llama(*, prefix: bool = True, line_ends: bool = False) -> PreTrainedTokenizerFast:
    """Llama 2's design: no words, the whole text is one; without `prefix` and with `line_ends` Gemma's."""
    vocabulary, merges = train_bpe_pieces()
    rust = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    spaces = normalizers.Replace(" ", "▁")
    rust.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces]) if prefix else spaces
    rust.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    if line_ends:
        rust.add_tokens([AddedToken(text, normalized=False) for text in ("\n", "\n\n", "▁▁", "▁▁▁")])
    rust.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=rust, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def llama3() -> PreTrainedTokenizerFast:
    tokenizer = tiny.byte_level([*CORPUS, *PARAGRAPHS], 500, special=("<|begin|>", "<|end|>"), eos_token="<|end|>")
    rust = tokenizer.backend_tokenizer
    rust.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    rust.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=rust, bos_token="<|begin|>", eos_token="<|end|>")


def neox() -> PreTrainedTokenizerFast:
    tokenizer = tiny.byte_level([*CORPUS, *PARAGRAPHS], 500)
    tokenizer.add_tokens([AddedToken(" " * count, normalized=True) for count in range(8, 1, -1)])
    return tokenizer


DESIGNS = {
    "gpt2": lambda: tiny.byte_level([*CORPUS, *PARAGRAPHS], 500),
    "llama3": llama3,
    "llama": llama,
    "gemma": lambda: llama(prefix=False, line_ends=True),
    "neox": neox,
}


@pytest.fixture(scope="module", params=[*DESIGNS, "bert", "xlm_roberta", "camembert"])
def tokenizer(request):
    return DESIGNS[request.param]() if request.param in DESIGNS else request.getfixturevalue(request.param)


def ids_of(encoded) -> list[int]:
    return [int(index) for lines in encoded for index in lines.ids]


def cut(tokenizer, text: str, *, size: int, **rules) -> list[int]:
    subwords = SubwordEncoder(tokenizer)
    rules = DocumentRules(begin=False, end=False, **rules)
    parts = read_documents_of(text)
    pieces = list(cut_documents(parts, rules, TextCutter(subwords, piece=size)))
    assert "".join(piece.text[piece.lead :] for piece in pieces) == text
    return ids_of(PieceEncoder(subwords)(batch) for batch in batch_pieces(pieces, size=100))


def read_documents_of(text: str):
    from finetune.data.documents import DocumentPart

    return [DocumentPart(text[start : start + 37], start == 0) for start in range(0, len(text), 37)]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_ids_of_a_cut_document_are_those_of_the_whole(tokenizer, data, monkeypatch_module):
    words = st.lists(st.sampled_from(PARAGRAPHS), min_size=5, max_size=25)
    text = "".join(data.draw(words))
    expected = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    assert cut(tokenizer, text, size=data.draw(st.sampled_from([20, 150]))) == expected


@pytest.fixture(scope="module")
def monkeypatch_module():
    """Small steps, so that short texts are cut, too."""
    from finetune.encoding import documents

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "REACH", 64)
        patch.setattr(documents, "WINDOW", 48)
        yield


def test_long_documents_are_cut_at_all(monkeypatch_module, tokenizer):
    subwords = SubwordEncoder(tokenizer)
    text = "".join(PARAGRAPHS[:2]) * 20
    pieces = list(cut_documents(read_documents_of(text), DocumentRules(), TextCutter(subwords, piece=100)))
    assert len(pieces) > 5
    assert [piece.begins for piece in pieces] == [True] + [False] * (len(pieces) - 1)
    assert [piece.ends for piece in pieces] == [False] * (len(pieces) - 1) + [True]


def test_where_no_place_can_be_cut_the_document_stays_whole(monkeypatch_module):
    """Its ids hang on where a run of text begins, four letters at a time."""
    letters = "abcdefghi"
    groups = [(letters * 2)[start : start + size] for start in range(9) for size in (1, 2, 3, 4)]
    word_level = WordLevelTokenizer({name: index for index, name in enumerate([*ROBERTA_TOKENS, *groups])})
    text = letters * 60
    assert cut(word_level, text, size=10) == word_level(text, add_special_tokens=False)["input_ids"]


def test_runs_of_one_character_are_not_cut_within(monkeypatch_module):
    """What merges pairwise hangs on where the run began."""
    tokenizer = tiny.byte_level(["x" * 64], 265)
    text = "x" * 500
    assert cut(tokenizer, text, size=10) == tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("workers", [1, 2])
def test_rows_and_files_are_documents_of_their_own(workers, tmp_path):
    tokenizer = llama3()
    (tmp_path / "a.txt").write_text("One.\n\nTwo.\r\n", newline="")
    rows = ["A first.\n\nA second.", "", "Another row"]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    paths = [tmp_path / "a.txt", tmp_path / "b.jsonl"]
    encoded = list(
        encode_documents(paths, SubwordEncoder(tokenizer), tokenizer, DocumentRules(end=True), workers=workers)
    )
    expected = [[*tokenizer(text)["input_ids"], 1] for text in ("One.\n\nTwo.\n", rows[0], rows[2])]
    assert ids_of(encoded) == list(chain.from_iterable(expected))
    starts = np.concatenate([lines.begins_document for lines in encoded])
    assert starts.tolist() == [True, True, True]
    assert sum(lines.without_subwords for lines in encoded) == 1


TEXT = st.lists(st.sampled_from(["a\n", "b c\n", "\n", " \n", "  d\n"]), max_size=12).map("".join)


@settings(max_examples=100, deadline=None)
@given(text=TEXT, chunk_bytes=st.integers(1, 20), boundary=st.sampled_from(list(Boundary)))
def test_documents_partition_the_text_at_their_borders(tmp_path_factory, text, chunk_bytes, boundary):
    from finetune.data import text as text_module

    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module.read_chunks, "__kwdefaults__", {"chunk_bytes": chunk_bytes, "lines_matter": True})
        parts = list(read_documents([path], boundary=boundary))
    found: list[str] = []
    for part in parts:
        if part.begins:
            found.append("")
        found[-1] += part.text
    expected: list[str] = []
    previous_blank = False
    for number, line in enumerate(text.splitlines(keepends=True)):
        border = {"blank_line": previous_blank and line.strip(), "line": line.strip(), "file": False}[boundary]
        if border or number == 0:
            expected.append("")
        expected[-1] += line
        previous_blank = not line.strip()
    assert found == expected


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, [["<|begin|>", "a", "Ċ", "b"], ["<|begin|>", "c"]]),
        ({"begin": False, "end": True}, [["a", "Ċ", "b", "<|end|>"], ["c", "<|end|>"]]),
        ({"unit": TextUnit.LINE}, [["<|begin|>", "a", "Ċ", "<|begin|>", "b"], ["<|begin|>", "c"]]),
        (
            {"unit": TextUnit.LINE, "around_documents": True, "end": True, "keep_line_ends": False},
            [["<|begin|>", "a", "b", "<|end|>"], ["<|begin|>", "c", "<|end|>"]],
        ),
        ({"in_blocks": True}, [["a", "Ċ", "b"], ["c"]]),
    ],
)
def test_what_stands_around_texts(rules, expected, tmp_path):
    tokenizer = llama3()
    (tmp_path / "a.jsonl").write_text('{"text": "a\\nb"}\n{"text": "c"}\n')
    encoder = SubwordEncoder(tokenizer)
    ids = ids_of(encode_documents([tmp_path / "a.jsonl"], encoder, tokenizer, DocumentRules(**rules), workers=1))
    assert tokenizer.convert_ids_to_tokens(ids) == list(chain.from_iterable(expected))


@pytest.mark.parametrize(("design", "start"), [("llama3", "<|begin|>"), ("gpt2", tiny.END)])
@pytest.mark.parametrize("begin", [None, True, False])
def test_a_text_that_brings_its_begin_token_gets_no_second_one(design, start, begin, tmp_path):
    tokenizer = DESIGNS[design]()
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": f"{start}The fox"}) + "\n")
    rules = DocumentRules(begin=begin)
    (encoded,) = encode_documents([path], SubwordEncoder(tokenizer), tokenizer, rules, workers=1)
    plain = tokenizer("The fox", add_special_tokens=False)["input_ids"]
    assert encoded.ids.tolist() == [tokenizer.bos_token_id, *plain]
    assert encoded.own_starts == 1 and encoded.control_texts == 0


def test_a_token_that_the_tokenizer_lacks_is_asked_for_in_vain():
    tokenizer = tiny.byte_level(CORPUS, 400, eos_token=tiny.END)
    assert find_text_ends(tokenizer, DocumentRules(end=True)).suffix == (tokenizer.eos_token_id,)
    with pytest.raises(DataError, match="no begin-of-text token"):
        find_text_ends(tokenizer, DocumentRules(begin=True))
