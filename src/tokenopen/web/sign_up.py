"""Signing up, where the operator lets people, and becoming an administrator by a one-time link."""

from fastapi import APIRouter, Request, Response
from starlette.background import BackgroundTask

from tokenopen.control import administrator_link
from tokenopen.control import sign_up as control
from tokenopen.control.one_time_link import find_link
from tokenopen.control.sign_in import count_mail
from tokenopen.control.sign_up import Newcomer
from tokenopen.core.errors import Conflict, InvalidRequest, SignUpClosed, TooManyAttempts
from tokenopen.core.one_time_link import path_of_link
from tokenopen.web.flash import redirect
from tokenopen.web.form import Form, read_form
from tokenopen.web.mail import send_sign_up_link
from tokenopen.web.render import render
from tokenopen.web.session import (
    find_browser,
    find_site_of,
    get_site,
    give_session,
    landing_path,
    render_form,
)
from tokenopen.web.sign_in import refused_form
from tokenopen.web.viewer import CurrentServices, CurrentVisit, Visit

router = APIRouter()

NAME_LENGTH_MAX = 200
_REFUSED = (InvalidRequest, Conflict, SignUpClosed, TooManyAttempts)


def readable_name(visit: Visit, form: Form, *, otherwise: str = "sign_up.no_name") -> str:
    """Return the name that was typed. Refuses InvalidRequest with a string of the catalogue."""
    name = form.text("name")
    if not 0 < len(name) <= NAME_LENGTH_MAX or not name.isprintable():
        raise InvalidRequest(visit.text(otherwise), param="name")
    return name


@router.get("/sign-up")
async def show_sign_up(request: Request, services: CurrentServices, visit: CurrentVisit) -> Response:
    """The form to sign up with: only for the address where mail can be sent, to prove it first."""
    if find_site_of(request) is None:
        return render(request, "sign_in/insecure.html", status=403)
    if visit.viewer is not None:
        return redirect(landing_path(request))
    return render_form(request, "sign_up/sign_up.html", form=Form(), has_mail=services.mail is not None)


@router.post("/sign-up")
async def sign_up(request: Request, services: CurrentServices, visit: CurrentVisit) -> Response:
    """Become a user, or have a link sent to the address with which one does."""
    form = await read_form(request)
    email = form.text("email")
    browser = find_browser(request)
    try:
        if services.mail is not None:
            await control.refuse_unless_open(services, email=email)
            await count_mail(services, email=email, address=browser.address)
            response = render_form(request, "sign_in/mail_sent.html", email=email)
            # After the answer, which therefore is the same for an address that a user has.
            response.background = BackgroundTask(
                send_sign_up_link, services, visit, base_url=get_site(request).base_url, email=email
            )
            return response
        newcomer = Newcomer(email=email, name=readable_name(visit, form), password=form.secret("password"))
        token = await control.sign_up(services, newcomer, browser)
    except _REFUSED as refusal:
        return refused_form(
            request, "sign_up/sign_up.html", form, refusal, has_mail=services.mail is not None
        )
    return give_session(request, redirect(landing_path(request), flash="sign_up.welcome"), token)


@router.get("/sign-up/{token}")
async def show_sign_up_link(request: Request, services: CurrentServices, token: str) -> Response:
    """The form in which the holder of a mailed link chooses name and password."""
    async with services.storage.read() as tx:
        link = await find_link(tx, token, "sign_up", services.hashing_key)
    return render_form(
        request,
        "sign_up/sign_up_link.html",
        form=Form(),
        email=link.email,
        action=path_of_link("sign_up", token),
    )


@router.post("/sign-up/{token}")
async def sign_up_by_link(
    request: Request, services: CurrentServices, visit: CurrentVisit, token: str
) -> Response:
    """Become a user and use the link up."""
    form = await read_form(request)
    try:
        session = await control.sign_up_by_link(
            services,
            token=token,
            name=readable_name(visit, form),
            password=form.secret("password"),
            browser=find_browser(request),
        )
    except _REFUSED as refusal:
        return refused_form(
            request,
            "sign_up/sign_up_link.html",
            form,
            refusal,
            email=form.text("email"),
            action=path_of_link("sign_up", token),
        )
    return give_session(request, redirect(landing_path(request), flash="sign_up.welcome"), session)


@router.get("/administrator-link/{token}")
async def show_administrator_link(request: Request, services: CurrentServices, token: str) -> Response:
    """The form in which an administrator says who they are."""
    if find_site_of(request) is None:
        return render(request, "sign_in/insecure.html", status=403)
    async with services.storage.read() as tx:
        await find_link(tx, token, "administrator", services.hashing_key)
    return render_form(
        request, "sign_up/administrator_link.html", form=Form(), action=path_of_link("administrator", token)
    )


@router.post("/administrator-link/{token}")
async def become_administrator(
    request: Request, services: CurrentServices, visit: CurrentVisit, token: str
) -> Response:
    """Become an administrator and use the link up."""
    form = await read_form(request)
    try:
        session = await administrator_link.become_administrator(
            services,
            token=token,
            email=form.text("email"),
            name=readable_name(visit, form),
            password=form.secret("password"),
            browser=find_browser(request),
        )
    except (InvalidRequest, Conflict, TooManyAttempts) as refusal:
        return refused_form(
            request,
            "sign_up/administrator_link.html",
            form,
            refusal,
            action=path_of_link("administrator", token),
        )
    # Where the first one finds what is missing before anybody can call.
    return give_session(request, redirect("/admin", flash="sign_up.administrator"), session)
