"""The dotted command line: how words are read, merged, refused, and what is said of each mistake."""

from __future__ import annotations

import json
import math
import string
from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.arguments.fields import argument
from finetune.arguments.run import RunArguments
from finetune.errors import UsageError
from finetune.lm_experiments.dotted import DottedParser, merge, read_word, read_words
from finetune.lm_experiments.object_names import ObjectKind, find_object, is_refused

OPTIMIZER = ObjectKind("an optimizer", ("torch.optim",), base="torch.optim.Optimizer")
REDUCTION = ObjectKind("a function of losses", names=("torch.sum", "torch.mean", "builtins.max"))


@dataclass
class Group:
    """A group with dictionaries."""

    OBJECTS: ClassVar[dict[str, ObjectKind]] = {
        "optimizer": OPTIMIZER,
        "reductions": REDUCTION,
        "reductions.*": REDUCTION,
    }

    model: str = argument("gpt2", help="model")
    files: list[str] | None = argument(None, help="files")
    epochs: int = argument(250, help="epochs")
    use_gpu: bool | None = argument(None, help="gpu")
    optimizer: str = argument("AdamW", help="optimizer")
    reductions: dict | str = argument({"train": "torch.sum"}, help="reductions")
    study: dict = argument(
        {"sampler": "GPSampler", "inner": {"patience": 30, "min_delta": 0.0}, "direction": "minimize"}, help="study"
    )
    y: dict = argument({}, help="anything")
    allow_import: list[str] | None = argument(None, help="prefixes")


def parse(*words: str):
    return DottedParser("a command", (Group, RunArguments)).parse(words)[Group]


def complaints(*words: str) -> list[str]:
    with pytest.raises(UsageError) as raised:
        parse(*words)
    return [str(problem) for problem in raised.value.problems]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1", 1),
        ("-1", -1),
        ("1e-5", 1e-5),
        ("-2.5", -2.5),
        ("inf", math.inf),
        ("True", True),
        ("False", False),
        ("None", None),
        ("'1'", "1"),
        ('"True"', "True"),
        ("''1''", "'1'"),
        ("'__delete_field__'", "__delete_field__"),
        ("{}", {}),
        ("[]", []),
        ('json:[{"k": 0.5}]', [{"k": 0.5}]),
        ('json:{"a.b": ["c.d"]}', {"a.b": ["c.d"]}),
        ("data/x.txt.gz", "data/x.txt.gz"),
        ("file.name.txt", "file.name.txt"),
        ("true", "true"),
        ("'", "'"),
    ],
)
def test_words_are_read_by_how_they_look(word, value):
    read = read_word(word, "--x")
    assert read == value and type(read) is type(value)


@settings(deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=8))
def test_json_reads_back(value):
    assert read_word("json:" + json.dumps(value), "--x") == value


@settings(deadline=None)
@given(st.text(string.printable))
def test_quoted_words_stay_text(text):
    assert read_word(f"'{text}'", "--x") == text


@settings(deadline=None)
@given(st.floats(allow_nan=False) | st.integers())
def test_numbers_read_back(value):
    assert read_words([repr(value)], "--x") == value


def test_nested_keys_lists_bare_flags_and_a_list_of_one():
    group = parse("--y.values", "1e-5", "1e-4", "--y.deep.er.on", "--y.one", "7", "--y.text", "'7'", "--use_gpu")
    assert group.y == {"values": [1e-5, 1e-4], "deep": {"er": {"on": True}}, "one": 7, "text": "7"}
    assert group.use_gpu is True


def test_negative_numbers_and_attached_values_are_values():
    assert parse("--y.a", "-1", "--y.b=-1e-5", "--y.c", "-inf").y == {"a": -1, "b": -1e-5, "c": -math.inf}


