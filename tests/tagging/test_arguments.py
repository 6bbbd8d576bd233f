from __future__ import annotations

import pytest

from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import CommandParser
from finetune.arguments.run import RunArguments
from finetune.errors import UsageError
from finetune.tagging.arguments import TaggingArguments, TaggingDataArguments, check_tagging

GROUPS = (ModelArguments, TaggingDataArguments, TaggingArguments, RunArguments)


def parse(*words):
    parser = CommandParser("", GROUPS, training_defaults={}, checks=(check_tagging,), prog="x")
    return parser.parse(["--model_name_or_path", "m", "--output_dir", "o", *words])


def problems_of(*words):
    with pytest.raises(UsageError) as caught:
        parse(*words)
    return [str(problem) for problem in caught.value.problems]


def test_the_published_thai_command_is_understood_with_one_translation():
    """Every flag of the example in the thai2transformers document."""
    words = (
        "--tokenizer_type CamembertTokenizer --tokenizer_name_or_path t --dataset_name thainer --label_name ner_tags "
        "--per_device_train_batch_size 16 --per_device_eval_batch_size 16 --gradient_accumulation_steps 1 "
        "--learning_rate 5e-5 --warmup_steps 100 --logging_steps 50 --eval_steps 250 --max_steps 1000 "
        "--evaluation_strategy steps --do_train --do_eval --max_length 510 --fp16 "
        "--space_token <th_roberta_space_token> --lowercase"
    )
    arguments = parse(*words.split())
    assert arguments.translated == ["--evaluation_strategy is now --eval_strategy steps."]
    assert arguments[TaggingArguments].max_length == 510 and arguments[TaggingArguments].lowercase
    assert arguments[TaggingDataArguments].label_name == "ner_tags"
    assert arguments.training["eval_steps"] == 250 and arguments.training["fp16"] is True


# Flags of the seed documents and of today's run_ner.py beside TrainingArguments, each with a value that it takes.
FLAGS = {
    "thai2transformers": "--no_train_report --no_eval_report --no_test_report --skip_do_eval --no_cuda --run_name r "
    "--filter_thainer_with_mbert_tokenizer_threshold 500 --dataset_name thainer --fp16_opt_level O1 --adam_epsilon 1e-5",
    "run_ner 2": "--config_name c --task_type NER --tokenizer_name t --use_fast --cache_dir d --data_dir data "
    "--labels labels.txt --max_seq_length 128 --overwrite_cache --overwrite_output_dir --evaluate_during_training",
    "run_ner 5": "--config_name c --tokenizer_name t --cache_dir d --model_revision main --token T --trust_remote_code "
    "--ignore_mismatched_sizes --task_name ner --train_file a --validation_file b --test_file c --text_column_name t "
    "--label_column_name l --overwrite_cache --preprocessing_num_workers 2 --max_seq_length 128 --pad_to_max_length "
    "--max_train_samples 1 --max_eval_samples 1 --max_predict_samples 1 --label_all_tokens "
    "--return_entity_level_metrics",
    "hub data": "--dataset_name a/b --dataset_config_name c",
}


@pytest.mark.parametrize("line", FLAGS.values(), ids=FLAGS)
def test_flags_of_other_generations_are_understood(line):
    words = line.split()
    data = [] if {"--dataset_name", "--data_dir", "--train_file"} & set(words) else ["--dataset_name", "d"]
    parse("--do_train", "--do_eval", *words, *data)


def test_flags_without_effect_say_so():
    lines = parse(
        "--do_train", "--dataset_name", "d", "--preprocessing_num_workers", "4", "--overwrite_cache"
    ).translated
    assert lines == [
        "--preprocessing_num_workers has no effect: each distinct word is encoded once, which one process does in seconds.",
        "--overwrite_cache has no effect: encoded sentences are never cached.",
    ]


@pytest.mark.parametrize("spelling", ["NER", "ner", "POS", "Chunk"])
def test_tasks_are_named_in_any_case(spelling):
    words = ("--task_type", spelling, "--do_predict", "--test_file", "t")
    assert parse(*words)[TaggingArguments].task_name == spelling.lower()


TRAIN = ("--do_train", "--dataset_name", "wnut17")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--dataset_name", "x"], "there is nothing to do; add --do_train, --do_eval or --do_predict."),
        (["--do_train"], "--do_train is given without data; add --train_file, --data_dir or --dataset_name."),
        (["--do_predict"], "--do_predict is given without data; add --test_file, --data_dir or --dataset_name."),
        ([*TRAIN, "--test_file", "t"], "--dataset_name and --test_file are both given"),
        (["--do_train", "--data_dir", "d", "--train_file", "t"], "--data_dir and --train_file are both given"),
        (
            ["--do_train", "--train_file", "t", "--dataset_config_name", "c"],
            "--dataset_config_name needs --dataset_name",
        ),
        (
            [*TRAIN, "--lst20_data_dir", "d"],
            "--lst20_data_dir is only for --dataset_name lst20; --dataset_name is wnut17.",
        ),
        ([*TRAIN, "--filter_thainer_with_mbert_tokenizer_threshold", "5"], "is only for --dataset_name thainer"),
        ([*TRAIN, "--max_length", "32", "--stride", "32"], "--stride 32 is not smaller than --max_length 32"),
        ([*TRAIN, "--max_length", "2"], "--max_length is 2; it must be 4 or more."),
        ([*TRAIN, "--early_stopping_patience", "2"], "--early_stopping_patience needs evaluation during training"),
        (
            [*TRAIN, "--do_eval", "--eval_strategy", "no", "--early_stopping_patience", "2"],
            "--early_stopping_patience needs evaluation during training",
        ),
        (["--do_eval", "--dataset_name", "x", "--class_weights", "balanced"], "--class_weights needs training"),
        ([*TRAIN, "--config_overrides", "a=1,b"], "--config_overrides holds 'b'; each part must read name=value"),
        ([*TRAIN, "--restart", "--dry_run"], "--restart and --dry_run contradict each other"),
        ([*TRAIN, "--task_name", "nerr"], "--task_name is 'nerr'; did you mean 'ner'; allowed: ner, pos, chunk."),
    ],
)
def test_impossible_combinations(words, sentence):
    found = problems_of(*words)
    assert len(found) == 1 and sentence in found[0]


def test_good_combinations():
    parse(*TRAIN, "--do_eval", "--early_stopping_patience", "2", "--config_overrides", "a=1,b=x", "--max_length", "64")
    parse("--do_predict", "--test_file", "t")


def test_the_token_is_secret():
    arguments = parse(*TRAIN, "--token", "hush")
    assert arguments[ModelArguments].token == "hush"
    assert "hush" not in repr(arguments[ModelArguments]) + str(arguments.effective())
