"""Minimal inputs that once ended readers with a traceback; each is a sentence, or is read."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finetune.classification.published.semeval import read_semeval
from finetune.data.class_weights import read_class_weights
from finetune.data.json_values import parse_json
from finetune.data.list_cells import parse_list
from finetune.data.pickles import read_pickle
from finetune.data.reviews import iterate_records
from finetune.data.row_files import read_row_file
from finetune.data.text_rows import read_text_chunks
from finetune.distillation.binarized import read_counts
from finetune.encoding.blocks import Blocks
from finetune.encoding.token_store import TokenStore, TokenStoreWriter
from finetune.encoding.word_references import read_references
from finetune.errors import FinetuneError
from finetune.models.settings import TaggerSettings
from finetune.pregeneration.epoch_files import read_arrays, read_metrics
from finetune.run.manifest import read_manifest
from finetune.run.output_record import _read
from finetune.surprisal.input import resolve_input_file
from finetune.tagging.formats.choice import read_sentences
from finetune.tagging.formats.sentences import TagColumns
from finetune.tokenization.vocabulary import read_segment_cache, read_vocabulary

DEEP = "[" * 100_000
HOSTILE = {
    "deep": DEEP,
    "deep, closed": "[" * 5000 + "]" * 5000,
    "deep objects": '{"a":' * 5000,
    "digits": '{"text": ' + "9" * 5000 + ', "words": ["a"], "tags": ["O"]}',
    "digits in a list": "[" + "9" * 5000 + "]",
    "half a character": '{"text": "\\ud800", "words": ["\\ud800"], "tags": ["O"], "label": "\\udfff"}',
    "half a key": '{"\\ud800": 1}',
}
READERS = {
    "tagging, JSON lines": ("x.jsonl", lambda path: read_sentences(path, TagColumns())),
    "tagging, JSON": ("x.json", lambda path: read_sentences(path, TagColumns())),
    "rows, JSON lines": ("x.jsonl", read_row_file),
    "rows, JSON": ("x.json", read_row_file),
    "texts": ("x.jsonl", lambda path: list(read_text_chunks([path]))),
    "scoring": ("x.jsonl", resolve_input_file),
    "class weights": ("x.json", lambda path: read_class_weights(path, ["a"])),
    "reviews": ("x.json", lambda path: list(iterate_records(path))),
    "references": ("x.json", lambda path: list(read_references(path))),
    "counts": ("x.json", read_counts),
    "vocabulary": ("x.json", read_vocabulary),
    "segments": ("x.json", read_segment_cache),
    "metrics": ("epoch_0_metrics.json", lambda path: read_metrics(path.parent, 0)),
    "settings": ("finetune_settings.json", lambda path: TaggerSettings.load(path.parent)),
    "run.json": ("run.json", lambda path: read_manifest(path.parent)),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", HOSTILE)
def test_json_of_no_end_is_a_sentence(tmp_path, reader, kind):
    name, read = READERS[reader]
    path = tmp_path / name
    path.write_text(HOSTILE[kind] + "\n", encoding="utf-8")
    try:
        read(path)
    except FinetuneError as error:
        assert len(str(error)) < 2000


@pytest.mark.parametrize(
    ("text", "says"), [(DEEP, "nested too deeply"), ("9" * 5000, "too many digits"), ('"\\ud800"', "half a character")]
)
def test_whatever_is_wrong_is_one_kind_of_error(text, says):
    with pytest.raises(json.JSONDecodeError, match=says):
        parse_json(text)
    assert parse_json('"\\ud83d\\ude00 \\\\ud800"') == "\U0001f600 \\ud800"


def test_json_of_users_is_parsed_in_one_place(repository):
    """Elsewhere only what this program or a library has just written, and what has its own guard."""
    allowed = {
        *("data/json_values.py", "run/lock.py", "run/output_record.py", "run/manifest.py", "run/checkpoints.py"),
        *("arguments/legacy.py", "arguments/values.py", "arguments/config_file.py", "encoding/control_tokens.py"),
        *("tokenization/subword_training.py", "tokenization/loading.py", "tokenization/thai_words.py"),
        *("lm_experiments/dotted.py", "sweep/task.py", "models/whole_weights.py"),
        *("run/hub.py", "run/remote_files.py", "run/evaluations.py"),
        # What processes of one run tell each other.
        *("run/siblings.py", "surprisal/tables_as_bytes.py", "prediction/task.py", "pregeneration/pregenerate.py"),
        "tokenization/pre_tokenizers.py",  # the library's own state
    }
    folder = repository / "finetune"
    found = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if "json.loads(" in path.read_text(encoding="utf-8")
    }
    assert found <= allowed


@pytest.mark.parametrize("task", ['{"a": null}', "1", '"x"', "[1]", '[{"result": 5}]', '[{"result": [3]}]'])
def test_annotations_of_another_shape(tmp_path, task):
    path = tmp_path / "x.json"
    path.write_text('[{"id": 7, "data": {"text": "a"}, "annotations": ' + task + "}]", encoding="utf-8")
    for read in (lambda: read_sentences(path, TagColumns()), lambda: read_row_file(path)):
        try:
            read()
        except FinetuneError as error:
            assert "x.json" in str(error)


@pytest.mark.parametrize("content", [b'<?xml version="1.0" encoding="UTF-9"?><a/>', b'<?xml version="" encoding="F"?>'])
def test_xml_of_an_unknown_encoding(tmp_path, content):
    path = tmp_path / "x.xml"
    path.write_bytes(content)
    with pytest.raises(FinetuneError):
        read_semeval(path)


@pytest.mark.parametrize("cell", ["['','\n']", "['a' 'b", "[" * 3000, "{[[1]]}", "9" * 5000, "[" + "1," * 9 + "]"])
def test_a_cell_that_is_no_list(cell):
    assert parse_list(cell) is None or isinstance(parse_list(cell), list)


@pytest.mark.parametrize(
    "content", [b"\x95]\x94(K\x03K\x00K", b"\x95\x15\x00\x00\x8c\x02ab\x94", b"\x80\x04\x95!!python"]
)
def test_a_pickle_of_impossible_lengths(tmp_path, content):
    path = tmp_path / "x.pickle"
    path.write_bytes(content)
    with pytest.raises(FinetuneError, match="cannot be read as plain"):
        read_pickle(path, "plain", "numbers")
    path.write_bytes(pickle.dumps([1]))
    assert read_pickle(path, "plain", "numbers") == [1]


@pytest.mark.parametrize("cut", [0, 1, 20, 60, 127, 130])
def test_counts_that_are_cut(tmp_path, cut):
    path = tmp_path / "x.npy"
    np.save(path, np.array([1, 2]))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(FinetuneError, match="no list of token counts"):
        read_counts(path)


@pytest.fixture
def store(tmp_path) -> Path:
    folder = tmp_path / "store"
    with TokenStoreWriter(folder, dtype=np.uint16, has_flags=True) as writer:
        writer.add(Blocks(np.arange(9, dtype=np.uint16), np.array([4, 5]), np.zeros(9, dtype=np.uint8)))
        writer.commit({"counts": {}})
    return folder


@pytest.mark.parametrize("name", ["store.json", "tokens.bin", "offsets.bin", "flags.bin"])
@pytest.mark.parametrize("harm", ["byte", "half", "empty", "removed", "garbage"])
def test_a_damaged_token_store_is_said(store, name, harm):
    path = store / name
    content = path.read_bytes()
    kept = {"byte": content[:-1], "half": content[: len(content) // 2], "empty": b"", "garbage": b"\xfb" * len(content)}
    path.unlink() if harm == "removed" else path.write_bytes(kept[harm])
    if name == "store.json" and harm == "byte":
        return  # the last line end
    if harm == "garbage" and name in ("tokens.bin", "flags.bin"):
        return  # of the right size: nobody can tell
    with pytest.raises(FinetuneError, match="token store"):
        TokenStore(store)


@pytest.mark.parametrize(
    "description", ["[]", "{}", '{"dtype": "", "has_flags": 0}', '{"dtype": "u2", "has_flags": 0, "tokens": "9"}']
)
def test_a_store_of_another_description_is_said(store, description):
    (store / "store.json").write_text(description)
    with pytest.raises(FinetuneError, match="damaged"):
        TokenStore(store)


@pytest.mark.parametrize(
    "entry", [{"dtype": "U15"}, {"data_offsets": [0, 181]}, {"data_offsets": []}, {"data_offsets": "x"}]
)
def test_arrays_that_do_not_fit(tmp_path, entry):
    path = tmp_path / "epoch_0.safetensors"
    head = {"input_ids": {"dtype": "U16", "shape": [90], "data_offsets": [0, 180], **entry}}
    written = json.dumps(head).encode()
    path.write_bytes(len(written).to_bytes(8, "little") + written + bytes(180))
    with pytest.raises(FinetuneError):
        read_arrays(path)


@pytest.mark.parametrize("name", ["versions", "inputs", "files", "resumed", "program", "result"])
def test_a_record_of_other_kinds_is_no_record(tmp_path, name):
    (tmp_path / "run.json").write_text(json.dumps({"arguments": {}, "status": "done", name: 1.5}))
    with pytest.raises(FinetuneError, match="not the record of a run"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc/passwd", "a\0", "a" * 300])
def test_a_record_of_an_output_names_files_beside_it_only(tmp_path, name):
    path = tmp_path / "a.run.json"
    path.write_text(json.dumps({"arguments": {}, "inputs": {}, "result": {}, "files": {name: {}}}))
    assert _read(path) == {}


def test_a_file_of_no_lines_but_other_white_space(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("\u2028", encoding="utf-8")
    for read in (lambda: read_sentences(path, TagColumns()), lambda: read_row_file(path)):
        with pytest.raises(FinetuneError):
            read()


def test_offsets_of_thousands_of_digits(tmp_path):
    path = tmp_path / "x.ann"
    path.with_suffix(".txt").write_text("Ann", encoding="utf-8")
    path.write_text(f"T1\tPER 0 {'9' * 5000}\tAnn\n", encoding="utf-8")
    with pytest.raises(FinetuneError, match="is no annotation of brat"):
        read_sentences(path, TagColumns())


def test_weights_beyond_any_float(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"good": ' + "9" * 400 + "}")
    with pytest.raises(FinetuneError, match="a positive number is needed"):
        read_class_weights(path, ["good"])


@pytest.mark.parametrize("shape", ["(318446744073709551616,)", "(9999999999999999,)", "('x',)"])
def test_counts_of_impossible_shapes(tmp_path, shape):
    path = tmp_path / "x.npy"
    head = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00v\x00" + head.encode() + bytes(24))
    with pytest.raises(FinetuneError, match="no list of token counts"):
        read_counts(path)


def test_a_parquet_file_whose_names_are_no_text(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"tokens": [["a"]]}), path)
    path.write_bytes(path.read_bytes().replace(b"tokens", b"tok\xeens"))
    with pytest.raises(FinetuneError):
        read_row_file(path)
