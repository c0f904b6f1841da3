"""Credit, for administrators: topped up and corrected, once for each form that is sent."""

from typing import Final

from fastapi import APIRouter, Request, Response

from tokenopen.control import ledger
from tokenopen.control.user import find_user
from tokenopen.core.errors import Conflict, InvalidRequest
from tokenopen.core.user import User
from tokenopen.web import format as as_text
from tokenopen.web.flash import redirect
from tokenopen.web.form import Form, read_form
from tokenopen.web.form_value import read_amount, read_choice, read_reason
from tokenopen.web.once import do_once
from tokenopen.web.render import render
from tokenopen.web.session import require_recent_password
from tokenopen.web.viewer import CurrentAdministrator, CurrentServices, CurrentVisit

router = APIRouter()

_POSTS: Final = {"top_up": ledger.top_up, "adjustment": ledger.adjust}
_POSTED: Final = {"top_up": "admin_user.posted_top_up", "adjustment": "admin_user.posted_adjustment"}


@router.get("/admin/users/{user_id}/credit")
async def show_credit(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator, user_id: str
) -> Response:
    """The form to top up or correct a user's credit with, behind a recent password."""
    require_recent_password(request)
    async with services.storage.read() as tx:
        user = await find_user(tx, administrator.actor, user_id)
    return _show(request, user, Form())


def _show(request: Request, user: User, form: Form, *, status: int = 200) -> Response:
    return render(request, "admin_user/credit.html", status=status, user=user, form=form)


@router.post("/admin/users/{user_id}/credit")
async def post_credit(
    request: Request,
    services: CurrentServices,
    administrator: CurrentAdministrator,
    visit: CurrentVisit,
    user_id: str,
) -> Response:
    """Post a top-up or an adjustment to a user's account."""
    form, actor, text = await read_form(request), administrator.actor, visit.text
    try:
        kind = read_choice(form, text, "kind", _POSTS)
        amount, reason = read_amount(form, text), read_reason(form, text)
        async with services.storage.write() as tx:

            async def act() -> str:
                posting = await _POSTS[kind](tx, actor, user_id=user_id, amount=amount, reason=reason)
                return posting.entry.id

            await do_once(tx, actor, form, path=request.url.path, text=text, act=act)
    except (InvalidRequest, Conflict) as refusal:
        async with services.storage.read() as tx:
            user = await find_user(tx, actor, user_id)
        return _show(request, user, form.refused(refusal), status=refusal.status)
    return redirect(
        f"/admin/users/{user_id}#credit",
        flash=_POSTED[kind],
        amount=as_text.credits_exact(amount),
    )
