"""The start page, which leads a browser on that was given nothing but the address, and a user's home."""

from fastapi import APIRouter, Request, Response

from tokenopen.control.summary import read_summary
from tokenopen.web import format as as_text
from tokenopen.web.flash import redirect
from tokenopen.web.guide_value import support_link
from tokenopen.web.render import render
from tokenopen.web.viewer import CurrentServices, CurrentViewer, CurrentVisit, find_visit

router = APIRouter()


@router.get("/")
async def find_start(request: Request) -> Response:
    """Lead users to their home, and everybody else to the guide."""
    return redirect("/guide" if find_visit(request).viewer is None else "/home")


@router.get("/home")
async def show_home(
    request: Request, services: CurrentServices, viewer: CurrentViewer, visit: CurrentVisit
) -> Response:
    """One's credit, spend and limits at a glance, what was refused, and what a newcomer does first."""
    async with services.storage.read() as tx:
        summary = await read_summary(tx, viewer.actor)
    today = as_text.at_zone(visit.now_ms, visit.zone).date()
    return render(
        request,
        "home/home.html",
        summary=summary,
        today=today.isoformat(),
        month_begins=today.replace(day=1).isoformat(),
        steps=[
            ("credit", summary.user.available > 0 or summary.last_charged is not None),
            ("key", bool(summary.groups)),
            ("call", summary.last_charged is not None),
        ],
        support=support_link(visit.support_contact).html,
    )
