"""A page with every component on it, beside the real ones: templates/components.html."""

from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI, Request, Response
from jinja2 import ChoiceLoader, FileSystemLoader

from tokenopen.core.errors import InvalidRequest
from tokenopen.web.chart import Chart, ColumnHead, Series, draw_chart
from tokenopen.web.form import Form
from tokenopen.web.format import number
from tokenopen.web.render import render

TEMPLATES: Final = Path(__file__).parent / "templates"
CARD: Final = {
    "slug": "vip",
    "name": "VIP",
    "multiplier": "From 0.8x",
    "suitable_for": "High-frequency users; discounted pricing",
    "badge": "By request",
    "badge_tone": "accent",
    "facts": [("Available models", "24"), ("Requests / minute (RPM)", "600"), ("Requests / day", "20,000")],
}
router = APIRouter()


def _chart(days: int, *, scale: int) -> Chart:
    heads = [ColumnHead(at_s=1_796_083_200 + at * 86_400, text=f"12-{at + 1:02d}") for at in range(days)]
    series = [
        Series(name="gpt-4o-mini", amounts=[scale * (at * 7 % 11 + 3) for at in range(days)]),
        Series(name="claude-haiku-4-5", amounts=[scale * (at * 5 % 7) for at in range(days)]),
    ]
    return draw_chart(heads, series, title="Calls by model", unit="calls", amount_text=number)


@router.get("/components")
async def find_components(request: Request) -> Response:
    """Every component once."""
    typed = Form(values={"name": ["<b>Nightly</b>"], "limit": ["ten"], "group": ["vip"]})
    return render(
        request,
        "components.html",
        form=typed.refused(InvalidRequest("'ten' is not a decimal number such as 12.5", param="limit")),
        card=CARD,
        chart=_chart(30, scale=120),
        nothing=_chart(7, scale=0),
    )


def add_component_page(pages: FastAPI) -> None:
    """Put the page beside the real ones."""
    environment = pages.state.templates
    environment.loader = ChoiceLoader([environment.loader, FileSystemLoader(TEMPLATES)])
    pages.include_router(router)
