"""finetune_lm.py through its command line: GPT-2, BERT and T5 with losses, frozen words, tables, tests."""

from __future__ import annotations

import gzip
import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from finetune.run.checkpoints import mark_complete
from tests import tiny

TEXTS = [
    "The keys to the cabinet are here.",
    "The dog sees the cats.",
    "A blick gorped the dax.",
    "The cats see the dog.",
    "She said no, twice.",
    "The cabinet holds the keys.",
]
SCRIPT = "finetune_lm.py"


def train_tokenizer(core: Tokenizer, trainer, **roles) -> PreTrainedTokenizerFast:
    core.train_from_iterator(TEXTS * 5, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, **roles)


def subwords_of_word() -> PreTrainedTokenizerFast:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.pre_tokenizer, core.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    roles = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    return train_tokenizer(
        core, trainers.WordPieceTrainer(vocab_size=90, special_tokens=special, show_progress=False), **roles
    )


def sentence_subwords() -> PreTrainedTokenizerFast:
    sentinels = [f"<extra_id_{number}>" for number in range(20)]
    core = Tokenizer(models.Unigram())
    core.pre_tokenizer, core.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = ["<pad>", "</s>", "<unk>", *sentinels]
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=special, unk_token="<unk>", show_progress=False)
    roles = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "extra_special_tokens": sentinels}
    return train_tokenizer(core, trainer, **roles)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A tiny model of each kind, without dropout."""
    root, found = tmp_path_factory.mktemp("models"), {}
    torch.manual_seed(0)
    tokenizer = tiny.byte_level(TEXTS * 5, 320)
    shape = {"n_positions": 64, "n_embd": 16, "n_layer": 1, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
    still = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "initializer_range": 0.3}
    found["lm"] = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **shape, **still)), tokenizer
    tokenizer = subwords_of_word()
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.3}
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **shape, **still)
    found["mlm"] = BertForMaskedLM(config), tokenizer
    tokenizer = sentence_subwords()
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0}
    ids = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1}
    found["seq2seq"] = T5ForConditionalGeneration(T5Config(vocab_size=len(tokenizer), **shape, **ids)), tokenizer
    for kind, (model, tokenizer) in found.items():
        tiny.save(model, tokenizer, root / kind)
    return {kind: root / kind for kind in found}


def write_texts(path: Path, lines: list, metadata: list | None = None) -> Path:
    spell = lambda rows: gzip.compress("".join(f"{row}\n" for row in rows).encode())  # noqa: E731
    path.write_bytes(spell(line if isinstance(line, str) else json.dumps(line) for line in lines))
    if metadata:
        path.with_name(path.name.split(".")[0] + "_metadata.json.gz").write_bytes(spell(map(json.dumps, metadata)))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("data")
    return {
        "train": write_texts(root / "train.txt.gz", TEXTS, [{"verb": f"v{n}"} for n in range(6)]),
        "dev": write_texts(root / "dev.txt.gz", TEXTS[:3]),
        "items": write_texts(root / "items.txt.gz", TEXTS[1:4], [{"verb": f"w{n}", "item": 10 + n} for n in range(3)]),
        "other": write_texts(root / "other.txt.gz", TEXTS[3:]),
    }


@pytest.fixture
def tune(call_command, folders, data, tmp_path):
    """The command with what every run of these tests shares; `tests` without training where `epochs` is 0."""

    def call(kind: str, *more: object, out: str = "out", epochs: int = 2):
        trained = ("--train_file", data["train"], "--validation_file", data["dev"], "--epochs", epochs)
        return call_command(
            SCRIPT,
            *("--model_name_or_path", folders[kind], "--use_gpu", "False", "--output_dir", tmp_path / out),
            *(trained if epochs else ()),
            *(() if "--seed" in more else ("--seed", 1)),
            *more,
        )

    return call


LR = ("--train_optimizer_kwargs.lr", "1e-2")


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, na_values=["NA"])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_causal_model_from_texts_to_tables(tune, call_command, data, tmp_path):
    options = (*LR, "--test_file", data["items"], data["other"], "--per_device_train_batch_size", 4)
    done = tune("lm", *options)
    assert done.code == 0, done.stderr
    out = tmp_path / "out"
    names = {"config.txt", "model", "tokenizer", "metrics.csv.gz", "losses.csv.gz", "loss_curves.pdf", "metrics.json"}
    assert names < {path.name for path in out.iterdir()} and not list(out.glob("checkpoint-*"))
    tests = read(next(out.glob("*-test_results.csv.gz")))
    first = tests[(tests["dataset_name"] == "items") & (tests["item"] == 0)]
    assert first["surprisal"].tolist() == pytest.approx(plain_surprisals(out / "model", TEXTS[1]), abs=1e-4)
    assert first["loss"].iloc[0] == pytest.approx(first["surprisal"].mean() * math.log(2), abs=1e-4)
    assert first["verb"].unique() == ["w0"] and first["metadata_item"].unique() == [10]
    assert tests["dataset_name"].unique().tolist() == ["items", "other"] and set(tests["epoch"]) == {2}
    metrics = read(out / "metrics.csv.gz")
    batches = metrics.groupby(["dataset_type", "epoch", "batch_number"]).size()
    assert batches["train"].size == 4 and batches["validation"].size == 2 and set(metrics["seed"]) == {1}
    losses = read(out / "losses.csv.gz")
    curve = losses[losses["dataset_type"] == "validation"]["loss"].tolist()
    assert curve[1] < curve[0] and done.last["validation"]["validation_loss"] == pytest.approx(curve[1])
    seen = metrics[(metrics["dataset_type"] == "validation") & (metrics["epoch"] == 2)]
    assert seen["surprisal"].mean() * math.log(2) == pytest.approx(curve[1], abs=1e-4)
    assert tune("lm", *options).last["status"] == "already_done"
    again = call_command(SCRIPT, "--config_file", out / "config.txt", "--output_dir", tmp_path / "again")
    assert again.code == 0 and again.last["test"] == done.last["test"]


def plain_surprisals(folder: Path, text: str) -> list[float]:
    tokenizer, model = AutoTokenizer.from_pretrained(folder), GPT2LMHeadModel.from_pretrained(folder).eval()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([[tokenizer.bos_token_id, *ids]])).logits[0, :-1].double()
    return (-torch.log_softmax(logits, -1)[range(len(ids)), ids] / math.log(2)).tolist()


def test_words_and_totals_are_those_of_score(tune, call_command, folders, data, tmp_path):
    done = tune("lm", "--test_file", data["items"], "--metrics_detail", "word", epochs=0)
    options = ("--device", "cpu", "--metrics_detail", "word", "--output_dir", tmp_path / "score")
    scored = call_command("score.py", "--model_name_or_path", folders["lm"], "--test_file", data["items"], *options)
    metrics = {name: scored.last[name] for name in ("texts", "tokens", "mean_surprisal", "perplexity")}
    assert done.last["test"]["items"] == pytest.approx(metrics)
    ours, theirs = (read(next((tmp_path / name).glob("*-test_results.csv.gz"))) for name in ("out", "score"))
    for name in ("word", "n_tokens", "word_num", "item"):
        assert ours[name].tolist() == theirs[name].tolist()
    for name in ("surprisal", "surprisal_corrected", "loss"):
        assert ours[name].tolist() == pytest.approx(theirs[name].tolist(), abs=1e-4)
    assert ours["epoch"].isna().all()


@pytest.mark.parametrize("detail", ["token", "word", "sentence"])
def test_tables_of_texts_in_windows_are_those_of_score(detail, tune, call_command, folders, tmp_path):
    """Also where the windows of a text fill several batches, and words are predicted in two windows."""
    texts = ["  ".join(TEXTS), TEXTS[0], "<|endoftext|>" + " ".join(TEXTS[2:]), " ".join(TEXTS * 3)]
    long = write_texts(tmp_path / "long.txt.gz", texts)
    wide = ("--max_length", 23, "--metrics_detail", detail)
    done = tune("lm", "--test_file", long, *wide, "--long_text", "window", "--per_device_test_batch_size", 2, epochs=0)
    options = ("--device", "cpu", *wide, "--output_dir", tmp_path / "score")
    scored = call_command("score.py", "--model_name_or_path", folders["lm"], "--test_file", long, *options)
    assert done.code == scored.code == 0 and "3 of 4 texts are longer than 23 tokens" in said(done)
    assert done.last["test"]["long"]["texts"] == scored.last["texts"] == 4
    ours, theirs = (read(next((tmp_path / name).glob("*-test_results.csv.gz"))) for name in ("out", "score"))
    same = [
        name for name in theirs if name not in ("input_text", "input_label", "n_params") and theirs[name].dtype != float
    ]
    assert {"token": "token_num_in_word", "word": "n_tokens", "sentence": "n_words"}[detail] in same
    for name in same:
        assert ours[name].tolist() == theirs[name].tolist(), name
    for name in {"surprisal", "surprisal_corrected", "loss"} & {*theirs}:
        assert ours[name].tolist() == pytest.approx(theirs[name].tolist(), abs=1e-4)


def test_words_of_texts_in_windows_have_their_numbers_and_places_in_tables_of_training(tune, tmp_path):
    text = " ".join(TEXTS)
    long = write_texts(tmp_path / "long.txt.gz", [text, TEXTS[0]])
    flags = ("--train_file", long, "--validation_file", long, "--max_length", 12, "--long_text", "window", "--shuffle")
    assert tune("lm", *flags, epochs=1).code == 0
    table = read(tmp_path / "out" / "metrics.csv.gz")
    train = table[(table["dataset_type"] == "train") & (table["item"] == 0)].drop_duplicates("word_num")
    found = {number: text[first:end] for number, first, end in
             zip(train["word_num"], train["word_char_start"], train["word_char_end"], strict=True)}  # fmt: skip
    assert [found[number] for number in range(len(found))] == text.split()


@pytest.mark.parametrize("how", ["window", "truncate"])
def test_masked_texts_are_read_whole_in_windows_and_keep_their_ends_when_cut(how, tune, folders, tmp_path):
    text = " ".join(TEXTS)
    flags = ("--data_preprocessing_fn.test", "expand_with_masks", "--max_length", 12, "--long_text", how)
    done = tune("mlm", "--test_file", write_texts(tmp_path / "long.txt.gz", [text]), *flags, epochs=0)
    assert done.code == 0
    table = read(next((tmp_path / "out").glob("*-test_results.csv.gz")))
    tokens = AutoTokenizer.from_pretrained(folders["mlm"]).tokenize(text)
    assert table["token"].tolist() == (tokens if how == "window" else tokens[:10])
    words = re.findall(r"\w+|[^\w\s]", text)  # of this vocabulary
    assert [words[number] for number in table["word_num"]] == [
        text[first:end] for first, end in zip(table["word_char_start"], table["word_char_end"], strict=True)
    ]
    assert table["word_num"].drop_duplicates().tolist() == list(
        range(sum(not token.startswith("##") for token in table["token"]))
    )
    assert table["input_text"].str.startswith("[CLS]").all() and table["input_text"].str.endswith("[SEP]").all()


def test_an_encoder_decoder_has_no_windows(tune, data):
    done = tune("seq2seq", "--test_file", data["items"], "--long_text", "window", epochs=0)
    assert done.code == 2 and "--long_text window is for causal and masked models" in said(done)


def test_masked_model_with_divergence_and_new_words(tune, folders, data, tmp_path):
    words = ("floop", "wug")
    done = tune(
        "mlm",
        *(*LR, "--data_preprocessing_fn.train", "mask_random_tokens", "--data_preprocessing_fn_strategy.train"),
        *("per_batch", "--data_preprocessing_fn.validation", "mask_random_tokens"),
        *("--data_preprocessing_fn.test", "expand_with_masks", "--test_file", data["items"]),
        *("--loss_classes.train", "OutputsDefaultLoss", "KLBaselineLoss", "--loss_reduction_fns.train", "torch.mean"),
        *("--loss_classes_kwargs.train.KLBaselineLoss.dataset", data["other"]),
        *("--loss_classes_kwargs.train.KLBaselineLoss.data_preprocessing_fn", "mask_random_tokens"),
        *("--model_modifier_fns", "add_new_tokens", "--model_modifier_fn_kwargs.add_new_tokens.added_tokens", *words),
        *("--model_pre_train_step_callbacks", "UnfreezeWordTokensCallback"),
        *("--model_pre_train_step_callbacks_kwargs.UnfreezeWordTokensCallback.words_to_unfreeze", *words, "dog"),
    )
    assert done.code == 0, done.stderr
    before, after = weights(folders["mlm"]), weights(tmp_path / "out" / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out" / "tokenizer")
    name, dog = "bert.embeddings.word_embeddings.weight", tokenizer.convert_tokens_to_ids("dog")
    known = [row for row in range(len(before[name])) if row != dog]
    assert tokenizer.tokenize("A wug.") == ["A", "wug", "."]
    assert torch.equal(before[name][known], after[name][known]) and not torch.equal(before[name][dog], after[name][dog])
    others = {other for other in before if other in after and before[other].shape == after[other].shape}
    assert len(others) > 10 and all(torch.equal(before[other], after[other]) for other in others)
    losses = read(tmp_path / "out" / "losses.csv.gz")
    train = losses[losses["dataset_type"] == "train"]
    parts = train[["OutputsDefaultLoss", "KLBaselineLoss"]]
    assert abs(train["KLBaselineLoss"].iloc[0]) < 1e-6 < train["KLBaselineLoss"].iloc[1]
    assert train["loss"].tolist() == pytest.approx(parts.mean(axis=1).tolist(), rel=1e-5)
    assert losses[losses["dataset_type"] == "validation"]["KLBaselineLoss"].isna().all()
    tests = read(next((tmp_path / "out").glob("*-test_results.csv.gz")))
    first = tests[tests["item"] == 0]
    assert first["surprisal"].tolist() == pytest.approx(single_masks(tmp_path / "out" / "model", TEXTS[1]), abs=1e-4)
    assert first["token"].tolist() == tokenizer.tokenize(TEXTS[1]) and first["word_num"].tolist() == list(
        range(len(first))
    )
    assert all(text.count("[MASK]") == 1 for text in first["input_text"])


def single_masks(folder: Path, text: str) -> list[float]:
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForMaskedLM.from_pretrained(folder).eval()
    ids = torch.tensor(tokenizer(text)["input_ids"])
    found = []
    for place in range(1, len(ids) - 1):
        masked = ids.clone()
        masked[place] = tokenizer.mask_token_id
        with torch.no_grad():
            found.append(-torch.log_softmax(model(masked[None]).logits[0, place].double(), -1)[ids[place]].item())
    return [value / math.log(2) for value in found]


def test_encoder_decoder_with_spans_and_generated_rows(tune, folders, data, tmp_path):
    pairs = write_texts(tmp_path / "pairs.json.gz", [{"text": "The <extra_id_0> sees", "labels": "<extra_id_0> dog"}])
    done = tune(
        "seq2seq",
        *("--train_optimizer", "torch.optim.SGD", "--train_optimizer_kwargs", 'json:{"lr": 0.1, "momentum": 0.9}'),
        *(
            "--data_preprocessing_fn.train",
            "mask_random_spans",
            "--data_preprocessing_fn.validation",
            "mask_random_spans",
        ),
        *("--test_file", pairs, "--metrics_format", "parquet", "--test_output_file_prefix", "t5"),
        epochs=3,
    )
    assert done.code == 0, done.stderr
    tests = pd.read_parquet(tmp_path / "out" / "t5-test_results.parquet")
    kinds = tests["generated_sequence_type"].unique().tolist()
    assert kinds == ["label_sequence", "generated_sequence"] and tests["label_text"].unique() == ["<extra_id_0> dog"]
    labels, generated = (tests[tests["generated_sequence_type"] == kind] for kind in kinds)
    folder = tmp_path / "out" / "model"
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    source = tokenizer("The <extra_id_0> sees", return_tensors="pt")
    target = tokenizer("<extra_id_0> dog", return_tensors="pt").input_ids
    with torch.no_grad():
        log = torch.log_softmax(model(**source, labels=target).logits[0].double(), -1)
    expected = [-log[place, number].item() / math.log(2) for place, number in enumerate(target[0])]
    assert labels["surprisal"].tolist() == pytest.approx(expected, abs=1e-4)
    assert generated["token_id"].tolist() == generated["predicted_token_id"].tolist()  # greedy: what is top-k
    assert 0 < len(generated) <= 2 * len(labels)
    losses = pd.read_parquet(tmp_path / "out" / "losses.parquet")
    assert losses[losses["dataset_type"] == "train"]["loss"].is_monotonic_decreasing


@pytest.mark.parametrize(("kind", "seed"), [("lm", 1), ("lm", 2), ("mlm", 1), ("seq2seq", 1)])
def test_a_large_scale_holds_the_model_near_its_baseline(kind, seed, tune, data, tmp_path):
    ends = {}
    for scale in (0, 100):
        done = tune(
            kind,
            *("--seed", seed, "--train_optimizer_kwargs.lr", "3e-3", "--metrics_detail", "none"),
            *("--loss_classes.train", "OutputsDefaultLoss", "KLBaselineLoss"),
            *("--loss_classes.validation", "OutputsDefaultLoss", "KLBaselineLoss"),
            *("--loss_classes_kwargs.train.KLBaselineLoss.dataset", data["other"]),
            *("--loss_classes_kwargs.train.KLBaselineLoss.scaleby", scale),
            *("--loss_classes_kwargs.validation.KLBaselineLoss.dataset", data["other"]),
            *("--loss_classes_kwargs.validation.KLBaselineLoss.scaleby", 1),
            out=f"scale-{scale}",
            epochs=3,
        )
        assert done.code == 0, done.stderr
        losses = read(tmp_path / f"scale-{scale}" / "losses.csv.gz")
        ends[scale] = losses[losses["dataset_type"] == "validation"]["KLBaselineLoss"].iloc[-1]
        assert losses["KLBaselineLoss"].iloc[0] == pytest.approx(0, abs=1e-5)  # a model and itself
    assert 0 < ends[100] < ends[0] / 2


def test_batches_that_are_accumulated_train_as_one_large_batch(tune, tmp_path):
    """The large batch without checkpoints, its best state in memory."""
    options = (*LR, "--metrics_detail", "none", "--train_optimizer", "SGD")
    for out, size, steps, on_disk in (("large", 6, 1, False), ("small", 2, 3, True)):
        sizes = ("--per_device_train_batch_size", size, "--gradient_accumulation_steps", steps)
        done = tune("lm", *options, *sizes, "--save_best_model_state_to_disk", on_disk, out=out)
        assert done.code == 0, done.stderr
    large, small = (weights(tmp_path / out / "model") for out in ("large", "small"))
    assert all(torch.allclose(large[name], small[name], atol=1e-6) for name in large)
    large, small = (read(tmp_path / out / "losses.csv.gz") for out in ("large", "small"))
    assert large["batch_number"].max() == 1 and small["batch_number"].max() == 3 and large["epoch"].max() == 2


HOOKS = '''
import json, os, signal
from pathlib import Path

class Recorder:
    """Writes down every call; kills or stops its process at the point that a file names."""
    def __init__(self, model, tokenizer, *, path, point):
        self.path, self.point = Path(path), point
    def __call__(self, epoch, batch):
        with self.path.open("a") as file:
            file.write(json.dumps([self.point, epoch, batch]) + "\\n")
        deadly = self.path.with_name("deadly")
        if deadly.is_file() and json.loads(deadly.read_text()) == [self.point, epoch, batch]:
            deadly.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        term = self.path.with_name("term")
        if term.is_file() and json.loads(term.read_text()) == [self.point, epoch, batch]:
            term.unlink()
            os.kill(os.getpid(), signal.SIGTERM)
        stop = self.path.with_name("stop")
        if stop.is_file() and json.loads(stop.read_text()) == [self.point, batch]:
            stop.unlink()
            raise KeyboardInterrupt

def hide_every_second(inputs, tokenizer, *, rng):
    ids = inputs["input_ids"].clone()
    ids[:, 2::2] = tokenizer.bos_token_id
    return {**inputs, "labels": inputs["input_ids"], "input_ids": ids}
'''


def with_hooks(tmp_path: Path, monkeypatch, *points: str) -> list[str]:
    (tmp_path / "our_hooks.py").write_text(HOOKS)
    monkeypatch.chdir(tmp_path)
    words = ["--allow_import", "our_hooks"]
    for point in points:
        keywords = f"--model_callbacks_kwargs.{point}.Recorder"
        words += [f"--model_callbacks.{point}", "our_hooks.Recorder"]
        words += [f"{keywords}.path", str(tmp_path / "calls"), f"{keywords}.point", f"'{point}'"]
    return words


def test_every_hook_is_called_where_the_document_says(tune, data, tmp_path, monkeypatch):
    from finetune.lm_experiments.arguments import HOOKS as POINTS

    more = ("--data_preprocessing_fn.train", "our_hooks.hide_every_second", "--data_preprocessing_fn_strategy.train")
    done = tune(
        "lm",
        *with_hooks(tmp_path, monkeypatch, *POINTS),
        *(*more, "per_batch", "--test_file", data["items"], "--per_device_train_batch_size", 3),
    )
    assert done.code == 0, done.stderr
    calls = [tuple(json.loads(line)) for line in (tmp_path / "calls").read_text().splitlines()]
    batch = ("pre_train_batch", "pre_train_step", "post_train_step", "post_train_batch")
    expected = [("pre_training", 0, 0)]
    for epoch in (1, 2):
        expected += [("begin_epoch", epoch, 0), *((point, epoch, number) for number in (1, 2) for point in batch)]
        expected += [("pre_validation", epoch, 0)]
        expected += [(point, epoch, 1) for point in ("pre_validation_batch", "post_validation_batch", "end_epoch")]
    assert calls[: len(expected)] == expected
    tested = ["post_training", "pre_test", "pre_test_dataset", "pre_test_batch", "post_test_batch", "post_test_dataset"]
    assert [call[0] for call in calls[len(expected) :]] == tested
    inputs = read(tmp_path / "out" / "metrics.csv.gz").query("dataset_type == 'train'")["input_text"]
    assert inputs.str.count(r"<\|endoftext\|>").min() > 2


MASKED = (
    *(
        "--data_preprocessing_fn.train",
        "mask_random_tokens",
        "--data_preprocessing_fn.validation",
        "mask_random_tokens",
    ),
    *("--data_preprocessing_fn.test", "expand_with_masks", "--data_preprocessing_fn_strategy.train", "per_batch"),
    *("--loss_classes.train", "OutputsDefaultLoss", "KLBaselineLoss"),
    *("--loss_classes_kwargs.train.KLBaselineLoss.n_examples_per_batch", "1", "--per_device_train_batch_size", "2"),
)


def test_a_run_that_was_killed_and_stopped_ends_like_one_that_was_not(
    tune, run_command, folders, data, tmp_path, monkeypatch
):
    """Killed while it trains; gone on with, stopped while it tests; gone on with to the end."""
    points = ("post_train_step", "post_test_batch")
    options = [*with_hooks(tmp_path, monkeypatch, *points), *MASKED, *LR, "--test_file", str(data["items"])]
    options += ["--save_tmp_test_files", "--per_device_test_batch_size", "1"]
    options += ["--loss_classes_kwargs.train.KLBaselineLoss.dataset", str(data["other"])]
    assert tune("mlm", *options, out="whole").code == 0
    (tmp_path / "deadly").write_text(json.dumps(["post_train_step", 2, 1]))
    common = ["--model_name_or_path", folders["mlm"], "--use_gpu", "False", "--output_dir", tmp_path / "cut"]
    files = ["--train_file", data["train"], "--validation_file", data["dev"], "--epochs", 2, "--seed", 1]
    killed = run_command(SCRIPT, *common, *files, *options, cwd=tmp_path)
    assert killed.code == -9 and not (tmp_path / "deadly").exists()
    (tmp_path / "stop").write_text(json.dumps(["post_test_batch", 2]))
    stopped = tune("mlm", *options, out="cut")
    assert stopped.code == 130 and (tmp_path / "cut" / "model").is_dir()
    left = tmp_path / "cut" / "checkpoint-99"  # by a kill while checkpoints were removed
    left.mkdir()
    (left / "trainer_state.json").write_text("{}")
    mark_complete(left)
    resumed = tune("mlm", *options, out="cut")
    assert resumed.code == 0, resumed.stderr
    assert not list((tmp_path / "cut").glob("checkpoint-*"))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for name in ("model/model.safetensors", "metrics.csv.gz", "losses.csv.gz"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), name
    tables = [next(folder.glob("*-test_results.csv.gz")).read_bytes() for folder in (whole, cut)]
    assert tables[0] == tables[1] and not list(cut.glob("*.parts"))
    calls = [tuple(json.loads(line)) for line in (tmp_path / "calls").read_text().splitlines()]
    assert calls.count(("post_train_step", 2, 1)) == 3  # undisturbed, killed, again
    tested = [batch for point, _, batch in calls if point == "post_test_batch"]
    assert tested == [*range(1, max(tested) + 1)] * 2 and max(tested) > 3  # what was scored is not scored again


def test_files_of_one_name_are_told_apart(tune, data, tmp_path):
    twins = [tmp_path / name / "items.txt" for name in ("a", "b")]
    for path in twins:
        path.parent.mkdir()
        path.write_text(TEXTS[0] + "\n", encoding="utf-8")
    done = tune("lm", "--test_file", *twins, "--metrics_detail", "sentence", epochs=0)
    assert done.code == 0, done.stderr
    assert set(done.last["test"]) == {"a/items", "b/items"} and done.last["test"]["a/items"]["texts"] == 1
    table = read(next((tmp_path / "out").glob("*-test_results.csv.gz")))
    assert table["dataset_name"].tolist() == ["a/items", "b/items"] and table["n_tokens"].nunique() == 1


def test_minimal_pairs_with_the_tuned_model(tune, tmp_path):
    folder = tmp_path / "blimp"
    folder.mkdir()
    pair = {"sentence_good": TEXTS[0], "sentence_bad": TEXTS[0][::-1], "field": "syntax", "linguistics_term": "t"}
    (folder / "a.jsonl").write_text(json.dumps({**pair, "UID": "a", "pairID": "0"}) + "\n")
    done = tune("lm", *LR, "--evaluate", "blimp", "--blimp_dir", folder, "--metrics_detail", "none")
    assert done.code == 0, done.stderr
    assert done.last["blimp"]["accuracy"] == 1.0 and done.last["blimp"]["pairs"] == 1
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["blimp"]["paradigm"]["a"]["correct"] == 1
    assert not (tmp_path / "out" / "metrics.csv.gz").exists()


def test_patience_ends_training_and_the_best_state_is_kept(tune, tmp_path):
    done = tune("lm", "--train_optimizer_kwargs.lr", "1", "--patience", 2, "--min_epochs", 4, epochs=9)
    assert done.code == 0, done.stderr
    facts = done.last["validation"]
    assert facts["stopped"] == "patience" and 4 <= facts["epochs"] < 9
    assert f"Halting training at epoch {facts['epochs']}." in done.stderr
    losses = read(tmp_path / "out" / "losses.csv.gz").query("dataset_type == 'validation'")["loss"].tolist()
    assert (
        facts["validation_loss"] == pytest.approx(min(losses)) and facts["best_epoch"] == losses.index(min(losses)) + 1
    )


def said(done) -> str:
    """What a command complained of; before its log is set up, pytest's own handlers take the place of stderr."""
    return done.stderr + str(done.last.get("reason"))


