from __future__ import annotations

import sys

import pytest

from finetune.arguments.run import RunArguments
from finetune.run import notification
from finetune.run.notification import notify

WRITES = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + '|'.join(sys.argv[2:]))"


@pytest.fixture
def program(tmp_path) -> str:
    (tmp_path / "tell me.py").write_text(WRITES, encoding="utf-8")
    return f"'{sys.executable}' '{tmp_path}/tell me.py' {tmp_path}/told"


def test_the_last_line_is_its_input_and_no_shell_reads_its_words(program, tmp_path):
    notify(
        f"{program} '$(touch {tmp_path}/x)' \"a b\" '`id`' '*' ';' '>' --flag=$HOME", '{"status":"done","n":"\u0e01"}'
    )
    told = (tmp_path / "told").read_text(encoding="utf-8")
    words = f"$(touch {tmp_path}/x)|a b|`id`|*|;|>|--flag=$HOME"
    assert told == '{"status":"done","n":"\u0e01"}\n' + words
    assert not (tmp_path / "x").exists()


def test_how_it_ends_is_a_warning_without_its_words(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(notification, "SECONDS", 5)
    python = f"'{sys.executable}' -c"
    notify(f"{python} 'raise SystemExit(3)' secret", "{}")
    notify(f"{python} 'import time; time.sleep(30)' secret", "{}")
    notify(f"{tmp_path}/gone secret", "{}")
    assert "ended with exit code 3" in caplog.messages[0]
    assert "it took more than" in caplog.messages[1] and "No such file" in caplog.messages[2]
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("mail 'open", "cannot be split into words"),
        ("  ", "names no program"),
        ("no-such-program-here x", "names a program that is not there or may not be run: no-such-program-here"),
        ("/etc/passwd", "may not be run: /etc/passwd"),
    ],
)
def test_a_command_that_cannot_be_started_is_refused_before_the_run(command, problem):
    assert problem in str(RunArguments(notify_command=command).problems()[0])
