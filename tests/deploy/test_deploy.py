"""What stands under deploy/ is what the tools that read it accept, and agrees with the code.

There is no container engine here, so images are not built: the Dockerfile is read instruction by instruction.
"""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tokenopen.cli.serve_process import STREAMS_END_S
from tokenopen.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
INSTRUCTIONS = {
    *("FROM", "RUN", "COPY", "ENV", "USER", "WORKDIR", "VOLUME", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL"),
    *("ENTRYPOINT", "CMD", "ARG", "LABEL"),
}
VARIABLE = re.compile(r"\bTOKENOPEN_[A-Z_]+\b")


def dockerfile() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions and what they are given."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line for line in re.sub(r"\\\n", " ", text).splitlines() if line.strip()]
    return [(name, value.strip()) for name, _, value in (line.strip().partition(" ") for line in lines)]


def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def unit() -> dict[str, list[str]]:
    """Return the settings of the systemd unit; some are there several times."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "tokenopen.service").read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_the_image_is_small_runs_as_nobody_in_particular_and_tells_its_health() -> None:
    instructions = dockerfile()
    assert {name for name, _ in instructions} <= INSTRUCTIONS
    stages = [value for name, value in instructions if name == "FROM"]
    assert [stage.split()[0] for stage in stages] == ["node:22-slim", "python:3.11-slim", "python:3.11-slim"]
    last = instructions[max(place for place, (name, _) in enumerate(instructions) if name == "FROM") :]
    assert [value for name, value in last if name == "USER"] == ["10001:10001"]
    # Nothing is built in what is shipped.
    assert not any("pip install" in value or "apt-get" in value for name, value in last if name == "RUN")
    assert any("/healthz" in value for name, value in last if name == "HEALTHCHECK")
    assert ("STOPSIGNAL", "SIGTERM") in last
    assert ("ENTRYPOINT", '["tokenopen"]') in last


def test_whatever_the_image_is_built_from_is_there() -> None:
    for name, value in dockerfile():
        if name == "COPY" and "--from" not in value:
            for source in value.split()[:-1]:
                # What `make assets` builds may be missing; the pages' own files are not.
                assert (ROOT / source).exists(), source


def test_every_dependency_is_pinned_by_hash_and_no_registry_is_named() -> None:
    installs = [value for name, value in dockerfile() if name == "RUN" and "pip install" in value]
    assert installs
    assert all("--require-hashes" in value or "--no-deps" in value for value in installs)
    for path in DEPLOY.iterdir():
        text = path.read_text()
        assert not re.search(r"index-url|registry|ghcr|docker\.io|quay\.io", text), path.name
    images = [service["image"] for service in compose()["services"].values()]
    assert all("/" not in image for image in images)


def test_two_gateways_share_a_database_that_is_up_before_them() -> None:
    services = compose()["services"]
    assert set(services) == {"database", "gateway-1", "gateway-2", "proxy"}
    for name in ("gateway-1", "gateway-2"):
        gateway = services[name]
        assert gateway["depends_on"]["database"]["condition"] == "service_healthy"
        assert gateway["environment"]["TOKENOPEN_DATABASE_URL"].startswith("postgresql://")
        assert (gateway["read_only"], gateway["cap_drop"]) == (True, ["ALL"])
        assert int(gateway["stop_grace_period"].removesuffix("s")) > STREAMS_END_S
        # Only the proxy is reached from outside.
        assert "ports" not in gateway
    assert "ports" not in services["database"]
    assert services["proxy"]["volumes"] == ["./nginx.conf:/etc/nginx/conf.d/default.conf:ro"]


def test_every_variable_that_is_named_is_a_setting() -> None:
    known = {f"TOKENOPEN_{name.upper()}" for name in Settings.model_fields} | {"TOKENOPEN_LISTEN"}
    for path in DEPLOY.iterdir():
        assert set(VARIABLE.findall(path.read_text())) <= known, path.name
    asked = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text()))
    given = set(re.findall(r"^(\w+)=", (DEPLOY / "compose.env.example").read_text(), re.MULTILINE))
    assert asked <= given


def test_the_unit_lets_streams_end_and_is_shut_in() -> None:
    settings = unit()
    assert int(settings["TimeoutStopSec"][0]) > STREAMS_END_S
    assert settings["KillMode"] == ["mixed"]
    assert settings["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    for name, value in {"NoNewPrivileges": "yes", "ProtectSystem": "strict", "DynamicUser": "yes"}.items():
        assert settings[name] == [value]


@pytest.mark.slow
def test_systemd_accepts_the_unit_and_finds_little_exposed(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze on this machine")
    text = (DEPLOY / "tokenopen.service").read_text()
    # The program is where the unit says only on a machine that it was installed on.
    copy = tmp_path / "tokenopen.service"
    copy.write_text(text.replace("/opt/tokenopen/bin/tokenopen serve", "/bin/true"))
    done = subprocess.run([analyze, "verify", str(copy)], capture_output=True, text=True, check=False)
    assert "tokenopen.service" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr
    score = subprocess.run(
        [analyze, "security", "--offline=yes", str(copy)], capture_output=True, text=True, check=False
    )
    found = re.search(r"exposure level for tokenopen.service: ([0-9.]+)", score.stdout)
    if found is None:
        pytest.skip(f"systemd-analyze cannot judge here: {score.stderr.strip()}")
    assert float(found[1]) < 2.0
