"""A grid becomes runs: every combination once, names that file systems take and that tell runs apart."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.errors import UsageError
from finetune.sweep.grid import NAME_LENGTH, make_cells, read_grid


def test_flags_and_files(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text("seed: [1, 2]\nlearning_rate: [1e-5, 3e-5]\nepochs: 20\nwords: [[a, b], [c]]\n", encoding="utf-8")
    assert read_grid(["seed=7", "--max-length=64,128"], path) == {
        "seed": ["7"],
        "learning_rate": ["1e-5", "3e-5"],
        "epochs": ["20"],
        "words": ['["a", "b"]', '["c"]'],
        "max_length": ["64", "128"],
    }


def test_cells_are_named_by_what_varies():
    cells = make_cells({"optimizer.lr": ["1e-5", "3e-5"], "epochs": ["20"], "model": ["a/b/bert", "a/c/gpt2"]})
    assert [cell.name for cell in cells] == [
        "lr=1e-5,model=bert",
        "lr=1e-5,model=gpt2",
        "lr=3e-5,model=bert",
        "lr=3e-5,model=gpt2",
    ]
    assert cells[1].words == ["--optimizer.lr", "1e-5", "--epochs", "20", "--model", "a/c/gpt2"]


def test_names_that_would_be_the_same_are_told_apart():
    names = [cell.name for cell in make_cells({"model": ["x/bert", "y/bert", "y/BERT"]})]
    assert len({name.casefold() for name in names}) == 3 and all(
        name.casefold().startswith("model=bert-") for name in names
    )


def test_mistakes_at_once():
    with pytest.raises(UsageError) as error:
        read_grid(["seed", "=1,2", "lr=1,,2", "a=1", "a=2", "b=3,3"], None)
    text = str(error.value)
    for found in ("'seed'", "'=1,2'", "'lr=1,,2'", "names a more than once", "value of b twice"):
        assert found in text


VALUES = st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=4, unique=True)


@given(st.dictionaries(st.sampled_from(["a.lr", "b.lr", "seed", "x"]), VALUES, min_size=1, max_size=3))
def test_every_combination_has_a_folder_of_its_own(axes):
    cells = make_cells(axes)
    assert [tuple(cell.values.values()) for cell in cells] == list(product(*axes.values()))
    names = [cell.name.casefold() for cell in cells]
    assert len(set(names)) == len(names)
    assert all("/" not in name and name not in (".", "..") and len(name) <= NAME_LENGTH + 30 for name in names)
