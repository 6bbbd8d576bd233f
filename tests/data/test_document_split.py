from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.data.document_split import SplitCounts, choose_documents, split_documents
from finetune.data.text import iterate_documents
from finetune.errors import DataError


def write(path, documents):
    path.write_text("\n\n".join("\n".join(document) for document in documents))
    return path


@settings(max_examples=50, deadline=None)
@given(
    documents=st.lists(st.lists(st.sampled_from(["a", "b c", "ก"]), min_size=1, max_size=4), min_size=2, max_size=30),
    ratio=st.integers(2, 12),
    seed=st.none() | st.integers(0, 9),
)
def test_every_document_goes_whole_into_one_file_in_order(tmp_path_factory, documents, ratio, seed):
    folder = tmp_path_factory.mktemp("split")
    documents = [[f"{number} {line}" for line in document] for number, document in enumerate(documents)]
    corpus = write(folder / "all.txt", documents)
    train, valid = folder / "x.train", folder / "x.valid"
    counts = split_documents([corpus], train, valid, ratio=ratio, shuffle_seed=seed)
    in_train, in_valid = list(iterate_documents([train])), list(iterate_documents([valid]))
    assert len(in_valid) == min(-(-len(documents) // ratio), len(documents) - 1)
    assert sorted([*in_train, *in_valid], key=lambda d: int(d[0].split()[0])) == documents
    assert in_train == [d for d in documents if d in in_train] and in_valid == [d for d in documents if d in in_valid]
    if seed is None:
        assert in_valid == documents[: len(in_valid)]
    lines = [sum(map(len, side)) for side in (in_train, in_valid)]
    assert counts == SplitCounts(len(in_train), lines[0], len(in_valid), lines[1])


def test_random_documents_depend_on_the_seed_only():
    assert choose_documents(100, 10, 1) == choose_documents(100, 10, 1) != choose_documents(100, 10, 2)
    assert len(choose_documents(100, 10, 1)) == 10


def test_several_files_are_one_corpus_and_nothing_is_left_aside(tmp_path):
    paths = [write(tmp_path / "a.txt", [["a"], ["b"]]), write(tmp_path / "b.txt", [["c"]])]
    split_documents(paths, tmp_path / "o.train", tmp_path / "o.valid", ratio=3)
    assert (tmp_path / "o.train").read_text() == "b\n\nc\n\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt", "o.train", "o.valid"]


@pytest.mark.parametrize(("text", "found"), [("", "0 documents"), ("\n\n", "0 documents"), ("a\nb\n", "1 document")])
def test_one_document_cannot_be_split(tmp_path, text, found):
    path = tmp_path / "a.txt"
    path.write_text(text or "\n")
    with pytest.raises(DataError, match=f"the corpus has {found}"):
        split_documents([path], tmp_path / "o.train", tmp_path / "o.valid", ratio=2)
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]
