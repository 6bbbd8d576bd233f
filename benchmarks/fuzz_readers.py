"""What fuzz.py calls: every reader, parser and loader of what a user brings, each with true inputs to damage."""

from __future__ import annotations

import gzip
import io
import json
import logging
import pickle
import random
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

REPOSITORY = Path(__file__).resolve().parent.parent

CONLL = (
    "-DOCSTART- -X- O O\n\nAnn NNP B-NP B-PER\nsaw VBD O O\nParis NNP B-NP B-LOC\n\nBo NNP B-NP B-PER\nran VBD O O\n"
)
CONLLU = (
    "# sent_id = 1\n# text = Ann saw it\n1\tAnn\tann\tPROPN\tNNP\t_\t2\tnsubj\t_\t_\n"
    "2-3\tsaw it\t_\t_\t_\t_\t_\t_\t_\t_\n"
    "2\tsaw\tsee\tVERB\tVBD\t_\t0\troot\t_\t_\n3\tit\tit\tPRON\tPRP\t_\t2\tobj\t_\t_\n\n"
)
WEBANNO = (
    "#FORMAT=WebAnno TSV 3.3\n#T_SP=webanno.custom.NE|value\n\n#Text=Ann saw Paris\n1-1\t0-3\tAnn\tPER\t\n"
    "1-2\t4-7\tsaw\t_\t\n1-3\t8-13\tParis\tLOC[1]\t\n\n"
)
ONTONOTES = "#begin document (a); part 000\n" + "".join(
    f"a 0 {number} {word} NNP * - - - - {tag} -\n"
    for number, (word, tag) in enumerate([("Ann", "(PER)"), ("ran", "*")])
)
WORDS = {"words": ["Ann", "saw", "Paris"], "ner_tags": ["B-PER", "O", "B-LOC"], "id": 1}
SPANS = {"text": "Ann saw Paris", "spans": [{"start": 0, "end": 3, "label": "PER"}], "entities": [[8, 13, "LOC"]]}
LABEL_STUDIO = [
    {
        "id": 7,
        "data": {"text": "Ann saw Paris"},
        "annotations": [
            {"result": [{"type": "labels", "value": {"start": 0, "end": 3, "text": "Ann", "labels": ["PER"]}}]},
        ],
    }
]
DOCCANO = {"id": 1, "text": "Ann saw Paris", "label": [[0, 3, "PER"]]}
TEXTS = [{"text": "a good day", "label": "good"}, {"text": "a bad day", "label": 0, "text_pair": "why"}]
CSV = 'text,label\n"a ""good"" day",good\nbad,bad\n"two\nlines",1.5\n'
TSV = "sentence\tlabel\nhide new secretions\t0\nof saucy\t1\n"
YAML = "learning_rate: 1e-5\nseed: 7\nmodel_name_or_path: ~/x\ntrain_file: [a, b]\ntokenizer_kwargs: {a: {b: 1}}\nbf16: no\n"
REVIEWS = [
    {"reviewText": "Good. Very good! Is it?", "asin": "1", "categories": [["A", "B"]]},
    {"text": "Nice place.", "stars": 4},
]
BRAT = "T1\tPER 0 3\tAnn\nT2\tLOC 8 13\tParis\nR1\tIn Arg1:T1 Arg2:T2\n#1\tAnnotatorNotes T1\tx\n"
SEMEVAL = (
    '<?xml version="1.0" encoding="UTF-8"?><sentences><sentence id="1"><text>Good food</text><aspectTerms>'
    '<aspectTerm term="food" polarity="positive" from="5" to="9"/></aspectTerms><aspectCategories>'
    '<aspectCategory category="food" polarity="positive"/></aspectCategories></sentence></sentences>'
)
MANIFEST = {
    "format": 1,
    "status": "running",
    "program": "run_ner.py",
    "command": ["python", "x"],
    "arguments": {"seed": 1},
    "inputs": {"/x": {"bytes": 1, "modified_ns": 2, "sha256": "0"}},
    "versions": {"torch": "2"},
    "files": ["a"],
    "foreign": [],
    "resumed": ["2026-01-01"],
    "result": {"f1": 0.5},
    "named_files": {},
    "code": "0",
}