def test_defaults_are_merged_and_deleted():
    group = parse("--study.inner.patience", "5", "--study.direction", "__delete_field__", "--study.name", "mine")
    assert group.study == {"sampler": "GPSampler", "inner": {"patience": 5, "min_delta": 0.0}, "name": "mine"}
    assert parse().study["direction"] == "minimize"


def test_a_json_dictionary_is_merged_too():
    assert parse("--study", 'json:{"inner": {"patience": 1}}').study["inner"] == {"patience": 1, "min_delta": 0.0}


def test_json_then_one_of_its_keys():
    assert parse("--y", 'json:{"b": {"c": 1}}', "--y.b.d", "2").y == {"b": {"c": 1, "d": 2}}


def test_removing_what_is_not_there_names_the_nearest():
    assert "did you mean --study.inner.patience" in complaints("--study.inner.patiense", "__delete_field__")[0]


def test_a_value_and_a_key_of_it_contradict_each_other():
    for words in (("--y.b.c", "5", "--y.b", "7"), ("--y.b", "7", "--y.b.c", "5")):
        (sentence,) = complaints(*words)
        assert "--y.b.c 5" in sentence and "--y.b 7" in sentence and "contradict" in sentence


def test_the_last_value_counts_and_is_said():
    arguments = DottedParser("", (Group, RunArguments)).parse(["--y.b", "5", "--y.b", "7"])
    assert arguments[Group].y == {"b": 7}
    assert arguments.translated == ["--y.b is given more than once; the last value counts: --y.b 7."]


def test_quotes_around_plain_values_go():
    group = parse("--model", "'data/x.y'", "--files", '"a.txt.gz"', "b.c.json")
    assert (group.model, group.files) == ("data/x.y", ["a.txt.gz", "b.c.json"])


def test_every_mistake_at_once_with_its_nearest_match():
    found = complaints(
        "--epoch.s", "3", "--stody.inner", "1", "--y", "5", "--optimizer", "AdmW", "--modl", "x", "--y.j", "json:{oops"
    )
    text = "\n".join(found)
    assert len(found) == 6
    for part in (
        "--epoch",
        "did you mean --study",
        "a dictionary: --y.KEY",
        "did you mean AdamW",
        "did you mean --model",
    ):
        assert part in text
    assert "--y.j is not valid JSON" in text


def test_a_key_of_what_has_no_keys():
    assert complaints("--epochs.x", "3") == ["--epochs.x names a key; --epochs takes a whole number."]


def test_stray_words_are_named():
    assert "unexpected word 'stray'" in complaints("stray", "--epochs", "3")[0]


def test_objects_only_where_a_field_asks_for_them():
    group = parse("--optimizer", "torch.optim.SGD", "--y.a", "os.system", "--model", "os.system")
    assert (group.optimizer, group.y, group.model) == ("torch.optim.SGD", {"a": "os.system"}, "os.system")
    assert "no class or function is taken there" in complaints("--y.a", "callable:max")[0]


def test_one_for_all_or_one_per_key():
    assert parse("--reductions", "callable:max").reductions == "builtins.max"
    assert parse("--reductions.validation", "mean").reductions == {"train": "torch.sum", "validation": "torch.mean"}
    assert "contradict" in complaints("--reductions", "torch.sum", "--reductions.train", "torch.mean")[0]


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "torch.load",
        "torch.hub.load",
        "eval",
        "callable:exec",
        "import:os",
        "subprocess.run",
        "torch.optim.sys",
        "torch.optim.optimizer.torch",
        "torch.optim.lr_scheduler.LRScheduler",
        "torch.optim.optimizer.deepcopy",
        "pickle.loads",
        "torch.optim._functional",
        "torch.optim.AdamW.step",
        "posix.system",
        "torch.nn.Linear",
        "torch.serialization.load",
    ],
)
def test_what_is_no_optimizer_is_refused(name):
    assert "--optimizer is" in complaints("--optimizer", name)[0]


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "torch.load", "torch.hub.load", "subprocess.run"])
def test_some_names_stay_refused_whatever_is_opened(name):
    prefix = name.rpartition(".")[0]
    found = complaints("--allow_import", prefix, "--reductions", name)
    assert any(f"{name!r}, which stays refused" in sentence for sentence in found)


