"""What a run settled is in run.json, on the card and in the report, also after a stop."""

from __future__ import annotations

import json

import pytest

ROWS = "Maria B-PER\nflew O\nto O\nBonn B-LOC\n\nIda B-PER\nleft O\n\n"


@pytest.fixture(scope="module")
def tagging_run(run_command, tmp_path_factory, tiny_bert):
    folder = tmp_path_factory.mktemp("settled")
    (folder / "train.txt").write_text(ROWS * 6, encoding="utf-8")
    done = run_command(
        "run_ner.py", "--model_name_or_path", tiny_bert, "--train_file", folder / "train.txt", "--validation_file",
        folder / "train.txt", "--output_dir", folder / "run", "--do_train", "--do_eval", "--num_train_epochs", 2,
        "--learning_rate", 1e-3,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return folder / "run", done


@pytest.mark.slow
def test_run_json_holds_what_training_really_had(tagging_run):
    folder, done = tagging_run
    held = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    settled, typed = held["training_arguments"], held["asked"]
    assert (typed["eval_strategy"], settled["eval_strategy"], settled["save_strategy"]) == ("no", "epoch", "epoch")
    assert settled["load_best_model_at_end"] and settled["metric_for_best_model"]
    assert settled["bf16"] is ("Training in bfloat16" in done.stderr)
    assert not any("token" in name for name in settled if name.endswith("token"))
    chosen = held["chosen_checkpoint"]
    state = json.loads((folder / chosen["name"] / "trainer_state.json").read_text(encoding="utf-8"))
    assert chosen["value"] == state["best_metric"]
    assert chosen["metric"] == settled["metric_for_best_model"].removeprefix("eval_")


def test_card_and_report_name_precision_and_the_chosen_checkpoint(tagging_run):
    folder, done = tagging_run
    chosen = json.loads((folder / "run.json").read_text(encoding="utf-8"))["chosen_checkpoint"]
    words = f"{chosen['name']}, the best of validation by {chosen['metric']}"
    precision = "bfloat16" if "Training in bfloat16" in done.stderr else "float32"
    card, report = ((folder / name).read_text(encoding="utf-8") for name in ("README.md", "report.txt"))
    assert f"| chosen checkpoint | {words}" in card and f"| precision | {precision}" in card
    assert f"- Chosen checkpoint: {words}" in report and f"- Precision: {precision}" in report
    warning = "both chose the checkpoint and scores it"
    assert warning in card and warning in report
