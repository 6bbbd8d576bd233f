from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from finetune.encoding.corpus import CorpusSettings, Packing, prepare_store
from finetune.encoding.token_store import TokenStore
from finetune.errors import DataError

SETTINGS = CorpusSettings(Packing.LINES, 16, keep_flags=True, find_words=True)


@pytest.fixture
def prepare(minilm_folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)

    def run(text: str, references: str) -> TokenStore:
        (tmp_path / "text.txt").write_text(text)
        (tmp_path / "ref.txt").write_text(references)
        paths = [tmp_path / "text.txt"]
        folder = prepare_store(paths, tokenizer, SETTINGS, tmp_path, workers=1, references=tmp_path / "ref.txt")
        return TokenStore(folder)

    return run


def starts(store, index):
    return (store[index]["flags"] & 1).tolist()


def test_pieces_of_a_word_are_joined_line_by_line(prepare):
    """Positions count [CLS]; a line without subwords has its list too; a long line goes on in the next example."""
    store = prepare("\u4e2d\u6587\u5b57\n\n\u200b\n" + "\u4e2d" * 20 + "\n", "[2]\n[5]\n[1, 2, 16, 20]\n")
    assert starts(store, 0) == [1, 1, 0, 1, 1]
    assert starts(store, 1) == [1, 1, 0, *[1] * 13]
    assert starts(store, 2) == [1, 1, 0, 1, 1, 1, 0, 1][: len(starts(store, 2))]


@pytest.mark.parametrize(
    ("references", "message"),
    [
        ("[2]\n", "has 1 lists and the text has more lines"),
        ("[2]\n[]\n[]\n", "has 3 lists and the text has 2 lines"),
        ("[2]\n[9]\n", "position 9 lies behind the 2 subwords"),
        ("[2]\n[-1]\n", "ref.txt:2: '\\[-1\\]' is not a list"),
        ("[2]\n2\n", "ref.txt:2: '2' is not a list"),
    ],
)
def test_files_that_do_not_fit_are_told(prepare, references, message):
    with pytest.raises(DataError, match=message):
        prepare("\u4e2d\u6587\n\u4e2d\u6587\n", references)
