"""Profile: who one is here, one's password, the browsers that are signed in, and management keys."""

from fastapi import APIRouter, Request, Response

from tokenopen.control import management_key, session
from tokenopen.control.page import PageRequest
from tokenopen.control.services import Services
from tokenopen.control.sign_in import change_password as change
from tokenopen.control.user import find_user
from tokenopen.core.errors import InvalidRequest, SignInFailed, TooManyAttempts
from tokenopen.web.flash import redirect
from tokenopen.web.form import Form, read_form
from tokenopen.web.render import render
from tokenopen.web.session import find_browser, forget_session, give_session, require_recent_password
from tokenopen.web.sign_up import readable_name
from tokenopen.web.viewer import CurrentServices, CurrentViewer, CurrentVisit, Viewer

router = APIRouter()

KEYS_SHOWN = 50


async def _show(
    request: Request,
    services: Services,
    viewer: Viewer,
    *,
    password_form: Form | None = None,
    status: int = 200,
) -> Response:
    actor = viewer.actor
    async with services.storage.read() as tx:
        user = await find_user(tx, actor, actor.user_id)
        sessions = await session.list_sessions(tx, actor, user_id=actor.user_id)
        keys = await management_key.list_keys(
            tx, actor, user_id=actor.user_id, page=PageRequest(limit=KEYS_SHOWN)
        )
    return render(
        request,
        "profile/profile.html",
        status=status,
        user=user,
        sessions=sessions,
        current_session=actor.session_id,
        keys=keys.items,
        password_form=password_form or Form(),
    )


@router.get("/profile")
async def show_profile(request: Request, services: CurrentServices, viewer: CurrentViewer) -> Response:
    """Everything about oneself."""
    return await _show(request, services, viewer)


@router.post("/profile/password")
async def change_password(
    request: Request, services: CurrentServices, viewer: CurrentViewer, visit: CurrentVisit
) -> Response:
    """Change one's own password; every other session ends."""
    form = await read_form(request)
    try:
        token = await change(
            services,
            viewer.actor,
            password=form.secret("current_password"),
            new_password=form.secret("password"),
            browser=find_browser(request),
        )
    except SignInFailed:
        wrong = form.wrong(current_password=visit.text("sign_in.wrong_password"))
        return await _show(request, services, viewer, password_form=wrong, status=SignInFailed.status)
    except (InvalidRequest, TooManyAttempts) as refusal:
        return await _show(
            request, services, viewer, password_form=form.refused(refusal), status=refusal.status
        )
    return give_session(request, redirect("/profile", flash="profile.password_changed"), token)


@router.post("/profile/sessions/{session_id}/revoke")
async def revoke_session(
    request: Request, services: CurrentServices, viewer: CurrentViewer, session_id: str
) -> Response:
    """End one of one's own sessions."""
    async with services.storage.write() as tx:
        await session.revoke_session(tx, viewer.actor, session_id, user_id=viewer.actor.user_id)
    if session_id == viewer.actor.session_id:
        return forget_session(request, redirect("/sign-in", flash="sign_in.signed_out"))
    return redirect("/profile", flash="profile.session_ended")


@router.post("/profile/sessions/revoke-others")
async def revoke_other_sessions(services: CurrentServices, viewer: CurrentViewer) -> Response:
    """End every session of one's own but this one."""
    async with services.storage.write() as tx:
        await session.revoke_sessions(tx, viewer.actor, user_id=viewer.actor.user_id)
    return redirect("/profile", flash="profile.sessions_ended")


@router.get("/profile/management-keys/new")
async def show_new_management_key(request: Request, viewer: CurrentViewer) -> Response:
    """The form to create a management key with, behind a recent password."""
    require_recent_password(request)
    return render(request, "profile/management_key.html", form=Form(), key=None, role=viewer.actor.role)


@router.post("/profile/management-keys")
async def create_management_key(
    request: Request, services: CurrentServices, viewer: CurrentViewer, visit: CurrentVisit
) -> Response:
    """Create a management key; its secret is on this page and nowhere else."""
    form = await read_form(request)
    actor = viewer.actor
    try:
        name = readable_name(visit, form, otherwise="profile.no_key_name")
        async with services.storage.write() as tx:
            key, _ = await management_key.create_management_key(
                tx, actor, user_id=actor.user_id, name=name, hashing_key=services.hashing_key
            )
    except InvalidRequest as refusal:
        return render(
            request,
            "profile/management_key.html",
            status=refusal.status,
            form=form.refused(refusal),
            key=None,
            role=actor.role,
        )
    return render(request, "profile/management_key.html", form=Form(), key=key, role=actor.role)


@router.post("/profile/management-keys/{key_id}/revoke")
async def revoke_management_key(services: CurrentServices, viewer: CurrentViewer, key_id: str) -> Response:
    """Make one of one's own management keys useless for good."""
    async with services.storage.write() as tx:
        await management_key.revoke_management_key(tx, viewer.actor, key_id, user_id=viewer.actor.user_id)
    return redirect("/profile", flash="profile.key_revoked")