def test_refused_names_import_nothing(monkeypatch):
    monkeypatch.setattr("finetune.lm_experiments.object_names._import", lambda name: pytest.fail(f"imported {name}"))
    for name in ("os.system", "antigravity.fly", "torch.load"):
        with pytest.raises(UsageError):
            find_object(name, REDUCTION, "--x")


def test_a_module_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_reductions.py").write_text(
        "from os import system\n\n\ndef halve(*losses):\n    return losses[0] / 2\n"
    )
    assert "--allow_import my_reductions opens that module" in complaints("--reductions", "my_reductions.halve")[0]
    words = ("--allow_import", "my_reductions", "--reductions")
    assert parse(*words, "my_reductions.halve").reductions == "my_reductions.halve"
    assert "did you mean my_reductions.halve" in complaints(*words, "my_reductions.halv")[0]
    assert "posix defines" in complaints(*words, "my_reductions.system")[0]


def test_builtins_are_refused_but_for_a_short_list():
    assert is_refused("builtins.open") and is_refused("builtins") and not is_refused("builtins.max")


def test_files_of_arguments_are_merged_below_the_command_line(tmp_path):
    path = tmp_path / "arguments.yaml"
    path.write_text("epochs: 3\nstudy:\n  inner: {patience: 2, min_delta: 1e-3}\ny.a.b: 1e-5\nfiles: [a.txt, b.txt]\n")
    group = parse("--config_file", str(path), "--study.inner.patience", "9")
    assert group.study["inner"] == {"patience": 9, "min_delta": 1e-3}
    assert (group.y, group.epochs, group.files) == ({"a": {"b": 1e-5}}, 3, ["a.txt", "b.txt"])


def test_a_file_cannot_open_what_it_imports(tmp_path):
    path = tmp_path / "arguments.json"
    path.write_text('{"allow_import": ["evil"], "optimizer": "evil.Optimizer"}')
    found = "\n".join(complaints("--config_file", str(path)))
    assert "a file cannot open what it imports" in found and "may not be named there" in found


def test_written_arguments_read_back(tmp_path):
    words = [
        "--y.text",
        "'0.5'",
        "--y.q",
        "''x''",
        "--y.values",
        "1e-5",
        "2",
        "--study.direction",
        "__delete_field__",
        "--y.deep.on",
        "--optimizer",
        "SGD",
    ]
    arguments = DottedParser("", (Group, RunArguments)).parse(words)
    path = tmp_path / "again.yaml"
    path.write_text(arguments.as_yaml())
    again = parse("--config_file", str(path))
    assert again.y == arguments[Group].y and again.study == arguments[Group].study
    assert again.y["text"] == "0.5" and again.optimizer == "torch.optim.SGD"


def test_merging_leaves_the_default_alone():
    default = {"a": {"b": 1}}
    assert merge(default, {"a": {"c": 2}}, "--x") == {"a": {"b": 1, "c": 2}}
    assert default == {"a": {"b": 1}}


@pytest.mark.parametrize(
    "word", ["nan", "NaN", "Infinity", "1_000", "2024_05", "๒๓", "1e", "e5", "0x10", "1,5", "“2”", "-", "."]
)
def test_words_that_python_alone_calls_numbers_stay_words(word):
    assert read_word(word, "--x") == word


@pytest.mark.parametrize(
    ("word", "value"), [("-1e-5", -1e-5), ("1E-3", 1e-3), ("5.", 5.0), (".5", 0.5), ("-12", -12), ("1e5", 1e5)]
)
def test_numbers_stay_numbers(word, value):
    found = read_word(word, "--x")
    assert found == value and type(found) is type(value)
