"""Two gateways behind a real nginx, with the configuration that is under deploy/."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.deploy.test_deploy import DEPLOY
from tests.e2e.conftest import on_postgresql
from tests.e2e.running import Platform, Server
from tests.engines import PostgresqlServer
from tokenopen.simulator.process import SimulatorProcess

pytestmark = pytest.mark.slow

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
HOME = "127.0.0.41"
ELSEWHERE = "127.0.0.42"
START_MAX_S = 30
MAIN = """
daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/error.log info;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
    include {directory}/gateways.conf;
}}
"""


@dataclass
class Installation:
    """What runs: the gateways, and nginx in front of them."""

    url: str
    gateways: list[Server]
    platform: Platform
    keys: dict[str, str]

    def post(
        self,
        headers: Mapping[str, str] | None = None,
        *,
        simulate: Mapping[str, int] | None = None,
        stream: bool = False,
        key: str = "open",
    ) -> httpx.Request:
        """Return a call through nginx."""
        body = {
            "model": "small",
            "messages": [{"role": "user", "content": "one two three four"}],
            "max_tokens": 8,
            "stream": stream,
            **({"simulate": simulate} if simulate else {}),
        }
        all_headers = {"Authorization": f"Bearer {self.keys[key]}", **(headers or {})}
        return httpx.Request("POST", f"{self.url}/v1/chat/completions", json=body, headers=all_headers)


def client(local: str = HOME) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(local_address=local), timeout=60)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def nginx(directory: Path, gateways: list[str]) -> Iterator[str]:
    """Run nginx in front of gateways' addresses; yield its own."""
    assert NGINX is not None
    port = free_port()
    text = (DEPLOY / "nginx.conf").read_text()
    for number, address in enumerate(gateways, start=1):
        assert f"gateway-{number}:8000" in text
        text = text.replace(f"gateway-{number}:8000", address)
    (directory / "gateways.conf").write_text(text.replace("listen 80;", f"listen 127.0.0.1:{port};"))
    (directory / "nginx.conf").write_text(MAIN.format(directory=directory))
    # Its workers give up root, and write nothing that they would need it for.
    directory.chmod(0o755)
    command = [NGINX, "-p", str(directory), "-c", str(directory / "nginx.conf"), "-g", "user root;"]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + START_MAX_S
            while not _answers(url):
                assert process.poll() is None, (directory / "error.log").read_text()
                assert time.monotonic() < deadline, "nginx does not answer"
                time.sleep(0.1)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def installed(
    postgresql_server: PostgresqlServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    if NGINX is None:
        pytest.skip("there is no nginx on this machine")
    directory = tmp_path_factory.mktemp("nginx")
    with ExitStack() as stack:
        environment = stack.enter_context(on_postgresql(postgresql_server))
        environment |= {"TOKENOPEN_PUBLIC_URL": "https://console.example.com"}
        gateways = [
            stack.enter_context(Server(directory / f"gateway-{number}", environment=environment))
            for number in (1, 2)
        ]
        platform = Platform(gateways[0], stack.enter_context(SimulatorProcess()))
        platform.add_model("small")
        platform.add_upstream(["small"])
        platform.add_group("open")
        user = platform.add_user()
        keys = {"open": platform.add_key(user, "open")}
        keys["home"] = platform.add_key(user, "open", allowed_ips=[HOME])
        place = directory / "proxy"
        place.mkdir()
        url = stack.enter_context(nginx(place, [each.url.removeprefix("http://") for each in gateways]))
        yield Installation(url=url, gateways=gateways, platform=platform, keys=keys)
        platform.admin.close()


def test_events_arrive_as_they_are_made(installed: Installation) -> None:
    """Were they gathered on the way, the first would come with the last."""
    events: list[float] = []
    with client() as caller:
        call = installed.post(stream=True, simulate={"chunk_delay_ms": 250, "events": 4})
        answer = caller.send(call, stream=True)
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data:"):
                events.append(time.monotonic())
                last = line
    assert last == "data: [DONE]"
    # Half of what the provider took to tell them, on whatever machine.
    assert events[-1] - events[0] > 0.5


def test_a_caller_is_known_by_the_address_that_nginx_saw(installed: Installation) -> None:
    with client(HOME) as home, client(ELSEWHERE) as elsewhere:
        assert home.send(installed.post(key="home")).status_code == 200
        none: dict[str, str] = {}
        for forged in (none, {"X-Forwarded-For": HOME}, {"X-Forwarded-For": f"{HOME}, {HOME}"}):
            answer = elsewhere.send(installed.post(forged, key="home"))
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "ip_not_allowed")


def test_refusals_pass_with_their_words_and_headers(installed: Installation) -> None:
    with client() as caller:
        call = installed.post()
        call.headers["Authorization"] = "Bearer sk-to-nobody"
        answer = caller.send(call)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert "x-request-id" in answer.headers


def test_a_gateway_that_stops_costs_no_call(installed: Installation) -> None:
    stopped: list[int] = []

    def keep_calling(count: int) -> list[int]:
        with client() as caller:
            return [
                caller.send(installed.post(stream=number % 2 == 0)).status_code for number in range(count)
            ]

    second = installed.gateways[1]
    with ThreadPoolExecutor(4) as threads:
        callers = [threads.submit(keep_calling, 25) for _ in range(4)]
        time.sleep(0.3)
        stopped.append(second.stop())
        assert {status for caller in callers for status in caller.result()} == {200}
    assert stopped == [0]
    # As long as it is away, too.
    assert keep_calling(6) == [200] * 6
    held = installed.platform.ask("GET", "/api/admin/calls?state=held")["data"]
    assert held == []
