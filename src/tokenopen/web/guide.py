"""The guide: User Guide, API Reference, Help & Support, and the same for programs (/llms.txt)."""

from collections.abc import Mapping, Sequence
from typing import Final

from fastapi import APIRouter, Request, Response
from starlette.responses import PlainTextResponse

from tokenopen.control.price_list import read_price_list
from tokenopen.core.errors import NotFound
from tokenopen.web.guide_fact import guide_values, last_updated
from tokenopen.web.guide_page import GuidePage, GuideSection, load_guide
from tokenopen.web.guide_value import Value
from tokenopen.web.render import render
from tokenopen.web.session import find_site_of
from tokenopen.web.viewer import CurrentServices, find_visit

router = APIRouter()

SECTIONS: Final[Sequence[GuideSection]] = load_guide()
PAGES: Final[Mapping[str, GuidePage]] = {page.path: page for part in SECTIONS for page in part.pages}
BOOKS: Final = ("guide", "reference", "help")


def _base_url(request: Request) -> str:
    site = find_site_of(request)
    return site.base_url if site else f"{request.url.scheme}://{request.url.netloc}"


async def _values(request: Request, services: CurrentServices) -> tuple[Mapping[str, Value], int]:
    async with services.storage.read() as tx:
        prices = await read_price_list(tx)
    visit = find_visit(request)
    values = guide_values(
        prices, visit.text, base_url=_base_url(request), openapi=request.app.state.openapi()
    )
    return values, prices.revised_at_ms


async def _show(request: Request, services: CurrentServices, path: str) -> Response:
    page = PAGES.get(path)
    if page is None:
        raise NotFound("There is no such page in the guide.")
    values, revised_at_ms = await _values(request, services)
    book = path.split("/")[1]
    sections = [part for part in SECTIONS if part.book == book]
    order = [page for part in sections for page in part.pages]
    at = order.index(page)
    return render(
        request,
        "guide_page.html",
        guide_page=page,
        book=book,
        sections=sections,
        body=page.filled(values),
        updated=last_updated(page, revised_at_ms, find_visit(request).zone),
        previous=order[at - 1] if at else None,
        following=order[at + 1] if at + 1 < len(order) else None,
    )


@router.get("/guide")
@router.get("/reference")
@router.get("/help")
async def find_book(request: Request, services: CurrentServices) -> Response:
    """The first page of a book."""
    return await _show(request, services, request.url.path)


@router.get("/guide/{name}.md")
@router.get("/reference/{name}.md")
@router.get("/help/{name}.md")
async def find_markdown(request: Request, services: CurrentServices, name: str) -> Response:
    """A page as Markdown, with the same live values."""
    page = PAGES.get(request.url.path.removesuffix(".md"))
    if page is None:
        raise NotFound(f"There is no page {name} in the guide.")
    values, _ = await _values(request, services)
    return PlainTextResponse(page.filled_markdown(values), media_type="text/markdown")


@router.get("/guide/{name}")
@router.get("/reference/{name}")
@router.get("/help/{name}")
async def find_guide_page(request: Request, services: CurrentServices, name: str) -> Response:
    """A page of the guide."""
    assert name
    return await _show(request, services, request.url.path)


@router.get("/llms.txt")
async def find_llms_txt(request: Request) -> Response:
    """The guide's pages for programs that read it, with where each is as Markdown (llmstxt.org)."""
    visit = find_visit(request)
    base_url = _base_url(request)
    name = visit.platform.name if visit.platform else "TokenOpen"
    lines = [f"# {name}", "", f"> {visit.text('guide.llms_summary')}", ""]
    for part in SECTIONS:
        lines += [f"## {part.title}", ""]
        lines += [
            f"- [{page.title}]({base_url}{_markdown_path(page)}): {page.summary}" for page in part.pages
        ]
        lines.append("")
    return PlainTextResponse("\n".join(lines))


def _markdown_path(page: GuidePage) -> str:
    return page.path if page.path.count("/") == 1 else f"{page.path}.md"
