"""What fuzz.py calls of folders: models, adapters, exports, caches, and what earlier runs left for pages and comparisons."""

from __future__ import annotations

import contextlib
import gzip
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_readers import WORDS, Reader, consume, pack_json, pack_lines, pack_parquet, save_bert

DRAWN = 0.03  # share of the executions of what draws figures, which takes half a second
LABELS = ["O", "B-PER", "I-PER"]
TAGGED = "Ann\tB-PER\tB-PER\nsaw\tO\tO\n\nBo\tB-PER\tO\n"
CLASSIFIED = [
    {
        "row": number,
        "line": number + 2,
        "text": f"a day {number}",
        "expected": ("good", "bad")[number % 2],
        "predicted": "good",
        "probabilities": {"good": 0.75, "bad": 0.25},
    }
    for number in range(4)
]
METRICS = {
    "test": {
        "f1_micro": 0.5,
        "words": {"classes": {"PER": {"precision": 1.0, "recall": 0.5, "f1": 0.66, "support": 2}}},
        "confusions": [{"expected": "PER", "predicted": "O", "count": 1}],
        "span_errors": {"exact": 1, "missed": 1},
    }
}
HISTORY = {"log": [{"loss": 0.5, "step": 3, "epoch": 1.0}, {"eval_f1": 1.0, "eval_loss": 0.2, "step": 4}], "steps": 4}
MANIFEST = {"status": "done", "program": "run_ner.py", "arguments": {"seed": 1}, "result": {"test": {"f1_micro": 0.5}}}
SURPRISALS = "dataset_name,item,original_text,surprisal,verb\nd,0,a b,1.5,v\nd,1,c,NA,w\nd,2,e f,3.25,v\n"
SEARCHED = "number,value,state,params_lr\n0,1.5,COMPLETE,0.1\n1,NA,PRUNED,0.2\n2,1.25,COMPLETE,0.3\n"


def make_folder_readers(folder: Path) -> list[Reader]:
    """All of them; `folder` is for true files that stay as they are."""
    return [
        *_used_models(folder),
        *_exported_models(folder),
        *_weight_readers(folder),
        *_page_readers(folder),
        *_cache_readers(folder),
        *_tokenizer_readers(),
    ]


def _beside(true: Path, name: str, use: Callable[[Path], Any]) -> Callable[[Path], None]:
    """A call that puts the damaged file among true ones, in a folder of its own."""

    def call(path: Path) -> None:
        target = path.parent / f"{true.name} copied"
        shutil.copytree(true, target, dirs_exist_ok=True)
        shutil.copy(path, target / name)
        use(target)

    return call


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: np.asarray(values) for name, values in arrays.items()})
    return buffer.getvalue()


def _predict(model: Path) -> None:
    """Open a folder as predict.py does, and answer one text."""
    from finetune.arguments.model import ModelArguments
    from finetune.arguments.prediction import PredictArguments
    from finetune.data.prediction_input import InputText
    from finetune.prediction.task import open_predictor

    asked = PredictArguments(input_file=["x"], device="cpu", bf16=False)
    predictor = open_predictor(ModelArguments(model_name_or_path=str(model)), asked)
    text = InputText("the dog", ["the", "dog"], Path("x"), 1, {})
    consume(predictor.tell(predictor.compute(predictor.prepare([text]))))


def _save_tagger(folder: Path) -> Path:
    """A tagger of some kilobytes with everything that a training leaves beside its weights."""
    from transformers import AutoTokenizer, BertForTokenClassification

    from finetune.models.settings import TaggerSettings
    from finetune.models.whole_weights import record_weights
    from tests import tiny

    model = folder / "tagger"
    if (model / "checksums.json").exists():
        return model
    tokenizer = AutoTokenizer.from_pretrained(save_bert(folder), model_max_length=64)
    config = tiny.bert_config(len(tokenizer), max_position_embeddings=64)
    config.id2label, config.label2id = dict(enumerate(LABELS)), {name: number for number, name in enumerate(LABELS)}
    tiny.save(BertForTokenClassification(config), tokenizer, model)
    TaggerSettings(max_length=16, stride=4).save(model)
    record_weights(model)
    return model


