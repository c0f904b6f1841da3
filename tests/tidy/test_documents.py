"""What the documents say equals what the code does."""

import re
from pathlib import Path

from tokenopen.core import errors
from tokenopen.settings import Settings

ROOT = Path(__file__).parents[2]


def refusals() -> dict[str, int]:
    """Return the status of every code that a refusal has."""
    found: dict[str, int] = {}
    waiting = [errors.Refusal]
    while waiting:
        refusal = waiting.pop()
        waiting += refusal.__subclasses__()
        if hasattr(refusal, "code"):
            found[refusal.code] = refusal.status
    return found


def test_every_refusal_is_documented_with_its_status() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    assert {code: int(status) for status, code in rows} == refusals()


def test_every_setting_is_in_the_readme_and_none_besides() -> None:
    named = set(re.findall(r"^\| `(TOKENOPEN_\w+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert named == {f"TOKENOPEN_{name.upper()}" for name in Settings.model_fields}


def test_every_promise_names_a_test_that_exists() -> None:
    rows = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "promises.md").read_text())
    assert len(rows) >= 40
    for path, name in rows:
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path} has no {name}"


def test_links_between_documents_lead_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_map_stays_short_enough_to_read() -> None:
    assert len((ROOT / "ARCHITECTURE.md").read_text().splitlines()) <= 200
