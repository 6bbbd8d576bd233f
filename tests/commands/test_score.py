"""score.py through its command line: causal, masked and sequence-to-sequence models, tables, BLiMP."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from tests import tiny

SENTENCES = ["The keys to the cabinet are here.", "", 'She said "no", twice.', "The keys to the cabinet are here."]


@pytest.fixture(scope="module")
def byte_level() -> PreTrainedTokenizerFast:
    return tiny.byte_level(SENTENCES * 5, 300)


@pytest.fixture(scope="module")
def tiny_gpt2(tmp_path_factory, byte_level) -> Path:
    model = tiny.gpt2(len(byte_level), n_positions=64, initializer_range=0.4)
    return tiny.save(model, byte_level, tmp_path_factory.mktemp("gpt2"))


@pytest.fixture(scope="module")
def tiny_mlm(tmp_path_factory, tiny_bert) -> Path:
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig.from_pretrained(tiny_bert))
    return tiny.save(model, AutoTokenizer.from_pretrained(tiny_bert), tmp_path_factory.mktemp("mlm"))


@pytest.fixture(scope="module")
def items(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "items.txt.gz"
    path.write_bytes(gzip.compress("\n".join([*SENTENCES, ""]).encode()))
    rows = [{"verb": f"v{number}", "item": 10 + number} for number in range(len(SENTENCES))]
    beside = path.with_name("items_metadata.json.gz")
    beside.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


def plain_surprisals(folder: Path, text: str) -> list[float]:
    """Bits of each token by transformers alone."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), GPT2LMHeadModel.from_pretrained(folder).eval()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([[tokenizer.bos_token_id, *ids]])).logits[0, :-1].double()
    return (-torch.log_softmax(logits, -1)[range(len(ids)), ids] / math.log(2)).tolist()


def test_tables_of_a_causal_model(call_command, tiny_gpt2, items, tmp_path):
    common = (
        "--model_name_or_path",
        tiny_gpt2,
        "--test_file",
        items,
        "--device",
        "cpu",
        "--output_dir",
        tmp_path / "out",
    )
    done = call_command("score.py", *common, "--test_output_file_prefix", "tiny")
    assert done.code == 0, done.stderr
    table = pd.read_csv(tmp_path / "out" / "tiny-test_results.csv.gz", keep_default_na=False)
    first = table[table["item"] == 0]
    assert first["surprisal"].tolist() == pytest.approx(plain_surprisals(tiny_gpt2, SENTENCES[0]), abs=1e-4)
    assert set(table["item"]) == {0, 2, 3} and "1 texts have no tokens" in done.stderr
    assert first["verb"].unique().tolist() == ["v0"] and first["dataset_name"].unique().tolist() == ["items"]
    assert first["metadata_item"].unique().tolist() == [10] and "item as metadata_item" in done.stderr
    assert first["word_num"].max() == 6 and first["task"].unique().tolist() == ["lm"]
    assert done.last["tokens"] == len(table) and done.last["texts"] == 4
    assert done.last["mean_surprisal"] == pytest.approx(table["surprisal"].astype(float).mean(), abs=1e-4)
    assert call_command("score.py", *common, "--test_output_file_prefix", "tiny").last["status"] == "already_done"


