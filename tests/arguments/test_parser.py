from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.arguments.fields import argument, with_defaults
from finetune.arguments.parser import HIDDEN, CommandParser
from finetune.arguments.run import RunArguments
from finetune.arguments.scanner import is_flag
from finetune.errors import Problem, UsageError


@dataclass
class Sample:
    """Sample data."""

    train_file: str = argument(help="what to train on")
    max_length: int | None = argument(None, help="subwords", aliases=("max_seq_length",), minimum=3)
    stride: int = argument(0, help="overlap", minimum=0)
    names: list[str] = argument([], help="several")
    lowercase: bool = argument(False, help="lower")
    no_report: bool = argument(False, help="silence")
    space_token: str = argument("<_>", help="space")
    token: str | None = argument(None, help="secret", secret=True)

    def problems(self) -> list[Problem]:
        too_far = self.max_length is not None and self.stride >= self.max_length
        return (
            [Problem(f"--stride {self.stride} is not smaller than --max_length {self.max_length}")] if too_far else []
        )


REQUIRED = ["--train_file", "t.txt", "--output_dir", "out"]


def make_parser(**options) -> CommandParser:
    return CommandParser("Sample.", [Sample, RunArguments], **{"training_defaults": {}, "prog": "sample", **options})


def parse(*words, **options):
    return make_parser(**options).parse([*REQUIRED, *words])


def problems_of(*words, required=True, **options) -> list[str]:
    with pytest.raises(UsageError) as caught:
        make_parser(**options).parse([*(REQUIRED if required else ()), *words])
    return [str(problem) for problem in caught.value.problems]


def test_groups_hold_values_and_defaults():
    arguments = parse("--max_length", "10", "--names", "a", "b", "--lowercase")
    assert arguments[Sample] == Sample(train_file="t.txt", max_length=10, names=["a", "b"], lowercase=True)
    assert arguments.training == {"output_dir": "out"}
    assert arguments.typed == {"train_file", "output_dir", "max_length", "names", "lowercase"}


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--lowercase"], True),
        (["--lowercase", "True"], True),
        (["--lowercase", "False"], False),
        (["--lowercase=false"], False),
        (["--no_lowercase"], False),
        (["--no-lowercase"], False),
    ],
)
def test_yes_and_no(words, value):
    assert parse(*words)[Sample].lowercase is value


def test_a_field_called_no_something_is_not_a_negation():
    assert parse("--no_report")[Sample].no_report is True


@pytest.mark.parametrize("flag", ["--max_length", "--max-length", "--max_seq_length", "--max-seq-length"])
def test_spellings_of_one_field(flag):
    assert parse(flag, "7")[Sample].max_length == 7


def test_flags_are_never_abbreviated():
    assert problems_of("--max_len", "7") == ["unknown flag --max_len; did you mean --max_length."]


def test_values_may_be_spaces_negative_or_empty():
    assert parse("--space_token", " ")[Sample].space_token == " "
    assert parse("--space_token", "")[Sample].space_token == ""
    assert parse("--max_steps", "-1").training["max_steps"] == -1
    assert parse("--space_token=--x")[Sample].space_token == "--x"


def test_every_problem_is_told_at_once():
    found = problems_of(
        *(
            "--learnin_rate",
            "3",
            "--max_length",
            "ten",
            "--optim",
            "adamw_torhc",
            "--fp16",
            "--bf16",
            "—lowercase",
            "x",
        ),
        required=False,
    )
    assert found == [
        "unknown flag --learnin_rate; did you mean --learning_rate.",
        "unexpected word '—lowercase' after --bf16; did you mean --lowercase.",
        "unexpected word 'x' after --bf16; --bf16 takes True or False; put a value that holds spaces in quotes.",
        "--max_length is 'ten'; it takes a whole number.",
        "--optim is 'adamw_torhc'; did you mean 'adamw_torch'.",
        "--train_file is missing: what to train on.",
        "--output_dir is missing: The output directory where the model predictions and checkpoints will be written.",
        "--fp16 and --bf16 are both given; choose one of the two precisions.",
    ]


def test_groups_and_checks_judge_what_was_typed():
    def check(arguments):
        return [Problem("checked")] if arguments.get("do_train") else []

    words = ("--stride", "9", "--max_length", "9", "--do_train")
    assert problems_of(*words, checks=[check]) == ["--stride 9 is not smaller than --max_length 9.", "checked."]


def test_a_group_with_an_unreadable_value_is_not_judged_by_its_default():
    assert problems_of("--max_length", "x", "--stride", "9") == ["--max_length is 'x'; it takes a whole number."]


def test_the_last_of_two_values_counts_and_is_said():
    arguments = parse("--seed", "1", "--seed", "2")
    assert arguments.training["seed"] == 2
    assert arguments.translated == ["--seed is given more than once; the last value counts: --seed 2."]


