"""What the bench runs: the gateway and a bare nginx on one core, a cheap provider and the load on another."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.e2e.running import Platform, Server

from tokenopen.simulator.process import SimulatorProcess
from trials.bench_load import Target
from trials.bench_upstream import PACED_MODEL
from trials.books import DATABASE_FILE
from trials.machine import port_for

_CREDIT: Final = "1000000"
_HIGH: Final = 1_000_000_000
_CONNECT_S: Final = 20
_MODELS: Final = ("bench", PACED_MODEL)
# One worker, connections kept on both sides, nothing logged, nothing held back.
_NGINX: Final = """
daemon off; master_process off; worker_processes 1; pid {directory}/nginx.pid; error_log stderr;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  {temporary}
  upstream provider {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=2048; keepalive_requests 1000000000;
    location / {{
      proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


class OneUpstream(SimulatorProcess):
    """The bench's own provider, for what sets a platform up."""

    def __init__(self, port: int) -> None:
        self.base_url = f"http://127.0.0.1:{port}/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """The processes, and the account that calls are charged to. ``nginx`` is None where there is none."""

    direct: Target
    nginx: Target | None
    gateway: Target
    platform: Platform
    server: Server
    data_dir: Path
    user_id: str
    price: int

    @property
    def targets(self) -> Sequence[Target]:
        """In the order in which they are measured."""
        return [target for target in (self.direct, self.nginx, self.gateway) if target is not None]


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Have whatever is started inside run on one core; None leaves it to the kernel."""
    before = os.sched_getaffinity(0)
    try:
        if core is not None:
            os.sched_setaffinity(0, {core})
        yield
    finally:
        os.sched_setaffinity(0, before)


def find_cores() -> tuple[int | None, int | None]:
    """Return the core that is measured and the one for everything else; None and None where there is one."""
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else (None, None)


@contextmanager
def running_rig(directory: Path) -> Iterator[Rig]:
    """Start everything, with one account in a group that has every limit, and end it again."""
    measured, other = find_cores()
    started: list[subprocess.Popen[str]] = []
    data_dir = directory / "data"
    try:
        with pinned(other):
            provider = _start([sys.executable, "-m", "trials.bench_upstream"])
            started.append(provider)
            assert provider.stdout is not None
            upstream_port = int(provider.stdout.readline())
        with pinned(measured):
            nginx = _start_nginx(directory, upstream_port)
            if nginx is not None:
                started.append(nginx[0])
            server = Server(data_dir)
            server.start()
        with server_ending(server):
            yield _set_up(server, data_dir, provider.pid, upstream_port, nginx)
    finally:
        for process in started:
            process.terminate()
            process.wait(timeout=20)


@contextmanager
def server_ending(server: Server) -> Iterator[None]:
    """End the server as an operator does, or at once where something went wrong."""
    try:
        yield
    except BaseException:
        server.kill()
        raise
    assert server.stop() == 0, server.log_path.read_text()


def _start(arguments: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def _start_nginx(directory: Path, upstream_port: int) -> tuple[subprocess.Popen[str], int] | None:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        return None
    port = port_for("127.0.0.1")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds)
    config = directory / "nginx.conf"
    config.write_text(
        _NGINX.format(directory=directory, upstream=upstream_port, port=port, temporary=temporary)
    )
    process = _start([program, "-c", str(config), "-p", str(directory), "-e", "stderr"])
    _await_port(port)
    return process, port


def _await_port(port: int) -> None:
    deadline_s = time.monotonic() + _CONNECT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline_s, f"nothing listens on port {port}"
            time.sleep(0.05)
        else:
            return


def _set_up(
    server: Server,
    data_dir: Path,
    provider_pid: int,
    upstream_port: int,
    nginx: tuple[subprocess.Popen[str], int] | None,
) -> Rig:
    platform = Platform(server, OneUpstream(upstream_port))
    for model in _MODELS:
        platform.add_model(model, prices={"input": "0.15", "output": "0.6"})
    platform.add_upstream(_MODELS)
    platform.add_group(
        "bench",
        multiplier="0.8",
        requests_per_minute=_HIGH,
        requests_per_day=_HIGH,
        tokens_per_minute=_HIGH,
        concurrent_calls=_HIGH,
    )
    user_id = platform.add_user(credit=_CREDIT)
    secret = platform.add_key(user_id, "bench")
    gateway = Target(name="TokenOpen", port=int(server.url.rsplit(":", 1)[1]), pid=server.pid, secret=secret)
    return Rig(
        direct=Target(name="direct", port=upstream_port, pid=provider_pid, secret=secret),
        nginx=None if nginx is None else Target(name="nginx", port=nginx[1], pid=nginx[0].pid, secret=secret),
        gateway=gateway,
        platform=platform,
        server=server,
        data_dir=data_dir,
        user_id=user_id,
        # floor((24 x 0.15 + 64 x 0.6) x 0.8) / 10^6 credits
        price=33_600,
    )


def restart(rig: Rig, change: Callable[[Path], None]) -> Rig:
    """End the gateway, change its database, start it again on the same port; return the rig with it."""
    assert rig.server.stop() == 0
    change(rig.data_dir / DATABASE_FILE)
    with pinned(find_cores()[0]):
        rig.server.start()
    return replace(rig, gateway=replace(rig.gateway, pid=rig.server.pid))


def read_sums(rig: Rig) -> tuple[int, int, int, int]:
    """Return of the account: calls settled, their charges, what the balance has lost, and what is held."""
    account_id = rig.platform.ask("GET", f"/api/admin/users/{rig.user_id}")["account_id"]
    path = rig.data_dir / DATABASE_FILE
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        settled, charges = connection.execute(
            "SELECT COUNT(*), COALESCE(SUM(charge), 0) FROM calls WHERE account_id = ? AND state = 'settled'",
            (account_id,),
        ).fetchone()
        balance, held = connection.execute(
            "SELECT balance, held FROM accounts WHERE id = ?", (account_id,)
        ).fetchone()
    finally:
        connection.close()
    return settled, charges, int(_CREDIT) * 10**9 - balance, held