def _save_adapted(folder: Path) -> Path:
    from transformers import AutoModelForTokenClassification

    from finetune.arguments.adapters import AdapterArguments
    from finetune.models.adapters import Loaded, add_adapter, remember_loading, save_adapter

    base, model = _save_tagger(folder), folder / "adapted"
    if (model / "adapter_config.json").exists():
        return model
    network = AutoModelForTokenClassification.from_pretrained(base)
    remember_loading(network, Loaded(str(base), (), False, merged=False))
    add_adapter(network, AdapterArguments(peft="lora", lora_r=2), 1)
    shutil.copytree(base, model, ignore=shutil.ignore_patterns("*.safetensors", "checksums.json"))
    save_adapter(network, model)
    return model


def _used_models(folder: Path) -> list[Reader]:
    tagger, adapted = _save_tagger(folder), _save_adapted(folder)

    def no_checksums(model: Path) -> None:
        (model / "checksums.json").unlink()
        _predict(model)

    names = ["config.json", "finetune_settings.json", "checksums.json", "tokenizer.json"]
    used = [_seen(f"tagger: {name}", tagger, name, _predict) for name in names]
    peft = ["adapter_config.json", "adapter_base.json", "adapter_model.safetensors"]
    used += [_seen(f"adapted: {name}", adapted, name, _predict) for name in peft if (adapted / name).is_file()]
    return [*used, _seen("tagger: model.safetensors", tagger, "model.safetensors", no_checksums)]


def _seen(label: str, true: Path, name: str, use: Callable[[Path], Any], share: float = 0.25) -> Reader:
    seed = (true / name).read_bytes()
    return Reader(label, name, [seed], _beside(true, name, use), name.endswith(".json"), share)