def test_two_spellings_with_two_values_contradict_each_other():
    assert problems_of("--max_length", "5", "--max_seq_length", "6") == [
        "--max_length 5 and --max_seq_length 6 contradict each other: both set --max_length; keep one of them."
    ]
    assert parse("--max_length", "5", "--max_seq_length", "5")[Sample].max_length == 5


def test_positionals_take_their_place_wherever_they_stand():
    options = {"positionals": ["train_file", "output_dir"]}
    for line in (["a", "b", "--fp16"], ["--fp16", "a", "b"], ["a", "--seed", "1", "b"], ["--fp16", "False", "a", "b"]):
        arguments = make_parser(**options).parse(line)
        assert (arguments[Sample].train_file, arguments.training["output_dir"]) == ("a", "b")
    assert problems_of("a", required=False, **options) == [
        "output_dir is missing: The output directory where the model predictions and checkpoints will be written."
    ]
    assert problems_of("a", "b", "c", required=False, **options)[0].startswith("unexpected word 'c'")


def test_commands_have_their_own_defaults():
    habits = with_defaults(Sample, stride=4)
    parser = CommandParser("", [habits], training_defaults={"learning_rate": 1e-5}, prog="x")
    arguments = parser.parse(REQUIRED)
    assert arguments[Sample].stride == 4 and isinstance(arguments[Sample], Sample)
    assert arguments.training == {"learning_rate": 1e-5, "output_dir": "out"}
    assert parser.parse([*REQUIRED, "--stride", "0"])[Sample].stride == 0
    assert "overlap (default: 4)" in " ".join(parser.format_help().split())
    with pytest.raises(ValueError, match="no_such_field"):
        with_defaults(Sample, no_such_field=1)
    with pytest.raises(ValueError, match="no_such_field"):
        make_parser(training_defaults={"no_such_field": 1})


def test_a_group_that_the_command_has_not():
    arguments = CommandParser("", [Sample], prog="x").parse(["--train_file", "x"])
    assert arguments.find(RunArguments) is None
    with pytest.raises(KeyError, match="RunArguments"):
        arguments[RunArguments]


def test_two_groups_may_not_declare_the_same_field():
    with pytest.raises(ValueError, match="train_file"):
        CommandParser("", [Sample, Sample])


def test_commands_without_training_know_no_training_flags():
    parser = CommandParser("", [Sample], prog="sample")
    assert parser.parse(["--train_file", "x"]).training == {}
    with pytest.raises(UsageError, match="unknown flag --learning_rate"):
        parser.parse(["--train_file", "x", "--learning_rate", "1"])


def test_help_shows_groups_defaults_and_aliases(capsys):
    with pytest.raises(SystemExit) as caught:
        parse("--help", training_defaults={"learning_rate": 1e-5})
    text = " ".join(capsys.readouterr().out.split())
    assert caught.value.code == 0
    assert "usage: sample --train_file TEXT --output_dir TEXT" in text
    assert "Sample data:" in text and "How the run behaves:" in text
    assert "--max_length N, --max_seq_length N subwords (default: not set)" in text
    assert "overlap (default: 0)" in text
    assert "The initial learning rate for the optimizer. (default: 1e-05)" in text
    assert "slower training" in text  # a percent sign in a help text is no format


def test_help_wins_over_problems(capsys):
    with pytest.raises(SystemExit):
        parse("--nonsense", "-h")
    assert "usage" in capsys.readouterr().out


def test_secrets_are_not_written():
    arguments = parse("--token", "hush", "--hub_token=hush2")
    assert arguments.values()["token"] == "hush" and arguments.training["hub_token"] == "hush2"
    assert arguments.effective()["token"] == arguments.effective()["hub_token"] == HIDDEN
    assert arguments.command_line()[-3:] == ["--token", HIDDEN, f"--hub_token={HIDDEN}"]
    assert "hush" not in arguments.as_yaml()
    assert parse("--token", "hush", "--token", "hush2").translated == [
        "--token is given more than once; the last value counts: --token ...."
    ]


def test_effective_values_cover_every_training_field():
    effective = parse().effective()
    assert effective["num_train_epochs"] == 3.0 and effective["stride"] == 0 and effective["output_dir"] == "out"
    assert len(effective) > 120


@pytest.mark.parametrize("words", [[], ["tracebacks"], ["underflow_overflow"], ["False"]])
def test_debug_is_ours_alone_and_the_trainers_with_a_value(words):
    arguments = parse("--debug", *words)
    assert arguments[RunArguments].show_tracebacks is (words in ([], ["tracebacks"]))
    assert arguments.training.get("debug") == ("underflow_overflow" if words == ["underflow_overflow"] else None)


# Config files


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_flags_override_the_config_file_which_overrides_defaults(tmp_path):
    file = write(
        tmp_path / "c.yaml", "train_file: a.txt\noutput_dir: out\nseed: 7\nlearning_rate: 1e-5\nnames: [x, y]\n"
    )
    arguments = make_parser().parse(["--config_file", file, "--seed", "8"])
    assert arguments.training == {"output_dir": "out", "seed": 8, "learning_rate": 1e-5}
    assert arguments[Sample].names == ["x", "y"]
    assert arguments.translated == []


