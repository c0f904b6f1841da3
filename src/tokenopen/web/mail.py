"""Mail: what the console writes to people, in words of the catalogue, as plain text."""

import structlog

from tokenopen.control.services import Services
from tokenopen.control.sign_in import forgotten_password_link
from tokenopen.control.sign_up import sign_up_link
from tokenopen.core.one_time_link import path_of_link
from tokenopen.core.upgrade_request import UpgradeRequest
from tokenopen.ports.mail import MailAway, Message
from tokenopen.ports.storage import StorageAway
from tokenopen.web.viewer import Visit

_log = structlog.get_logger()


def _site_name(visit: Visit) -> str:
    return "TokenOpen" if visit.platform is None else visit.platform.name


async def _send(services: Services, message: Message) -> None:
    """Hand a mail over. Nobody waits for it any more, so what goes wrong is told to the operator."""
    assert services.mail is not None
    try:
        await services.mail.send(message)
    except MailAway as error:
        # Neither the address nor the text: a log is no place for either.
        _log.warning("mail_not_sent", error=str(error))


async def send_password_link(services: Services, visit: Visit, *, base_url: str, email: str) -> None:
    """Mail a link for a new password, where a user has the address and mail can be sent."""
    if services.mail is None:
        return
    try:
        found = await forgotten_password_link(services, email=email)
    except StorageAway as error:
        _log.warning("mail_not_sent", error=str(error))
        return
    if found is None:
        return
    token, user = found
    values = {"site": _site_name(visit), "name": user.name, "url": base_url + path_of_link("password", token)}
    await _send(
        services,
        Message(
            to=user.email,
            subject=visit.text("mail.password_subject", **values),
            text=visit.text("mail.password_text", **values),
        ),
    )


async def send_sign_up_link(services: Services, visit: Visit, *, base_url: str, email: str) -> None:
    """Mail a link with which the holder of an address signs up, or that they have signed up already."""
    try:
        token = await sign_up_link(services, email=email)
    except StorageAway as error:
        _log.warning("mail_not_sent", error=str(error))
        return
    values = {"site": _site_name(visit), "url": base_url}
    kind = "known"
    if token is not None:
        kind = "sign_up"
        values["url"] = base_url + path_of_link("sign_up", token)
    await _send(
        services,
        Message(
            to=email,
            subject=visit.text(f"mail.{kind}_subject", **values),
            text=visit.text(f"mail.{kind}_text", **values),
        ),
    )


async def send_upgrade_answer(
    services: Services, visit: Visit, *, base_url: str, asked: UpgradeRequest
) -> None:
    """Mail a user what became of their request, where mail can be sent; the console shows it anyway."""
    if services.mail is None:
        return
    values = {"site": _site_name(visit), "group": asked.group_name, "url": base_url}
    values["word"] = visit.text("mail.word", answer=asked.answer) if asked.answer else ""
    await _send(
        services,
        Message(
            to=asked.user_email,
            subject=visit.text(f"mail.{asked.state}_subject", **values),
            text=visit.text(f"mail.{asked.state}_text", **values),
        ),
    )
