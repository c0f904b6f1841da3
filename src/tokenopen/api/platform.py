"""Platform settings, as administrators read and change them."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tokenopen.api.authentication import Administrator
from tokenopen.api.group import Slug
from tokenopen.api.json_types import UNCHANGED, AmountIn, AmountOut, Label, PatchBody, Prose
from tokenopen.api.services import CurrentServices
from tokenopen.control import platform as control
from tokenopen.control.platform import PlatformView
from tokenopen.core.platform import CALL_RETENTION_DAYS_MAX, CALL_RETENTION_DAYS_MIN, SignUpState

router = APIRouter(tags=["platform"])


class PlatformPatch(PatchBody):
    """A change of settings; ``time_zone`` is an IANA name, ``support_contact`` a mail address or link.

    With ``sign_up`` open people become users by themselves, those of ``allowed_email_domains`` where some
    are named, with ``starting_credit`` on their account. ``public_prices`` shows Groups & pricing to
    people who are not signed in.
    are named, with ``starting_credit`` on their account. Records of calls are dropped for good
    ``call_retention_days`` after they were made; balances, ledger and usage charts stay. ``null`` keeps them.
    """

    name: Label = UNCHANGED
    time_zone: Annotated[str, Field(max_length=100)] = UNCHANGED
    default_group: Slug = UNCHANGED
    support_contact: Annotated[Prose, Field(max_length=200)] = UNCHANGED
    sign_up: SignUpState = UNCHANGED
    starting_credit: AmountIn = UNCHANGED
    allowed_email_domains: Annotated[list[Annotated[str, Field(max_length=253)]], Field(max_length=100)] = (
        UNCHANGED
    )
    public_prices: bool = UNCHANGED
    call_retention_days: Annotated[
        int | None, Field(strict=True, ge=CALL_RETENTION_DAYS_MIN, le=CALL_RETENTION_DAYS_MAX)
    ] = UNCHANGED


class PlatformOut(BaseModel):
    """What holds for the whole installation; days end at midnight of the time zone."""

    name: str
    time_zone: str
    default_group: str
    support_contact: str
    sign_up: SignUpState
    starting_credit: AmountOut
    allowed_email_domains: list[str]
    public_prices: bool
    call_retention_days: int | None


def _show(view: PlatformView) -> PlatformOut:
    return PlatformOut(
        name=view.platform.name,
        time_zone=view.platform.zone.key,
        default_group=view.default_group.description.slug,
        support_contact=view.platform.support_contact,
        sign_up=view.platform.sign_up,
        starting_credit=view.platform.starting_credit,
        allowed_email_domains=list(view.platform.allowed_email_domains),
        public_prices=view.platform.public_prices,
        call_retention_days=view.platform.call_retention_days,
    )


@router.get("/api/admin/settings")
async def find_settings(services: CurrentServices, actor: Administrator) -> PlatformOut:
    """The platform settings."""
    async with services.storage.read() as tx:
        view = await control.read_platform(tx, actor)
    return _show(view)


@router.patch("/api/admin/settings")
async def update_settings(
    services: CurrentServices, actor: Administrator, body: PlatformPatch
) -> PlatformOut:
    """Change platform settings; they bind the very next call."""
    async with services.storage.write() as tx:
        view = await control.update_platform(tx, actor, body.changes())
    return _show(view)
