"""Usage: calls, units and charges over time, of oneself and, for administrators, of anybody."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from tokenopen.api.authentication import Administrator, CurrentUser
from tokenopen.api.json_types import AmountOut, InstantIn, InstantOut, format_instant
from tokenopen.api.services import CurrentServices
from tokenopen.control import usage as control
from tokenopen.control.usage import (
    LINES_DEFAULT,
    LINES_MAX,
    GroupBy,
    Interval,
    Period,
    Time,
    UsageReport,
    UsageSum,
    UsageWanted,
)

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
    """What is summed by; with an ``interval`` over time, a line each for the ``lines`` dearest labels.

    All others together are one more line. An answer holds at most 3,000 sums: by the hour 11 days with 10
    lines, or 125 without. What would be more is refused with how many days may be asked for.
    """

    group_by: Literal["hour", "day", "model", "key", "group"] = "day"
    interval: Interval | None = None
    lines: int = Field(default=LINES_DEFAULT, ge=1, le=LINES_MAX)

    def wanted(self) -> UsageWanted:
        """Return what is asked for."""
        return UsageWanted(group_by=self.group_by, interval=self.interval, lines=self.lines)


class AdminUsageQuery(PeriodQuery):
    """``user`` is an id; without one everybody's usage is summed, by key or user in whole days UTC.

    An answer holds at most 3,000 sums, as for one's own usage.
    """

    group_by: GroupBy = "day"
    interval: Interval | None = None
    lines: int = Field(default=LINES_DEFAULT, ge=1, le=LINES_MAX)
    user: str | None = None

    def wanted(self) -> UsageWanted:
        """Return what is asked for."""
        return UsageWanted(group_by=self.group_by, interval=self.interval, lines=self.lines)


class UsageSumOut(BaseModel):
    """Sums of whole hours; charges as they were settled, without later refunds."""

    calls: int
    input_units: int
    output_units: int
    charge: AmountOut
    absorbed: AmountOut


class UsageRowOut(UsageSumOut):
    """Sums under a label: the instant an hour begins, a day, a model, a key's or user's id, a group's slug.

    ``name`` is that of the key, the group or the user. ``at`` is the hour or day, where there is one. What
    has no line of its own is summed under the label null.
    """

    at: str | None
    label: str | None
    name: str | None


class UsageOut(BaseModel):
    """Usage of the hours from ``from`` until before ``to``; days are those of ``time_zone``."""

    model_config = ConfigDict(serialize_by_alias=True)

    data: list[UsageRowOut]
    next_cursor: None = None
    total: UsageSumOut
    group_by: GroupBy
    interval: Interval | None
    from_: InstantOut = Field(serialization_alias="from")
    to: InstantOut
    time_zone: str


def format_time(at: Time | None) -> str | None:
    """Return an hour's beginning as an instant, a day as a date."""
    if at is None:
        return None
    return format_instant(at) if isinstance(at, int) else at.isoformat()


def _show_sum(found: UsageSum) -> UsageSumOut:
    return UsageSumOut(
        calls=found.calls,
        input_units=found.input_units,
        output_units=found.output_units,
        charge=found.charge,
        absorbed=found.absorbed,
    )


def _show_row(found: UsageSum, wanted: UsageWanted) -> UsageRowOut:
    at = format_time(found.at)
    label = at if wanted.group_by in ("hour", "day") else found.slug or found.label
    return UsageRowOut(
        at=at,
        label=label,
        name=found.name,
        calls=found.calls,
        input_units=found.input_units,
        output_units=found.output_units,
        charge=found.charge,
        absorbed=found.absorbed,
    )


def _show(report: UsageReport, wanted: UsageWanted) -> UsageOut:
    return UsageOut(
        data=[_show_row(found, wanted) for found in report.sums],
        total=_show_sum(report.total),
        group_by=wanted.group_by,
        interval=wanted.interval,
        from_=report.from_ms,
        to=report.until_ms,
        time_zone=report.zone.key,
    )


@router.get("/api/me/usage")
async def sum_my_usage(
    services: CurrentServices, actor: CurrentUser, query: Annotated[UsageQuery, Query()]
) -> UsageOut:
    """One's own usage per hour, day, model, key or group."""
    wanted = query.wanted()
    async with services.storage.read() as tx:
        report = await control.sum_usage(
            tx, account_id=actor.account_id, period=query.period(), wanted=wanted
        )
    return _show(report, wanted)


@router.get("/api/admin/usage")
async def sum_all_usage(
    services: CurrentServices, actor: Administrator, query: Annotated[AdminUsageQuery, Query()]
) -> UsageOut:
    """Everybody's usage, or one user's."""
    wanted = query.wanted()
    async with services.storage.read() as tx:
        account_id = await control.account_of(tx, actor, query.user)
        report = await control.sum_usage(tx, account_id=account_id, period=query.period(), wanted=wanted)
    return _show(report, wanted)
