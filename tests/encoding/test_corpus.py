from __future__ import annotations

import gzip
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from finetune.data.documents import Boundary
from finetune.encoding import corpus as corpus_module
from finetune.encoding.corpus import CorpusSettings, Packing, Template, find_separator, prepare_store
from finetune.encoding.documents import DocumentRules
from finetune.encoding.lines import LineRules
from finetune.encoding.token_store import TokenStore
from finetune.errors import DataError

SENTENCES = CorpusSettings(Packing.SENTENCES, 32)


@pytest.fixture(scope="module")
def tokenizer(minilm_folder):
    return AutoTokenizer.from_pretrained(minilm_folder)


@pytest.fixture
def corpus(tmp_path) -> list[Path]:
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    paths[0].write_text("The first line.\nThe second one.\n\nAnother document begins here.\n" * 40)
    paths[1].write_text("One endless line. " * 200 + "\n\nThe end.")
    return paths


def arrays(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.bin")}


def body_of(store, tokenizer) -> list[int]:
    special = {tokenizer.cls_token_id, tokenizer.sep_token_id}
    return [
        int(subword)
        for index in range(len(store))
        for subword in store[index]["input_ids"]
        if int(subword) not in special
    ]


@pytest.mark.parametrize("packing", list(Packing))
def test_every_piece_of_the_text_is_there_in_order(packing, corpus, tokenizer, tmp_path):
    settings = replace(SENTENCES, packing=packing)
    store = TokenStore(prepare_store(corpus, tokenizer, settings, tmp_path / "cache", workers=1))
    lines = [line for path in corpus for line in path.read_text().split("\n") if line.strip()]
    expected = [
        subword for ids in tokenizer(lines, add_special_tokens=False, verbose=False)["input_ids"] for subword in ids
    ]
    assert body_of(store, tokenizer) == expected
    assert store.lengths.max() <= 32
    assert store.counts["lines"] == len(lines)


@pytest.mark.parametrize("packing", list(Packing))
def test_arrays_are_the_same_for_any_number_of_workers_and_packed_files(
    packing, corpus, tokenizer, tmp_path, monkeypatch
):
    monkeypatch.setattr(corpus_module, "BYTES_WORTH_A_WORKER", 1)
    settings = replace(SENTENCES, packing=packing, keep_flags=True, find_words=True)
    one = prepare_store(corpus, tokenizer, settings, tmp_path / "one", workers=1)
    two = prepare_store(corpus, tokenizer, settings, tmp_path / "two", workers=2)
    assert one.name == two.name and arrays(one) == arrays(two)
    packed = []
    for path in corpus:
        packed.append(path.with_name(path.name + ".gz"))
        packed[-1].write_bytes(gzip.compress(path.read_bytes()))
    assert arrays(prepare_store(packed, tokenizer, settings, tmp_path / "gz", workers=1)) == arrays(one)


def test_second_start_finds_the_store_and_changes_make_another(corpus, tokenizer, minilm_folder, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    first = prepare_store(corpus, tokenizer, SENTENCES, cache, workers=1)
    made = []
    monkeypatch.setattr(corpus_module, "TokenStoreWriter", lambda *a, **k: made.append(a))
    assert prepare_store(corpus, tokenizer, SENTENCES, cache, workers=1) == first and not made
    monkeypatch.undo()
    cased = AutoTokenizer.from_pretrained(minilm_folder, do_lower_case=False)
    others = [
        prepare_store(corpus, tokenizer, replace(SENTENCES, max_length=16), cache, workers=1),
        prepare_store(corpus, tokenizer, replace(SENTENCES, rules=LineRules(lowercase=True)), cache, workers=1),
        prepare_store(corpus, cased, SENTENCES, cache, workers=1),
        prepare_store(corpus[:1], tokenizer, SENTENCES, cache, workers=1),
    ]
    corpus[0].write_text("Changed.\n")
    others.append(prepare_store(corpus, tokenizer, SENTENCES, cache, workers=1))
    assert len({first, *others}) == 6


def test_overwriting_makes_it_anew(corpus, tokenizer, tmp_path):
    folder = prepare_store(corpus, tokenizer, SENTENCES, tmp_path, workers=1)
    before = arrays(folder)
    (folder / "tokens.bin").write_bytes(b"broken")
    assert arrays(prepare_store(corpus, tokenizer, SENTENCES, tmp_path, workers=1, overwrite=True)) == before


def test_sentence_blocks_stay_within_documents_on_request(corpus, tokenizer, tmp_path):
    settings = replace(SENTENCES, max_length=64, within_documents=True, keep_flags=True)
    store = TokenStore(prepare_store(corpus, tokenizer, settings, tmp_path, workers=1))
    starts = [int((store[index]["flags"] & 2 > 0).sum()) for index in range(len(store))]
    assert max(starts) == 1 and sum(starts) == 41 + 2


def test_causal_streams_keep_line_ends_and_end_documents(tokenizer, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n\nthree\n")
    tokenizer = AutoTokenizer.from_pretrained(tokenizer.name_or_path, eos_token="[SEP]")
    settings = CorpusSettings(
        Packing.STREAM,
        16,
        documents=DocumentRules(boundary=Boundary.BLANK_LINE, begin=False, end=True),
        keep_flags=True,
        template=Template.NOTHING,
    )
    store = TokenStore(prepare_store([path], tokenizer, settings, tmp_path, workers=1))
    assert tokenizer.decode(store[0]["input_ids"]) == "one two [SEP] three [SEP]"
    assert (store[0]["flags"] & 2 > 0).tolist() == [True, False, False, True, False]


def test_no_text_is_a_sentence(tokenizer, tmp_path):
    path = tmp_path / "blank.txt"
    path.write_text("\n \n\n")
    with pytest.raises(DataError, match=r"there is no text in blank\.txt"):
        prepare_store([path], tokenizer, SENTENCES, tmp_path / "cache", workers=1)
    assert not list((tmp_path / "cache").glob("corpus-*[!k]"))


def test_length_without_room_for_text_is_refused(corpus, tokenizer, tmp_path):
    with pytest.raises(DataError, match="2 ids leaves no room"):
        prepare_store(corpus, tokenizer, replace(SENTENCES, max_length=2), tmp_path / "cache", workers=1)


def test_what_was_cut_or_left_out_is_said(tokenizer, tmp_path, caplog):
    path = tmp_path / "a.txt"
    path.write_text("word " * 100 + "\n\u200b\nshort\n")
    with caplog.at_level(logging.INFO):
        prepare_store([path], tokenizer, SENTENCES, tmp_path / "cache", workers=1)
    assert "1 lines gave no subwords" in caplog.text
    assert "1 of 2 lines were longer than an example" in caplog.text
    assert "2 lines of text became 4 examples of at most 32 ids" in caplog.text


def test_separator_is_the_vocabularys_own(tokenizer):
    assert find_separator(tokenizer).tolist() == [tokenizer.sep_token_id]
    grown = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    grown.add_tokens(["▁"])
    assert find_separator(grown).tolist() == [len(tokenizer)]


MEASURE = """
import sys
from pathlib import Path
from transformers import AutoTokenizer
from finetune.encoding.corpus import CorpusSettings, Template, Packing, prepare_store
from finetune.run.memory import peak_resident_bytes
if __name__ == "__main__":
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    prepare_store([Path(sys.argv[2])], tokenizer, CorpusSettings(Packing.SENTENCES, 128), Path(sys.argv[3]), workers=1)
    print(peak_resident_bytes())
"""


@pytest.mark.slow
def test_memory_stays_flat_as_the_corpus_grows(tokenizer, tmp_path):
    """One megabyte against three (the benchmark goes to a gigabyte)."""
    numbers = np.random.default_rng(0).integers(0, 10**9, size=(34_000, 8))
    lines = "\n".join(" ".join(map(str, row)) for row in numbers)
    peaks = []
    for size in (1, 3):
        path = tmp_path / f"{size}.txt"
        path.write_text(lines[: size * 1_000_000])
        command = [sys.executable, "-c", MEASURE, tokenizer.name_or_path, str(path), str(tmp_path / "cache")]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    assert peaks[1] < 1.15 * peaks[0]
