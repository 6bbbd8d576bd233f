"""What fuzz.py calls of data files: exports of annotation tools, columns of corpora, corpora, texts to predict, pairs."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

from fuzz_readers import (
    CONLL,
    CSV,
    LABEL_STUDIO,
    REPOSITORY,
    SPANS,
    TEXTS,
    WORDS,
    Reader,
    consume,
    pack_json,
    pack_lines,
    save_bert,
)

TEXT = "Ann saw Paris"
EXPORTS: dict[str, Any] = {
    "GLiNER": {"tokenized_text": TEXT.split(), "ner": [[0, 0, "person"], [2, 2, "place"]]},
    "Argilla": {
        "text": TEXT,
        "tokens": TEXT.split(),
        "prediction": None,
        "annotation": [["PER", 0, 3], ["LOC", 8, 13]],
    },
    "dataturks": {
        "content": TEXT,
        "annotation": [{"label": ["PER"], "points": [{"start": 0, "end": 2, "text": "Ann"}]}],
    },
    "LightTag": {"content": TEXT, "annotations": [{"id": "a", "start": 0, "end": 3, "tag": "PER"}]},
    "Prodigy": {
        "text": TEXT,
        "tokens": [{"text": "Ann", "start": 0, "end": 3, "id": 0}, {"text": "saw", "start": 4, "end": 7, "id": 1}],
        "spans": [{"start": 0, "end": 3, "token_start": 0, "token_end": 0, "label": "PER"}],
        "answer": "accept",
    },
    "spaCy": [TEXT, {"entities": [[0, 3, "PER"]]}],
    "doccano": {"id": 1, "text": TEXT, "entities": [{"id": 1, "start_offset": 0, "end_offset": 3, "label": "PER"}]},
    "Label Studio, pages": {
        "data": {"text": f"<p>{TEXT}</p>"},
        "annotations": [
            {
                "result": [
                    {
                        "type": "hypertextlabels",
                        "value": {"globalOffsets": {"start": 0, "end": 3}, "start": "/p", "hypertextlabels": ["PER"]},
                    },
                    {"type": "relation", "from_id": "a"},
                ]
            }
        ],
    },
    "NER annotator": {"classes": ["PER"], "annotations": [[TEXT, {"entities": [[0, 3, "PER"]]}], None]},
    "documents": {**WORDS, "document_id": "d1"},
}
COLUMNS = {
    "UNER": ("x.iob2", "1\tAnn\tB-PER\t-\tme\n2\tsaw\tO\t-\tme\n\n1\tBo\tB-PER\t-\tme\n"),
    "GermEval": ("x.tsv", "#\thttp://x [2009-10-17]\n1\tAnn\tB-PER\tO\n2\tsaw\tO\tO\n\n1\tBo\tB-PER\tB-LOC\n"),
    "DEFT": ("x.deft", "Ann\t a.deft\t 7\t 9\t B-Term\t -1\t -1\t 0\nsaw\t a.deft\t 9\t 12\t O\t -1\t -1\t 0\n"),
    "HIPE": (
        "x.tsv",
        "TOKEN\tNE-COARSE-LIT\tNE-FINE-LIT\tMISC\n# hipe2022:document_id = x\nAnn\tB-pers\tB-pers.ind\t_\n"
        "ran\tO\tO\tEndOfSentence\n\n# hipe2022:document_id = y\nBo\tB-pers\tB-pers.ind\tNoSpaceAfter\n",
    ),
    "BMES": ("x.bmes", "A B-PER\nn M-PER\nn E-PER\nx O\nB S-PER\n\ny O\n"),
    "BILOU": ("x.conll", "A B-PER\nn I-PER\nn L-PER\nx O\nB U-PER\n\ny O\n"),
    "documents": ("x.conll", "-DOCSTART-\tO\n\nAnn\tB-PER\n\n# newdoc id = 2\nBo\tB-PER\nran\tO\n\n\nCy\tB-PER\n"),
    "INCEpTION": (
        "x.tsv",
        "#FORMAT=WebAnno TSV 3.3\n#T_SP=de.tudarmstadt.ukp.dkpro.core.api.lexmorph.type.pos.POS|PosValue\n"
        "#T_SP=de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity|identifier|value\n\n\n#Text=Ann Lee met Bob\n"
        "1-1\t0-3\tAnn\tNNP\t*[1]\tPER[1]\t\n1-2\t4-7\tLee\tNNP\t*[1]\tPER[1]\t\n1-3\t8-11\tmet\tVBD\t_\t_\t\n"
        "1-4\t12-15\tBob\tNNP\t*|*\tPER|X\\_Y\t\n1-4.1\t12-14\tBo\t_\t*\tPER\t\n",
    ),
    "a word a line": ("x.txt", "Ann|B-PER\nsaw|O\nParis|B-LOC\n\n\nBo|B-PER\nran|O\n"),
}
SILVER = 'text,label,weight,soft\na good day,good,0.5,\nbad,,1,"{""good"": 0.25, ""bad"": 0.75}"\n'
SINGLE = [{"text": "a good day", "label": "good"}, {"text": "a bad day", "label": "bad"}]
OTHER = {"words": ["Bo", "ran"], "ner_tags": ["B-PER", "O"], "id": 2}
PAIRS = [{"sentence_good": "it runs", "sentence_bad": "it run", "UID": "agreement", "field": "syntax", "pairID": "0"}]


def make_format_readers(folder: Path) -> list[Reader]:
    """All of them; `folder` is for true files that stay as they are."""
    return [
        *_export_readers(),
        *_corpus_readers(folder),
        *_prediction_readers(),
        *_archive_readers(),
        *_pair_readers(folder),
    ]


def _workbook() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return buffer.getvalue()


def _zip(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def _export_readers() -> list[Reader]:
    from finetune.tagging.formats.choice import read_sentences
    from finetune.tagging.formats.sentences import TagColumns

    def sentences(path: Path) -> Any:
        return read_sentences(path, TagColumns())

    exports = [
        Reader(f"export: {name}", "x.json", [pack_json([record]), pack_lines([record] * 2)], sentences, True)
        for name, record in EXPORTS.items()
    ]
    columns = [Reader(f"columns: {name}", file, [text.encode()], sentences) for name, (file, text) in COLUMNS.items()]
    return [*exports, *columns, Reader("workbook", "x.xlsx", [_workbook()], sentences)]


def _corpus_readers(folder: Path) -> list[Reader]:
    """Corpora as a training reads them: validation made, labels checked, silver rows and targets of rows added."""
    from finetune.classification.arguments import ClassificationDataArguments, ColumnArguments
    from finetune.classification.corpus import load_classification_corpus
    from finetune.classification.row_targets import TargetColumns
    from finetune.classification.silver import add_silver_texts
    from finetune.supervised.arguments import SupervisedArguments
    from finetune.sweep.task import load_parser
    from finetune.tagging.arguments import TaggingDataArguments
    from finetune.tagging.corpus import load_tagging_corpus

    gold, table = folder / "gold.conll", folder / "gold.csv"
    gold.write_text(CONLL * 3, encoding="utf-8")
    table.write_text("text,label\n" + "a good day,good\nbad,bad\nso so,good\nworse,bad\n" * 3, encoding="utf-8")
    words = ["--model_name_or_path", "m", "--output_dir", "o", "--do_train", "--train_file", str(table)]
    parser = load_parser(REPOSITORY / "scripts" / "run_glue.py")
    targets = TargetColumns("weight", "soft")

    def tagging(path: Path) -> None:
        load_tagging_corpus(TaggingDataArguments(train_file=str(path), test_file=str(gold)), seed=1)

    def with_labels(path: Path) -> None:
        load_tagging_corpus(TaggingDataArguments(train_file=str(gold), labels=str(path)), seed=1)

    def in_documents(path: Path) -> None:
        load_tagging_corpus(TaggingDataArguments(train_file=str(path)), seed=1, documents=True)

    def silver_sentences(path: Path) -> None:
        asked = SupervisedArguments(silver_file=[str(path)], silver_weight=0.5)
        load_tagging_corpus(TaggingDataArguments(train_file=str(gold)), seed=1, silver=asked)

    def texts(path: Path) -> None:
        data = ClassificationDataArguments(train_file=str(path), validation_file=str(table))
        load_classification_corpus(data, ColumnArguments(), seed=1)

    def weighted(path: Path) -> None:
        data = ClassificationDataArguments(train_file=str(path), validation_file=str(table))
        load_classification_corpus(data, ColumnArguments(), seed=1, targets=targets)

    def silver_texts(path: Path) -> None:
        corpus = load_classification_corpus(
            ClassificationDataArguments(train_file=str(table)), ColumnArguments(), seed=1
        )
        add_silver_texts(corpus, parser.parse([*words, "--silver_file", str(path)]), str)

    soft = pack_lines(
        [{"text": "a", "weight": 2, "soft": {"good": 0.5, "bad": 0.5}}, {"text": "b", "label": "bad", "weight": 1.5}]
        * 3
    )
    return [
        Reader("corpus of tags", "x.conll", [CONLL.encode() * 3, COLUMNS["BMES"][1].encode() * 3], tagging),
        Reader(
            "corpus of tags, records",
            "x.jsonl",
            [pack_lines([WORDS, OTHER] * 5), pack_lines([SPANS, {**SPANS, "text": "Ann met Paris"}] * 5)],
            tagging,
            True,
        ),
        Reader("corpus of documents", "x.conll", [COLUMNS["documents"][1].encode() * 3], in_documents),
        Reader("labels of tags", "x.txt", [b"O\nB-PER\nB-LOC\n"], with_labels),
        Reader("silver sentences", "x.conll", [CONLL.encode()], silver_sentences),
        Reader("corpus of texts", "x.csv", [CSV.encode() * 3], texts),
        Reader("corpus of texts, records", "x.jsonl", [pack_lines(SINGLE * 5)], texts, True),
        Reader("weights and probabilities of rows", "x.csv", [SILVER.encode()], weighted),
        Reader("weights and probabilities of records", "x.jsonl", [soft], weighted, True),
        Reader("silver texts", "x.csv", [SILVER.encode()], silver_texts),
    ]


def _prediction_readers() -> list[Reader]:
    from finetune.arguments.prediction import PredictArguments
    from finetune.classification.prediction_input import ClassificationInputs
    from finetune.data.prediction_input import parse_json_lines
    from finetune.models.settings import ClassifierSettings
    from finetune.serving.requests import Refusal, RequestReader
    from finetune.tagging.prediction_input import TaggingInputs

    settings = ClassifierSettings(problem_type="single_label_classification")

    def tagging(path: Path) -> TaggingInputs:
        asked = PredictArguments(input_file=[str(path)])
        return TaggingInputs(asked, ["O", "B-PER", "I-PER", "B-LOC"], "auto")

    def classification(path: Path) -> ClassificationInputs:
        asked = PredictArguments(input_file=[str(path)])
        return ClassificationInputs(asked, settings, ["good", "bad"])

    def streamed(path: Path) -> None:
        lines = path.read_bytes().decode("utf-8", "replace").split("\n")
        for reader in (tagging(path), classification(path)):
            consume(reader.read_stream(parse_json_lines(lines, path), path))

    def requests(path: Path) -> None:
        for words in (lambda words, number: _input(words, number, path), None):
            try:
                RequestReader(8, 64, words, needs_pairs=words is None).read(path.read_bytes())
            except Refusal as refusal:
                assert refusal.status in (400, 413, 422)

    bodies = [
        {"texts": ["a b", "c"]},
        {"tokens": [["a", "b"], ["c"]]},
        {"texts": ["a"], "text_pairs": ["b"]},
    ]
    every = [
        pack_lines([WORDS, WORDS]),
        pack_lines([SPANS]),
        pack_json(LABEL_STUDIO),
        *map(pack_json, EXPORTS.values()),
    ]
    text = [CONLL.encode(), b"one text\nanother text\n", COLUMNS["INCEpTION"][1].encode(), COLUMNS["BMES"][1].encode()]

    return [
        Reader("to tag: text", "x.txt", text, lambda path: consume(tagging(path).read())),
        Reader("to tag: records", "x.jsonl", every, lambda path: consume(tagging(path).read()), True),
        Reader("to tag: tables", "x.csv", [b"text,id\nAnn ran,1\n"], lambda path: consume(tagging(path).read())),
        Reader("to classify: text", "x.txt", text, lambda path: consume(classification(path).read())),
        Reader(
            "to classify: records",
            "x.jsonl",
            [pack_lines(SINGLE), pack_lines(TEXTS)],
            lambda path: consume(classification(path).read()),
            True,
        ),
        Reader("to classify: tables", "x.csv", [CSV.encode()], lambda path: consume(classification(path).read())),
        Reader("records of a stream", "x.jsonl", [pack_lines(TEXTS), pack_lines([WORDS])], streamed, True),
        Reader("requests to the service", "body", [pack_json(body) for body in bodies], requests, True),
    ]


def _input(words: list[str], number: int, path: Path) -> Any:
    from finetune.data.prediction_input import InputText

    return InputText(" ".join(words), words, path, number, {})


def _archive_readers() -> list[Reader]:
    from finetune.classification.corpora import read_archive
    from finetune.classification.glue.check import check_submission
    from finetune.classification.glue.download import unpack
    from finetune.classification.published.goemotions import read_goemotions

    tables = _zip({"SST-2/train.tsv": "sentence\tlabel\na\t0\n", "SST-2/original/x.tsv": "a", "__MACOSX/a.tsv": "b"})
    answers = _zip({"SST-2.tsv": "index\tprediction\n0\t1\n"})
    rows = _zip({"data/train.jsonl": json.dumps({"a": "b"}) + "\n"})
    return [
        Reader("archive of a corpus", "data.zip", [rows], lambda path: read_archive(path, "train")),
        Reader("archive of GLUE", "x.zip", [tables], lambda path: unpack(path.read_bytes(), "x", path.parent / "to")),
        Reader("answers to GLUE", "x.zip", [answers, b"index\tprediction\n0\t1\n"], check_submission),
        Reader("GoEmotions", "x.tsv", [b"good day\t17,2\tid1\n"], lambda path: read_goemotions(path, "train")),
    ]


def _pair_readers(folder: Path) -> list[Reader]:
    from finetune.arguments.model import ModelArguments
    from finetune.data.documents import Boundary, read_documents
    from finetune.lm_experiments.texts import read_annotated_texts
    from finetune.pregeneration.epoch_json import read_lines
    from finetune.surprisal.blimp import read_blimp
    from finetune.surprisal.pair_files import read_pair_files
    from finetune.tokenization.loading import load_tokenizer

    tokenizer = load_tokenizer(ModelArguments(model_name_or_path=str(save_bert(folder))))

    def blimp(path: Path) -> None:
        inside = path.parent / "blimp"
        inside.mkdir(exist_ok=True)
        (inside / path.name).write_bytes(path.read_bytes())
        read_blimp(inside)

    def pairs(path: Path) -> None:
        read_pair_files([str(path)], good="sentence_good", bad="sentence_bad", groups=["field"])

    def metadata(path: Path) -> None:
        (path.parent / "x.txt").write_text("one\ntwo\n", encoding="utf-8")
        read_annotated_texts(path.parent / "x.txt")

    def documents(path: Path) -> None:
        consume(read_documents([path], boundary=Boundary.BLANK_LINE))

    instance = {
        "tokens": ["[CLS]", "a", "[SEP]", "the", "[SEP]"],
        "segment_ids": [0, 0, 0, 1, 1],
        "is_random_next": False,
        "masked_lm_positions": [1],
        "masked_lm_labels": ["dog"],
    }
    labelled = pack_lines([{"text": "a b", "labels": "c", "verb": "v"}] * 2)
    csv = b"sentence_good,sentence_bad,field\nit runs,it run,x\n"
    return [
        Reader("minimal pairs", "x.jsonl", [pack_lines(PAIRS)], pairs, True),
        Reader("minimal pairs, table", "x.csv", [csv], pairs),
        Reader("BLiMP", "x.jsonl", [pack_lines(PAIRS)], blimp, True),
        Reader("texts with labels", "x.json", [labelled], read_annotated_texts, True),
        Reader("metadata of texts", "x_metadata.json", [pack_lines([{"verb": "v"}, {"verb": "w"}])], metadata, True),
        Reader("whole documents", "x.txt", [b"one\ntwo\n\n\nthree\n"], documents),
        Reader(
            "pregenerated lines",
            "epoch_0.json",
            [pack_lines([instance])],
            lambda path: read_lines(path, tokenizer),
            True,
        ),
    ]
