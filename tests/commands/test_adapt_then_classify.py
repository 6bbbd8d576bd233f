"""examples/adapt_then_classify.sh, and the two steps that it has beside the commands."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

POLARITIES = ("positive", "negative", "neutral")


def write_aspects(path: Path, sentences: list[str]) -> Path:
    """A file of aspect sentiment: the first word of each sentence is its aspect."""
    rows = []
    for number, text in enumerate(sentences):
        term = text.split()[0]
        aspect = f'<aspectTerm term="{term}" polarity="{POLARITIES[number % 3]}" from="0" to="{len(term)}"/>'
        rows.append(f"<sentence><text>{text}</text><aspectTerms>{aspect}</aspectTerms></sentence>")
    path.write_text(f"<sentences>{''.join(rows)}</sentences>")
    return path


def steps(repository: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, repository / "examples" / "adaptation_steps.py", *words]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


@pytest.fixture
def aspects(tmp_path: Path) -> Path:
    folder = tmp_path / "aspects"
    folder.mkdir()
    write_aspects(folder / "train.xml", [f"soup number {n} is good &amp; warm" for n in range(40)] + ["staff are rude"])
    write_aspects(folder / "val.xml", [f"wine number {n} is old" for n in range(6)])
    write_aspects(folder / "test.xml", ["staff  are rude", *(f"bread number {n} is fresh" for n in range(6))])
    return folder


def test_the_corpus_has_no_sentence_of_validation_or_test(repository, aspects):
    files = (aspects / "train.xml", "--held_out", aspects / "val.xml", aspects / "test.xml")
    done = steps(repository, "corpus", *files, "--sentences_per_document", 3)
    assert done.returncode == 0, done.stderr
    documents = done.stdout.strip().split("\n\n")
    sentences = [document.split("\n") for document in documents]
    assert [len(lines) for lines in sentences] == [3] * 13 + [1]
    assert sentences[0][0] == "soup number 0 is good & warm" and "staff" not in done.stdout
    assert "40 sentences; 1 that are also held out were left out." in done.stderr


@pytest.mark.parametrize(
    ("adapted", "verdict"),
    [
        ((0.71, 0.72), "better: macro F1 +0.1100, and seeds alone move it by up to 0.0200"),
        ((0.50, 0.52), "worse: macro F1 -0.0950"),
        ((0.60, 0.62), "no different: macro F1 +0.0050"),
        ((0.71,), "macro F1 +0.1100"),
    ],
)
def test_the_table_says_what_the_scores_say(repository, tmp_path, adapted, verdict):
    plain = (0.60,) if len(adapted) == 1 else (0.595, 0.615)
    folders: dict[str, list[Path]] = {}
    for side, scores in (("plain", plain), ("adapted", adapted)):
        for seed, score in enumerate(scores):
            folder = tmp_path / f"{side}-{seed}"
            folder.mkdir()
            (folder / "metrics.json").write_text(json.dumps({"test": {"accuracy": 0.8, "f1_macro": score}}))
            folders.setdefault(side, []).append(folder)
    done = steps(repository, "table", *folders["plain"], "--adapted", *folders["adapted"])
    assert done.returncode == 0, done.stderr
    assert "| as it came | 0.8000" in done.stdout and verdict.lower() in done.stdout.lower()


def test_its_commands_run_one_after_the_other(repository, aspects, tiny_bert, tmp_path, call_command):
    """Those that a dry run shows, with a tiny model, in this process."""
    output = tmp_path / "out"
    settings = {"MODEL": tiny_bert, "DATA_DIR": aspects, "OUTPUT_DIR": output, "LM_EPOCHS": 2, "EPOCHS": 1, "SEEDS": 7}
    environment = {**os.environ, "PYTHON": sys.executable, **{name: str(value) for name, value in settings.items()}}
    example = repository / "examples" / "adapt_then_classify.sh"
    shown = subprocess.run([example, "--dry-run"], env=environment, capture_output=True, text=True, check=True).stdout
    assert not output.exists()
    output.mkdir()
    corpus = steps(repository, "corpus", aspects / "train.xml", "--held_out", aspects / "val.xml", aspects / "test.xml")
    (output / "corpus.txt").write_text(corpus.stdout)
    commands = [shlex.split(line)[1:] for line in shown.splitlines()]
    names = ("pregenerate_training_data.py", "finetune_on_pregenerated.py", "run_glue.py", "run_glue.py")
    assert tuple(Path(command[0]).name for command in commands) == names
    for name, command in zip(names, commands, strict=True):
        done = call_command(name, *command[1:])
        assert done.code == 0, done.stderr
    table = steps(repository, "table", output / "plain-7", "--adapted", output / "adapted-7")
    assert table.returncode == 0 and "one seed does not tell" in table.stdout