def test_words_are_printed_without_a_folder(call_command, tiny_gpt2, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(f"{SENTENCES[0]}\n", encoding="utf-8")
    options = ("--metrics_detail", "word", "--device", "cpu")
    done = call_command("score.py", "--model_name_or_path", tiny_gpt2, "--test_file", path, *options)
    rows = [line.split(",") for line in done.stdout.splitlines()[:-1]]
    words = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert [word["word"] for word in words] == SENTENCES[0].split()
    total = sum(plain_surprisals(tiny_gpt2, SENTENCES[0]))
    assert sum(float(word["surprisal"]) for word in words) == pytest.approx(total, abs=1e-3)
    assert any(word["surprisal"] != word["surprisal_corrected"] for word in words)


def test_masked_model_and_parquet(call_command, tiny_mlm, items, tmp_path):
    folders = {}
    for masking in ("single", "within_word_l2r"):
        folders[masking] = tmp_path / masking
        options = ("--test_file", items, "--masking", masking, "--metrics_format", "parquet", "--device", "cpu")
        call = ("--model_name_or_path", tiny_mlm, *options, "--output_dir", folders[masking])
        done = call_command("score.py", *call, "--test_output_file_prefix", "m")
        assert done.code == 0, done.stderr
    tables = {name: pd.read_parquet(folder / "m-test_results.parquet") for name, folder in folders.items()}
    single, within = tables["single"], tables["within_word_l2r"]
    assert single["token"].tolist() == within["token"].tolist() and single["surprisal"].notna().all()
    last_subword = within["word_num"].shift(-1) != within["word_num"]
    assert within["surprisal"][last_subword].to_numpy() == pytest.approx(
        single["surprisal"][last_subword].to_numpy(), abs=1e-3
    )


def test_given_masks(call_command, tiny_mlm, tmp_path):
    path = tmp_path / "masked.json"
    path.write_text('{"text": "the [MASK] runs", "labels": "the dog runs"}\n', encoding="utf-8")
    call = ("--model_name_or_path", tiny_mlm, "--test_file", path, "--masking", "given", "--device", "cpu")
    done = call_command("score.py", *call)
    rows = done.stdout.splitlines()[:-1]
    assert len(rows) == 2 and ",dog," in rows[1] and "the [MASK] runs" in rows[1]


def test_label_sequences_of_t5(call_command, tmp_path, byte_level):
    folder = tmp_path / "t5"
    config = T5Config(vocab_size=len(byte_level), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    config.decoder_start_token_id = 0
    T5ForConditionalGeneration(config).save_pretrained(folder)
    byte_level.save_pretrained(folder)
    path = tmp_path / "pairs.json"
    path.write_text('{"text": "the keys", "labels": "are here"}\n', encoding="utf-8")
    done = call_command("score.py", "--model_name_or_path", folder, "--test_file", path, "--device", "cpu")
    assert done.code == 0, done.stderr
    header, *rows = done.stdout.splitlines()[:-1]
    assert "generated_sequence_type,label_text" in header and all("label_sequence,are here" in row for row in rows)
    path.with_name("plain.txt").write_text("no labels\n", encoding="utf-8")
    refused = call_command("score.py", "--model_name_or_path", folder, "--test_file", path.with_name("plain.txt"))
    assert refused.code == 2 and "labels" in refused.stderr


def test_blimp_on_the_real_files(call_command, tiny_gpt2, shared_data, tmp_path):
    folder = tmp_path / "blimp"
    folder.mkdir()
    for name in ("passive_1", "adjunct_island"):
        lines = gzip.decompress((shared_data / "blimp" / f"{name}.jsonl.gz").read_bytes()).splitlines(keepends=True)
        same = [
            line for line in lines if len({json.loads(line)[key] for key in ("sentence_good", "sentence_bad")}) == 1
        ]
        assert len(lines) == 1000 and len(same) == (2 if name == "passive_1" else 0)
        (folder / f"{name}.jsonl").write_bytes(b"".join([*lines[:30], *same]))
    out = tmp_path / "out"
    call = ("--model_name_or_path", tiny_gpt2, "--evaluate", "blimp", "--blimp_dir", folder, "--device", "cpu")
    done = call_command("score.py", *call, "--output_dir", out)
    assert done.code == 0, done.stderr
    pairs = pd.read_csv(out / "blimp.csv.gz", keep_default_na=False)
    assert done.last["ties"] == 2 and done.last["pairs"] == len(pairs) == 62
    won = pairs["surprisal_good"] < pairs["surprisal_bad"] - 1e-4
    assert done.last["accuracy"] == pytest.approx(won.mean())
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))["blimp"]
    assert list(metrics["paradigm"]) == ["adjunct_island", "passive_1"] and list(metrics["field"]) == ["syntax"]
    assert pairs["surprisal_good"][0] == pytest.approx(sum(plain_surprisals(tiny_gpt2, pairs["good"][0])), abs=1e-3)


def test_minimal_pairs_of_any_benchmark(call_command, tiny_gpt2, tmp_path):
    """A JSON file, a table with other names of columns, and groups of one's own; the scores are those of transformers."""
    rows = [
        {"right": "The keys are here.", "wrong": "The keys is here.", "all": "number", "difficulty": 1},
        {"right": "She said no.", "wrong": "She no said.", "all": "order", "difficulty": 2},
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pd.DataFrame(rows).to_csv(tmp_path / "more.tsv", sep="\t", index=False)
    call = ("--model_name_or_path", tiny_gpt2, "--evaluate", "minimal_pairs", "--device", "cpu")
    files = ("--pairs_file", tmp_path / "pairs.jsonl", tmp_path / "more.tsv")
    names = ("--good_column", "right", "--bad_column", "wrong", "--group_columns", "all", "difficulty")
    done = call_command("score.py", *call, *files, *names, "--output_dir", tmp_path / "out")
    assert done.code == 0, done.stderr
    pairs = pd.read_csv(tmp_path / "out" / "minimal_pairs.csv.gz", keep_default_na=False)
    assert pairs["file"].tolist() == ["pairs", "pairs", "more", "more"] and done.last["pairs"] == 4
    for column, key in (("surprisal_good", "right"), ("surprisal_bad", "wrong")):
        expected = [sum(plain_surprisals(tiny_gpt2, row[key])) for row in rows] * 2
        assert pairs[column].tolist() == pytest.approx(expected, abs=1e-3)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))["minimal_pairs"]
    assert metrics["difficulty"]["2"]["pairs"] == 2 and metrics["file"]["more"]["pairs"] == 2
    (tmp_path / "pairs.jsonl").write_text('{"right": "a", "wrong": "b"}\n{"right": 3}\n', encoding="utf-8")
    wrong = call_command("score.py", *call, "--pairs_file", tmp_path / "pairs.jsonl", *names)
    assert wrong.code == 2 and "no column all, difficulty" in wrong.stderr
    wrong = call_command("score.py", *call, "--pairs_file", tmp_path / "pairs.jsonl", *names[:4])
    assert wrong.code == 2 and "pairs.jsonl:2" in wrong.stderr
    wrong = call_command("score.py", *call, "--pairs_file", tmp_path / "more.tsv")
    assert wrong.code == 2 and "--good_column" in wrong.stderr


