"""Planted bugs, one after the other: the suite has to catch each.

    python -m trials.mutants [WORD ...]

A copy of the project is changed and the tests that should notice are run on it; with words, only the bugs
whose names contain one of them. Ends with 1 where a bug survives.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import typer

from trials.mutant_table import MUTANTS, Mutant

ROOT: Final = Path(__file__).parents[1]
_COPIED: Final = ("src", "tests", "trials", "pyproject.toml", "README.md")
_TIMEOUT_S: Final = 900
# pytest's exit codes: tests ran and some failed; all passed.
_FAILED: Final = 1
_PASSED: Final = 0


def planted(mutant: Mutant, root: Path = ROOT) -> str:
    """Return the file's text with the bug in it. Raises ValueError where the text is not there just once."""
    text = (root / "src/tokenopen" / mutant.path).read_text()
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: its text stands {text.count(mutant.old)} times in {mutant.path}")
    return text.replace(mutant.old, mutant.new)


def _run(copy: Path, mutant: Mutant) -> int:
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutant.tests],
        cwd=copy,
        env=environment,
        capture_output=True,
        timeout=_TIMEOUT_S,
        check=False,
    ).returncode


def try_mutant(copy: Path, mutant: Mutant) -> bool:
    """Plant the bug in the copy, tell whether its tests caught it, and take it out again."""
    path = copy / "src/tokenopen" / mutant.path
    sound = path.read_text()
    path.write_text(planted(mutant, copy))
    try:
        code = _run(copy, mutant)
    finally:
        path.write_text(sound)
    if code not in (_FAILED, _PASSED):
        raise RuntimeError(f"{mutant.name}: pytest ended with {code}")
    return code == _FAILED


def main(words: list[str]) -> int:
    """Try the bugs and say which were caught."""
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    survivors = []
    with tempfile.TemporaryDirectory(prefix="tokenopen-mutants-") as directory:
        copy = Path(directory)
        for name in _COPIED:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, copy / name)
        for mutant in chosen:
            caught = try_mutant(copy, mutant)
            typer.echo(f"{'caught  ' if caught else 'SURVIVED'}  {mutant.name}")
            if not caught:
                survivors.append(mutant)
    typer.echo(f"{len(chosen) - len(survivors)} of {len(chosen)} planted bugs were caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
