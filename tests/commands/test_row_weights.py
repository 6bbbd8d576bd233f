"""`--weight_column` in every supervised task: a row of weight 2 is the row twice, one of weight 0 is absent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

STEP = (
    *("--do_train", "--optim", "sgd", "--max_steps", 2, "--per_device_train_batch_size", 16, "--learning_rate", 0.5),
    *("--bf16", "False", "--max_grad_norm", 0, "--logging_steps", 1, "--use_cpu"),
    *("--config_overrides", "hidden_dropout_prob=0.0,attention_probs_dropout_prob=0.0"),
)
TEXTS = [f"text number {n} is {'good' if n % 2 else 'bad'}" for n in range(6)]
WEIGHTS = [2, 0, 1, 3, 1, 1]
TIMES = [n for n, weight in enumerate(WEIGHTS) for _ in range(weight)]


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in json.loads((folder / "training_history.json").read_text())["log"] if "loss" in row]


def require_same(one: Path, other: Path, *, same: bool = True) -> None:
    """Losses of every step, and weights after the steps of plain gradient descent, which are gradients."""
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    equal = all(torch.allclose(value, second[name], atol=2e-6) for name, value in first.items())
    assert equal is same
    if same:
        assert losses(one) == pytest.approx(losses(other), rel=1e-4)


@pytest.fixture
def learn(call_command, tiny_bert, tmp_path):
    def call(command: str, name: str, data: str, suffix: str, *more: object, code: int = 0):
        path = tmp_path / f"{name}.{suffix}"
        path.write_text(data)
        done = call_command(
            command,
            "--model_name_or_path",
            tiny_bert,
            "--train_file",
            path,
            "--output_dir",
            tmp_path / name,
            *STEP,
            *more,
        )
        assert done.code == code, done.stderr
        return done if code else tmp_path / name

    return call


def lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


LABELS = {
    "single": [{"label": "good" if n % 2 else "bad"} for n in range(6)],
    "several": [{"label": [["a"], ["a", "b"], [], ["c"], ["b", "c"], ["a"]][n]} for n in range(6)],
    "numbers": [{"label": n / 4 + 0.1} for n in range(6)],
}


@pytest.mark.parametrize("kind", LABELS)
def test_weights_of_texts(kind, learn):
    rows = [{"text": text, **label} for text, label in zip(TEXTS, LABELS[kind], strict=True)]
    weighed = learn("run_glue.py", "weighed", lines([{**row, "w": WEIGHTS[n]} for n, row in enumerate(rows)]), "jsonl",
                    "--weight_column", "w")  # fmt: skip
    more = ["--do_regression"] if kind == "numbers" else []
    repeated = learn("run_glue.py", "repeated", lines([rows[n] for n in TIMES]), "jsonl", *more)
    require_same(weighed, repeated)
    require_same(weighed, learn("run_glue.py", "plain", lines(rows), "jsonl", *more), same=False)
    assert "rows weigh 0 to 3, 1.333 in the mean (w); 1 of 6 weigh nothing" in (weighed / "run.log").read_text()


@pytest.mark.parametrize("kind", [*LABELS, "tags"])
def test_weights_mean_the_same_however_a_step_is_cut(kind, learn):
    if kind == "tags":
        command, data = "run_ner.py", as_json(range(6), WEIGHTS)
    else:
        rows = [{"text": text, **label, "w": n} for text, label, n in zip(TEXTS, LABELS[kind], WEIGHTS, strict=True)]
        command, data = "run_glue.py", lines(rows)
    cuts = [(6, 1), (3, 2), (2, 3), (1, 6)]
    whole, *others = [
        learn(command, f"{batch}x{times}", data, "jsonl", "--weight_column", "w",
              "--per_device_train_batch_size", batch, "--gradient_accumulation_steps", times)
        for batch, times in cuts
    ]  # fmt: skip
    for other in others:
        require_same(whole, other)


SENTENCES = [[("ann", "B-PER"), ("ran", "O")], [("the", "O"), ("fox", "O")], [("bob", "B-PER")], [("a", "O")] * 3,
             [("eve", "B-PER"), ("sat", "O")], [("dog", "O")]]  # fmt: skip


def as_json(order, weights=None) -> str:
    rows = [{"words": [word for word, _ in SENTENCES[n]], "tags": [tag for _, tag in SENTENCES[n]]} for n in order]
    return lines([{**row, **({"w": weights[n]} if weights else {})} for n, row in zip(order, rows, strict=True)])


def as_conll(order, weights=None) -> str:
    blocks = [
        (f"# w = {weights[n]}\n" if weights else "") + "".join(f"{word}\t{tag}\n" for word, tag in SENTENCES[n])
        for n in order
    ]
    return "\n".join(blocks)


def as_table(order, weights=None) -> str:
    head = "sentence_id,word,tag" + (",w" if weights else "")
    body = [f"{place},{word},{tag}" + (f",{weights[n] if first == 0 else ''}" if weights else "")
            for place, n in enumerate(order) for first, (word, tag) in enumerate(SENTENCES[n])]  # fmt: skip
    return "\n".join([head, *body]) + "\n"


def as_conllu(order, weights=None) -> str:
    rest = "\t_" * 6
    blocks = [
        (f"# w = {weights[n]}\n" if weights else "")
        + "".join(f"{k}\t{word}\t_\t{tag}{rest}\n" for k, (word, tag) in enumerate(SENTENCES[n], start=1))
        for n in order
    ]
    return "\n".join(blocks) + "\n"


@pytest.mark.parametrize(
    ("write", "suffix", "more"),
    [
        (as_json, "jsonl", ()),
        (as_conll, "conll", ()),
        (as_table, "csv", ()),
        (as_conllu, "conllu", ("--task_name", "pos")),
    ],
)
def test_weights_of_sentences(write, suffix, more, learn):
    weighed = learn("run_ner.py", "weighed", write(range(6), WEIGHTS), suffix, "--weight_column", "w", *more)
    repeated = learn("run_ner.py", "repeated", write(TIMES), suffix, *more)
    require_same(weighed, repeated)
    assert "sentences weigh 0 to 3, 1.333 in the mean (w); 1 of 6 weigh nothing" in (weighed / "run.log").read_text()


def test_weights_are_multiplied_by_that_of_silver_and_may_stand_there_alone(learn, tmp_path):
    silver = tmp_path / "silver.jsonl"
    silver.write_text(as_json([0, 4], [6, 2, 0, 0, 2, 0]))
    flags = ("--silver_file", silver, "--silver_weight", 0.5, "--weight_column", "w")
    weighed = learn("run_ner.py", "weighed", as_json([1, 2, 3]), "jsonl", *flags)
    require_same(weighed, learn("run_ner.py", "repeated", as_json([1, 2, 3, 0, 0, 0, 4]), "jsonl"))
    rows = [{"text": text, **label} for text, label in zip(TEXTS, LABELS["several"], strict=True)]
    silver.write_text(lines([{**row, "w": 4} for row in rows[4:]]))
    weighed = learn("run_glue.py", "texts", lines(rows[:4]), "jsonl", *flags)
    require_same(weighed, learn("run_glue.py", "twice", lines([*rows, *rows[4:]]), "jsonl"))


@pytest.mark.parametrize(
    ("write", "suffix", "lines", "wrong"),
    [(as_json, "jsonl", (2, 4), "-1"), (as_conll, "conll", (6, 13), "'-1'"), (as_table, "csv", (4, 7), "'-1'")],
)
def test_weights_of_sentences_that_are_none_are_all_told(write, suffix, lines, wrong, learn):
    done = learn("run_ner.py", "bad", write(range(6), [1, -1, 1, None, 1, 1]), suffix, "--weight_column", "w", code=2)
    assert f".{suffix}:{lines[0]}: the weight of the sentence is {wrong}; a number" in done.last["reason"], done.last
    assert f".{suffix}:{lines[1]}: the weight of the sentence is" in done.last["reason"], done.last


def test_weights_that_are_not_there_or_of_no_use_are_refused(learn, tmp_path):
    done = learn("run_ner.py", "bad", as_conll(range(6)), "conll", "--weight_column", "w", code=2)
    assert "nothing in this file says what a sentence weighs" in done.last["reason"]
    done = learn("run_ner.py", "off", as_json(range(6)), "jsonl", "--weight_column", "w", "--do_train", False, "--do_eval",
                 code=2)  # fmt: skip
    assert "--weight_column needs training" in done.last["reason"]


def test_weights_and_labels_of_several_files_are_complained_of_at_their_lines_together(learn, tmp_path):
    other = tmp_path / "b.jsonl"
    other.write_text(lines([{"text": "x y", "label": "good", "w": "?"}, {"text": "z", "label": None, "w": 1}]))
    first = tmp_path / "a.jsonl"
    first.write_text(lines([{"text": TEXTS[n], **LABELS["single"][n], "w": 1} for n in range(6)]))
    done = learn(
        "run_glue.py", "bad", "", "none", "--train_file", tmp_path / "[ab].jsonl", "--weight_column", "w", code=2
    )
    assert "b.jsonl:1: the weight of the row is '?'" in done.last["reason"], done.last
    assert "b.jsonl:2: the row has no label" in done.last["reason"]


@pytest.mark.parametrize("as_file", [False, True])
def test_lists_of_probabilities_are_read_in_the_order_that_is_given(as_file, learn, tmp_path):
    order = "good,bad"
    if as_file:
        order = tmp_path / "labels.txt"
        order.write_text("good\nbad\n")
    shares = [[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [1, 0], [0, 1], [0.3, 0.7]]
    listed = [{"text": text, "p": share} for text, share in zip(TEXTS, shares, strict=True)]
    named = [{**row, "p": {"bad": row["p"][1], "good": row["p"][0]}} for row in listed]
    one = learn(
        "run_glue.py", "listed", lines(listed), "jsonl", "--soft_label_column", "p", "--soft_label_order", order
    )
    other = learn("run_glue.py", "named", lines(named), "jsonl", "--soft_label_column", "p")
    require_same(one, other)
    assert json.loads((one / "config.json").read_text())["id2label"] == {"0": "bad", "1": "good"}


def test_lists_of_probabilities_that_are_none_are_all_told(learn):
    shares = [[0.9, 0.3], [0.2], [0.5, -0.5], [1, 0], "[0.5, 0.5", [0.3, None]]
    rows = [{"text": text, "p": share} for text, share in zip(TEXTS, shares, strict=True)]
    flags = ("--soft_label_column", "p")
    done = learn("run_glue.py", "bad", lines(rows), "jsonl", *flags, "--soft_label_order", "good,bad", code=2)
    for line, words in (
        *((1, "sum to 1.2"), (2, "are 1 in number, and --soft_label_order names 2 labels"), (3, "negative")),
        *((5, "the probabilities are '[0.5, 0.5'"), (6, "sum to 0.3")),
    ):
        assert any(f".jsonl:{line}: " in reason and words in reason for reason in done.last["reason"].split("\n")), (
            words
        )
    assert "no label" not in done.last["reason"], "each row is complained of once"
    done = learn("run_glue.py", "orderless", lines(rows), "jsonl", *flags, code=2)
    assert "nothing says which labels these are of" in done.last["reason"]
    done = learn("run_glue.py", "twice", lines(rows), "jsonl", *flags, "--soft_label_order", "good,good", code=2)
    assert "names 'good' twice" in done.last["reason"]
