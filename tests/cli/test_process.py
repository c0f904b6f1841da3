"""The commands as processes: from a provider's credential to the first charged call, and a replayed trace."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.running import Server
from tokenopen.cli.replay_trace import DEMO_TRACE
from tokenopen.core.money import parse_amount

pytestmark = pytest.mark.slow

TOKENOPEN = (sys.executable, "-m", "tokenopen.cli.main")


@contextmanager
def simulated_provider(*options: str) -> Iterator[str]:
    """Run ``tokenopen upstream-simulator`` and yield its address."""
    command = [*TOKENOPEN, "upstream-simulator", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            address = re.search(r"http://\S+/v1", process.stdout.readline())
            assert address is not None
            yield address[0]
        finally:
            process.send_signal(signal.SIGINT)


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[str]:
    """A provider's address; it writes what it is sent to provider.log."""
    with simulated_provider("--log", str(tmp_path / "provider.log"), "--record") as address:
        yield address


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server on an empty data directory, and a provider's credential in the environment."""
    with Server(tmp_path / "data", environment={"OPENAI_API_KEY": "sim-credential"}) as server:
        yield server


def run(server: Server, *arguments: str) -> str:
    done = server.run_cli(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_four_commands_lead_to_the_first_charged_call(server: Server, provider: str, tmp_path: Path) -> None:
    """serve is the first; the fourth is the curl line that the third prints."""
    added = run(server, "upstreams", "add", "openai", "--base-url", provider)
    assert "models have a price here and are mapped." in added
    created = run(server, "keys", "create", "--name", "first", "--credits", "10")
    [curl] = re.findall(r"^  (curl .*\\\n.*)$", created, re.MULTILINE)
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    reply = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(reply.stdout)["choices"][0]["message"]["content"]
    [call] = json.loads(run(server, "calls", "list", "--json"))["data"]
    assert call["state"] == "settled"
    receipt = run(server, "calls", "show", call["id"])
    assert f"= {call['charge']}" in receipt
    assert "sim-credential" not in added + created + receipt
    [logged] = (tmp_path / "provider.log").read_text().splitlines()
    assert json.loads(logged)["request_id"] == call["id"]


def test_a_replay_is_charged_what_its_summary_says(server: Server, provider: str) -> None:
    run(server, "upstreams", "add", "openai", "--base-url", provider)
    create = ("keys", "create", "--name", "first", "--credits", "10", "--json")
    key = json.loads(run(server, *create))["key"]
    summary = run(
        server,
        *("replay", str(DEMO_TRACE), "--base-url", f"{server.url}/v1", "--key", key, "--rows", "30"),
        *("--as-fast-as-it-goes", "--concurrency", "4", "--stream-share", "50"),
    )
    assert "30 of 30 rows sent" in summary
    balance = json.loads(run(server, "credits", "show", "--json"))["balance"]
    [charge] = re.findall(r"…\w{4} .*?(0\.\d+) ", summary)
    assert 0 < parse_amount(charge) == parse_amount("10") - parse_amount(balance)


def test_a_replay_that_cannot_be_says_why(server: Server, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("when,how much\n")
    command = ("replay", str(trace), "--key", "sk-to-x", "--base-url")
    done = server.run_cli(*command, f"{server.url}/v1")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "TIMESTAMP" in done.stderr
    done = server.run_cli(*command, f"{server.url}/v1", "--speed", "0")
    assert done.returncode == 2
    assert "speed is a factor above 0" in done.stderr
    done = server.run_cli("replay", str(tmp_path / "none.csv"), "--base-url", server.url, "--key", "x")
    assert done.returncode == 2
    assert "does not exist" in done.stderr


def test_calls_that_get_no_whole_reply_make_a_replay_fail(server: Server, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.0,5,5\n")
    done = server.run_cli("replay", str(trace), "--base-url", "http://127.0.0.1:1/v1", "--key", "sk-to-x")
    assert done.returncode == 1
    assert "NotReached" in done.stdout


def test_a_simulator_whose_port_is_taken_says_so(provider: str) -> None:
    port = provider.rsplit(":", 1)[1].removesuffix("/v1")
    command = [*TOKENOPEN, "upstream-simulator", "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: cannot serve on 127.0.0.1 port {port}")
