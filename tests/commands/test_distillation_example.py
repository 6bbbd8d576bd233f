from __future__ import annotations

import os
import runpy
import subprocess

import pytest


def test_the_example_trains_each_student_beside_its_twin(repository, tmp_path):
    output = tmp_path / "out"
    done = subprocess.run(
        [repository / "examples" / "distill.sh", "--dry-run", "--bf16", "False"],
        capture_output=True, text=True, cwd=tmp_path, check=True,
        env={**os.environ, "OUTPUT_DIR": str(output), "SEEDS": "1 2", "STEPS": "7", "TEACHER": "some/teacher"},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    distilled, twins = lines[0:4:2], lines[1:4:2]
    rates = {"shallow": "2e-4", "narrow": "1e-3"}
    for student, twin, (name, rate) in zip(distilled, twins, rates.items(), strict=True):
        changed = {"7", rate, f"{output}/{name}-run", f"{output}/{name}"}
        assert set(student.split()) - set(twin.split()) == changed, "a twin differs in nothing else"
        assert f"--export {output}/{name}-twin" in twin and "--learning_rate 0" in twin
    taggers = lines[4:]
    assert len(taggers) == 2 * 5 and all(line.rstrip().endswith("--bf16 False") for line in taggers)
    assert not any("--bf16" in line for line in lines[:4]), "further flags are for the taggers"
    assert not output.exists()


@pytest.mark.parametrize(
    ("distilled", "said"),
    [
        ([0.40, 0.41, 0.42], "beats its undistilled twin with every seed: +0.1100"),
        ([0.40, 0.29, 0.42], "better than its undistilled twin with 2 of 3 seeds"),
        ([0.10, 0.20, 0.25], "does not beat its undistilled twin with any seed: -0.1167"),
    ],
)
def test_the_table_says_honestly_whether_distillation_paid(repository, distilled, said):
    judge = runpy.run_path(str(repository / "examples" / "distillation_table.py"))["judge"]
    assert said in judge("narrow", [1, 2, 3], distilled, [0.30, 0.30, 0.30])


def test_one_seed_decides_nothing(repository):
    judge = runpy.run_path(str(repository / "examples" / "distillation_table.py"))["judge"]
    assert "one seed does not tell" in judge("shallow", [1], [0.4], [0.3])
