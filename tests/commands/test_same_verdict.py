"""Taggers and classifiers accept and refuse the same flags: one table, run through both command lines."""

from __future__ import annotations

from pathlib import Path

import pytest

COMMANDS = ("run_ner.py", "run_glue.py")
TRAINING = ("--do_train", "--do_eval")
PATIENCE = ("--early_stopping_patience", "2")
# flags beside --train_file (and --validation_file), exit code, and a part of what is said
VERDICTS = {
    "train only, a tenth validates": (TRAINING, (), 0, "drawn with seed 42"),
    "train and validation": (TRAINING, ("validation",), 0, ""),
    "nothing to do": ((), (), 2, "there is nothing to do"),
    "no test file": (("--do_predict",), (), 2, "--do_predict is given without data"),
    "evaluation without training has no tenth": (("--do_eval",), (), 2, "--do_eval is given without data"),
    "stopping without evaluation": ((*TRAINING, "--eval_strategy", "no", *PATIENCE), (), 2, "needs evaluation during"),
    "stopping without --do_eval": (("--do_train", *PATIENCE), (), 2, "needs evaluation during training"),
    "stopping without training": (("--do_eval", *PATIENCE), ("validation",), 2, "--early_stopping_patience needs training"),
    "weights without training": (("--do_eval", "--class_weights", "balanced"), ("validation",), 2, "needs training"),
    "weights": ((*TRAINING, "--class_weights", "balanced"), (), 0, "Class weights:"),
    "no such metric": ((*TRAINING, "--metric_for_best_model", "accuracey"), (), 2, "did you mean 'accuracy'"),
    "best without evaluation": (("--do_train", "--load_best_model_at_end"), (), 2, "needs evaluation during training"),
    "saves between evaluations": (
        (*TRAINING, "--eval_strategy", "steps", "--eval_steps", "2", "--save_steps", "3", "--load_best_model_at_end"),
        (), 2, "--load_best_model_at_end: checkpoints are saved every 3 steps",
    ),
    "a length beyond the model": ((*TRAINING, "--max_seq_length", "5000"), (), 2, "5000"),
    "padding": ((*TRAINING, "--pad_to_max_length"), (), 0, ""),
    "a score of the loss": ((*TRAINING, "--metric_for_best_model", "loss"), (), 0, "by validation loss"),
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    folder = tmp_path_factory.mktemp("verdicts")
    numbers = {"train": range(24), "validation": range(100, 106)}
    found: dict[str, dict[str, Path]] = {script: {} for script in COMMANDS}
    for split, range_ in numbers.items():
        words = "".join(f"Ann{n}\tB-PER\nruns\tO\n\n" for n in range_)
        rows = "".join(f"text {n},{'good' if n % 2 else 'bad'}\n" for n in range_)
        found["run_ner.py"][split], found["run_glue.py"][split] = folder / f"{split}.conll", folder / f"{split}.csv"
        found["run_ner.py"][split].write_text(words, encoding="utf-8")
        found["run_glue.py"][split].write_text(f"text,label\n{rows}", encoding="utf-8")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("script", COMMANDS)
@pytest.mark.parametrize("name", VERDICTS)
def test_both_say_the_same(name, script, data, tiny_bert, tmp_path, call_command):
    flags, further, code, said = VERDICTS[name]
    files = [word for split in ("train", *further) for word in (f"--{split}_file", data[script][split])]
    common = ["--model_name_or_path", tiny_bert, "--output_dir", tmp_path / "out", "--max_steps", "2"]
    done = call_command(script, *common, *files, *flags)
    assert done.code == code, done.stderr
    assert said in done.stderr + done.stdout
    assert (tmp_path / "out").exists() == (code == 0)
