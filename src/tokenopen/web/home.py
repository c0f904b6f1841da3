"""The start page: where a browser goes that was given nothing but the address."""

from fastapi import APIRouter, Request, Response

from tokenopen.web.flash import redirect
from tokenopen.web.viewer import find_visit

router = APIRouter()


@router.get("/")
async def find_start(request: Request) -> Response:
    """Lead users to their home, and everybody else to the guide."""
    known = find_visit(request).viewer is not None and "/home" in request.app.state.paths
    return redirect("/home" if known else "/guide")
