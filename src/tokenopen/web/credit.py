"""Credit: what is there, what is reserved, and every change of the balance with its reason."""

from typing import Final, get_args

from fastapi import APIRouter, Request, Response

from tokenopen.control.ledger import list_my_entries
from tokenopen.control.page import PageRequest
from tokenopen.control.user import find_user
from tokenopen.core.errors import InvalidRequest
from tokenopen.core.ledger import EntryKind
from tokenopen.web.guide_value import support_link
from tokenopen.web.render import render
from tokenopen.web.viewer import CurrentServices, CurrentViewer, CurrentVisit

router = APIRouter()

KINDS: Final[tuple[EntryKind, ...]] = get_args(EntryKind)


def read_kind(name: str) -> EntryKind | None:
    """Return the kind of entry that a filter names, None where it names none. Refuses InvalidRequest."""
    if not name:
        return None
    for kind in KINDS:
        if name == kind:
            return kind
    raise InvalidRequest(f"There is no kind of entry {name}.", param="kind")


@router.get("/credit")
async def show_credit(
    request: Request, services: CurrentServices, viewer: CurrentViewer, visit: CurrentVisit
) -> Response:
    """One's own balance and ledger, newest first."""
    actor = viewer.actor
    kind = read_kind(request.query_params.get("kind", ""))
    page = PageRequest(after=request.query_params.get("cursor") or None)
    async with services.storage.read() as tx:
        user = await find_user(tx, actor, actor.user_id)
        entries = await list_my_entries(tx, actor, kind=kind, page=page)
    return render(
        request,
        "credit/credit.html",
        user=user,
        entries=entries,
        narrowed=kind is not None,
        support=support_link(visit.support_contact).html,
        kinds=[("", visit.text("call.any")), *((name, visit.text(f"credit.kind.{name}")) for name in KINDS)],
    )
