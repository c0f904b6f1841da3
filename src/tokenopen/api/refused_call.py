"""Refused calls: the newest in full, and counts by reason."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from tokenopen.api.authentication import Administrator, CurrentUser
from tokenopen.api.json_types import InstantOut, PageOut, PageQuery, page_out
from tokenopen.api.receipt import CallGroupOut
from tokenopen.api.services import CurrentServices
from tokenopen.api.usage import PeriodQuery, format_time
from tokenopen.control import refused_call as control
from tokenopen.control.usage import Interval, account_of
from tokenopen.storage.refused_call import RefusedFilter

router = APIRouter(tags=["refused calls"])


class RefusedQuery(PageQuery):
    """Which refused calls are asked for."""

    code: str | None = None


class AdminRefusedQuery(RefusedQuery):
    """``user`` is an id; without one everybody's are listed."""

    user: str | None = None


class CountQuery(PeriodQuery):
    """With an ``interval`` calls are counted over time, by the hour over at most 17 days."""

    interval: Interval | None = None


class AdminCountQuery(CountQuery):
    """``user`` is an id; without one everybody's are counted."""

    user: str | None = None


class RefusedKeyOut(BaseModel):
    """The API key that a refused call was made with."""

    id: str
    name: str | None


class RefusedCallOut(BaseModel):
    """A refused call: what the caller was told, and why."""

    id: str
    key: RefusedKeyOut
    group: CallGroupOut
    model: str | None
    surface: str
    status: int
    code: str
    message: str
    refused_at: InstantOut


class RefusedSumOut(BaseModel):
    """How many calls were refused with a code, and the hour that the last of them came in.

    ``at`` is the hour or day they are of, where they are counted over time.
    """

    at: str | None
    code: str
    calls: int
    last_hour_at: InstantOut


class RefusedSumsOut(BaseModel):
    """Counts by code, the most frequent first; over time the earliest first."""

    data: list[RefusedSumOut]
    next_cursor: None = None


def _show(record: control.RefusedRecord) -> RefusedCallOut:
    refused = record.refused
    return RefusedCallOut(
        id=refused.id,
        key=RefusedKeyOut(id=refused.key_id, name=record.key_name),
        group=CallGroupOut(slug=record.group_slug, name=record.group_name),
        model=refused.model,
        surface=refused.surface,
        status=refused.status,
        code=refused.code,
        message=refused.message,
        refused_at=refused.refused_at_ms,
    )


def _show_sum(found: control.RefusedSum) -> RefusedSumOut:
    return RefusedSumOut(
        at=format_time(found.at), code=found.code, calls=found.calls, last_hour_at=found.last_hour_ms
    )


@router.get("/api/me/refused-calls")
async def list_my_refused_calls(
    services: CurrentServices, actor: CurrentUser, query: Annotated[RefusedQuery, Query()]
) -> PageOut[RefusedCallOut]:
    """One's own refused calls, newest first; the last 1,000 are kept."""
    async with services.storage.read() as tx:
        page = await control.list_refused(
            tx, wanted=RefusedFilter(account_id=actor.account_id, code=query.code), page=query.page()
        )
    return page_out(page, _show)


@router.get("/api/me/refused-calls/counts")
async def count_my_refused_calls(
    services: CurrentServices, actor: CurrentUser, query: Annotated[CountQuery, Query()]
) -> RefusedSumsOut:
    """How many of one's own calls were refused, by code."""
    async with services.storage.read() as tx:
        sums = await control.count_refused(
            tx, account_id=actor.account_id, period=query.period(), interval=query.interval
        )
    return RefusedSumsOut(data=[_show_sum(found) for found in sums])


@router.get("/api/admin/refused-calls")
async def list_refused_calls(
    services: CurrentServices, actor: Administrator, query: Annotated[AdminRefusedQuery, Query()]
) -> PageOut[RefusedCallOut]:
    """Refused calls of everybody or of one user, newest first."""
    async with services.storage.read() as tx:
        account_id = await account_of(tx, actor, query.user)
        page = await control.list_refused(
            tx, wanted=RefusedFilter(account_id=account_id, code=query.code), page=query.page()
        )
    return page_out(page, _show)


@router.get("/api/admin/refused-calls/counts")
async def count_refused_calls(
    services: CurrentServices, actor: Administrator, query: Annotated[AdminCountQuery, Query()]
) -> RefusedSumsOut:
    """How many calls were refused, by code: everybody's, or one user's."""
    async with services.storage.read() as tx:
        account_id = await account_of(tx, actor, query.user)
        sums = await control.count_refused(
            tx, account_id=account_id, period=query.period(), interval=query.interval
        )
    return RefusedSumsOut(data=[_show_sum(found) for found in sums])
