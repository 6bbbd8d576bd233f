"""Two processes with half the batch each train and score as one process does, and speak with one voice."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

NO_DROPOUT = "hidden_dropout_prob=0.0,attention_probs_dropout_prob=0.0"


def make_words(model: Path, output: Path, batch: int) -> list[str]:
    """21 sentences to score: an odd number, of which the last is there for one process only; 42 to train on, of which two
    are left for the sixth step."""
    flags = {
        "model_name_or_path": model, "dataset_name": "sample", "output_dir": output, "max_train_samples": 42,
        "max_eval_samples": 21, "max_predict_samples": 21, "max_steps": 7, "logging_steps": 1, "learning_rate": 1e-3,
        "per_device_train_batch_size": batch, "config_overrides": NO_DROPOUT, "bf16": False,
    }  # fmt: skip
    words = [str(part) for name, value in flags.items() for part in (f"--{name}", value)]
    return [*words, "--do_train", "--do_eval", "--do_predict"]


def read_history(output: Path, *keys: str) -> list[float]:
    state = json.loads((output / "checkpoint-7" / "trainer_state.json").read_text(encoding="utf-8"))
    return [entry[key] for entry in state["log_history"] for key in keys if key in entry]


@pytest.mark.slow
def test_two_processes_with_half_the_batch_are_one(tmp_path, call_command, run_two_processes, tiny_bert):
    one, two = tmp_path / "one", tmp_path / "two"
    done = run_two_processes("run_ner.py", *make_words(tiny_bert, two, 4))
    assert done.code == 0, done.stderr
    alone = call_command("run_ner.py", *make_words(tiny_bert, one, 8))
    assert alone.code == 0, alone.stderr
    for keys in (["loss"], ["grad_norm"], ["eval_loss", "eval_f1", "eval_accuracy"]):
        expected = read_history(one, *keys)
        assert len(expected) == (7 if len(keys) == 1 else 6)
        assert read_history(two, *keys) == pytest.approx(expected, rel=1e-5)
    for split in ("validation", "test"):
        name = f"predictions.{split}.conll"
        assert (two / name).read_bytes() == (one / name).read_bytes()
    assert done.stdout.count("[ Test Result ]") == 1
    assert done.stdout.count('"status"') == 1 and json.loads(done.stdout.splitlines()[-1])["status"] == "done"
    assert done.stderr.count("***** Running training *****") == 1
    marked = json.loads((two / "checkpoint-7" / "complete.json").read_text(encoding="utf-8"))
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= set(marked), "whole means: the random state of every process"


SMALL_GPT = "n_embd=32,n_layer=2,n_head=2,resid_pdrop=0.0,embd_pdrop=0.0,attn_pdrop=0.0"
TEXT = [
    f"The {count} keys to the cabinet are here, " + "and there, " * (count % 7) + "she said." for count in range(61)
]


def make_language_words(task: str, model: Path, folder: Path, batch: int) -> list[str]:
    """51 texts to train on and 21 to evaluate, of different lengths: what is predicted differs between the processes."""
    for name, lines in {"train.txt": TEXT[:51], "dev.txt": TEXT[40:61]}.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    flags = {
        "train_file": folder / "train.txt", "validation_file": folder / "dev.txt", "max_steps": 6, "logging_steps": 1,
        "per_device_train_batch_size": batch, "learning_rate": 1e-3, "bf16": False, "seed": 3,
    }  # fmt: skip
    if task == "causal":
        flags |= {"model_type": "gpt2", "config_overrides": SMALL_GPT, "tokenizer_name": model, "block_size": 24}
    else:
        flags |= {"model_name_or_path": model, "config_overrides": NO_DROPOUT, "max_seq_length": 48}
    words = [str(part) for name, value in flags.items() for part in (f"--{name}", value)]
    more = {"lines": ["--line_by_line"], "stream": ["--streaming"], "causal": []}
    return [*words, *more[task], "--do_train", "--do_eval"]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["causal", "lines", "stream"])
def test_language_models_are_those_of_one_process(task, tmp_path, call_command, run_two_processes, tiny_bert):
    """Those of a stream also with loader workers, who share it out."""
    script = "run_clm.py" if task == "causal" else "run_mlm.py"
    workers = ["--dataloader_num_workers", "2"] if task == "stream" else []
    words = make_language_words(task, tiny_bert, tmp_path, 4)
    done = run_two_processes(script, *words, *workers, "--output_dir", tmp_path / "two")
    assert done.code == 0, done.stderr
    words = make_language_words(task, tiny_bert, tmp_path, 8)
    alone = call_command(script, *words, "--output_dir", tmp_path / "one")
    assert alone.code == 0, alone.stderr
    histories = [
        json.loads((tmp_path / name / "checkpoint-6" / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
        for name in ("one", "two")
    ]
    losses = [[entry["loss"] for entry in history if "loss" in entry] for history in histories]
    assert len(losses[0]) == 6 and losses[1] == pytest.approx(losses[0], rel=1e-5)
    for metric in ("loss", "accuracy"):
        assert done.last[metric] == pytest.approx(alone.last[metric], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("script", ["run_glue.py", "downstream/train_sequence_classification_lm_finetuning.py"])
def test_classifiers_are_those_of_one_process(script, tmp_path, call_command, run_two_processes, tiny_bert):
    """To their end: one process writes the results, and the Thai command's links to the best checkpoint."""
    for split, numbers in {"train": range(42), "validation": range(100, 121), "test": range(200, 221)}.items():
        rows = "".join(f"text {n} {'ab'[n % 2] * (n % 5)},{'good' if n % 2 else 'bad'}\n" for n in numbers)
        (tmp_path / f"{split}.csv").write_text(f"text,label\n{rows}", encoding="utf-8")

    def make_command(output: Path, batch: int) -> list[str]:
        flags = {
            **{f"{split}_file": tmp_path / f"{split}.csv" for split in ("train", "validation", "test")},
            "model_name_or_path": tiny_bert, "output_dir": output, "max_steps": 7, "learning_rate": 1e-3,
            "per_device_train_batch_size": batch, "config_overrides": NO_DROPOUT, "bf16": False, "seed": 3,
        }  # fmt: skip
        words = [str(part) for name, value in flags.items() for part in (f"--{name}", value)]
        return [*words, "--do_train", "--do_eval", "--do_predict"]

    one, two = tmp_path / "one", tmp_path / "two"
    done = run_two_processes(script, *make_command(two, 4))
    assert done.code == 0, done.stderr
    alone = call_command(script, *make_command(one, 8))
    assert alone.code == 0, alone.stderr
    assert done.stdout.count('"status"') == 1 and json.loads(done.stdout.splitlines()[-1])["status"] == "done"
    scores = [json.loads((folder / "metrics.json").read_text(encoding="utf-8")) for folder in (one, two)]
    for split in ("validation", "test"):
        assert scores[1][split] == pytest.approx(scores[0][split], rel=1e-4)
        files = [(folder / f"predictions.{split}.jsonl").read_text(encoding="utf-8") for folder in (one, two)]
        predicted = [[json.loads(line)["predicted"] for line in text.splitlines()] for text in files]
        assert predicted[0] == predicted[1] and len(predicted[0]) == 21
    names = [{path.name for path in folder.iterdir()} for folder in (one, two)]
    assert names[0] == names[1]


