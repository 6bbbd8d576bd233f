"""`finetune completion`, asked by a real shell."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 ))
_finetune 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def printed(repository, tmp_path_factory):
    """The scripts of both shells, as they are printed."""
    folder, paths = tmp_path_factory.mktemp("completion"), {}
    for shell in ("bash", "zsh"):
        done = subprocess.run(
            [sys.executable, repository / "scripts/completion.py", shell], capture_output=True, text=True, check=True
        )
        assert json.loads(done.stdout.splitlines()[-1])["status"] == "done"
        paths[shell] = folder / shell
        paths[shell].write_text(done.stdout)
    return paths


def ask(printed: Path, *words: str, cwd: Path | None = None) -> list[str]:
    command = ["bash", "-c", ASK, "bash", str(printed), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd)
    assert not done.stderr
    return done.stdout.split()


def test_the_printed_script_registers_and_says_nothing(printed):
    done = subprocess.run(
        ["bash", "-c", 'source "$1"; complete -p finetune', "bash", printed["bash"]],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "complete -F _finetune finetune" and not done.stderr


def test_commands_flags_and_values(printed):
    bash = printed["bash"]
    assert ask(bash, "finetune", "run_n") == ["run_ner"]
    assert {"explain", "distill", "run_glue"} <= set(ask(bash, "finetune", ""))
    assert ask(bash, "finetune", "run_ner", "--document_c") == ["--document_context"]
    assert "--document_context" not in ask(bash, "finetune", "run_glue", "--")
    assert ask(bash, "finetune", "run_ner", "--peft", "") == ["lora", "dora", "ia3", "vera"]
    assert ask(bash, "finetune", "run_ner", "--peft", "=", "d") == ["dora"]
    assert ask(bash, "finetune", "run-ner", "--fix_labels", "F") == ["False"]
    assert ask(bash, "finetune", "run_ner", "--max_seq_l") == ["--max_seq_length"], "other names, too"


def test_files_where_no_values_are_spelt_out(printed, tmp_path):
    (tmp_path / "train.conll").write_text("")
    (tmp_path / "other.txt").write_text("")
    assert ask(printed["bash"], "finetune", "run_ner", "--train_file", "tr", cwd=tmp_path) == ["train.conll"]


def test_every_flag_of_every_command_is_there(printed, repository):
    from finetune.commands import find_commands
    from finetune.explaining.completion import read_fields

    text = printed["bash"].read_text()
    for name, path in find_commands(repository / "scripts").items():
        branch = text.split(f"    {name.replace('-', '_')})\n", 1)[1].split(";;\n    ", 1)[0]
        assert all(f"--{flag}" in branch for flag in read_fields(path)), name


needs_zsh = pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
# A shell as a user has it, on a terminal of its own: the words and Tab are typed, then the line is kept and printed.
TYPE = r"""
zmodload zsh/zpty
zpty -b shell zsh -f -i
zpty -w shell "source $1; keep() { print -r -- \"\$BUFFER\" > $3; zle kill-whole-line }; zle -N keep; bindkey '^G' keep"
zpty -w shell "print READY"
while [[ "$seen" != *$'\nREADY'* ]]; do zpty -r shell line; seen+=$line; done
zpty -w -n shell "$2"$'\t\a'
for turn in {1..100}; do [[ -s $3 ]] && break; sleep 0.1; done
zpty -d shell
"""


@needs_zsh
def test_zsh_reads_it(printed):
    done = subprocess.run(
        ["zsh", "-f", "-c", f"source {printed['zsh']}; print $_comps[finetune]"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "_finetune" in done.stdout and not done.stderr


@needs_zsh
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("finetune run_n", "finetune run_ner"),
        ("finetune run_ner --document_c", "finetune run_ner --document_context"),
        ("finetune run_ner --peft d", "finetune run_ner --peft dora"),
        ("finetune run_ner --peft=d", "finetune run_ner --peft=dora"),
        ("finetune run_ner --train_file tr", "finetune run_ner --train_file train.conll"),
        ("finetune run_ner --train_file=tr", "finetune run_ner --train_file=train.conll"),
    ],
)
def test_zsh_completes_what_is_typed(typed, expected, printed, tmp_path):
    (tmp_path / "train.conll").write_text("")
    (tmp_path / "other.txt").write_text("")
    kept = tmp_path / "kept"
    command = ["zsh", "-f", "-c", TYPE, "zsh", str(printed["zsh"]), typed, str(kept)]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=60, capture_output=True)
    assert kept.read_text().rstrip() == expected