@pytest.mark.parametrize("name", ["c.json", "c.yaml", "c.yml"])
def test_a_single_file_name_is_the_config_file(tmp_path, name):
    content = {"train_file": "a.txt", "output_dir": "o", "fp16": True, "max_seq_length": 9, "eval_strategy": "no"}
    arguments = make_parser().parse([write(tmp_path / name, json.dumps(content, indent=1))])
    assert arguments[Sample].max_length == 9
    assert arguments.training == {"output_dir": "o", "fp16": True, "eval_strategy": "no"}
    assert arguments[RunArguments].config_file.endswith(name)


def test_yaml_that_looks_like_yes_or_no_stays_text(tmp_path):
    file = write(tmp_path / "c.yaml", "train_file: yes\neval_strategy: no\nlowercase: on\nmax_length: ~\n")
    arguments = make_parser().parse(["--config_file", file, "--output_dir", "o"])
    assert arguments[Sample] == Sample(train_file="yes", lowercase=True)
    assert arguments.training["eval_strategy"] == "no"


@pytest.mark.parametrize(
    ("name", "text", "line", "sentence"),
    [
        ("c.yaml", "seed: 1\nmax_lenght: 4\n", 2, "unknown argument max_lenght; did you mean max_length."),
        ("c.json", '{"seed": 1,\n "max_lenght": 4}', 2, "unknown argument max_lenght; did you mean max_length."),
        ("c.yaml", "seed: x\n", 1, "seed is 'x'; it takes a whole number."),
        ("c.json", '{"seed": 1,\n}', 2, "not valid JSON"),
        ("c.yaml", "a: b: c\n", 1, "not valid YAML"),
        ("c.yaml", "seed: [1, 2]\n", 1, "seed has 2 values: 1, 2; it takes a whole number."),
        ("c.yaml", "lr_scheduler_kwargs: {a: !!python/name:os.system x}\n", 1, "not valid YAML"),
        ("c.yaml", "seed: 1\nconfig_file: d.yaml\n", 2, "a config file cannot name another one."),
    ],
)
def test_problems_of_a_config_file_name_its_line(tmp_path, name, text, line, sentence):
    file = write(tmp_path / name, text)
    assert any(found.startswith(f"{file}:{line}: {sentence}") for found in problems_of("--config_file", file))


@pytest.mark.parametrize(("name", "text"), [("c.yaml", "- a\n- b\n"), ("c.json", "[1]"), ("c.yaml", "[a]: b\n")])
def test_a_config_file_must_hold_names(tmp_path, name, text):
    assert "expected lines such as max_length: 128" in problems_of("--config_file", write(tmp_path / name, text))[0]


def test_a_name_that_stands_twice_in_json(tmp_path):
    file = write(tmp_path / "c.json", '{"seed": 1, "seed": 2}')
    assert problems_of("--config_file", file) == [f"{file}: seed stands there more than once; keep one of them."]


def test_a_config_file_that_cannot_be_read(tmp_path):
    assert "cannot be read (No such file" in problems_of("--config_file", str(tmp_path / "none.yaml"))[0]
    (tmp_path / "bad.yaml").write_bytes(b"seed: \xff\n")
    assert "byte 6 is not UTF-8" in problems_of("--config_file", str(tmp_path / "bad.yaml"))[0]


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\t\n"), max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    train_file=TEXT.filter(bool),
    space_token=TEXT,
    names=st.lists(TEXT.filter(lambda text: text not in ("None", "null", "--") and not is_flag(text)), max_size=3),
    learning_rate=st.floats(min_value=0, max_value=10),
    max_length=st.none() | st.integers(3, 10**6),
    lowercase=st.booleans(),
)
def test_a_printed_configuration_reads_back(tmp_path_factory, names, **values):
    folder = tmp_path_factory.mktemp("round")
    words = [f"--{name}={'None' if value is None else value}" for name, value in values.items()]
    parser = make_parser(training_defaults={"eval_strategy": "epoch"})
    arguments = parser.parse(
        [*words, "--output_dir=o", "--lr_scheduler_kwargs", '{"a": [1, "x: y"]}', "--names", *names]
    )
    file = write(folder / "c.yaml", arguments.as_yaml())
    again = make_parser().parse(["--config_file", file])  # even without the command's own defaults
    assert again.training == arguments.training
    assert again[Sample] == arguments[Sample]


def test_training_fields_that_nobody_set_are_printed_as_comments():
    lines = parse("--seed", "3").as_yaml().splitlines()
    assert "seed: 3" in lines and '# lr_scheduler_type: "linear"' in lines and "stride: 0" in lines
    assert any(line.startswith("# eval_strategy follows: steps with --eval_steps") for line in lines)
    assert "bf16: true" in parse("--bf16").as_yaml().splitlines()
    assert not any(line.startswith(("print_config", "config_file")) for line in lines)
