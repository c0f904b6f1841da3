"""Settings of the whole installation: its name and time zone, whom to ask, who may sign up, mail, keys."""

from typing import Final, cast
from zoneinfo import available_timezones

from fastapi import APIRouter, Request, Response

from tokenopen.control import platform as control
from tokenopen.control.group import list_groups
from tokenopen.control.management_key import list_active_keys, revoke_management_key
from tokenopen.control.page import PAGE_LIMIT_MAX, PageRequest
from tokenopen.control.platform import PlatformChanges, PlatformView
from tokenopen.control.services import Services
from tokenopen.control.user import list_emails
from tokenopen.core.errors import Conflict, InvalidRequest
from tokenopen.core.money import format_amount
from tokenopen.core.platform import SignUpState
from tokenopen.ports.mail import MailAway, Message
from tokenopen.web.flash import redirect
from tokenopen.web.form import Form, read_form
from tokenopen.web.form_value import read_amount, read_choice, read_limit
from tokenopen.web.guide_value import support_link
from tokenopen.web.render import render
from tokenopen.web.session import require_recent_password
from tokenopen.web.sign_up import readable_name
from tokenopen.web.viewer import CurrentAdministrator, CurrentServices, CurrentVisit, Viewer, Visit

router = APIRouter()

_PATH: Final = "/admin/settings"
_SIGN_UP: Final = ("closed", "open")
_CONTACT_LENGTH_MAX: Final = 200
_KEYS_SHOWN: Final = 25


async def _show(
    request: Request, services: Services, viewer: Viewer, *, form: Form | None = None, status: int = 200
) -> Response:
    actor = viewer.actor
    async with services.storage.read() as tx:
        view = await control.read_platform(tx, actor)
        groups = await list_groups(tx, actor, state="active", page=PageRequest(limit=PAGE_LIMIT_MAX))
        keys = await list_active_keys(
            tx, actor, page=PageRequest(limit=_KEYS_SHOWN, after=request.query_params.get("keys"))
        )
        owners = await list_emails(tx, actor, [key.user_id for key in keys.items])
    return render(
        request,
        "admin_settings/settings.html",
        status=status,
        view=view,
        form=form or _filled(view),
        groups=[group for group in groups.items if group.description.visibility == "public"],
        zones=sorted(available_timezones()),
        keys=keys,
        owners=owners,
        has_mail=services.mail is not None,
        public_url=services.public_url,
        email=actor.email,
    )


def _filled(view: PlatformView) -> Form:
    """Return the form as the settings fill it: a box that is not ticked is a value too."""
    platform = view.platform
    values = {
        "name": [platform.name],
        "time_zone": [platform.zone.key],
        "support_contact": [platform.support_contact],
        "default_group": [view.default_group.description.slug],
    }
    return Form(values=values | ({"public_prices": ["yes"]} if platform.public_prices else {}))


@router.get(_PATH)
async def show_settings(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator
) -> Response:
    """All settings."""
    return await _show(request, services, administrator)


def _readable_contact(visit: Visit, form: Form) -> str:
    contact = form.text("support_contact")
    if contact and (len(contact) > _CONTACT_LENGTH_MAX or not support_link(contact).href):
        raise InvalidRequest(visit.text("admin_settings.no_contact"), param="support_contact")
    return contact


@router.post(_PATH)
async def save_settings(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator, visit: CurrentVisit
) -> Response:
    """Change what is set for everybody, from the very next call on."""
    form = await read_form(request)
    try:
        changes: PlatformChanges = {
            "name": readable_name(visit, form, otherwise="admin_settings.no_name"),
            "time_zone": form.text("time_zone"),
            "support_contact": _readable_contact(visit, form),
            "default_group": form.text("default_group"),
            "public_prices": form.has("public_prices"),
        }
        async with services.storage.write() as tx:
            await control.update_platform(tx, administrator.actor, changes)
    except (InvalidRequest, Conflict) as refusal:
        return await _show(
            request, services, administrator, form=form.refused(refusal), status=refusal.status
        )
    return redirect(_PATH, flash="admin_settings.saved")


def _sign_up_form(view: PlatformView) -> Form:
    platform = view.platform
    days = platform.call_retention_days
    fields = {
        "sign_up": platform.sign_up,
        "allowed_email_domains": "\n".join(platform.allowed_email_domains),
        "starting_credit": format_amount(platform.starting_credit),
        "call_retention_days": "" if days is None else str(days),
    }
    return Form(values={name: [value] for name, value in fields.items()})


@router.get("/admin/settings/sign-up")
async def show_sign_up_settings(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator
) -> Response:
    """The form with who may sign up, and for how long calls are kept, behind a recent password."""
    require_recent_password(request)
    async with services.storage.read() as tx:
        view = await control.read_platform(tx, administrator.actor)
    return render(request, "admin_settings/sign_up.html", form=_sign_up_form(view))


@router.post("/admin/settings/sign-up")
async def save_sign_up_settings(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator, visit: CurrentVisit
) -> Response:
    """Change who may sign up, what their accounts begin with, and for how long calls are kept."""
    form, text = await read_form(request), visit.text
    try:
        days = form.text("call_retention_days")
        changes: PlatformChanges = {
            "sign_up": cast("SignUpState", read_choice(form, text, "sign_up", _SIGN_UP)),
            "allowed_email_domains": form.text("allowed_email_domains").replace(",", " ").split(),
            "starting_credit": read_amount(form, text, "starting_credit", at_least_zero=True),
            "call_retention_days": read_limit(form, text, "call_retention_days") if days else None,
        }
        if changes["call_retention_days"] == 0:
            raise InvalidRequest(text("admin_settings.no_days"), param="call_retention_days")  # noqa: TRY301
        async with services.storage.write() as tx:
            await control.update_platform(tx, administrator.actor, changes)
    except (InvalidRequest, Conflict) as refusal:
        return render(
            request, "admin_settings/sign_up.html", status=refusal.status, form=form.refused(refusal)
        )
    return redirect(_PATH, flash="admin_settings.saved")


@router.post("/admin/settings/test-mail")
async def send_test_mail(
    services: CurrentServices, administrator: CurrentAdministrator, visit: CurrentVisit
) -> Response:
    """Send a mail to whoever asks for it, and say what the mail server said."""
    if services.mail is None:
        return redirect(_PATH, flash="admin_settings.no_mail_server", tone="bad")
    email = administrator.actor.email
    site = "TokenOpen" if visit.platform is None else visit.platform.name
    message = Message(
        to=email,
        subject=visit.text("mail.test_subject", site=site),
        text=visit.text("mail.test_text", site=site, name=administrator.name),
    )
    try:
        await services.mail.send(message)
    except MailAway as error:
        return redirect(_PATH, flash="admin_settings.mail_failed", tone="bad", error=str(error)[:200])
    return redirect(_PATH, flash="admin_settings.mail_sent", email=email)


@router.post("/admin/settings/management-keys/{user_id}/{key_id}/revoke")
async def revoke_key(
    services: CurrentServices, administrator: CurrentAdministrator, user_id: str, key_id: str
) -> Response:
    """Make anybody's management key useless for good."""
    async with services.storage.write() as tx:
        await revoke_management_key(tx, administrator.actor, key_id, user_id=user_id)
    return redirect(f"{_PATH}#management-keys", flash="admin_settings.key_revoked")
