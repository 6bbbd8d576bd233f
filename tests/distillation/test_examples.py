from __future__ import annotations

import numpy as np
import pytest

from finetune.distillation.examples import DistillationExamples
from finetune.encoding.blocks import Blocks
from finetune.encoding.special_tokens import SpecialTokens
from finetune.encoding.token_store import TokenStore, TokenStoreWriter
from finetune.errors import DataError

CLS, SEP, UNKNOWN = 1, 2, 3
FRAME = SpecialTokens(np.array([CLS]), np.array([SEP]), np.zeros(1, np.int8), np.zeros(1, np.int8), 0)


def make_examples(folder, bodies, *, max_length: int = 20) -> DistillationExamples:
    rows = [[CLS, *body, SEP] for body in bodies]
    with TokenStoreWriter(folder / "store", dtype=np.uint16, has_flags=False) as writer:
        lengths = np.array([len(row) for row in rows])
        writer.add(Blocks(np.concatenate(rows).astype(np.uint16), lengths, np.empty(0, np.uint8)))
        writer.commit({"counts": {}})
    store = TokenStore(folder / "store")
    return DistillationExamples(store, FRAME, max_length=max_length, unknown_id=UNKNOWN, seed=0)


def test_long_ones_are_split_and_nothing_of_them_lost_but_short_ends(tmp_path):
    body = list(range(10, 10 + 18 + 18 + 9))  # the rest of 9 gives 11 ids, too short
    examples = make_examples(tmp_path, [body, list(range(100, 118))])
    rows = [examples[index]["input_ids"].tolist() for index in range(len(examples))]
    assert rows == [[CLS, *body[:18], SEP], [CLS, *body[18:36], SEP], [CLS, *range(100, 118), SEP]]
    assert examples.lengths.tolist() == [len(row) for row in rows]
    assert examples.counts == {"split": 1, "short": 1}


def test_short_and_unknown_ones_are_counted(tmp_path):
    bodies = [list(range(10, 19)), list(range(10, 20)), [UNKNOWN] * 6 + [9] * 4, [UNKNOWN] * 5 + [9] * 5]
    examples = make_examples(tmp_path, bodies)
    assert len(examples) == 2 and examples.counts == {"short": 1, "unknown": 1}


def test_masks_are_drawn_anew_in_each_epoch(tmp_path):
    examples = make_examples(tmp_path, [list(range(10, 25))])
    first = examples[0]["draw"]
    examples.set_epoch(1)
    assert examples[0]["draw"] != first


def test_nothing_left_is_told(tmp_path):
    with pytest.raises(DataError, match="can be trained on"):
        make_examples(tmp_path, [[10, 11]])