def test_facts_of_any_size_and_name_and_words_that_join(call_command, tiny_gpt2, tiny_mlm, tmp_path):
    """Ids beyond 64 bits, facts that are called like columns, and places of words that two models agree on."""
    path = tmp_path / "x.json"
    facts = {"id": 12345678901234567890, "item": 3, "metadata_item": 4, "word_char_end": "mine"}
    path.write_text(json.dumps({"text": "the  keys\tare here", **facts}) + "\n", encoding="utf-8")
    tables = {}
    for name, folder in (("lm", tiny_gpt2), ("mlm", tiny_mlm)):
        options = (
            "--test_file",
            path,
            "--metrics_detail",
            "word",
            "--device",
            "cpu",
            "--test_output_file_prefix",
            name,
        )
        done = call_command("score.py", "--model_name_or_path", folder, *options, "--output_dir", tmp_path / name)
        assert done.code == 0, done.stderr
        tables[name] = pd.read_csv(tmp_path / name / f"{name}-test_results.csv.gz", dtype={"id": str})
    first = tables["lm"].iloc[0]
    assert first["id"] == "12345678901234567890" and first["metadata_item"] == 4
    assert first["metadata_metadata_item"] == 3 and first["metadata_word_char_end"] == "mine"
    joined = tables["lm"].merge(tables["mlm"], on=["item", "word_char_start", "word_char_end"])
    assert joined["word_x"].tolist() == joined["word_y"].tolist() == ["the", "keys", "are", "here"]
    assert joined["word_char_start"].tolist() == [0, 5, 10, 14] and joined["word_char_end"].tolist() == [3, 9, 13, 18]
    (described,) = json.loads((tmp_path / "lm" / "columns.json").read_text(encoding="utf-8")).values()
    assert [column["name"] for column in described] == tables["lm"].columns.tolist()
    assert {column["unit"] for column in described if column["name"].startswith("surprisal")} == {"bits"}


def test_all_problems_of_the_input_at_once(call_command, tiny_gpt2, tmp_path):
    (tmp_path / "a.json").write_text('{"text": 3}\nnothing\n', encoding="utf-8")
    (tmp_path / "b.txt").write_text("one\ntwo\n", encoding="utf-8")
    (tmp_path / "b_metadata.json").write_text("{}\n", encoding="utf-8")
    files = (tmp_path / "a.json", tmp_path / "b.txt", tmp_path / "c.txt")
    done = call_command("score.py", "--model_name_or_path", tiny_gpt2, "--test_file", *files)
    assert done.code == 2
    for place in ("a.json:1", "a.json:2", "b_metadata.json: it has 1 lines, but b.txt has 2 texts", "c.txt"):
        assert place in done.stderr


def test_a_model_without_a_head(call_command, tiny_bert, tmp_path):
    (tmp_path / "a.txt").write_text("one\n", encoding="utf-8")
    done = call_command("score.py", "--model_name_or_path", tiny_bert, "--test_file", tmp_path / "a.txt")
    assert done.code == 2 and "BertModel" in done.stderr and "--model_task" in done.stderr


def test_a_text_that_brings_its_begin_token_gets_no_second_one(call_command, tiny_gpt2, tmp_path):
    path = tmp_path / "items.txt"
    path.write_text(f"{SENTENCES[0]}\n{tiny.END}{SENTENCES[0]}\n")
    out = tmp_path / "out"
    done = call_command("score.py", "--model_name_or_path", tiny_gpt2, "--test_file", path, "--output_dir", out)
    assert done.code == 0 and "1 texts brought a begin-of-text token of their own" in done.stderr
    table = pd.read_csv(next(out.glob("*-test_results.csv.gz")), keep_default_na=False)
    plain, spelled = (table[table["item"] == number]["surprisal"].tolist() for number in (0, 1))
    assert plain == spelled == pytest.approx(plain_surprisals(tiny_gpt2, SENTENCES[0]), abs=1e-4)
