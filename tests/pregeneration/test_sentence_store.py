from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.encoding.lines import EncodedLines
from finetune.pregeneration import sentence_store
from finetune.pregeneration.sentence_store import SentenceStore, SentenceStoreWriter, Shard


def lines_of(documents: list[list[list[int]]], begins: bool = True) -> EncodedLines:
    sentences = [sentence for document in documents for sentence in document]
    borders = [begins and number == 0 for document in documents for number in range(len(document))]
    ids = np.array([subword for sentence in sentences for subword in sentence], dtype=np.uint16)
    lengths = np.array([len(sentence) for sentence in sentences], dtype=np.int32)
    return EncodedLines(ids, lengths, np.array(borders, dtype=bool), word_starts=ids % 2 == 0, bytes_read=len(ids))


def write_store(folder, batches, shard_tokens=1 << 19, reduce_memory=False, has_words=False) -> SentenceStore:
    with SentenceStoreWriter(folder, dtype=np.uint16, has_words=has_words) as writer:
        for batch in batches:
            writer.add(batch)
        writer.commit(shard_tokens=shard_tokens)
    return SentenceStore(folder, reduce_memory=reduce_memory)


DOCUMENTS = st.lists(
    st.lists(st.lists(st.integers(1, 999), min_size=1, max_size=6), min_size=1, max_size=8), min_size=1, max_size=12
)


@settings(max_examples=150, deadline=None)
@given(documents=DOCUMENTS, shard_tokens=st.integers(1, 40), reduce_memory=st.booleans())
def test_shards_cover_all_sentences_and_split_documents_are_known(
    tmp_path_factory, documents, shard_tokens, reduce_memory
):
    folder = tmp_path_factory.mktemp("store")
    store = write_store(folder, [lines_of(documents)], shard_tokens, reduce_memory)
    lengths = [len(sentence) for document in documents for sentence in document]
    assert [shard.first for shard in store.shards] == [0, *(shard.end for shard in store.shards[:-1])]
    assert store.shards[-1].end == store.sentences == len(lengths)
    ends = np.cumsum([len(document) for document in documents])
    spans = dict(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True))
    cut = {shard.end for shard in store.shards} - set(ends.tolist())
    expected = {(first, end) for first, end in spans.items() if any(first < place < end for place in cut)}
    assert set(store.split_documents) == expected
    for shard in store.shards:
        tokens = sum(lengths[shard.first : shard.end])
        assert shard.end > shard.first and tokens < 2 * shard_tokens + 6
        if shard != store.shards[-1]:
            assert tokens >= shard_tokens
            inside = [end for end in ends if shard.first < end < shard.end]
            assert all(sum(lengths[shard.first : end]) < shard_tokens for end in inside)


@pytest.mark.parametrize("reduce_memory", [False, True])
def test_borders_and_tokens_come_back(tmp_path, reduce_memory):
    documents = [[[1, 2, 3], [4]], [[5, 6]], [[7], [8, 9], [10]]]
    store = write_store(tmp_path, [lines_of(documents)], reduce_memory=reduce_memory, has_words=True)
    offsets, begins = store.sentence_borders(Shard(1, 4))
    assert offsets.tolist() == [3, 4, 6, 7] and begins.tolist() == [False, True, True, False]
    offsets, begins = store.borders_after(np.array([4, 0]), 3)
    assert offsets.tolist() == [[7, 9, 10, 10], [0, 3, 4, 6]]
    assert begins.tolist() == [[False, False, True, True], [True, False, True, True]]
    assert store.tokens.rows(np.array([6, 0, 2]), np.array([3, 1, 0])).tolist() == [7, 8, 9, 1]
    assert store.tokens.slice(2, 5).tolist() == [3, 4, 5]
    assert store.words.slice(0, 4).tolist() == [0, 1, 0, 1]
    assert store.description["counts"]["documents"] == 3 and store.description["counts"]["longest"] == 3


def test_killed_writer_goes_on_from_its_last_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(sentence_store, "CHECKPOINT_BYTES", 8)
    rng = np.random.default_rng(0)
    batches = [
        lines_of([[rng.integers(1, 99, size=rng.integers(1, 5)).tolist() for _ in range(3)]], begins=number % 2 == 0)
        for number in range(9)
    ]
    whole = write_store(tmp_path / "whole", batches, shard_tokens=10, has_words=True)

    class Killed(BaseException):
        pass

    for stop in (4, 7):
        with pytest.raises(Killed), SentenceStoreWriter(tmp_path / "cut", dtype=np.uint16, has_words=True) as writer:
            for batch in batches[writer.chunks_done : stop]:
                writer.add(batch)
            raise Killed
    with SentenceStoreWriter(tmp_path / "cut", dtype=np.uint16, has_words=True) as writer:
        assert 0 < writer.chunks_done < 7
        for batch in batches[writer.chunks_done :]:
            writer.add(batch)
        writer.commit(shard_tokens=10)
    cut = SentenceStore(tmp_path / "cut")
    assert cut.description == whole.description
    for name in ("tokens.bin", "marks.bin", "words.bin"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
