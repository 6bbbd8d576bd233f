"""Encoder-decoders that read labels otherwise than texts (Marian, mBART, NLLB, M2M100); and BART, which reads them alike."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from tests.tiny_translators import LANGUAGES, MAKERS, save_translator

SOURCES = ["the house is small", "we are late today", "rain fell on the hills"]
TARGETS = ["das haus ist klein", "wir sind heute sehr spät", "regen fiel auf die hügel"]
FLAGS = {
    name: ("--source_lang", LANGUAGES[name][0], "--target_lang", LANGUAGES[name][1]) if name in LANGUAGES else ()
    for name in MAKERS
}


@pytest.fixture(scope="module", params=MAKERS)
def model(request, tmp_path_factory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, save_translator(request.param, folder, SOURCES, TARGETS)


@pytest.fixture(scope="module")
def items(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("items") / "items.json"
    rows = [{"text": source, "labels": target} for source, target in zip(SOURCES, TARGETS, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def plain_surprisals(name: str, folder: Path) -> list[list[tuple[str, float]]]:
    """Tokens and bits of each label by transformers alone, as its documents train translation; of special ones the end."""
    options = dict(zip(("src_lang", "tgt_lang"), LANGUAGES.get(name, ()), strict=False))
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    model, found = AutoModelForSeq2SeqLM.from_pretrained(folder).eval(), []
    for source, target in zip(SOURCES, TARGETS, strict=True):
        inputs = dict(tokenizer(source, text_target=target, return_tensors="pt"))
        with torch.no_grad():
            bits = -model(**inputs).logits[0].double().log_softmax(-1) / math.log(2)
        labels = inputs["labels"][0].tolist()
        body = tokenizer(text_target=target, add_special_tokens=False)["input_ids"]
        kept = [place for place, index in enumerate(labels) if index in (tokenizer.eos_token_id, *body)]
        tokens = tokenizer.convert_ids_to_tokens(labels)
        found.append([(tokens[place], float(bits[place, labels[place]])) for place in kept])
    return found


@pytest.mark.parametrize("script", ["score.py", "finetune_lm.py"])
def test_labels_are_read_by_the_target_side(script, model, items, tmp_path, call_command):
    name, folder = model
    place = ("--device", "cpu") if script == "score.py" else ("--use_gpu", "False", "--seed", 1)
    flags = ("--model_name_or_path", folder, "--test_file", items, "--output_dir", tmp_path / "out", *FLAGS[name])
    done = call_command(script, *flags, *place)
    assert done.code == 0, done.stderr
    table = pd.read_csv(next((tmp_path / "out").glob("*-test_results.csv.gz")), keep_default_na=False)
    table = table[table["generated_sequence_type"] == "label_sequence"]
    for number, expected in enumerate(plain_surprisals(name, folder)):
        own = table[table["item"] == number]
        assert own["token"].tolist() == [token for token, _ in expected]
        assert own["surprisal"].tolist() == pytest.approx([bits for _, bits in expected], abs=1e-3)
        assert own["word_num"].tolist()[0] == 0


@pytest.mark.parametrize("script", ["score.py", "finetune_lm.py"])
def test_languages_are_asked_for_and_must_be_known(script, model, items, tmp_path, call_command):
    name, folder = model
    flags = ("--model_name_or_path", folder, "--test_file", items, "--output_dir", tmp_path / "out")
    unknown = call_command(script, *flags, "--target_lang", "xx_QQ")
    assert unknown.code == 2
    expected = "is no language of this tokenizer" if FLAGS[name] else "has no tokens for languages"
    assert expected in str(unknown.last["reason"])
    if FLAGS[name]:
        missing = call_command(script, *flags)
        assert missing.code == 2 and "give --target_lang" in str(missing.last["reason"])