def signal_second(command: list[str], once: Path) -> tuple[str, str]:
    """Start two processes, send SIGTERM to the second alone when a file exists, and twice more; their two outputs."""
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not once.exists() and started.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    ranks = {child.environ()["RANK"]: child for child in psutil.Process(started.pid).children()}
    for _ in range(3):  # as batch systems and torchrun do
        ranks["1"].send_signal(signal.SIGTERM)
        time.sleep(0.01)
    return started.communicate(timeout=120)


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_stops_both_in_the_same_step(
    tmp_path, repository, two_processes, run_two_processes, tiny_bert
):
    whole, part = tmp_path / "whole", tmp_path / "part"
    often = ["--save_strategy", "steps", "--save_steps", "1", "--save_total_limit", "30", "--max_steps", "30"]
    script = str(repository / "scripts" / "run_ner.py")
    stdout, stderr = signal_second(
        [*two_processes, script, *make_words(tiny_bert, part, 4), *often], once=part / "checkpoint-2" / "complete.json"
    )
    last = json.loads(stdout.splitlines()[-1])
    assert last["status"] == "preempted", stderr
    step = int(last["reason"].partition("at step ")[2].partition(",")[0])
    assert 2 <= step < 30 and (part / f"checkpoint-{step}" / "complete.json").exists()
    for folder in (part, whole):
        done = run_two_processes("run_ner.py", *make_words(tiny_bert, folder, 4), *often)
        assert done.code == 0, done.stderr
    weights = [(folder / "checkpoint-30" / "model.safetensors").read_bytes() for folder in (part, whole)]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_a_process_that_is_killed_is_a_lost_process_to_the_others(tmp_path, repository, two_processes, tiny_bert):
    output = tmp_path / "killed"
    often = ["--save_strategy", "steps", "--save_steps", "1", "--save_total_limit", "30", "--max_steps", "2000"]
    script = str(repository / "scripts" / "run_ner.py")
    started = subprocess.Popen(
        [*two_processes, script, *make_words(tiny_bert, output, 4), *often],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (output / "checkpoint-2" / "complete.json").exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    ranks = {child.environ()["RANK"]: child for child in psutil.Process(started.pid).children()}
    ranks["1"].kill()
    stdout, stderr = started.communicate(timeout=120)
    last = [json.loads(line) for line in stdout.splitlines() if line.startswith('{"status"')]
    assert "a bug in finetune" not in stderr
    if last:  # torchrun may have stopped the first process before it noticed
        assert last[-1]["status"] in ("failed", "preempted")
        assert "was lost" in last[-1]["reason"] or "SIGTERM" in last[-1]["reason"], last
    assert (output / "checkpoint-2").exists()


ONE_LOSS_IS_NO_NUMBER = """
import os, types
import torch, torch.distributed as dist
from transformers import TrainerControl, TrainerState
from finetune.errors import NonFiniteError
from finetune.run.process_exit import leave
from finetune.training.callbacks import NonFiniteGuard

dist.init_process_group("gloo")
losses = [None, float("nan")][dist.get_rank() :]
guard = NonFiniteGuard(types.SimpleNamespace(take_non_finite=lambda: losses[0]))
args = types.SimpleNamespace(world_size=2, device=torch.device("cpu"))
try:
    guard.on_step_end(args, TrainerState(global_step=5), TrainerControl())
except NonFiniteError as error:
    os.write(1, f"{error.value} at {error.step}\\n".encode())
leave(0)
"""


@pytest.mark.slow
def test_all_processes_end_when_the_loss_of_one_is_no_number(run_program_twice):
    assert run_program_twice(ONE_LOSS_IS_NO_NUMBER).splitlines() == ["nan at 5"] * 2


@pytest.mark.slow
def test_a_training_goes_on_with_another_number_of_processes(tmp_path, stop_command, call_command, tiny_bert):
    """Begun by two, ended by one from their checkpoint, which is whole, with as many rows a step."""
    one, two = tmp_path / "one", tmp_path / "two"
    steps = 24
    often = ["--save_strategy", "steps", "--save_steps", "4", "--save_total_limit", "30", "--max_steps", steps]
    often += ["--eval_strategy", "no"]
    in_two = ["--nproc", 2]
    words = make_words(tiny_bert, two, 4)
    once = two / "checkpoint-4" / "complete.json"
    done = stop_command("run_ner.py", *words, *often, *in_two, once=once, sign=signal.SIGTERM)
    assert done.code == 75, done.stdout
    saved = [folder for folder in two.glob("checkpoint-*") if (folder / "complete.json").exists()]
    assert not any(name.startswith("module.") for name in load_file(saved[0] / "model.safetensors"))
    refused = call_command("run_ner.py", *words, *often)
    assert refused.code == 2 and "takes 8 rows, and would take 4" in refused.last["reason"]
    done = call_command("run_ner.py", *make_words(tiny_bert, two, 8), *often)
    assert done.code == 0, done.stderr
    alone = call_command("run_ner.py", *make_words(tiny_bert, one, 8), *often)
    assert alone.code == 0, alone.stderr
    losses = [read_losses(folder / f"checkpoint-{steps}") for folder in (one, two)]
    assert len(losses[0]) == steps and losses[1] == pytest.approx(losses[0], rel=1e-4)
    names = {path.name for path in one.iterdir() if path.is_file()}
    assert names <= {path.name for path in two.iterdir()}


def read_losses(checkpoint: Path) -> list[float]:
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]
