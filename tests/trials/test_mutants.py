"""The planted bugs of `make mutants`: each still has its place, and one of them is caught here."""

import shutil
from pathlib import Path

import pytest
from trials.mutant_table import MUTANTS, Mutant
from trials.mutants import ROOT, planted, try_mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_each_bug_can_be_planted_and_names_tests_that_are_there(mutant: Mutant) -> None:
    compile(planted(mutant), mutant.path, "exec")
    for test in mutant.tests:
        assert (ROOT / test).is_file(), test


@pytest.mark.slow
def test_one_is_caught_and_sound_code_passes(tmp_path: Path) -> None:
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "vendor"))
    shutil.copy2(ROOT / "pyproject.toml", tmp_path)
    mutant = next(mutant for mutant in MUTANTS if mutant.name == "a charge is rounded up")
    assert try_mutant(tmp_path, mutant)
    harmless = Mutant(
        name="nothing", path=mutant.path, old=mutant.old, new=f"({mutant.old})", tests=mutant.tests
    )
    assert not try_mutant(tmp_path, harmless)
