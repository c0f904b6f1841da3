"""Platform settings: what administrators set for the whole installation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict
from zoneinfo import ZoneInfo, available_timezones

from tokenopen.control.actor import Actor
from tokenopen.control.audit_log import record_change
from tokenopen.core.errors import Conflict, InvalidRequest
from tokenopen.core.group_history import GroupRecord
from tokenopen.core.money import ZERO, Nanocredits, format_amount
from tokenopen.core.platform import EMAIL_DOMAIN, Platform, SignUpState
from tokenopen.ports.storage import Transaction
from tokenopen.storage import platform as storage
from tokenopen.storage.group import find_group, get_group
from tokenopen.storage.version import bump_catalog_version, lock_catalog


class PlatformChanges(TypedDict, total=False):
    """What a PATCH of the settings may hold; ``default_group`` is a slug."""

    name: str
    time_zone: str
    default_group: str
    support_contact: str
    sign_up: SignUpState
    starting_credit: Nanocredits
    allowed_email_domains: Sequence[str]
    public_prices: bool
    call_retention_days: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformView:
    """The settings, with the default group itself."""

    platform: Platform
    default_group: GroupRecord


def _describe(view: PlatformView) -> dict[str, object]:
    return {
        "name": view.platform.name,
        "time_zone": view.platform.zone.key,
        "default_group": view.default_group.description.slug,
        "support_contact": view.platform.support_contact,
        "sign_up": view.platform.sign_up,
        "starting_credit": format_amount(view.platform.starting_credit),
        "allowed_email_domains": list(view.platform.allowed_email_domains),
        "public_prices": view.platform.public_prices,
        "call_retention_days": view.platform.call_retention_days,
    }


async def load_platform(tx: Transaction) -> Platform:
    """Return the settings for whoever looks at a page; there is no secret among them."""
    return await storage.load_platform(tx)


async def read_platform(tx: Transaction, actor: Actor) -> PlatformView:
    """Return the platform settings, for administrators."""
    actor.require_administrator()
    platform = await storage.load_platform(tx)
    return PlatformView(platform=platform, default_group=await get_group(tx, platform.default_group))


def _zone(name: str) -> ZoneInfo:
    if name not in available_timezones():
        raise InvalidRequest(
            f"time_zone: {name} is no IANA time zone such as UTC or Europe/Berlin.", param="time_zone"
        )
    return ZoneInfo(name)


def _domains(names: Sequence[str]) -> tuple[str, ...]:
    domains = tuple(sorted({name.lower().removeprefix("@") for name in names}))
    for domain in domains:
        if not EMAIL_DOMAIN.fullmatch(domain):
            raise InvalidRequest(
                f"allowed_email_domains: {domain} is no domain such as example.com.",
                param="allowed_email_domains",
            )
    return domains


async def _default_group(tx: Transaction, slug: str) -> GroupRecord:
    record = await find_group(tx, slug)
    if record is None:
        raise InvalidRequest(f"default_group: there is no group {slug}.", param="default_group")
    if record.description.state != "active" or record.description.visibility != "public":
        raise Conflict(
            f"Group {record.description.name} cannot be the default for new API keys: it is not open to "
            "everyone.",
            param="default_group",
        )
    return record


async def update_platform(tx: Transaction, actor: Actor, changes: PlatformChanges) -> PlatformView:
    """Change settings; a new time zone moves the day's end for TPD from the very next call on.

    Refuses InvalidRequest, and Conflict for a default group that is not open to everyone.
    """
    actor.require_administrator()
    await lock_catalog(tx)
    before = await read_platform(tx, actor)
    fields: dict[str, Any] = dict(changes)
    group = before.default_group
    if "default_group" in fields:
        group = await _default_group(tx, fields["default_group"])
        fields["default_group"] = group.id
    if "time_zone" in fields:
        fields["zone"] = _zone(fields.pop("time_zone"))
    if "allowed_email_domains" in fields:
        fields["allowed_email_domains"] = _domains(fields["allowed_email_domains"])
    if fields.get("starting_credit", ZERO) < ZERO:
        raise InvalidRequest("starting_credit must not be below 0.", param="starting_credit")
    if "starting_credit" in fields and fields["starting_credit"] != before.platform.starting_credit:
        actor.require_recent_password(tx.now_ms)
    if (
        "call_retention_days" in fields
        and fields["call_retention_days"] != before.platform.call_retention_days
    ):
        # What is dropped cannot be had back.
        actor.require_recent_password(tx.now_ms)
    after = PlatformView(platform=replace(before.platform, **fields), default_group=group)
    if after.platform == before.platform:
        return before

    await storage.update_platform(tx, after.platform)
    await bump_catalog_version(tx)
    await record_change(
        tx,
        actor,
        action="platform.update",
        subject_kind="platform",
        subject_id="platform",
        before=_describe(before),
        after=_describe(after),
    )
    return after
