"""Signing in and out, passwords that were forgotten, and the password given anew."""

from typing import Final

from fastapi import APIRouter, Depends, Request, Response
from starlette.background import BackgroundTask

from tokenopen.control import sign_in as control
from tokenopen.control.one_time_link import find_link
from tokenopen.control.session import end_session
from tokenopen.core.errors import AccountSuspended, InvalidRequest, Refusal, SignInFailed, TooManyAttempts
from tokenopen.core.one_time_link import path_of_link
from tokenopen.web.flash import redirect
from tokenopen.web.form import Form, read_form
from tokenopen.web.mail import send_password_link
from tokenopen.web.render import render
from tokenopen.web.session import (
    find_browser,
    find_site_of,
    forget_session,
    get_site,
    give_session,
    landing_path,
    own_path,
    render_form,
    session_token,
)
from tokenopen.web.viewer import CurrentServices, CurrentViewer, CurrentVisit, require_viewer

router = APIRouter()

_REFUSED_AT_SIGN_IN: Final = (SignInFailed, TooManyAttempts, AccountSuspended)


def refused_form(
    request: Request, template: str, form: Form, refusal: Refusal, **context: object
) -> Response:
    """Answer with a form again, what was typed still in it, and why it was refused."""
    response = render_form(request, template, status=refusal.status, form=form.refused(refusal), **context)
    if refusal.retry_after_s is not None:
        response.headers["retry-after"] = str(refusal.retry_after_s)
    return response


@router.get("/sign-in")
async def show_sign_in(request: Request, visit: CurrentVisit) -> Response:
    """The form to sign in with."""
    wanted = own_path(request.query_params.get("next", "/"))
    if find_site_of(request) is None:
        return render(request, "sign_in/insecure.html", status=403)
    if visit.viewer is not None:
        return redirect(landing_path(request, wanted))
    return render_form(request, "sign_in/sign_in.html", form=Form(), next=wanted)


@router.post("/sign-in")
async def sign_in(request: Request, services: CurrentServices) -> Response:
    """Open a session."""
    form = await read_form(request)
    wanted = own_path(form.text("next", "/"))
    try:
        token = await control.sign_in(
            services,
            email=form.text("email"),
            password=form.secret("password"),
            browser=find_browser(request),
            replaced=session_token(request),
        )
    except _REFUSED_AT_SIGN_IN as refusal:
        return refused_form(request, "sign_in/sign_in.html", form, refusal, next=wanted)
    return give_session(request, redirect(landing_path(request, wanted)), token)


@router.post("/sign-out")
async def sign_out(request: Request, services: CurrentServices, viewer: CurrentViewer) -> Response:
    """End the session that asks."""
    async with services.storage.write() as tx:
        await end_session(tx, viewer.actor)
    return forget_session(request, redirect("/sign-in", flash="sign_in.signed_out"))


@router.get("/confirm-password", dependencies=[Depends(require_viewer)])
async def show_confirm_password(request: Request) -> Response:
    """The form in which a password is given anew."""
    wanted = own_path(request.query_params.get("next", "/"))
    return render(request, "sign_in/confirm_password.html", form=Form(), next=wanted)


@router.post("/confirm-password")
async def confirm_password(request: Request, services: CurrentServices, viewer: CurrentViewer) -> Response:
    """Take the password anew; the session goes on under another token."""
    form = await read_form(request)
    wanted = own_path(form.text("next", "/"))
    try:
        token = await control.confirm_password(
            services,
            viewer.actor,
            password=form.secret("password"),
            address=find_browser(request).address,
        )
    except SignInFailed:
        wrong = InvalidRequest(request.state.visit.text("sign_in.wrong_password"), param="password")
        return refused_form(request, "sign_in/confirm_password.html", form, wrong, next=wanted)
    except TooManyAttempts as refusal:
        return refused_form(request, "sign_in/confirm_password.html", form, refusal, next=wanted)
    return give_session(request, redirect(landing_path(request, wanted)), token)


@router.get("/forgot-password")
async def show_forgot_password(request: Request, services: CurrentServices) -> Response:
    """The form with which a link is asked for, or whom to ask where no mail can be sent."""
    return render_form(
        request, "sign_in/forgot_password.html", form=Form(), has_mail=services.mail is not None
    )


@router.post("/forgot-password")
async def forgot_password(request: Request, services: CurrentServices, visit: CurrentVisit) -> Response:
    """Send a link to the user of an address; whoever asks is told the same, whether there is one."""
    form = await read_form(request)
    email = form.text("email")
    try:
        await control.count_mail(services, email=email, address=find_browser(request).address)
    except (InvalidRequest, TooManyAttempts) as refusal:
        return refused_form(
            request, "sign_in/forgot_password.html", form, refusal, has_mail=services.mail is not None
        )
    response = render_form(request, "sign_in/mail_sent.html", email=email)
    # After the answer, which therefore takes as long with a user and without.
    response.background = BackgroundTask(
        send_password_link, services, visit, base_url=get_site(request).base_url, email=email
    )
    return response


@router.get("/new-password/{token}")
async def show_new_password(request: Request, services: CurrentServices, token: str) -> Response:
    """The form in which a new password is chosen. Looking at it uses nothing up: mail programs do too."""
    async with services.storage.read() as tx:
        link = await find_link(tx, token, "password", services.hashing_key)
    return render_form(
        request,
        "sign_in/new_password.html",
        form=Form(),
        email=link.email,
        action=path_of_link("password", token),
    )


@router.post("/new-password/{token}")
async def choose_password(request: Request, services: CurrentServices, token: str) -> Response:
    """Set the password and use the link up; every session of the user ends."""
    form = await read_form(request)
    try:
        await control.choose_password(services, token=token, password=form.secret("password"))
    except (InvalidRequest, TooManyAttempts) as refusal:
        return refused_form(
            request,
            "sign_in/new_password.html",
            form,
            refusal,
            email=form.text("email"),
            action=path_of_link("password", token),
        )
    return forget_session(request, redirect("/sign-in", flash="sign_in.password_set"))
