"""Styles and scripts: kept by browsers for a year, and small."""

import gzip
import re
from pathlib import Path

import httpx
import pytest

from tokenopen.web.static_file import StaticFiles


async def _addresses(browser: httpx.AsyncClient) -> list[str]:
    page = await browser.get("/guide")
    return re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)


async def test_what_a_page_names_is_there_for_good_under_that_address(browser: httpx.AsyncClient) -> None:
    for address in await _addresses(browser):
        answer = await browser.get(address)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        again = await browser.get(address, headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304
        assert not again.content


async def test_an_address_of_an_older_version_gets_todays_file_and_is_not_kept(
    browser: httpx.AsyncClient,
) -> None:
    answer = await browser.get("/static/000000000000/console.css")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", ["", "0/..%2fapp.py", "0/../app.py", "0/nothing.css", "0/.gitignore"])
async def test_nothing_but_the_files_is_served(browser: httpx.AsyncClient, name: str) -> None:
    assert (await browser.get(f"/static/{name}")).status_code == 404


async def test_the_first_page_with_everything_is_under_150_kilobytes(browser: httpx.AsyncClient) -> None:
    page = await browser.get("/guide")
    sizes = [len(page.content)]
    for address in set(await _addresses(browser)):
        async with browser.stream("GET", address, headers={"accept-encoding": "gzip"}) as answer:
            sizes.append(sum([len(chunk) async for chunk in answer.aiter_raw()]))
    assert sum(sizes) < 150_000, sizes


def test_compressed_content_is_the_content(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("body { color: red }" * 100)
    (tmp_path / "b.png").write_bytes(b"\x89PNG")
    files = StaticFiles(tmp_path).files
    assert gzip.decompress(files["a.css"].compressed) == files["a.css"].content
    assert files["b.png"].compressed == b""
    assert StaticFiles(tmp_path).url("a.css") != StaticFiles(tmp_path).url("b.png")