def test_mistakes_are_told_all_at_once(tune, tmp_path):
    done = tune(
        "lm",
        *("--data_preprocessing_fn.train", "mask_randm_tokens", "--pateince", 3, "--train_optimizer", "AdmW"),
        *("--loss_classes.train", "KLBaselineLoss", "--train_optimizer_kwargs.lr", "1e-5"),
    )
    assert done.code == 2
    for part in ("did you mean mask_random_tokens", "did you mean --patience", "did you mean AdamW", "needs --loss"):
        assert part in said(done)
    (tmp_path / "bad.json").write_text('{"txt": "a"}\n')
    done = tune(
        "lm",
        *("--test_file", tmp_path / "bad.json", tmp_path / "nowhere.txt", "--train_optimizer_kwargs.momentum", "0.9"),
        *("--data_preprocessing_fn_kwargs.train.mask_prop", "0.5"),
        *("--loss_classes_kwargs.train.OutputsDefaultLoss.scale", "2"),
    )
    assert done.code == 2 and "there is no 'text'" in said(done) and "nowhere.txt" in said(done)
    done = tune(
        "lm",
        *("--train_optimizer_kwargs.momentum", "0.9", "--data_preprocessing_fn_kwargs.train.mask_prop", "0.5"),
        *("--loss_classes_kwargs.train.OutputsDefaultLoss.scale", "2"),
    )
    assert done.code == 2 and not (tmp_path / "out").exists()
    for part in (
        "AdamW does not take --train_optimizer_kwargs.momentum",
        "identity does not take",
        "does not take --loss",
    ):
        assert part in said(done)
    done = tune("lm", "--data_preprocessing_fn", "mask_random_spans")
    assert done.code == 2 and "needs a tokenizer with sentinels" in said(done)


