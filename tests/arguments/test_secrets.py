"""What in the words of a command line is a secret, and what is only beside one."""

from __future__ import annotations

import pytest

from finetune.arguments.secrets import find_in_words, hide, remember_secrets


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--token", "s3cr3t", "--seed", "3"], ["s3cr3t"]),
        (["--token=s3cr3t"], ["s3cr3t"]),
        (["--use_auth_token", "--seed", "3"], []),
        (["--hub_token", "--seed=3"], []),
        (["--tokenizer_kwargs", '{"token": "s3cr3t"}'], ["s3cr3t"]),
    ],
)
def test_what_follows_a_secret_flag_is_its_value_unless_it_is_a_flag(words, found):
    assert [word for word in find_in_words(words) if word] == found


def test_a_flag_stays_readable_after_one_that_takes_no_value():
    remember_secrets(find_in_words(["--use_auth_token", "--seed", "3"]))
    assert hide("--seed is given for the runs") == "--seed is given for the runs"
