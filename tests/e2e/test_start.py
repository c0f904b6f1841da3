"""Starting, refusing to start, and ending: what the server prints, what it leaves, and its exit code."""

import json
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.mounting import mounted
from tests.e2e.running import ADMIN_KEY, Platform, Server
from tokenopen.settings import child_environment
from tokenopen.simulator.process import SimulatorProcess

DATABASE_FILE = "tokenopen.sqlite3"
START_TIMEOUT_S = 60
LINK_LINE = re.compile(r"Become the administrator, once, within an hour:  (http://localhost:\d+/\S+)")
FORM_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')
KEY_LINE = re.compile(r"Management key, shown once:  (sk-mgmt-\S+)")


@contextmanager
def printing_server(data_dir: Path, *, ends_by: signal.Signals) -> Iterator[tuple[str, Path]]:
    """Serve without any key in the environment; yield the address and the file that stdout goes to."""
    printed = data_dir.parent.with_suffix(".printed")
    environment = child_environment({"TOKENOPEN_DATA_DIR": str(data_dir), "TOKENOPEN_PORT": "0"})
    with printed.open("w") as stdout:
        process = subprocess.Popen(
            [sys.executable, "-m", "tokenopen.cli.main", "serve"], env=environment, stdout=stdout
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (address := re.search(r"http://\S+", printed.read_text())):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        while httpx.get(f"{address[0]}/readyz").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield address[0], printed
    finally:
        process.send_signal(ends_by)
        assert process.wait(START_TIMEOUT_S) == 0


@pytest.fixture(scope="module")
def used_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a server that has charged a call and been stopped; to be copied."""
    data_dir = tmp_path_factory.mktemp("used") / "data"
    with Server(data_dir) as server, SimulatorProcess() as simulator:
        platform = Platform(server, simulator)
        platform.add_model("small")
        platform.add_upstream(["small"])
        platform.add_group("open")
        key = platform.add_key(platform.add_user(), "open")
        with platform.caller(key) as caller:
            body = {"model": "small", "max_tokens": 5, "messages": [{"role": "user", "content": "a b c"}]}
            assert caller.post("/chat/completions", json=body).status_code == 200
        platform.admin.close()
        assert server.stop() == 0
    return data_dir


@pytest.fixture
def data_dir(used_data_dir: Path, tmp_path: Path) -> Path:
    """A copy of it of one's own."""
    return Path(shutil.copytree(used_data_dir, tmp_path / "data"))


def refusal_to_start(server: Server) -> str:
    """Start a server that has to refuse; return the one line that it says."""
    done = server.run_cli("serve")
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("TokenOpen cannot start: "), done.stderr
    return done.stderr


def change(data_dir: Path, statement: str) -> None:
    """Change the database of a stopped server behind its back."""
    connection = sqlite3.connect(data_dir / DATABASE_FILE, isolation_level=None)
    assert connection.execute(statement).rowcount > 0
    connection.close()


def test_the_first_start_prints_a_management_key_once_and_seeds_groups_and_models(tmp_path: Path) -> None:
    data_dir = tmp_path / "made" / "data"
    with printing_server(data_dir, ends_by=signal.SIGTERM) as (url, printed):
        keys = KEY_LINE.findall(printed.read_text())
        assert len(keys) == 1
        headers = {"Authorization": f"Bearer {keys[0]}"}
        with httpx.Client(base_url=url, headers=headers) as admin:
            groups = {group["slug"]: group for group in admin.get("/api/admin/groups").json()["data"]}
            model = admin.get("/api/admin/models/gpt-4o-mini").json()
    assert {slug: group["display_multiplier"] for slug, group in groups.items()} == {
        "default": "1.0x",
        "vip": "From 0.8x",
        "enterprise": "Custom",
    }
    assert {slug: (g["requests_per_minute"], g["requests_per_day"]) for slug, g in groups.items()} == {
        "default": (60, 1_000),
        "vip": (600, 20_000),
        "enterprise": (None, None),
    }
    assert model["prices"]["input"] == "0.15"
    assert data_dir.stat().st_mode & 0o077 == 0
    assert (data_dir / "secret.key").stat().st_mode & 0o077 == 0
    # SIGINT is Ctrl-C; both end it in order.
    with printing_server(data_dir, ends_by=signal.SIGINT) as (url, printed):
        assert "sk-mgmt-" not in printed.read_text()
        assert "First start" not in printed.read_text()
        assert httpx.get(f"{url}/api/admin/groups", headers=headers).status_code == 200


def test_the_first_start_s_link_makes_an_administrator_once(tmp_path: Path) -> None:
    with printing_server(tmp_path / "data", ends_by=signal.SIGTERM) as (_, printed):
        links = LINK_LINE.findall(printed.read_text())
        assert len(links) == 1
        with httpx.Client() as browser:
            form = {
                "form_token": FORM_TOKEN.findall(browser.get(links[0]).text)[0],
                "email": "root@example.com",
                "name": "Root",
                "password": "mauve otter reads maps",
            }
            headers = {"Origin": str(httpx.URL(links[0]).join("/")).rstrip("/")}
            assert browser.post(links[0], data=form, headers=headers).status_code == 303
            assert "root@example.com" in browser.get(httpx.URL(links[0]).join("/profile")).text
            assert browser.get(links[0]).status_code == 410
    with printing_server(tmp_path / "data", ends_by=signal.SIGTERM) as (_, printed):
        assert "administrator" not in printed.read_text()


def test_a_first_start_with_an_admin_key_prints_none(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        assert httpx.get(f"{server.url}/api/admin/groups", headers=headers).status_code == 200
        assert "sk-mgmt-" not in server.log_path.read_text()


def test_a_variable_that_is_set_to_nothing_is_as_good_as_absent(tmp_path: Path) -> None:
    empty = {"TOKENOPEN_ADMIN_KEY": "", "TOKENOPEN_SECRET_KEY": "", "TOKENOPEN_UPSTREAM_NETWORKS": ""}
    with Server(tmp_path / "data", environment=empty) as server:
        assert (tmp_path / "data" / "secret.key").read_text().strip()
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        (
            {"TOKENOPEN_ADMIN_KEY": "short"},
            "TOKENOPEN_ADMIN_KEY cannot be used: it has 5 characters and needs 32",
        ),
        ({"TOKENOPEN_SECRET_KEY": "x" * 31}, "TOKENOPEN_SECRET_KEY cannot be used: it has 31 characters"),
        ({"TOKENOPEN_PORT": "eighty"}, "TOKENOPEN_PORT cannot be used: Input should be a valid integer"),
        (
            {"TOKENOPEN_PORT": "65536"},
            "TOKENOPEN_PORT cannot be used: Input should be less than or equal to 65535",
        ),
        (
            {"TOKENOPEN_HOST": "no-such-host.invalid"},
            "or set TOKENOPEN_PORT (0 takes a free one) or TOKENOPEN_HOST",
        ),
        ({"TOKENOPEN_UPSTREAM_NETWORKS": "10.0.0.0/8,lan"}, "TOKENOPEN_UPSTREAM_NETWORKS cannot be used"),
        ({"TOKENOPEN_DATABASE_URL": "mysql://db"}, "Unset it to use the embedded database"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    tmp_path: Path, environment: dict[str, str], says: str
) -> None:
    said = refusal_to_start(Server(tmp_path / "data", environment=environment))
    assert says in said
    assert len(said.splitlines()) == 1
    assert not any(secret in said for name, secret in environment.items() if name.endswith("_KEY"))


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refusal_to_start(Server(tmp_path / "data", environment={"TOKENOPEN_PORT": port}))
    assert f"Cannot listen on 127.0.0.1 port {port}" in said
    assert "TOKENOPEN_PORT (0 takes a free one)" in said


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """Its parent is a file: that stops also a superuser, whom no permission does."""
    (tmp_path / "file").touch()
    said = refusal_to_start(Server(tmp_path / "file" / "data"))
    assert f"The data directory {tmp_path / 'file' / 'data'} cannot be written" in said
    assert "set TOKENOPEN_DATA_DIR to another directory" in said


def test_a_data_directory_on_a_read_only_disk_is_named(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "ro") as disk:
        said = refusal_to_start(Server(disk))
    assert f"The data directory {disk} cannot be written (Read-only file system)" in said


def test_a_disk_without_room_for_a_database_is_named(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=256k") as disk:
        said = refusal_to_start(Server(disk / "data"))
    assert "The database cannot be opened" in said
    assert "that the disk is not full" in said


def test_a_data_directory_in_use_is_named_and_its_server_goes_on(data_dir: Path) -> None:
    with Server(data_dir) as server:
        said = refusal_to_start(Server(data_dir))
        assert f"The data directory {data_dir} is in use by another TokenOpen" in said
        assert "set TOKENOPEN_DATA_DIR to another directory" in said
        assert httpx.get(f"{server.url}/readyz").status_code == 200


def test_a_secret_of_another_database_is_refused_and_changes_nothing(data_dir: Path) -> None:
    said = refusal_to_start(Server(data_dir, environment={"TOKENOPEN_SECRET_KEY": "another secret " * 3}))
    assert "This secret does not belong to this database" in said
    assert "Set TOKENOPEN_SECRET_KEY to the one it was set up with" in said
    with Server(data_dir) as server:
        assert httpx.get(f"{server.url}/readyz").status_code == 200


def test_a_lost_secret_file_is_refused_for_a_database_that_has_keys(data_dir: Path) -> None:
    (data_dir / "secret.key").unlink()
    assert "or restore secret.key in the data directory" in refusal_to_start(Server(data_dir))


def test_a_secret_file_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    """Keys that are derived from nothing are known to everybody."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret.key").touch()
    assert "secret.key is not whole. Restore it from a backup" in refusal_to_start(Server(tmp_path / "data"))


def test_a_file_that_is_no_database_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    garbage = bytes(range(256)) * 40
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / DATABASE_FILE).write_bytes(garbage)
    said = refusal_to_start(Server(tmp_path / "data"))
    assert "The database cannot be opened" in said
    assert "file is not a database" in said
    assert "Check that its file is whole" in said
    assert (tmp_path / "data" / DATABASE_FILE).read_bytes() == garbage


def test_a_database_of_a_newer_version_is_refused(data_dir: Path) -> None:
    change(data_dir, "UPDATE alembic_version SET version_num = '9999'")
    said = refusal_to_start(Server(data_dir))
    assert "The database's schema (9999) is newer than this TokenOpen knows" in said
    assert "Start the version that wrote it, or a newer one" in said


def test_sigterm_ends_it_in_order_once_the_running_stream_is_whole(data_dir: Path) -> None:
    with Server(data_dir) as server, SimulatorProcess() as simulator:
        platform = Platform(server, simulator)
        platform.add_model("slow")
        platform.add_upstream(["slow"], name="slow")
        platform.add_group("slow")
        key = platform.add_key(platform.add_user("slow@example.com"), "slow")
        platform.admin.close()
        body = {
            "model": "slow",
            "max_tokens": 10,
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": "a b c"}],
            "simulate": {"events": 10, "chunk_delay_ms": 150},
        }
        codes: list[int] = []
        ending = threading.Thread(target=lambda: codes.append(server.stop()))
        lines: list[str] = []
        with platform.caller(key) as caller, caller.stream("POST", "/chat/completions", json=body) as reply:
            call_id = reply.headers["x-request-id"]
            for line in reply.iter_lines():
                if not lines:
                    ending.start()
                lines.append(line)
        ending.join()
        assert codes == [0]
        assert [line for line in lines if line][-1] == "data: [DONE]"
        # 3 x 0.15 + 10 x 0.6 credits per million.
        usage = next(json.loads(line[6:])["usage"] for line in lines if '"cost"' in line)
        assert usage["cost"] == "0.00000645"
        assert "audit: 0 drift" in server.run_cli("audit").stdout
    connection = sqlite3.connect(data_dir / DATABASE_FILE)
    rows = connection.execute("SELECT state, charge FROM calls WHERE id = ?", (call_id,)).fetchall()
    (held,) = connection.execute("SELECT sum(held) FROM accounts").fetchone()
    (workers,) = connection.execute("SELECT count(*) FROM workers").fetchone()
    connection.close()
    assert (rows, held, workers) == ([("settled", 6_450)], 0, 0)


def test_the_audit_runs_beside_a_server_and_without_one(data_dir: Path) -> None:
    with Server(data_dir) as server:
        beside = server.run_cli("audit")
        assert (beside.returncode, beside.stderr) == (0, "")
        assert "audit: 0 drift" in beside.stdout
        assert "1 calls" in beside.stdout
        assert server.stop() == 0
        without = server.run_cli("audit")
    assert (without.returncode, without.stdout) == (0, beside.stdout)


@pytest.mark.parametrize(
    ("statement", "invariant"),
    [
        ("UPDATE accounts SET balance = balance + 1 WHERE balance > 0", "I1 balance = sum of ledger entries"),
        ("UPDATE accounts SET held = 1 WHERE balance > 0", "I2 held = sum of open holds"),
        (
            "DELETE FROM ledger_entries WHERE kind = 'charge'",
            "I5 a settled call has exactly one charge entry",
        ),
        ("UPDATE calls SET usage = '{\"input\": 1}'", "I10 charge + absorbed = the recomputation"),
    ],
)
def test_the_audit_names_the_invariant_that_planted_rows_break_and_exits_1(
    data_dir: Path, statement: str, invariant: str
) -> None:
    change(data_dir, statement)
    # Wide enough that no cell of the table is broken over lines.
    done = Server(data_dir, environment={"COLUMNS": "250"}).run_cli("audit")
    assert done.returncode == 1
    assert invariant in done.stdout
    assert "audit: 0 drift" not in done.stdout


def test_an_audit_of_no_database_says_which_setting_to_look_at(tmp_path: Path) -> None:
    done = Server(tmp_path / "data").run_cli("audit")
    assert done.returncode == 2
    assert f"There is no database in {tmp_path / 'data'}. Set TOKENOPEN_DATA_DIR" in done.stderr
