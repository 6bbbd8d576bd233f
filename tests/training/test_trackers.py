from __future__ import annotations

import pytest
from transformers import TrainingArguments

from finetune.errors import UsageError
from finetune.training.trackers import has_wandb_account, prepare_trackers, prepare_wandb


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE", "WANDB_DISABLED", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_DIR", "gone")  # so that what is set below is undone afterwards
    monkeypatch.delenv("WANDB_DIR")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def test_without_an_account_wandb_records_offline_beside_the_run(tmp_path, monkeypatch, caplog):
    import os

    monkeypatch.setenv("WANDB_MODE", "")
    prepare_wandb(tmp_path / "run")
    assert os.environ["WANDB_MODE"] == "offline"
    assert os.environ["WANDB_DIR"] == str(tmp_path / "run")
    assert "recorded offline" in caplog.text and "wandb sync" in caplog.text


@pytest.mark.parametrize("mode", ["online", "disabled"])
def test_what_the_user_chose_stays(tmp_path, monkeypatch, mode):
    import os

    monkeypatch.setenv("WANDB_MODE", mode)
    prepare_wandb(tmp_path)
    assert os.environ["WANDB_MODE"] == mode


def test_an_account_is_a_key_in_the_environment_or_an_entry_for_the_host(tmp_path, monkeypatch):
    assert not has_wandb_account()
    (tmp_path / "netrc").write_text("machine api.wandb.ai\n  login user\n  password x\ndefault login a password b\n")
    assert has_wandb_account()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not has_wandb_account()
    monkeypatch.setenv("WANDB_API_KEY", "x")
    assert has_wandb_account()


def test_services_that_are_not_installed_are_all_named(tmp_path):
    arguments = TrainingArguments(str(tmp_path), report_to=["tensorboard", "azure_ml", "mlflow"], use_cpu=True)
    with pytest.raises(UsageError) as caught:
        prepare_trackers(arguments)
    assert [problem.found.split(":")[0] for problem in caught.value.problems] == [
        "--report_to azure_ml",
        "--report_to mlflow",
    ]
    prepare_trackers(TrainingArguments(str(tmp_path), report_to="none", use_cpu=True))
