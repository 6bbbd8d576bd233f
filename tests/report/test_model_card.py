from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard as HubCard

from finetune.classification.corpora import find_hub_name
from finetune.report.model_card import ModelCard, front_matter, predict_usage, write_model_card

CARD = ModelCard(
    name="thainer-tagger",
    task="token-classification",
    base_model="airesearch/wangchanberta-base-att-spm-uncased",
    dataset="thainer",
    hub_dataset="thainer",
    metrics={"validation": {"f1_micro": 0.8712, "nb_samples": 635}, "test": {"f1_micro": 0.89479, "accuracy": 0.98}},
    headline=("f1_micro", "accuracy", "f1_micro"),
    labels=["B-PER", "O"],
    language="th",
    sizes={"train": 5078, "test": 635},
    facts={"num_train_epochs": 3, "seed": 42},
    command=["finetune", "x.py", "--space_token", "<_>", "--config_overrides", "a b"],
    versions={"torch": "2.13.0", "transformers": "5.23.0"},
    notes=["2 words were cut."],
)


def test_the_hub_reads_the_card_with_its_metrics(tmp_path):
    card = HubCard.load(write_model_card(tmp_path, CARD))
    results = {(r.dataset_split, r.metric_name): r.metric_value for r in card.data.eval_results}
    assert results == {
        ("validation", "f1_micro"): 0.8712,
        ("test", "f1_micro"): 0.89479,
        ("test", "accuracy"): 0.98,
    }
    assert card.data.model_name == "thainer-tagger"
    assert (card.data.base_model, card.data.language, card.data.pipeline_tag) == (
        CARD.base_model,
        "th",
        "token-classification",
    )


def test_the_text_has_data_labels_command_and_versions(tmp_path):
    text = write_model_card(tmp_path, CARD).read_text(encoding="utf-8")
    assert "| f1_micro | 0.8712 | 0.8948 |\n| nb_samples | 635 |  |\n| accuracy |  | 0.9800 |\n" in text
    assert "| examples in train | 5,078 |" in text and "| seed | 42 |" in text
    assert "finetune x.py --space_token '<_>' --config_overrides 'a b'" in text
    assert "`B-PER`, `O`" in text and "torch 2.13.0, transformers 5.23.0" in text and "- 2 words were cut." in text


def test_paths_are_no_hub_ids(tmp_path):
    front = front_matter(replace(CARD, base_model=str(tmp_path), dataset="./data/mine", hub_dataset=""))
    assert "base_model" not in front and "datasets" not in front
    assert front["model-index"][0]["results"][0]["dataset"]["name"] == "mine"


def test_a_corpus_is_named_as_the_hub_names_it():
    assert front_matter(replace(CARD, dataset="wnut17", hub_dataset="leondz/wnut_17"))["datasets"] == ["leondz/wnut_17"]
    assert "datasets" not in front_matter(replace(CARD, dataset="lst20", hub_dataset=""))


def test_what_is_empty_is_left_out(tmp_path):
    card = ModelCard("m", "token-classification", "", "wnut17", metrics={}, headline=())
    text = write_model_card(tmp_path, card).read_text(encoding="utf-8")
    assert text.endswith("# m\n\nTrained from scratch for token-classification on `wnut17`.\n\n")
    assert "model-index" not in text and "##" not in text


def test_a_data_set_of_ones_own_is_not_claimed_to_be_on_the_hub():
    assert "datasets" not in front_matter(replace(CARD, dataset="train.csv", hub_dataset=""))


@pytest.mark.parametrize(
    ("corpus", "hub"),
    [("sst2", "nyu-mll/glue"), ("goemotions", "google-research-datasets/go_emotions"), ("train.csv", ""), ("mams", "")],
)
def test_corpora_known_by_a_name_of_ours_are_called_as_the_hub_calls_them(corpus, hub):
    assert find_hub_name(corpus) == hub


def test_other_corpora_are_called_as_the_user_called_them():
    assert find_hub_name("some/corpus", typed="some/corpus") == "some/corpus"


HOSTILE = ["a\n\n# Ha", "x`\n```\n<script>alert(1)</script>", "| a |\n|---|", "``", "back`tick", "a\u2028# b", "\r# c"]


def outline(text: str) -> list[str]:
    """Lines outside of fenced blocks that begin a block of their own, and the fences."""
    lines, fence = [], ""
    for line in text.replace("\u2028", "\n").replace("\r", "\n").split("\n"):
        mark = re.match("`{3,}$", line)
        if fence:
            fence = "" if mark and len(line) >= len(fence) else fence
        elif mark:
            fence = line
        elif re.match(r"#|\|---|<|---$", line):
            lines.append(line)
    assert not fence
    return lines


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_users_never_becomes_structure(text, tmp_path):
    fields = {"base_model": text, "dataset": text, "labels": [text, "O"], "command": ["x", text], "notes": [text]}
    card = replace(CARD, **fields, facts={"seed": text}, usage=predict_usage(Path(text)))
    plain = replace(CARD, usage=predict_usage(Path("x")))
    written, expected = (write_model_card(tmp_path, one).read_text(encoding="utf-8") for one in (card, plain))
    body = "library_name"  # the front matter is YAML, which quotes
    assert body in written
    assert outline(written.split("---\n", 2)[2]) == outline(expected.split("---\n", 2)[2])
    assert yaml.safe_load(written.split("---\n")[1])["library_name"] == "transformers"
