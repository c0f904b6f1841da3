"""One catalogue for every string: nothing is missing, nothing is left over, another language is a folder."""

import re
import shutil
from pathlib import Path

import pytest
from markupsafe import Markup

import tokenopen.web
from tokenopen.web.guide_fact import list_refusals
from tokenopen.web.text import STRINGS, Catalogue, Languages, UnknownText

WEB = Path(tokenopen.web.__file__).parent
# A key that goes on with ~ in a template, or with { in an f-string, is the beginning of several.
_CALL = re.compile(r"""(?:\bt|text|_text)\(\s*f?["']([a-z0-9_]+\.[a-z0-9_.]*)(["'{])(\s*~)?""")
_FLASH = re.compile(r"""flash=["']([a-z0-9_.]+)["']""")


def _sources() -> list[Path]:
    return [*WEB.rglob("*.py"), *(WEB / "templates").rglob("*.html")]


def _uses() -> tuple[set[str], set[str]]:
    """Return the keys that are used by name, and the beginnings of those that are put together."""
    keys: set[str] = set()
    beginnings: set[str] = set()
    for path in _sources():
        source = path.read_text(encoding="utf-8")
        for key, end, tilde in _CALL.findall(source):
            (beginnings if end == "{" or tilde else keys).add(key)
        keys |= set(_FLASH.findall(source))
    return keys, beginnings


@pytest.fixture(scope="module")
def english() -> Catalogue:
    return Languages().choose("en")


def test_every_string_that_pages_use_is_in_the_catalogue(english: Catalogue) -> None:
    keys, beginnings = _uses()
    assert len(keys) > 50
    assert not [key for key in keys if key not in english.entries]
    for beginning in beginnings:
        assert any(key.startswith(beginning) for key in english.entries), beginning


def test_no_string_is_left_that_nothing_uses(english: Catalogue) -> None:
    _, beginnings = _uses()
    sources = "".join(path.read_text(encoding="utf-8") for path in _sources())
    left = {
        key
        for key in english.entries
        if f'"{key}"' not in sources and f"'{key}'" not in sources and not key.startswith(tuple(beginnings))
    }
    assert not left


def test_every_refusal_is_explained_in_words(english: Catalogue) -> None:
    for refusal in list_refusals():
        assert english(f"refusal.{refusal.code}.why")
        assert english(f"refusal.{refusal.code}.advice")


def test_a_second_language_is_a_folder_and_english_fills_its_gaps(tmp_path: Path) -> None:
    shutil.copytree(STRINGS / "en", tmp_path / "en")
    (tmp_path / "de").mkdir()
    (tmp_path / "de" / "common.toml").write_text('cancel = "Abbrechen"\n', encoding="utf-8")
    languages = Languages(tmp_path)
    german = languages.choose("fr;q=0.9, de-AT, en;q=0.8")
    assert german.language == "de"
    assert german("common.cancel") == "Abbrechen"
    assert german("menu.sign_in") == "Sign in"
    assert languages.choose("fr, de;q=0").language == "en"
    assert languages.choose("").language == "en"


def test_values_are_filled_in_and_escaped_beside_markup() -> None:
    catalogue = Catalogue(
        "en", {"a": "<{name}> {link}", "n": {"one": "{count} key", "other": "{count} keys"}}
    )
    assert catalogue("a", name="x", link="y") == "<x> y"
    assert catalogue("a", name="<x>", link=Markup("<b>")) == "&lt;&lt;x&gt;&gt; <b>"
    assert [catalogue("n", count=count) for count in (0, 1, 2)] == ["0 keys", "1 key", "2 keys"]
    with pytest.raises(UnknownText):
        catalogue("b")