REQUIRED = ["--model_name_or_path", "m", "--output_dir", "o", "--do_train", "--train_file", "t"]


@dataclass
class Reader:
    """One way in: `call` is given a file with damaged content, or the content itself where `name` is empty."""

    label: str
    name: str
    seeds: list[bytes]
    call: Callable[[Path], Any]
    is_json: bool = False
    share: float = 1.0  # of the executions that each reader gets; less where one takes long


def consume(value: Any) -> None:
    """Go to the end of what is lazy."""
    if isinstance(value, Iterator):
        for _ in value:
            pass


def pack_json(value: Any) -> bytes:
    """A value as a JSON file."""
    return json.dumps(value, ensure_ascii=False).encode()


def pack_lines(values: Iterable[Any]) -> bytes:
    """Values as JSON lines."""
    return b"\n".join(map(pack_json, values)) + b"\n"


def pack_parquet(columns: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def _npy(values: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(values))
    return file.getvalue()


def make_readers(folder: Path) -> list[Reader]:
    """All of them; `folder` is for true files that stay as they are."""
    from fuzz_folders import make_folder_readers
    from fuzz_formats import make_format_readers

    return [
        *_tagging_readers(),
        *_text_readers(),
        *_argument_readers(),
        *_record_readers(folder),
        *_array_readers(folder),
        *_model_readers(folder),
        *_result_readers(),
        *make_format_readers(folder),
        *make_folder_readers(folder),
    ]


def _tagging_readers() -> list[Reader]:
    from finetune.tagging.formats import choice
    from finetune.tagging.formats.brat import read_brat
    from finetune.tagging.formats.inline import read_inline
    from finetune.tagging.formats.ontonotes import read_ontonotes
    from finetune.tagging.formats.sentences import TagColumns

    columns = TagColumns()

    def sentences(path: Path) -> Any:
        return choice.read_sentences(path, columns)

    def brat(path: Path) -> Any:
        path.with_suffix(".txt").write_text("Ann saw Paris", encoding="utf-8")
        return read_brat(path, columns)

    inline = b"Ann|B-PER saw|O Paris|B-LOC\nBo|B-PER ran|O\n"
    table = b"sentence_id,word,tag\n1,Ann,B-PER\n1,saw,O\n2,Bo,B-PER\n"
    lists = b"tokens,ner_tags\n\"['Ann', 'saw']\",\"['B-PER', 'O']\"\n"
    parquet = pack_parquet({"tokens": [["Ann", "saw"]], "ner_tags": [["B-PER", "O"]]})
    return [
        Reader("tagging: CoNLL", "x.conll", [CONLL.encode(), b"Ann\tB-PER\nsaw\tO\n"], sentences),
        Reader(
            "tagging: any text", "x.txt", [CONLL.encode(), CONLLU.encode(), WEBANNO.encode(), inline, table], sentences
        ),
        Reader("tagging: CoNLL-U", "x.conllu", [CONLLU.encode()], sentences),
        Reader("tagging: WebAnno", "x.tsv", [WEBANNO.encode()], sentences),
        Reader(
            "tagging: OntoNotes", "x.v4_gold_conll", [ONTONOTES.encode()], lambda path: read_ontonotes(path, columns)
        ),
        Reader("tagging: words with tags", "x.inline", [inline], lambda path: read_inline(path, columns)),
        Reader("tagging: CSV", "x.csv", [table, lists], sentences),
        Reader(
            "tagging: JSON lines",
            "x.jsonl",
            [pack_lines([WORDS, WORDS]), pack_lines([SPANS]), pack_lines([DOCCANO])],
            sentences,
            True,
        ),
        Reader(
            "tagging: JSON, Label Studio",
            "x.json",
            [pack_json(LABEL_STUDIO), pack_json({"data": [WORDS]})],
            sentences,
            True,
        ),
        Reader("tagging: brat", "x.ann", [BRAT.encode()], brat),
        Reader("tagging: Parquet", "x.parquet", [parquet], sentences),
    ]


def _text_readers() -> list[Reader]:
    from finetune.classification.column_choice import ColumnChoice
    from finetune.classification.corpus import read_tables
    from finetune.classification.glue.files import read_glue_file
    from finetune.classification.glue.tasks import TASKS
    from finetune.classification.published.semeval import read_semeval
    from finetune.classification.published.wongnai import read_wongnai
    from finetune.data.class_weights import read_class_weights
    from finetune.data.prediction_input import read_line_file
    from finetune.data.reviews import ReviewCounts, iterate_documents, iterate_records, select_texts
    from finetune.data.row_files import read_row_file
    from finetune.data.text import read_chunks
    from finetune.data.text_rows import read_text_chunks
    from finetune.encoding.word_references import read_references
    from finetune.surprisal.input import read_scoring_file, resolve_input_file

    def rows(path: Path) -> Any:
        return read_tables("x", {"train": read_row_file(path)}, ColumnChoice())

    def scoring(path: Path) -> None:
        consume(read_scoring_file(resolve_input_file(path)))

    def reviews(path: Path) -> None:
        counts = ReviewCounts()
        consume(iterate_documents(select_texts(iterate_records(path), "reviewText", counts), counts))

    fasttext = b"__label__good a good day\n__label__bad __label__sad a bad day\n"
    sst = next(task for task in TASKS if task.name.lower().startswith("sst"))
    parquet = pack_parquet({"text": ["a", "b"], "label": [0, 1]})
    return [
        Reader("classification: JSON lines", "x.jsonl", [pack_lines(TEXTS)], rows, True),
        Reader(
            "classification: JSON",
            "x.json",
            [pack_json(TEXTS), pack_json({"data": TEXTS}), pack_json({"a": "b"})],
            rows,
            True,
        ),
        Reader("classification: CSV", "x.csv", [CSV.encode(), CSV.replace(",", ";").encode()], rows),
        Reader("classification: TSV", "x.tsv", [TSV.encode()], rows),
        Reader("classification: fastText", "x.txt", [fasttext], rows),
        Reader("classification: Parquet", "x.parquet", [parquet], rows),
        Reader("classification: packed CSV", "x.csv.gz", [gzip.compress(CSV.encode())], rows),
        Reader("classification: GLUE", "train.tsv", [TSV.encode()], lambda path: read_glue_file(path, sst)),
        Reader("classification: SemEval", "x.xml", [SEMEVAL.encode()], read_semeval),
        Reader(
            "classification: Wongnai",
            "x.csv",
            [b'good food;4\n"bad; food";1\n'],
            lambda path: read_wongnai(path, "train"),
        ),
        Reader(
            "class weights",
            "x.txt",
            [b"good 1.5\nbad 2\n", b'{"good": 1, "bad": 0.5}'],
            lambda path: read_class_weights(path, ["good", "bad"]),
        ),
        Reader("texts, lines", "x.txt", [b"one\n\ntwo words\n"], lambda path: consume(read_line_file(path, "words"))),
        Reader(
            "texts, chunks", "x.txt", [b"one\n\ntwo words\n"], lambda path: consume(read_chunks([path], chunk_bytes=64))
        ),
        Reader(
            "texts, packed chunks",
            "x.txt.gz",
            [gzip.compress(b"one\n\ntwo words\n" * 9)],
            lambda path: consume(read_chunks([path], chunk_bytes=64)),
        ),
        Reader("texts, rows", "x.jsonl", [pack_lines(TEXTS)], lambda path: consume(read_text_chunks([path])), True),
        Reader("scoring, lines", "x.txt", [b"one\n\ntwo words\n"], scoring),
        Reader(
            "scoring, JSON lines",
            "x.jsonl",
            [pack_lines([{"text": "a b", "labels": [0, 1], "verb": "v"}])],
            scoring,
            True,
        ),
        Reader("reviews", "x.json", [pack_lines(REVIEWS)], reviews, True),
        Reader(
            "whole-word references", "x.json", [b"[1, 2]\n[]\n[3]\n"], lambda path: consume(read_references(path)), True
        ),
    ]


def _argument_readers() -> list[Reader]:
    from finetune.arguments.config_file import read_config_file
    from finetune.data.list_cells import parse_list
    from finetune.sweep.grid import read_grid
    from finetune.sweep.task import load_parser

    parser = load_parser(REPOSITORY / "scripts" / "run_ner.py")
    tuning = load_parser(REPOSITORY / "scripts" / "finetune_lm.py")
    flags = sorted({*parser.fields, *parser.old_flags})

    def config(path: Path) -> None:
        read_config_file(path)
        parser.parse([*REQUIRED, "--config_file", str(path)])

    def words(path: Path) -> None:
        content = path.read_bytes().decode("utf-8", "surrogateescape").replace("\0", "")
        parser.parse(content.split("\n"))

    def dotted(path: Path) -> None:
        content = path.read_bytes().decode("utf-8", "surrogateescape").replace("\0", "")
        tuning.parse(content.split("\n"))

    draw = random.Random(1)
    lines = [
        "\n".join(
            f"--{flag}={draw.choice(['1', 'x', 'no', '1e9', '[1]', '{}', '-1', 'a,b'])}"
            for flag in draw.sample(flags, 6)
        )
        for _ in range(40)
    ]
    nested = [
        "--tokenizer_kwargs.a.b\n1",
        '--model_kwargs\n{"a": [1, 2]}',
        "--loss_classes.train\na.b.C",
        "--loss_kwargs.x=[1",
    ]
    return [
        Reader("config file, YAML", "x.yaml", [YAML.encode()], config),
        Reader(
            "config file, JSON",
            "x.json",
            [pack_json({"learning_rate": 1e-5, "seed": 7, "tokenizer_kwargs": {"a": 1}})],
            config,
            True,
        ),
        Reader(
            "grid file", "g.yaml", [b"learning_rate: [1e-5, 3e-5]\nseed: [1, 2]\n"], lambda path: read_grid([], path)
        ),
        Reader("command line", "words", [line.encode() for line in lines], words),
        Reader("command line, dotted values", "words", [line.encode() for line in nested], dotted),
        Reader(
            "list in a cell",
            "cell",
            [b"['a', 'b']", b'["a", 1]', b"array(['a'], dtype=object)", b"a b"],
            lambda path: parse_list(path.read_bytes().decode("utf-8", "replace")),
        ),
    ]


def _record_readers(folder: Path) -> list[Reader]:
    from finetune.models.settings import ClassifierSettings, TaggerSettings
    from finetune.run.checkpoints import mark_complete, newest_whole, read_position, read_state
    from finetune.run.folder import Request, decide
    from finetune.run.manifest import read_manifest
    from finetune.run.output_record import SUFFIX, OutputRecord
    from finetune.sweep.task import load_parser

    checkpoint = folder / "run" / "checkpoint-4"
    checkpoint.mkdir(parents=True, exist_ok=True)
    state = {
        "global_step": 4,
        "best_model_checkpoint": "x/checkpoint-2",
        "log_history": [{"loss": 1.0, "step": 4}],
        "stateful_callbacks": {"Position": {"epoch_ended": True, "off_schedule": False}},
    }
    (checkpoint / "trainer_state.json").write_bytes(pack_json(state))
    mark_complete(checkpoint)
    marker = (checkpoint / "complete.json").read_bytes()
    arguments = load_parser(REPOSITORY / "scripts" / "run_ner.py").parse(REQUIRED)

    def resume(path: Path) -> None:
        target = path.parent / "checkpoint-4"
        shutil.copytree(checkpoint, target, dirs_exist_ok=True)
        shutil.copy(path, target / path.name)
        newest_whole(path.parent)
        read_position(read_state(target))

    def manifest(path: Path) -> None:
        if read_manifest(path.parent) is not None:
            decide(path.parent, Request("run_ner.py", {"seed": 1}, if_changed=True))

    def record(path: Path) -> None:
        OutputRecord(path.with_name(path.name.removesuffix(SUFFIX)), arguments, []).is_finished()

    tagger = {"kind": "tagger", "scheme": "IOB2", "max_length": 48, "stride": 8, "lowercase": True}
    written = {
        "program": "p",
        "arguments": {"a": 1},
        "inputs": {"/x": {"bytes": 1}},
        "files": {"a": {"xxh3": "0"}},
        "result": {},
    }
    return [
        Reader(
            "run.json", "run.json", [pack_json(MANIFEST), pack_json({**MANIFEST, "status": "done"})], manifest, True
        ),
        Reader("complete.json", "complete.json", [marker], resume, True),
        Reader("trainer_state.json", "trainer_state.json", [pack_json(state)], resume, True),
        Reader("record beside an output", f"a{SUFFIX}", [pack_json(written)], record, True),
        Reader(
            "settings of taggers",
            "finetune_settings.json",
            [pack_json(tagger)],
            lambda path: TaggerSettings.load(path.parent),
            True,
        ),
        Reader(
            "settings of classifiers",
            "finetune_settings.json",
            [pack_json({"problem_type": "single_label_classification", "max_length": 48})],
            lambda path: ClassifierSettings.load(path.parent),
            True,
        ),
    ]


def _array_readers(folder: Path) -> list[Reader]:
    from finetune.data.pickles import ArrayUnpickler, read_pickle
    from finetune.distillation.binarized import open_binarized, read_counts
    from finetune.encoding.blocks import Blocks
    from finetune.encoding.token_store import TokenStoreWriter
    from finetune.pregeneration.epoch_files import read_arrays, read_metrics
    from finetune.tokenization.sefr import read_pickled_cache
    from finetune.tokenization.vocabulary import read_segment_cache, read_vocabulary

    store = folder / "store"
    if not store.exists():
        blocks = Blocks(np.arange(9, dtype=np.uint16), np.array([4, 5]), np.zeros(9, dtype=np.uint8))
        with TokenStoreWriter(store, dtype=np.uint16, has_flags=False) as writer:
            writer.add(blocks)
            writer.commit({"tokens": 9})

    def stored(path: Path) -> None:
        target = path.parent / "store"
        shutil.copytree(store, target, dirs_exist_ok=True)
        shutil.copy(path, target / path.name)
        opened = open_binarized(target)
        for index in range(min(len(opened), 50)):
            opened[index]

    arrays = _epoch_file(folder)
    counts = [3, 0, 2]
    return [
        *(
            Reader(f"token store: {path.name}", path.name, [path.read_bytes()], stored, path.suffix == ".json")
            for path in sorted(store.iterdir())
        ),
        Reader("pregenerated epoch", "epoch_0.npz", [arrays], read_arrays),
        Reader(
            "pregenerated metrics",
            "epoch_0_metrics.json",
            [pack_json({"num_training_examples": 3, "max_seq_len": 32})],
            lambda path: read_metrics(path.parent, 0),
            True,
        ),
        Reader("token counts, JSON", "x.json", [pack_json(counts)], read_counts, True),
        Reader("token counts, npy", "x.npy", [_npy(counts)], read_counts),
        Reader(
            "pickle",
            "x.pickle",
            [pickle.dumps(counts), pickle.dumps([np.array([1, 2])], 2), pickle.dumps({"a": [1.5, None]})],
            lambda path: read_pickle(path, "x", "y", ArrayUnpickler),
        ),
        Reader("pickled segments", "x.pickle", [pickle.dumps({"ab": ["a", "b"]})], read_pickled_cache),
        Reader("vocabulary", "newmm.json", [pack_json({"<s>": 0, "a": 1, "b": 2})], read_vocabulary, True),
        Reader("segment cache", "x.json", [pack_json({"ab": ["a", "b"]})], read_segment_cache, True),
    ]


def _epoch_file(folder: Path) -> bytes:
    import subprocess

    path = folder / "epoch" / "epoch_0.safetensors"
    found = sorted((folder / "epoch").glob("epoch_0.*")) if path.parent.exists() else []
    if not found:
        bert, text = save_bert(folder), folder / "text.txt"
        text.write_text("the dog saw a cat\nthe cat ran\n\nthe key\nwas old\n\n" * 3, encoding="utf-8")
        command = [
            REPOSITORY / "scripts" / "pregenerate_training_data.py",
            "--train_corpus",
            text,
            "--bert_model",
            bert,
            "--output_dir",
            folder / "epoch",
            "--epochs_to_generate",
            1,
            "--max_seq_len",
            32,
        ]
        subprocess.run([sys.executable, *map(str, command)], check=True, capture_output=True)
        found = [item for item in sorted((folder / "epoch").glob("epoch_0.*")) if item.suffix != ".json"]
    return found[0].read_bytes()


def save_bert(folder: Path) -> Path:
    """A BERT of few words, with its tokenizer."""
    bert = folder / "bert"
    if (bert / "config.json").exists():
        return bert
    sys.path.insert(0, str(REPOSITORY))
    from transformers import AutoTokenizer, BertModel

    from tests import tiny

    bert.mkdir(parents=True, exist_ok=True)
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *["a", "the", "dog", "cat", "saw", "ran", "key", "was", "old"],
    ]
    (bert / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    config = tiny.bert_config(len(words), max_position_embeddings=64)
    config.save_pretrained(bert)
    return tiny.save(BertModel(config), AutoTokenizer.from_pretrained(bert, model_max_length=64), bert)


def _model_readers(folder: Path) -> list[Reader]:
    from finetune.arguments.model import ModelArguments
    from finetune.models.loading import load_config
    from finetune.tokenization.loading import load_tokenizer

    bert = save_bert(folder)

    def beside(path: Path) -> ModelArguments:
        target = path.parent / "model"
        shutil.copytree(bert, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors"))
        shutil.copy(path, target / path.name)
        return ModelArguments(model_name_or_path=str(target))

    def tokenizer(path: Path) -> Any:
        return load_tokenizer(beside(path))

    def config(path: Path) -> Any:
        return load_config(beside(path))

    logging.getLogger("transformers").setLevel(logging.CRITICAL)
    return [
        Reader("model: config.json", "config.json", [(bert / "config.json").read_bytes()], config, True),
        Reader("tokenizer.json", "tokenizer.json", [(bert / "tokenizer.json").read_bytes()], tokenizer, True),
        Reader(
            "tokenizer_config.json",
            "tokenizer_config.json",
            [(bert / "tokenizer_config.json").read_bytes()],
            tokenizer,
            True,
        ),
    ]


def _result_readers() -> list[Reader]:
    """What pages, comparisons and loading read in the folder of a run, an adapter or an export."""
    from finetune.comparison.runs import ComparedRun, _read_examples
    from finetune.models.adapters import WEIGHTS, read_adapter
    from finetune.models.exported import find_format
    from finetune.page.folder import RunFolder

    def adapter(path: Path) -> None:
        (path.parent / WEIGHTS).touch()
        read_adapter(str(path.parent))

    def examples(path: Path) -> None:
        _read_examples(ComparedRun(RunFolder(path.parent), "x", path.suffix[1:]), "test")

    history = {"log": [{"loss": 0.5, "step": 3}, {"eval_f1": 1.0, "eval_loss": 0.2, "step": 4}], "steps": 4}
    labels = {"id2label": {"0": "O", "1": "B-PER"}, "model_type": "bert"}
    rows = [
        {
            "text": "a day",
            "label": "good",
            "expected": "good",
            "predicted": "bad",
            "probabilities": {"good": 0.1, "bad": 0.9},
        }
    ]
    tags = b"Ann\tB-PER\tB-PER\nsaw\tO\tO\n\nBo\tB-PER\tO\n"
    described = {"peft_type": "LORA", "base_model_name_or_path": "/x", "r": 8}
    exported = {"export_format": "onnx", "inputs": ["input_ids"]}
    return [
        Reader(
            "run: history", "training_history.json", [pack_json(history)], lambda x: RunFolder(x.parent).history, True
        ),
        Reader("run: labels", "config.json", [pack_json(labels)], lambda path: RunFolder(path.parent).labels, True),
        Reader(
            "run: metrics",
            "metrics.json",
            [pack_json({"test": {"f1": 1}})],
            lambda x: RunFolder(x.parent).metrics,
            True,
        ),
        Reader("run: report", "report.txt", [b"a\nNotes:\n- b\n"], lambda path: RunFolder(path.parent).notes),
        Reader("run: predicted tags", "predictions.test.conll", [tags], examples),
        Reader("run: predicted classes", "predictions.test.jsonl", [pack_lines(rows)], examples, True),
        Reader("adapter_config.json", "adapter_config.json", [pack_json(described)], adapter, True),
        Reader("adapter_base.json", "adapter_base.json", [pack_json({"base": "/x", "checksum": "0"})], adapter, True),
        Reader("export.json", "export.json", [pack_json(exported)], lambda path: find_format(path.parent), True),
    ]
