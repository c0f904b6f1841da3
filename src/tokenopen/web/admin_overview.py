"""Overview, for administrators; until somebody has called, the three steps to the first call instead."""

from dataclasses import replace

from fastapi import APIRouter, Request, Response

from tokenopen.control.api_key import ApiKeyView
from tokenopen.control.first_run import (
    FirstRun,
    create_first_key,
    find_first_run,
    find_newest_call,
    find_newest_refused,
)
from tokenopen.control.overview import Waiting, read_overview
from tokenopen.control.services import Services
from tokenopen.core.errors import Conflict, GroupNotAvailable, InvalidRequest
from tokenopen.core.money import ZERO
from tokenopen.web import format as as_text
from tokenopen.web.flash import redirect
from tokenopen.web.form import Form, read_form
from tokenopen.web.form_value import read_amount
from tokenopen.web.guide_fact import EXAMPLE_MODEL
from tokenopen.web.once import do_once
from tokenopen.web.render import render
from tokenopen.web.session import get_site
from tokenopen.web.snippet import Snippet, call_snippets
from tokenopen.web.text import Catalogue
from tokenopen.web.usage_chart import sum_by_label, time_axis, usage_chart
from tokenopen.web.viewer import CurrentAdministrator, CurrentServices, CurrentVisit, Viewer, Visit

router = APIRouter()

_FIRST_CREDIT = "5"
# What stands for a key whose secret was shown already.
_KEY_STAND_IN = "YOUR_API_KEY"


@router.get("/admin")
async def show_overview(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator, visit: CurrentVisit
) -> Response:
    """What there is to know and to do, or how to come to a first call."""
    async with services.storage.read() as tx:
        first_run = await find_first_run(tx, administrator.actor)
        if first_run is None:
            shown = await read_overview(tx, administrator.actor)
    if first_run is not None:
        return _show_first_run(request, visit, first_run, Form(values={"credit": [_FIRST_CREDIT]}))
    report = shown.by_group
    axis = time_axis(report.from_ms, report.until_ms, "day", report.zone)
    return render(
        request,
        "admin_overview/overview.html",
        shown=shown,
        chart=replace(
            usage_chart(report, sum_by_label(report.sums), "spend", axis, visit.text),
            title=visit.text("admin_overview.revenue_by_group"),
        ),
        counted=_counted,
    )


def _counted(waiting: Waiting) -> str:
    """Return how many wait: ``7``, or ``100+`` where not all were counted."""
    return f"{as_text.number(waiting.count)}{'+' if waiting.and_more else ''}"


def _show_first_run(
    request: Request, visit: Visit, first_run: FirstRun, form: Form, *, status: int = 200
) -> Response:
    snippets: list[Snippet] = []
    if first_run.key is not None and first_run.step == "call":
        snippets = _snippets(request, visit.text, first_run, first_run.key, _KEY_STAND_IN)
    return render(
        request,
        "admin_overview/first_run.html",
        status=status,
        run=first_run,
        form=form,
        snippets=snippets,
        refused=first_run.refused,
    )


def _snippets(
    request: Request, text: Catalogue, first_run: FirstRun, key: ApiKeyView, secret: str
) -> list[Snippet]:
    names = [model.name for model in first_run.offered if key.terms.allows(model.name)]
    model = EXAMPLE_MODEL if EXAMPLE_MODEL in names or not names else names[0]
    return list(call_snippets(text, base_url=get_site(request).base_url, key=secret, model=model))


@router.post("/admin/first-key")
async def make_first_key(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator, visit: CurrentVisit
) -> Response:
    """Create the first key, with credit for its calls; its secret is on this page and nowhere else."""
    form, actor, text = await read_form(request), administrator.actor, visit.text
    made: list[tuple[str, ApiKeyView]] = []
    try:
        credit = ZERO
        if form.text("credit"):
            credit = read_amount(form, text, "credit", at_least_zero=True)
        async with services.storage.write() as tx:

            async def act() -> str:
                secret, view = await create_first_key(
                    tx,
                    actor,
                    name=text("admin_overview.first_key_name"),
                    group=form.text("group"),
                    credit=credit,
                    reason=text("admin_overview.first_credit"),
                    hashing_key=services.hashing_key,
                )
                made.append((secret, view))
                return view.key.id

            await do_once(tx, actor, form, path=request.url.path, text=text, act=act)
    except (InvalidRequest, GroupNotAvailable, Conflict) as refusal:
        first_run = await _find_first_run(services, administrator)
        if first_run is None:
            return redirect("/admin", flash="admin_overview.refused", tone="bad", message=refusal.message)
        return _show_first_run(request, visit, first_run, form.refused(refusal), status=refusal.status)
    first_run = await _find_first_run(services, administrator)
    if not made or first_run is None:
        # Sent twice: the secret was on the page that the first answer was.
        return redirect("/admin", flash="admin_overview.key_made_before", tone="note")
    secret, view = made[0]
    return render(
        request,
        "admin_overview/first_key.html",
        key=secret,
        view=view,
        snippets=_snippets(request, text, first_run, view, secret),
        refused=first_run.refused,
    )


async def _find_first_run(services: Services, viewer: Viewer) -> FirstRun | None:
    async with services.storage.read() as tx:
        return await find_first_run(tx, viewer.actor)


@router.get("/admin/first-call")
async def wait_for_first_call(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator
) -> Response:
    """Lead to the receipt of one's newest call once there is one; asked again and again by a waiting page."""
    async with services.storage.read() as tx:
        call = await find_newest_call(tx, administrator.actor)
        refused = None if call is not None else await find_newest_refused(tx, administrator.actor)
    asked_by_script = request.headers.get("hx-request") == "true"
    if call is not None:
        path = f"/admin/calls/{call.id}"
        if asked_by_script:
            # A redirect would put the receipt inside the page that waits.
            return Response(headers={"hx-redirect": path})
        return redirect(path)
    if asked_by_script:
        return render(request, "admin_overview/waiting.html", refused=refused)
    return redirect("/admin", flash="admin_overview.no_call_yet", tone="note")
