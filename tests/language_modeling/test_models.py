from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoConfig, Gemma3Config

from finetune.errors import UsageError
from finetune.language_modeling.arguments import LanguageModelArguments
from finetune.language_modeling.models import (
    CONFIG_PACKAGE,
    find_architecture,
    find_configs,
    fit_to_tokenizer,
    load_language_config,
)
from tests import tiny


@pytest.fixture(scope="session")
def built(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a plain `pip install .` would put into site-packages."""
    pytest.importorskip("setuptools", reason="setuptools builds the package, and is not installed here")
    folder = tmp_path_factory.mktemp("build")
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(folder / "lib")]
    # egg_info would be written into the checkout.
    command += ["egg_info", "--egg-base", str(folder)]
    subprocess.run(command, cwd=repository, check=True, capture_output=True)
    return folder / "lib"


def test_installed_package_holds_the_configurations_of_the_checkout(built, repository) -> None:
    kept = {path.name: path.read_bytes() for path in (repository / "configs").glob("*.json")}
    assert {path.name: path.read_bytes() for path in (built / CONFIG_PACKAGE).iterdir()} == kept
    assert (built / "finetune_scripts" / "train-roberta.sh").is_file()


def test_architectures_are_found_where_they_were_installed(built, monkeypatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if "editable" not in str(finder).lower()])
    monkeypatch.syspath_prepend(str(built))
    assert find_configs() == built / CONFIG_PACKAGE
    assert find_architecture("roberta-base") == built / CONFIG_PACKAGE / "roberta-base.json"


def test_every_configuration_of_the_documents_opens(repository) -> None:
    paths = sorted((repository / "configs").glob("*.json"))
    assert {path.stem for path in paths} >= {"roberta-base", "th-roberta-base", "kor-roberta-base", "distilbert-base"}
    for path in paths:
        config = AutoConfig.from_pretrained(path)
        assert config.hidden_size % config.num_attention_heads == 0, path.name


def test_misspelt_architecture_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="--architecture roberta-bas is unknown; did you mean 'roberta-base'"):
        find_architecture("roberta-bas")


def test_overrides_reach_an_architecture() -> None:
    arguments = LanguageModelArguments(
        architecture="roberta-base", tokenizer_name_or_path="x", config_overrides="hidden_size=48,num_attention_heads=4"
    )
    config = load_language_config(arguments, None)
    assert (config.model_type, config.hidden_size, config.num_hidden_layers) == ("roberta", 48, 12)


def test_a_model_of_texts_and_pictures_gets_the_vocabulary_of_its_texts():
    tokenizer = tiny.byte_level(["one two"], 270, special=("<s>", "</s>"), bos_token="<s>", eos_token="</s>")
    config = Gemma3Config()
    fit_to_tokenizer(config, tokenizer)
    assert config.get_text_config().vocab_size == len(tokenizer)
    assert (config.get_text_config().bos_token_id, config.get_text_config().eos_token_id) == (0, 1)