def _export(folder: Path) -> Path:
    """An exported tagger whose program looks up its logits by the ids, which `onnx` alone can write in no time."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from transformers import AutoTokenizer

    from finetune.models.exported import MANIFEST as EXPORT
    from finetune.models.exported import PROGRAMS, ExportFacts
    from finetune.models.settings import TaggerSettings
    from finetune.tokenization.portable import describe_tokenizer

    model = folder / "exported"
    if (model / EXPORT).exists():
        return model
    model.mkdir(exist_ok=True)
    described = describe_tokenizer(AutoTokenizer.from_pretrained(save_bert(folder)))
    assert described is not None
    names = ["input_ids", "attention_mask"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "length"]) for name in names]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", "length", len(LABELS)])
    table = numpy_helper.from_array(np.ones((64, len(LABELS)), dtype=np.float32), "table")
    node = helper.make_node("Gather", ["table", "input_ids"], ["logits"])
    graph = helper.make_graph([node], "tagger", inputs, [output], [table])
    program = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(program, model / PROGRAMS["onnx"])
    (model / "tokenizer.json").write_text(described[0], encoding="utf-8")
    TaggerSettings(max_length=16, stride=4).save(model)
    facts = ExportFacts("onnx", "tagger", "bert", LABELS, 64, 64, names, tokenizer=described[1].as_dict())
    (model / EXPORT).write_bytes(pack_json(facts.as_dict()))
    return model


def _exported_models(folder: Path) -> list[Reader]:
    model = _export(folder)
    return [_seen(f"exported: {path.name}", model, path.name, _predict) for path in sorted(model.iterdir())]


def _weight_readers(folder: Path) -> list[Reader]:
    import torch
    from safetensors.torch import save

    from finetune.distillation.arguments import DistillationArguments
    from finetune.distillation.language import read_student_config
    from finetune.distillation.teachers import read_weights
    from finetune.models.whole_weights import require_whole_weights

    numbers = {"a": torch.ones(2, 2), "b": torch.zeros(3)}
    pickled = io.BytesIO()
    torch.save(numbers, pickled)
    tagger = _save_tagger(folder)
    student = {"n_layers": 1, "dim": 16, "n_heads": 2, "hidden_dim": 24, "vocab_size": 20}

    def configure(path: Path) -> None:
        read_student_config(
            DistillationArguments(
                student_type="distilbert",
                student_config=str(path),
                teacher_type="bert",
                teacher_name="m",
                dump_path="o",
                data_file="x",
            )
        )

    return [
        Reader("weights of a teacher, safetensors", "x.safetensors", [save(numbers)], read_weights),
        Reader("weights of a teacher, torch", "x.bin", [pickled.getvalue()], read_weights),
        Reader("configuration of a student", "x.json", [pack_json(student)], configure, True),
        _seen("checksums of weights", tagger, "checksums.json", lambda path: require_whole_weights(str(path)), 1),
    ]


def _save_run(folder: Path, kind: str) -> Path:
    """What a run leaves: of a tagger, of a classifier, of a search and of scores of surprisal."""
    run = folder / f"run of a {kind}"
    run.mkdir(exist_ok=True)
    (run / "run.json").write_bytes(pack_json(MANIFEST))
    (run / "metrics.json").write_bytes(pack_json(METRICS))
    (run / "training_history.json").write_bytes(pack_json(HISTORY))
    (run / "config.json").write_bytes(pack_json({"id2label": {"0": "O", "1": "B-PER"}}))
    if kind == "tagger":
        (run / "predictions.test.conll").write_text(TAGGED, encoding="utf-8")
        chances = np.full((3, 2), 0.5, dtype=np.float16)
        (run / "predictions.test.npz").write_bytes(_npz(labels=["O", "B-PER"], probabilities=chances))
    else:
        (run / "predictions.test.jsonl").write_bytes(pack_lines(CLASSIFIED))
    return run


def _page_readers(folder: Path) -> list[Reader]:
    from finetune.comparison.runs import open_runs
    from finetune.page.building import make_sections
    from finetune.page.folder import RunFolder
    from finetune.repeat.folds import Fold, cut_file
    from finetune.repeat.spread import Finished, spread_classes, spread_scores
    from finetune.repeat.suspects import judge_fold

    runs = {kind: _save_run(folder, kind) for kind in ("tagger", "classifier")}

    def page(path: Path) -> None:
        make_sections(RunFolder(path))

    def pages_of_tables(path: Path) -> None:
        inside = path.parent / "tables"
        inside.mkdir(exist_ok=True)
        shutil.copy(path, inside / path.name)
        page(inside)

    def compare(path: Path) -> None:
        true = next(run for kind, run in runs.items() if kind in path.name)
        for run in open_runs([str(true), str(path)], None):
            run.measures()

    def repeat(path: Path) -> None:
        run = Finished("x", 1, 0, RunFolder(path))
        spread_scores([run])
        spread_classes([run])
        judge_fold([run], Fold(0, path, path, [0, 1, 2, 3]))

    def cut(path: Path) -> None:
        cut_file(path)

    found, shares = [], {"page": DRAWN, "comparison": 0.5, "repetition": 0.5}
    for kind, run in runs.items():
        for path in sorted(run.iterdir()):
            for what, use in {"page": page, "comparison": compare, "repetition": repeat}.items():
                found.append(_seen(f"{what} of a {kind}: {path.name}", run, path.name, use, shares[what]))
    packed = gzip.compress
    return [
        *found,
        Reader(
            "page: surprisals", "x-test_results.csv.gz", [packed(SURPRISALS.encode())], pages_of_tables, share=DRAWN
        ),
        Reader(
            "page: surprisals, Parquet",
            "x-test_results.parquet",
            [pack_parquet({"surprisal": [1.5, None], "item": [0, 1], "verb": ["v", "w"]})],
            pages_of_tables,
            share=DRAWN,
        ),
        Reader(
            "page: search", "optimization_results.csv.gz", [packed(SEARCHED.encode())], pages_of_tables, share=DRAWN
        ),
        Reader("file to cut into folds", "x.csv", [b"text,label\na,b\nc,d\n"], cut),
        Reader("records to cut into folds", "x.jsonl", [pack_lines([WORDS] * 3)], cut, True),
    ]


def _cache_readers(folder: Path) -> list[Reader]:
    import optuna

    from finetune.data.hub import read_saved_dataset
    from finetune.distillation.teacher_cache_files import TeacherCache
    from finetune.run.checkpoints import read_position, read_state
    from finetune.search.storage import open_journal, quiet_optuna
    from finetune.search.trials import _read_losses
    from finetune.training.matrix_rate import _read as read_rate

    quiet_optuna()
    journal = folder / "study" / "journal.log"
    if not journal.exists():
        study = optuna.create_study(storage=open_journal(journal), study_name="s")
        study.tell(study.ask(), 1.0)

    def load_study(path: Path) -> None:
        storage = open_journal(path)
        with contextlib.suppress(KeyError):  # there is none of that name
            optuna.load_study(storage=storage, study_name="s").trials  # noqa: B018

    cache = _save_teacher_cache(folder)

    def find_cache(path: Path) -> None:
        found = TeacherCache.find(path)
        if found is not None:
            found.of(0)

    def state(path: Path) -> None:
        read_position(read_state(path.parent))

    saved = _save_dataset(folder)
    position = {"Position": {"epoch_ended": True, "off_schedule": False}}
    states = {"global_step": 4, "log_history": [{"loss": 1.0, "step": 4}], "stateful_callbacks": position}
    losses = _npz(epochs=[1, 2], losses=[[0.5, 0.25], [0.5, 0.25]])
    rate = {"operations_per_second": 1e12, "measured": "x"}
    return [
        Reader("journal of a search", "journal.log", [journal.read_bytes()], load_study),
        Reader("losses of a trial", "validation_losses.npz", [losses], _read_losses),
        Reader("rate of matrix products", "x.json", [pack_json(rate)], read_rate, True),
        Reader("state of a checkpoint", "trainer_state.json", [pack_json(states)], state, True),
        *(
            _seen(f"cache of a teacher: {path.name}", cache, path.name, find_cache, 1)
            for path in sorted(cache.iterdir())
        ),
        *(
            _seen(f"saved data set: {path.name}", saved, path.name, read_saved_dataset, 0.5)
            for path in sorted(saved.iterdir())
        ),
    ]


def _save_teacher_cache(folder: Path) -> Path:
    from finetune.distillation.teacher_cache_files import TeacherCacheWriter

    cache = folder / "cache of a teacher"
    if not cache.exists():
        with TeacherCacheWriter(cache, examples=2, count=2, answers=20).writing({"a": 1}) as writer:
            writer.add([0, 1], [2, 1], np.zeros((3, 2)), np.zeros((3, 3)))
    return cache


def _save_dataset(folder: Path) -> Path:
    from datasets import Dataset

    saved = folder / "data set"
    if not saved.exists():
        Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}).save_to_disk(str(saved))
    return saved


def _tokenizer_readers() -> list[Reader]:
    import sentencepiece

    from finetune.arguments.model import ModelArguments
    from finetune.tokenization.loading import load_tokenizer

    buffer, lines = io.BytesIO(), iter(["the dog saw a cat", "the old key was in the cabinet"] * 20)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=buffer, vocab_size=32, minloglevel=3, hard_vocab_limit=False
    )
    pieces = buffer.getvalue()

    def load(kind: str) -> Callable[[Path], Any]:
        return lambda path: load_tokenizer(ModelArguments(model_name_or_path=str(path), tokenizer_type=kind))

    return [
        Reader("pieces, ThaiRobertaTokenizer", "spiece.model", [pieces], load("ThaiRobertaTokenizer"), share=0.5),
        Reader("pieces, CamembertTokenizer", "spiece.model", [pieces], load("CamembertTokenizer"), share=0.5),
    ]
