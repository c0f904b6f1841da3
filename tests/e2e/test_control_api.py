"""The control API against its own description: no 5xx, and every answer is one that OpenAPI documents.

SCHEMA_EXAMPLES sets how many requests are made up for each operation (`make trial-api`).
"""

import os
from collections.abc import Mapping
from typing import Any, Final, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.e2e.running import ADMIN_KEY, Platform
from tokenopen.api.control_app import create_control_app
from tokenopen.control.services import Services

EXAMPLES: Final = int(os.environ.get("SCHEMA_EXAMPLES", "4"))
# They ask a provider at an address that an earlier request may have made up.
_ASKS_OUTSIDE: Final = r"/api/admin/upstreams/\{upstream_id\}/(test|available-models)"
_CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def known(platform: Platform) -> Mapping[str, str]:
    """What stands in paths and is there."""
    platform.add_group("known")
    user = platform.add_user("known@example.com")
    key = platform.ask("POST", f"/api/admin/users/{user}/keys", {"name": "known", "group": "known"})
    with platform.caller(key["key"]) as caller:
        body = {"model": "small", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
        call_id = caller.post("/chat/completions", json=body).headers["x-request-id"]
    upstreams = platform.ask("GET", "/api/admin/upstreams")["data"]
    request = {"group": "vip", "reason": "More"}
    return {
        "user_id": user,
        "slug": "known",
        "key_id": key["id"],
        "name": "small",
        "call_id": call_id,
        "upstream_id": upstreams[0]["id"],
        "request_id": platform.ask("POST", "/api/me/upgrade-requests", request)["id"],
    }


# Its description needs nothing of what the routes need.
schema = schemathesis.openapi.from_dict(create_control_app(cast(Services, None)).openapi()).exclude(
    path_regex=_ASKS_OUTSIDE
)


@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_answer_is_a_5xx_or_another_than_documented(
    case: "schemathesis.Case[Any]", platform: Platform, known: Mapping[str, str]
) -> None:
    for name, value in (case.path_parameters or {}).items():
        # Every other made-up value gives way to one that is there; else all answers would be 404.
        if name in known and len(str(value)) % 2:
            case.path_parameters[name] = known[name]
    case.call_and_validate(
        base_url=platform.server.url, headers={"Authorization": f"Bearer {ADMIN_KEY}"}, checks=_CHECKS
    )
