"""Usage: calls, units and charges over time, of oneself and, for administrators, of anybody."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from tokenopen.api.authentication import Administrator, CurrentUser
from tokenopen.api.json_types import AmountOut, InstantIn, InstantOut, format_instant
from tokenopen.api.services import CurrentServices
from tokenopen.control import usage as control
from tokenopen.control.usage import GroupBy, Period, UsageReport, UsageSum

router = APIRouter(tags=["usage"])


class PeriodQuery(BaseModel):
    """From an instant until before another, in whole hours; by default the last 30 days."""

    model_config = ConfigDict(extra="forbid")

    from_: InstantIn | None = Field(default=None, alias="from")
    to: InstantIn | None = None

    def period(self) -> Period:
        """Return the period that is asked for."""
        return Period(from_ms=self.from_, until_ms=self.to)


class UsageQuery(PeriodQuery):
    """What is summed by."""

    group_by: GroupBy = "day"


class AdminUsageQuery(UsageQuery):
    """``user`` is an id; without one everybody's usage is summed."""

    user: str | None = None


class UsageSumOut(BaseModel):
    """Sums of whole hours; charges as they were settled, without later refunds."""

    calls: int
    input_units: int
    output_units: int
    charge: AmountOut
    absorbed: AmountOut


class UsageRowOut(UsageSumOut):
    """Sums under a label: the instant an hour begins, a day, a model, a key's id or a group's slug.

    ``name`` is that of the key or the group.
    """

    label: str
    name: str | None


class UsageOut(BaseModel):
    """Usage of the hours from ``from`` until before ``to``; days are those of ``time_zone``."""

    model_config = ConfigDict(serialize_by_alias=True)

    data: list[UsageRowOut]
    next_cursor: None = None
    total: UsageSumOut
    group_by: GroupBy
    from_: InstantOut = Field(serialization_alias="from")
    to: InstantOut
    time_zone: str


def _label(found: UsageSum) -> str:
    if isinstance(found.label, int):
        return format_instant(found.label)
    if isinstance(found.label, date):
        return found.label.isoformat()
    return found.slug or found.label


def _show_sum(found: UsageSum) -> UsageSumOut:
    return UsageSumOut(
        calls=found.calls,
        input_units=found.input_units,
        output_units=found.output_units,
        charge=found.charge,
        absorbed=found.absorbed,
    )


def _show(report: UsageReport, group_by: GroupBy) -> UsageOut:
    return UsageOut(
        data=[
            UsageRowOut(**dict(_show_sum(found)), label=_label(found), name=found.name)
            for found in report.sums
        ],
        total=_show_sum(report.total),
        group_by=group_by,
        from_=report.from_ms,
        to=report.until_ms,
        time_zone=report.zone.key,
    )


@router.get("/api/me/usage")
async def sum_my_usage(
    services: CurrentServices, actor: CurrentUser, query: Annotated[UsageQuery, Query()]
) -> UsageOut:
    """One's own usage per hour, day, model, key or group."""
    async with services.storage.read() as tx:
        report = await control.sum_usage(
            tx, account_id=actor.account_id, period=query.period(), group_by=query.group_by
        )
    return _show(report, query.group_by)


@router.get("/api/admin/usage")
async def sum_all_usage(
    services: CurrentServices, actor: Administrator, query: Annotated[AdminUsageQuery, Query()]
) -> UsageOut:
    """Everybody's usage, or one user's."""
    async with services.storage.read() as tx:
        account_id = await control.account_of(tx, actor, query.user)
        report = await control.sum_usage(
            tx, account_id=account_id, period=query.period(), group_by=query.group_by
        )
    return _show(report, query.group_by)
