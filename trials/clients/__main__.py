"""``make trial-clients``: install each client where it is alone, let it call a real server, print a table.

Arguments name the clients, all where none is named. An environment is made anew where its lock file has
changed. The scripts know nothing of the platform but an address and keys; the provider behind it is the
simulated one.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from tests.e2e.running import Platform, Server

from tokenopen.simulator.process import SimulatorProcess

HERE: Final = Path(__file__).parent
ENVIRONMENTS: Final = HERE.parents[1] / ".trial-clients"
STEPS: Final = ("chat", "stream", "tools", "errors", "more")
# As its callers may name a model whose provider is Google, Anthropic or OpenAI.
MODELS: Final = {"google_genai": "gemini", "langchain": "small", "litellm": "small", "openai_node": "small"}
TIMEOUT_S: Final = 300


def prepare(client: str) -> Sequence[str]:
    """Return the command that runs a client's script, in an environment that is installed as locked."""
    home, place = HERE / client, ENVIRONMENTS / client
    lock = home / ("package-lock.json" if client.endswith("_node") else "requirements.txt")
    stamp, digest = place / ".installed", hashlib.sha256(lock.read_bytes()).hexdigest()
    is_node = lock.suffix == ".json"
    if not stamp.exists() or stamp.read_text() != digest:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        if is_node:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(home / name, place)
            run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=place)
        else:
            run([sys.executable, "-m", "venv", str(place)])
            pip = [str(place / "bin" / "python"), "-m", "pip", "install", "-q"]
            # The lock names all, and pip 23 takes it for unpinned where an extra is asked for.
            run([*pip, "--disable-pip-version-check", "--no-deps", "--require-hashes", "-r", str(lock)])
        stamp.write_text(digest)
    if is_node:
        shutil.copy(home / "script.mjs", place)
        return ["node", str(place / "script.mjs")]
    return [str(place / "bin" / "python"), str(home / "script.py")]


def run(command: Sequence[str], *, cwd: Path | None = None) -> None:
    """Run a command that has to succeed."""
    subprocess.run(command, cwd=cwd, check=True)


def run_script(client: str, environment: Mapping[str, str]) -> Mapping[str, Any]:
    """Return what a client's script printed, by step; a step without a line did not run."""
    command = prepare(client)
    named = environment | {"TRIAL_MODEL": MODELS[client], "PYTHONPATH": str(HERE), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        command,
        env={**os.environ, **named},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    found = {}
    for line in done.stdout.splitlines():
        if line.startswith('{"step"'):
            said = json.loads(line)
            found[said["step"]] = said
    if not found:
        sys.stderr.write(done.stderr[-2_000:])
    return found


def set_up(platform: Platform) -> Mapping[str, str]:
    """Offer a model of each kind, and return what the scripts are told."""
    base_url = platform.simulator.base_url
    platform.add_model("small")
    platform.add_model("gemini")
    platform.add_model("listens", prices={"input": "0", "output": "0", "seconds": "100"})
    platform.add_upstream(["small", "listens"], name="simulated", provider="tokenopen")
    platform.add_upstream(["gemini"], name="google", provider="gemini", base_url=base_url.removesuffix("/v1"))
    platform.add_group("open")
    platform.add_group("limited", requests_per_minute=0)
    user = platform.add_user("trial@example.com")
    key = platform.add_key(user, "open")
    return {
        "TRIAL_URL": platform.server.url,
        "TRIAL_KEY": key,
        "TRIAL_WRONG_KEY": key[:-4] + "AAAA",
        "TRIAL_LIMITED_KEY": platform.add_key(user, "limited"),
    }


def try_clients(environment: Mapping[str, str], table: Table) -> Sequence[str]:
    """Run every client, add its line to the table, and return what failed."""
    failures = []
    for client in sys.argv[1:] or MODELS:
        found = run_script(client, environment)
        missing = {"ok": False, "why": "did not run"}
        said = {step: found.get(step, missing) for step in STEPS}
        table.add_row(client, *("ok" if said[step]["ok"] else "FAILED" for step in STEPS))
        failures += [f"{client} {step}: {said[step]['why']}" for step in STEPS if not said[step]["ok"]]
    return failures


def main() -> int:
    """Try every client; return 1 where a step of any failed."""
    table = Table("client", *STEPS)
    with (
        tempfile.TemporaryDirectory() as directory,
        Server(Path(directory) / "data") as server,
        SimulatorProcess() as simulator,
    ):
        platform = Platform(server, simulator)
        failures = try_clients(set_up(platform), table)
        audit = platform.audit()
    console = Console()
    console.print(table)
    for failure in failures:
        console.print(failure, markup=False)
    console.print(audit.strip().splitlines()[-1])
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
