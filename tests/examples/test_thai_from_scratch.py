"""examples/thai_from_scratch.sh, and the three steps that it has beside the commands."""

from __future__ import annotations

import json
import os
import runpy
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

SIZES = "hidden_size=32,num_hidden_layers=1,num_attention_heads=2,intermediate_size=64"


@pytest.fixture(scope="module")
def steps(repository) -> dict[str, Any]:
    return runpy.run_path(str(repository / "examples" / "thai_steps.py"))


def test_the_text_has_no_sentence_that_is_held_out(steps, shared_data, tmp_path, capsys):
    steps["write_texts"](shared_data, tmp_path / "text")
    files = {path.stem: path.read_text(encoding="utf-8").split("\n") for path in (tmp_path / "text").iterdir()}
    assert set(files) == {"wikipedia", "tweets", "thainer"}
    sentences = steps["read_thainer"](shared_data / "thainer")
    kept = {steps["squeeze"](line) for lines in files.values() for line in lines}
    assert not kept & {steps["squeeze"](text) for split in ("validation", "test") for text in sentences[split]}
    assert sum(bool(line) for line in files["thainer"]) > 5000 and "5,078 documents" in capsys.readouterr().out


def test_lines_are_held_out_however_they_are_spaced(steps):
    lines, left_out = steps["keep_lines"](["one\ntwo  words \n", "two words", " three"], {"twowords"})
    assert (lines, left_out) == (["one", "", "three", ""], 2)


@pytest.mark.parametrize(
    ("plain", "pretrained", "passes"),
    [
        ((0.40, 0.42, 0.41), (0.50, 0.49, 0.52), True),
        ((0.40, 0.42, 0.41), (0.44, 0.46, 0.45), False),  # by less than the margin
        ((0.40, 0.42, 0.41), (0.70, 0.70, 0.40), False),  # not with every seed
    ],
)
def test_the_check_asks_for_a_margin_and_for_every_seed(
    steps, tmp_path, monkeypatch, capsys, plain, pretrained, passes
):
    words = ["check"]
    for side, scores in (("plain", plain), ("pretrained", pretrained)):
        words += ["--pretrained"] if side == "pretrained" else []
        for seed, score in enumerate(scores, start=1):
            folder = tmp_path / f"{side}-{seed}"
            folder.mkdir()
            (folder / "metrics.json").write_text(json.dumps({"test": {"f1_micro": score}}))
            words.append(str(folder))
    monkeypatch.setattr(sys, "argv", ["thai_steps.py", *words, "--margin", "0.05"])
    assert steps["main"]() == (0 if passes else 1)
    shown = capsys.readouterr().out
    assert "| 3 | 0.4100 |" in shown and ("Passed" if passes else "FAILED") in shown


def test_its_commands_run_one_after_the_other(repository, shared_data, steps, tmp_path, call_command):
    """Those that a dry run shows, with a tiny model, in this process."""
    with zipfile.ZipFile(shared_data / "lm" / "iapp_thai_wiki_qa.zip") as archive:
        rows = [json.loads(line) for line in archive.read("data/valid.jsonl").decode().splitlines()[:40]]
    text, output = tmp_path / "text", tmp_path / "out"
    text.mkdir()
    (text / "text.txt").write_text("\n".join(dict.fromkeys(row["context"] for row in rows)), encoding="utf-8")
    settings = {"TEXT": text, "DATA_DIR": shared_data, "OUTPUT_DIR": output, "VOCABULARY": 300, "SIZES": SIZES}
    settings |= {"STEPS": 2, "EPOCHS": 1, "SEEDS": 7, "PYTHON": sys.executable}
    environment = {**os.environ, **{name: str(value) for name, value in settings.items()}}
    example = [repository / "examples" / "thai_from_scratch.sh", "--dry-run", "--max_eval_samples", "8"]
    example += ["--max_train_samples", "8", "--max_predict_samples", "8"]
    shown = subprocess.run(example, env=environment, capture_output=True, text=True, check=True).stdout
    assert not output.exists()
    commands = [shlex.split(line)[1:] for line in shown.splitlines()]
    scripts = [Path(command[0]).relative_to(repository / "scripts") for command in commands]
    tagger = Path("downstream/train_token_classification_lm_finetuning.py")
    assert scripts == [Path("train_tokenizer.py"), Path("run_mlm.py"), tagger, tagger]
    model = output / "language-model"
    for script, command in zip(scripts, commands, strict=True):
        done = call_command(str(script), *command[1:])
        assert done.code == 0, done.stderr
        if script.name == "run_mlm.py":
            steps["write_untrained"](model, output / "untrained-7", 7)
    assert steps["read_f1"](output / "plain-7") >= 0 and steps["read_f1"](output / "pretrained-7") >= 0
    assert_only_weights_differ(model, output / "untrained-7")


def assert_only_weights_differ(model: Path, untrained: Path) -> None:
    configs = [json.loads((folder / "config.json").read_text()) for folder in (model, untrained)]
    assert configs[0] == configs[1]
    weights, others = (load_file(folder / "model.safetensors") for folder in (model, untrained))
    assert weights.keys() == others.keys()
    name = "roberta.encoder.layer.0.output.dense.weight"
    assert not weights[name].equal(others[name]) and weights[name].shape == others[name].shape
    for path in model.glob("*tokenizer*"):
        assert (untrained / path.name).read_bytes() == path.read_bytes()
