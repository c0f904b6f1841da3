"""Services, as a route of the control API asks for them."""

from typing import Annotated

from fastapi import Depends, Request

from tokenopen.control.services import Services


def find_services(request: Request) -> Services:
    """Return what the application was created with."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


CurrentServices = Annotated[Services, Depends(find_services)]