def test_dry_run_and_folders_that_are_not_named(call_command, folders, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = ("--model_name_or_path", folders["lm"], "--test_file", data["items"], "--use_gpu", "False")
    trained = ("--train_file", data["train"], "--validation_file", data["dev"], "--epochs", 1)
    done = call_command(SCRIPT, *common, *trained, "--dry_run")
    assert done.last["texts"] == {"test": 3, "train": 6, "validation": 3} and not list(tmp_path.iterdir())
    done = call_command(SCRIPT, *common)
    label = str(folders["lm"]).strip("/").replace("/", "-")
    assert done.last["output_dir"] == f"outputs/test_only/{label}" and done.last["seed"] == done.last["seed"]
    assert call_command(SCRIPT, *common).last["status"] == "already_done"
    first, second = (call_command(SCRIPT, *common, *trained).last for _ in range(2))
    assert first["output_dir"] != second["output_dir"] and first["seed"] != second["seed"]
    assert first["output_dir"].startswith(f"outputs/train/{label}/20")
    assert f"--seed {first['seed']}" in Path(first["output_dir"], "config.txt").read_text()


@pytest.mark.parametrize(
    "signals",
    [
        [("post_train_batch", 1, 2)],
        [("post_train_batch", 2, 3)],
        [("end_epoch", 1, 1)],
        [("pre_train_batch", 1, 1), ("post_train_batch", 2, 1), ("post_train_batch", 3, 3)],
    ],
)
def test_signals_within_epochs_leave_the_tables_as_they_were(tune, tmp_path, monkeypatch, signals):
    """Row for row, text for text, whichever batch a signal comes in; the weights too."""
    hooks = with_hooks(tmp_path, monkeypatch, "pre_train_batch", "post_train_batch", "end_epoch")
    options = (*LR, *hooks, "--per_device_train_batch_size", 2)
    assert tune("lm", *options, out="whole", epochs=3).code == 0
    for point in signals:
        (tmp_path / "term").write_text(json.dumps(point))
        stopped = tune("lm", *options, out="cut", epochs=3)
        assert stopped.code == 75, stopped.stderr
    done = tune("lm", *options, out="cut", epochs=3)
    assert done.code == 0, done.stderr
    for name in ("metrics.csv.gz", "losses.csv.gz"):
        assert read_text(tmp_path / "cut" / name) == read_text(tmp_path / "whole" / name), name
    assert (tmp_path / "cut" / "loss_curves.pdf").read_bytes() == (tmp_path / "whole" / "loss_curves.pdf").read_bytes()
    old, new = (weights(tmp_path / out / "model") for out in ("whole", "cut"))
    assert all(torch.equal(old[name], new[name]) for name in old)


def read_text(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


def test_a_head_that_was_never_trained_is_refused_in_tests_and_said_in_training(tune, data, folders, tmp_path):
    """An encoder alone, saved by a class whose name promises a head."""
    bare = BertForMaskedLM.from_pretrained(folders["mlm"])
    folder = tiny.save(bare.bert, AutoTokenizer.from_pretrained(folders["mlm"]), tmp_path / "bare")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["BertForMaskedLM"]}))
    flags = ("--model_name_or_path", folder, "--data_preprocessing_fn", "mask_random_tokens")
    tested = tune("mlm", *flags, "--test_file", data["items"], epochs=0)
    assert tested.code == 2 and "no trained head for this task" in said(tested)
    trained = tune("mlm", *flags, out="trained", epochs=1)
    assert trained.code == 0 and "no trained head for this task" in trained.stderr
